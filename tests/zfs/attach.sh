. /lab/lib.sh
zpool create -f -O mountpoint=/tank -O compression=lz4 tank "$pool"
zfs create -s -V 32M tank/v
v=$(device tank/v)
udevadm settle
mkfs.ext4 -q "$v"
mkdir /mnt/v /mnt/inside
mount "$v" /mnt/v
cp -r /usr/share/perl5 /mnt/v/
cat >x.conf <<'END2'
{"backup_path": "/tank/repo", "datasets_to_backup": ["tank/v"]}
END2
$B init -e none >/dev/null 2>&1
# Written to while it is archived: its journal is dirty.
(n=0; while :; do n=$((n + 1)); echo "$n" >"/mnt/v/$((n % 300))"; sync; sleep 0.1; done) &
writer=$!
$B create >said 2>&1 || fail "create: $(cat said)"
kill $writer
wait $writer 2>/dev/null || :
step "a volume that was in use, and its archive"

attach() { $B attach ::today tank/v "$@" >told 2>said || fail "attach $*: $(cat said)"; }
attach --mount /mnt/inside
diff -r /usr/share/perl5 /mnt/inside/perl5 || fail "what is in the image differs"
if touch /mnt/inside/x 2>/dev/null; then fail "the image can be written to"; fi
$B detach /mnt/inside >said 2>&1 || fail "detach: $(cat said)"
step "attached and mounted, its journal passed over"
attach --writable --mount /mnt/inside
diff -r /usr/share/perl5 /mnt/inside/perl5 || fail "what is in the image differs"
[ "$(ls /mnt/inside | wc -l)" -gt 3 ] || fail "the journal was not replayed: $(ls /mnt/inside)"
rm -r /mnt/inside/perl5
$B detach --all >said 2>&1 || fail "detach: $(cat said)"
step "attached with changes, its journal replayed"
attach
loop=$(head -n 1 told)
[ "$(blockdev --getsize64 "$loop")" = 33554432 ] || fail "$loop is not as large as the volume: $(cat told said)"
$B detach "$loop" >said 2>&1 || fail "detach: $(cat said)"
[ -z "$(losetup --list --noheadings)" ] || fail "loop devices are left: $(losetup --list)"
if grep -s borg-offsite-backup /proc/mounts; then fail "mounts are left"; fi
step "a bare device"
