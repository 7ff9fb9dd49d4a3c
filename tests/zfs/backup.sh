. /lab/lib.sh
zpool create -f -O mountpoint=/tank -O compression=lz4 tank "$pool"
zpool create -f -O mountpoint=none second "$pool2"
zfs create tank/home
zfs create tank/home/bob
zfs create -o mountpoint=/home/outer second/outer
zfs create -o mountpoint=/home/outer/in/side second/inner
zfs create -V 64M tank/busy
zfs create -V 48M "second/a b"
zfs create -V 16M second/other
echo bob >/tank/home/bob/f
echo inner >/home/outer/in/side/f
mkfifo /tank/home/fifo
idle=$(device "second/a b") busy=$(device tank/busy)
udevadm settle
dd if=/dev/urandom of="$idle" bs=1M count=24 conv=fsync status=none
mkfs.ext4 -q "$busy"
mkdir /mnt/busy
mount "$busy" /mnt/busy
cat >x.conf <<END
{"backup_path": "/tank/repo", "datasets_to_backup": [
    {"name": "tank/home", "recursive": true}, "tank/busy", {"name": "second/*", "glob": true}],
 "exclude_patterns": ["tank/repo"]}
END
$B init -e none
before=$(in_zfs)
step "two pools, with nested file systems and three volumes"

# Written while the snapshot is taken.
(n=0; while :; do n=$((n + 1)); echo "$n" >"/mnt/busy/$((n % 300))"; sync; sleep 0.1; done) &
writer=$!
$B create >said 2>&1 || fail "create: $(cat said)"
kill $writer
wait $writer 2>/dev/null || :
says said "second (4 datasets), tank (3)"
says said "134 MB of 134 MB had to be read"
[ "$(in_zfs)" = "$before" ] || fail "left in ZFS: $(in_zfs)"
no_mounts || fail "mounts are left"
[ "$(zfs list -H -t bookmark -o name | grep -c -- "-$(date +%F)\$")" = 7 ] || fail "bookmarks: $(zfs list -t bookmark)"
borg list --format '{mode} {size} {path}{NL}' "/tank/repo::$(date +%F)" >listed
for line in "-rw------- 67108864 dev/zvol/tank/busy" "-rw------- 50331648 dev/zvol/second/a b" \
    "-rw-r--r-- 4 tank/home/bob/f" "-rw-r--r-- 6 home/outer/in/side/f" "prw-r--r-- 0 tank/home/fifo"; do
    says listed "$line"
done
step "the first backup"

# Mounted, and the volume in it is a disk, whose journal is replayed in a copy of it.
mkdir /mnt/archive /mnt/inside
$B mount ::today /mnt/archive >said 2>&1 || fail "mount: $(cat said)"
image=/mnt/archive/dev/zvol/tank/busy
loop=$(losetup --read-only --find --show "$image")
mount -t ext4 -o ro,noload "$loop" /mnt/inside
ls /mnt/inside/lost+found >/dev/null
umount /mnt/inside
losetup --detach "$loop"
cp "$image" /tank/copy
$B umount /mnt/archive
loop=$(losetup --find --show /tank/copy)
mount -t ext4 "$loop" /mnt/inside
[ "$(ls /mnt/inside | wc -l)" -gt 1 ] || fail "nothing was written before the snapshot"
umount /mnt/inside
e2fsck -fn "$loop" >said 2>&1 || fail "e2fsck: $(cat said)"
losetup --detach "$loop"
umount /mnt/busy
step "the volume that was being written is clean after its journal is replayed"

# Restored as README tells, into a volume made from what the manifest says.
$B extract --stdout ::today dev/zvol/.borg-offsite-backup.json >manifest
size=$(python3 -c 'import json
datasets = {d["name"]: d for d in json.load(open("manifest"))["datasets"]}
assert len(datasets) == 7, datasets
volume = datasets["second/a b"]
assert volume["type"] == "volume" and volume["volblocksize"] == 8192, volume
assert datasets["tank/home/bob"]["path"] == "tank/home/bob"
assert len({d["snapshot"]["createtxg"] for d in datasets.values() if d["name"].startswith("second")}) == 1
print(volume["volsize"])')
zfs create -V "$size" tank/restored
udevadm settle
$B extract --stdout ::today "dev/zvol/second/a b" | dd of="$(device tank/restored)" bs=10M iflag=fullblock status=none
cmp "$(device tank/restored)" "$idle" || fail "the restored volume differs"
step "a volume is restored byte by byte"

# The next day: one block of one volume, and nothing of another.
next_day
umount /mnt/busy 2>/dev/null || :
dd if=/dev/urandom of="$idle" bs=4096 seek=2000 count=1 conv=fsync,notrunc status=none
$B create -- --list --filter AMU >said 2>&1 || fail "create: $(cat said)"
says said "M dev/zvol/second/a b"
says said "U dev/zvol/second/other"
says said "U tank/home/bob/f"
new=$(borg info --json "/tank/repo::$(date +%F)" | python3 -c '
import json, sys
print(json.load(sys.stdin)["archives"][0]["stats"]["deduplicated_size"])')
[ "$new" -lt 12000000 ] || fail "$new bytes are new"
step "one changed block: the volume is read, $new bytes are new"

next_day
$B create -- --list --filter AM >said 2>&1 || fail "create: $(cat said)"
says said "0 B of 134 MB had to be read"
silent said "M dev/zvol"
step "nothing changed: no volume is read"
$B delete "::$(date -d yesterday +%F)" >/dev/null 2>&1
next_day
sed -i 's/"exclude/"keep_bookmarks": false, "compact_after_prune": true, "exclude/' x.conf
$B create >said 2>&1 || fail "create: $(cat said)"
says said "compact"
zfs list -H -t bookmark -o name >marks
silent marks "-$(date -d '2 days ago' +%F)"
silent marks "-$(date +%F)"
says marks "-$(date -d yesterday +%F)"
[ "$(in_zfs | grep -v tank/restored)" = "$before" ] || fail "left in ZFS: $(in_zfs)"
step "bookmarks go with their archives"

# Killed while borg reads, and then the power goes: nothing of this process or of /run is left.
next_day
dd if=/dev/urandom of="$idle" bs=1M count=24 conv=fsync,notrunc status=none
left_over=$(in_zfs)
$B create >said 2>&1 &
run=$!
until pgrep -f "borg create" >/dev/null && grep -qs "volumes" /proc/[0-9]*/mountinfo; do sleep 0.1; done
sleep 1
kill -KILL $run
wait $run 2>/dev/null && fail "it was done before it was killed"
until ! pgrep -f "borg create" >/dev/null; do sleep 0.1; done
[ "$(in_zfs)" != "$left_over" ] || fail "a killed run that left nothing proves nothing"
export_pool tank
export_pool second
rm -rf /run/borg-offsite-backup
zpool import -d /dev tank
zpool import -d /dev second
udevadm settle
$B create >said 2>&1 || fail "create after the power cut: $(cat said)"
[ "$(in_zfs)" = "$left_over" ] || fail "left after the power cut: $(in_zfs)"
borg check --verify-data "/tank/repo" >said 2>&1 || fail "borg check: $(cat said)"
$B extract --stdout ::today "dev/zvol/second/a b" | cmp - "$idle" || fail "the archive after the power cut differs"
step "a power cut in the middle of a backup is cleaned up by the next"
