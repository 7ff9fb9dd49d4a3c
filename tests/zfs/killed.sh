. /lab/lib.sh
zpool create -f -O mountpoint=/tank tank "$pool"
zpool create -f -O mountpoint=/second second "$pool2"
zfs create tank/home
zfs create -V 16M tank/v
zfs create -V 16M second/w
cat >x.conf <<END
{"backup_path": "/tank/repo", "datasets_to_backup": ["tank/home", "tank/v", "second/w"]}
END
# What looks alike, and is not ours.
zfs create tank/.borg-offsite-backups
zfs create -o org.borg-offsite-backup:run=mine tank/theirs
zfs snapshot tank/home@borg-offsite-backup-mine
zfs snapshot tank/home@borg-2026-11-23
before=$(in_zfs)
fake_borg

# A zfs that kills the one who calls it after its Nth call.
mkdir -p /lab/killer
real=$(command -v zfs)
cat >/lab/killer/zfs <<END
#!/bin/bash
n=\$((\$(cat /lab/calls) + 1))
echo \$n >/lab/calls
echo "\$n \$*" >>/lab/log
$real "\$@"
ended=\$?
if [ \$n = "\${KILL_AFTER:-}" ]; then kill -KILL \$PPID; fi
exit \$ended
END
chmod +x /lab/killer/zfs
killed() { echo 0 >/lab/calls; KILL_AFTER=$1 PATH="/lab/killer:$PATH" $B create >said 2>&1; }

: >/lab/log
killed 0 || fail "create: $(cat said)"
calls=$(cat /lab/calls)
[ "$(in_zfs)" = "$before" ] || fail "left by a run that was not killed: $(in_zfs)"
step "a run calls zfs $calls times"
dirty=0
for n in $(seq 1 "$calls"); do
    killed "$n" 2>/dev/null && fail "it was not killed after call $n"
    if [ "$(in_zfs)" != "$before" ]; then dirty=$((dirty + 1)); fi
    if [ $((n % 3)) != 0 ]; then
        $B cleanup >said 2>&1 || fail "cleanup after call $n: $(cat said)"
    else
        $B create >said 2>&1 || fail "create after call $n: $(cat said)"
    fi
    [ "$(in_zfs)" = "$before" ] || fail "left after $(grep "^$n " /lab/log): $(in_zfs)"
    no_mounts || fail "mounts are left after call $n"
done
[ $dirty -gt 10 ] || fail "only $dirty of the kills left anything"
step "killed $calls times, $dirty times with something left, always cleaned up"

# --dry-run only lists; a live run is left alone.
killed 8 2>/dev/null || :
left=$(in_zfs)
$B cleanup --dry-run >said 2>&1
says said "would remove tank/v@borg-offsite-backup-"
[ "$(in_zfs)" = "$left" ] || fail "a dry run removed something"
$B cleanup >said 2>&1
AT_CREATE='touch /tmp/begun; sleep 30' $B create >said 2>&1 &
run=$!
until [ -e /tmp/begun ]; do sleep 0.1; done
left=$(in_zfs)
$B cleanup >cleaned 2>&1
says cleaned "is running"
[ "$(in_zfs)" = "$left" ] || fail "cleanup removed what a live run needs"
kill -TERM $run
wait $run && fail "a run that was interrupted is no success"
[ "$(in_zfs)" = "$before" ] || fail "left after SIGTERM: $(in_zfs)"
step "a live run is left alone, and leaves nothing after SIGTERM"

# What is busy is named.
AT_CREATE="zfs hold keepit \$(zfs list -H -t snapshot -o name | grep 'home@borg-offsite-backup-2')" \
    $B create >said 2>&1 && fail "a snapshot that stays is no success"
says said "dataset is busy"
says said "held with the tag keepit"
says said "the backup itself is complete"
zfs release keepit "$(zfs list -H -t snapshot -o name | grep 'home@borg-offsite-backup-2')"
$B cleanup >said 2>&1
[ "$(in_zfs)" = "$before" ] || fail "left after the hold: $(in_zfs)"
step "what is busy is named"

# What borg makes of it when it fails.
AT_CREATE='exit 2' $B create >said 2>&1 && fail "borg failed, create did not"
[ "$(in_zfs)" = "$before" ] || fail "left after a failure of borg: $(in_zfs)"

# The old tool's.
zfs create tank/.borg-offsite-backup
zfs clone tank/home@borg-2026-11-23 tank/.borg-offsite-backup/home
left=$(in_zfs)
$B cleanup >said 2>&1
says said "Left alone: tank/home@borg-2026-11-23, of the Python tool"
[ "$(in_zfs)" = "$left" ] || fail "removed without being asked"
$B create >said 2>&1 || fail "create beside the old tool's: $(cat said)"
[ "$(in_zfs)" = "$left" ] || fail "removed without being asked by create"
$B cleanup --old-tool >said 2>&1 || fail "cleanup --old-tool: $(cat said)"
[ "$(in_zfs)" = "$(echo "$before" | grep -v @borg-2026)" ] || fail "not as before: $(in_zfs)"
step "the old tool's are removed only when asked"

# A pool that is full.
truncate -s 80M /tank/small
zpool create -m /small small /tank/small
zfs create -s -V 32M small/v
dd if=/dev/urandom of=/small/fill bs=1M status=none 2>/dev/null || :
before=$(in_zfs)
sed -i 's/"second.w"/"second\/w", "small\/v"/' x.conf
if $B create >said 2>&1; then echo "the full pool had room for it"; else tail -n 3 said; fi
[ "$(in_zfs)" = "$before" ] || fail "left in a full pool: $(in_zfs)"
step "a full pool is left as it was"
