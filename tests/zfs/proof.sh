# A volume that got other blocks than those written to it proves nothing, for a restore nor for a backup.
. /lab/lib.sh
zpool create -f -O mountpoint=/tank tank "$pool"
zpool create -f -O mountpoint=/second second "$pool2"
zfs create -s -V 64M tank/v
v=$(device tank/v)
udevadm settle
noise() { dd if=/dev/urandom of="$1" bs=1M seek="$2" count="$3" conv=fsync,notrunc status=none; }
noise "$v" 0 64
zfs snapshot tank/v@S1
zfs send tank/v@S1 | zfs receive tank/src
udevadm settle
noise "$(device tank/src)" 40 1
zfs snapshot tank/src@S3
zfs send -i @S1 tank/src@S3 >/second/inc
cat >x.conf <<'END2'
{"backup_path": "/second/repo", "datasets_to_backup": ["tank/v"]}
END2
$B init -e none >/dev/null 2>&1
number() { python3 -c 'import json, sys; print(json.load(open("told"))["restored"][sys.argv[1]])' "$1"; }
archive() { $B create -- --chunker-params 15,19,17,4095 >said 2>&1 || fail "create: $(cat said)"; }
restore() { $B restore ::latest tank/v --to "$v" --yes --json "$@" >told 2>said || fail "restore: $(cat said)"; }
is() { cmp "$v" /second/v || fail "the volume is not what was archived: $(cat told said)"; }
noise "$v" 10 1
archive
cp "$v" /second/v
restore
says said "ZFS knows what changed"
[ "$(number read)" = 0 ] && [ "$(number sampled)" -gt 600000 ] && [ "$(number sampled)" -lt 17000000 ] || fail "read: $(cat told)"
step "nothing happened, and ZFS proves it: $(cat told)"

# The block at 10 MiB falls back to that of S1, and is older than the bookmark.
zfs receive -F tank/v </second/inc
udevadm settle
restore
says said "other blocks were put into it"
is
step "received over: $(cat told)"

# The snapshot that came is destroyed again.
zfs destroy tank/v@S3
restore
says said "other blocks were put into it"
step "received over a while ago"

# As a backup sees it: nothing was written since the last archive, and still it is another volume.
next_day
archive
next_day
archive
says said "0 B of 67.1 MB had to be read"
# An increment in which nothing was written: after it, too, ZFS knows of no byte that was.
zfs snapshot tank/v@base2
zfs send tank/v@base2 | zfs receive tank/src2
zfs snapshot tank/src2@new2
zfs send -i @base2 tank/src2@new2 >/second/inc2
next_day
noise "$v" 20 1
archive
cp "$v" /second/v
next_day
zfs receive -F tank/v </second/inc2
udevadm settle
cmp -s "$v" /second/v && fail "the volume did not fall back"
mark=$(zfs list -H -t bookmark -o name -s createtxg -d 1 tank/v | tail -n 1)
[ "$(zfs get -Hp -o value "written#${mark#*#}" tank/v)" = 0 ] || fail "ZFS sees what fell back: this proves nothing"
archive
silent said "0 B of 67.1 MB had to be read"
$B extract --stdout ::latest dev/zvol/tank/v | cmp - "$v" || fail "the archive is of another day"
step "a backup reads what was received over"

# A log that shows nothing of it, as one of an unknown ZFS might: then the sample does.
cp "$v" /second/v
dd if=/dev/urandom of=/second/other bs=1M count=64 status=none
next_day
mkdir /lab/bin
printf '#!/bin/bash\n%s "$@" | grep -v "clone swap\\|receiv"\n' "$(command -v zpool)" >/lab/bin/zpool
chmod +x /lab/bin/zpool
zfs snapshot tank/v@base3
zfs send tank/v@base3 | zfs receive tank/src3
udevadm settle
noise "$(device tank/src3)" 50 1
zfs snapshot tank/src3@new3
zfs send -i @base3 tank/src3@new3 >/second/inc3
dd if=/second/other of="$v" bs=1M conv=fsync,notrunc status=none
archive
cp "$v" /second/v
zfs receive -F tank/v </second/inc3
udevadm settle
PATH=/lab/bin:$PATH restore
says said "are unchanged, and they differ"
is
zfs snapshot tank/v@base4
zfs send tank/v@base4 | zfs receive tank/src4
udevadm settle
noise "$(device tank/src4)" 30 1
zfs snapshot tank/src4@new4
zfs send -i @base4 tank/src4@new4 >/second/inc4
next_day
dd if=/dev/urandom of="$v" bs=1M count=64 conv=fsync,notrunc status=none
archive
cp "$v" /second/v
zfs receive -F tank/v </second/inc4
udevadm settle
PATH=/lab/bin:$PATH restore --source stream
says said "ZFS reported bytes as unchanged that differ"
is
step "the sample shows it where the log does not, of chunks and of a stream"

# Rolled back: ZFS itself does not do that below a bookmark.
zfs destroy -r tank/v@S1 2>/dev/null || :
next_day
archive
zfs snapshot tank/v@later
noise "$v" 5 1
zfs rollback tank/v@later
udevadm settle
restore
says said "other blocks were put into it"
step "rolled back"

# Two volumes of one guid, as after `zpool split`: each is archived with its own bytes.
zpool destroy tank
truncate -s 512M /second/one /second/two
mkdir /lab/split
zpool create -f -O mountpoint=/tank tank mirror /second/one /second/two
zfs create -s -V 64M tank/v
udevadm settle
noise "$v" 0 64
next_day
archive
zpool split tank twin
zpool import -d /second twin
udevadm settle
noise "$(device twin/v)" 7 1
[ "$(zfs get -Hp -o value guid tank/v)" = "$(zfs get -Hp -o value guid twin/v)" ] || fail "they are no twins"
sed -i 's|"tank/v"|"tank/v", "twin/v"|' x.conf
for _ in 1 2; do
    next_day
    archive
    for volume in tank/v twin/v; do
        $B extract --stdout ::latest dev/zvol/$volume | cmp - "$(device $volume)" || fail "$volume has the other's bytes"
    done
done
cp "$(device twin/v)" /second/v
noise "$(device twin/v)" 9 1
$B restore ::latest twin/v --to "$(device twin/v)" --yes --json >told 2>said || fail "restore: $(cat said)"
cmp "$(device twin/v)" /second/v || fail "the twin is not what was archived"
step "two volumes of one guid: $(cat told)"
