. /lab/lib.sh
zpool create -f -O mountpoint=/tank -O compression=lz4 tank "$pool"
zpool create -f -O mountpoint=/second second "$pool2"
echo password >/second/key
zfs create -s -V 512M -b 16k tank/v
zfs create -V 2M tank/one
zfs create -s -V 32M -b 4k -o encryption=on -o keyformat=passphrase -o keylocation=file:///second/key tank/e 2>/dev/null
v=$(device tank/v) one=$(device tank/one) e=$(device tank/e)
udevadm settle
noise() { dd if=/dev/urandom of="$1" bs=4096 seek="$2" count="$3" conv=fsync,notrunc status=none; }
noise "$v" 0 8192
noise "$v" 20000 512
noise "$one" 0 256
noise "$e" 0 1024
cat >x.conf <<'END2'
{"backup_path": "/second/repo", "datasets_to_backup": ["tank/v", "tank/one", "tank/e"]}
END2
$B init -e none >/dev/null 2>&1
# Chunks of 128 KiB: the volumes here are small, too.
$B create -- --chunker-params 15,19,17,4095 >said 2>&1 || fail "create: $(cat said)"
cp --sparse=always "$v" /second/v
cp "$one" /second/one
cp "$e" /second/e
before=$(in_zfs)
step "three volumes and their archive"

restore() { $B restore ::today "$@" --yes --json >told 2>said || fail "restore $*: $(cat said)"; }
refused() { if $B restore ::today "$@" --yes >told 2>said; then fail "restore $* was done"; fi; }
number() { python3 -c 'import json, sys; print(json.load(open("told"))["restored"][sys.argv[1]])' "$1"; }
is() { cmp "$1" "$2" || fail "$1 is not $2: $(cat told said)"; }
# Sectors that were read of a device since it was made.
sectors() { awk '{print $3}' "/sys/block/$(basename "$(readlink -f "$1")")/stat"; }
nothing_left() { [ "$(in_zfs)" = "$before" ] || fail "left in ZFS: $(in_zfs)"; }

# In the noise, in what was never written, and a discard.
noise "$v" 100 3
noise "$v" 40000 2
blkdiscard -o 8388608 -l 2097152 "$v"
read_before=$(sectors "$v")
restore tank/v --to "$v"
says said "ZFS knows what changed"
[ "$(number read)" -lt $((536870912 / 50)) ] || fail "$(number read) bytes of 512 MiB were read"
read_after=$(sectors "$v")
# The sample comes besides, and udev looks at what a device holds each time it was written to: 1 MiB.
[ "$(number sampled)" -lt $((536870912 / 50)) ] || fail "$(number sampled) bytes of 512 MiB were sampled"
[ $(((read_after - read_before) * 512)) -lt $((536870912 / 50 + $(number sampled) + 2 * 1048576)) ] ||
    fail "the device tells of $((read_after - read_before)) sectors: $(cat told)"
step "by bookmark: $(cat told), $(((read_after - read_before) / 2)) KiB read of the device"
is "$v" /second/v
nothing_left
restore tank/v --to "$v"
[ "$(number written)" = 0 ] || fail "written again: $(cat told)"
step "nothing is written twice: $(cat told)"
noise "$e" 500 1
restore tank/e --to "$e"
says said "ZFS knows what changed"
is "$e" /second/e
step "an encrypted volume: $(cat told)"
$B verify ::today tank/e --against "$e" >told 2>said || fail "verify: $(cat told said)"
noise "$e" 500 1
if $B verify ::today tank/e --against "$e" >told 2>said; then fail "verify saw no difference: $(cat told said)"; fi
$B restore ::today tank/e --to "$e" --dry-run --json >told 2>said || fail "the bill: $(cat said)"
says said "ZFS knows what changed"
says told '"estimate"'
restore tank/e --to "$e" --source stream
says said "ZFS knows what changed"
[ "$(number read)" = 0 ] || fail "$(number read) bytes were read"
is "$e" /second/e
step "verified, told the price of, and streamed: $(cat told)"

# Used as another disk for a while.
mkfs.ext4 -q "$v"
mkdir /mnt/v
mount "$v" /mnt/v
cp -r /usr/share/perl* /mnt/v/
refused tank/v --to "$v"
says said "in use"
rm -r /mnt/v/perl*
fstrim /mnt/v
umount /mnt/v
restore tank/v --to "$v"
says said "ZFS knows what changed"
is "$v" /second/v
nothing_left
step "after a file system was made on it, files written, deleted and trimmed: $(cat told)"

# Killed while ZFS tells: cleanup finds the snapshot then, and not before.
mkdir /lab/bin
printf '#!/bin/bash\n[ "$1" != send ] || sleep 600\nexec %s "$@"\n' "$(command -v zfs)" >/lab/bin/zfs
chmod +x /lab/bin/zfs
PATH=/lab/bin:$PATH $B restore ::today tank/v --to "$v" --yes >said 2>&1 &
run=$!
until in_zfs | grep -q '@borg-offsite-backup-restore-'; do sleep 0.1; done
$B cleanup >said2 2>&1
in_zfs | grep -q '@borg-offsite-backup-restore-' || fail "cleanup took the snapshot of a live restore: $(cat said2)"
kill -KILL $run
wait $run 2>/dev/null || :
[ "$(in_zfs)" != "$before" ] || fail "a killed run that left nothing proves nothing"
$B cleanup >said2 2>&1 || fail "cleanup: $(cat said2)"
nothing_left
pkill -f 'sleep 600'
rm -r /lab/bin
step "what a killed restore left is cleaned up"

# The same name, the same size, the same moment: and yet another volume.
zfs destroy tank/one
zfs create -V 2M tank/one
udevadm settle
restore tank/one --to "$one"
says said "is not the volume that was archived"
is "$one" /second/one
[ "$(number read)" = 2097152 ] || fail "not all was read: $(cat told)"
bookmark=$(zfs list -H -t bookmark -o name -d 1 tank/v)
zfs destroy "$bookmark"
noise "$v" 100 3
restore tank/v --to "$v"
says said "has no bookmark any more"
is "$v" /second/v
step "what is not proven is read: $(cat told)"

restore tank/v --to tank/new --create
is "$(device tank/new)" /second/v
[ "$(zfs get -Hp -o value volsize,volblocksize,compression tank/new | xargs)" = "536870912 16384 lz4" ] ||
    fail "made as $(zfs get -Hp volsize,volblocksize,compression tank/new)"
[ "$(zfs get -Hp -o value used tank/new)" -lt 60000000 ] || fail "it takes $(zfs get -Hp used tank/new)"
[ "$(number read)" = 0 ] || fail "a new volume was read: $(cat told)"
refused tank/v --to tank/new --create
says said "exists already"
refused tank/v --to tank/a/b/new --create
says said "there is no file system tank/a"
zfs destroy tank/new
nothing_left
step "a new volume"

# The one chunk of a volume is broken: nothing could be written, so nothing is made.
python3 - "$one" <<'END2'
import glob, sys
sought = open(sys.argv[1], "rb").read(1 << 20)[1000:1064]
for path in glob.glob("/second/repo/data/*/*"):
    with open(path, "r+b") as segment:
        at = segment.read().find(sought)
        if at >= 0:
            segment.seek(at)
            segment.write(b"x")
            break
else:
    sys.exit("the chunk was not found")
END2
refused tank/one --to tank/new --create
says said "cannot read a chunk"
nothing_left
step "a volume that could not be restored is not made"
