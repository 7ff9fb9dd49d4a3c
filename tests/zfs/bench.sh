# `create` beside a bare `borg create` of the same data: a volume as a file against its device node,
# and file systems as they are staged; and a volume put back. Not a test: scripts/zfs-lab/run.sh -i BINARY -i tests/zfs/lib.sh tests/zfs/bench.sh
. /lab/lib.sh
zpool create -f -O mountpoint=/tank -O compression=lz4 tank "$pool"
zpool create -f -O mountpoint=/second second "$pool2"
zfs create -V 128M tank/v
zfs create tank/home
{ tar -cf - /usr/lib 2>/dev/null || :; } | head -c 64M >data
dd if=/dev/urandom bs=1M count=16 status=none >>data
udevadm settle
dd if=data of="$(device tank/v)" bs=1M conv=fsync status=none
head -c 16M data >/tank/home/f
rm data
cat >x.conf <<END
{"backup_path": "/second/repo", "datasets_to_backup": ["tank/home", "tank/v"]}
END
took() { local begun=$EPOCHREALTIME; "$@" >said 2>&1 || fail "$*: $(cat said)"; python3 -c "print(round($EPOCHREALTIME - $begun, 1))"; }
bare() {
    zfs snapshot tank/v@bare tank/home@bare
    zfs clone -o readonly=on tank/v@bare tank/bare
    udevadm settle
    mkdir -p /mnt/bare/dev/zvol/tank /mnt/bare/tank/home
    mount -t zfs tank/home@bare /mnt/bare/tank/home
    cp -a "$(readlink -f "$(device tank/bare)")" /mnt/bare/dev/zvol/tank/v
    cd /mnt/bare || exit
    took borg create --compression auto,zstd --read-special --exclude-caches /second/repo::bare dev/zvol/tank/v tank/home
    cd /lab || exit
    rm /mnt/bare/dev/zvol/tank/v
    umount /mnt/bare/tank/home
    zfs destroy tank/bare
    zfs destroy tank/v@bare
    zfs destroy tank/home@bare
}
fresh() { rm -rf /second/repo ~/.cache/borg; $B init -e none >/dev/null 2>&1; sync; }
for _ in 1 2 3; do
    fresh
    echo "bare borg create: $(bare) s"
    fresh
    echo "create: $(took $B create) s, of which: $(grep -E 'snapshots|archive|prune|Done' said | tr '\n' ';')"
done

# The volume put back after 1 % of it was written, in ten places: by its bookmark, and as one does without us.
v=$(device tank/v)
zfs snapshot tank/v@right
dirty() {
    zfs rollback tank/v@right
    udevadm settle
    python3 - "$v" <<'END2'
import os, random, sys
volume = os.open(sys.argv[1], os.O_WRONLY)
for place in random.sample(range(640), 10):
    os.pwrite(volume, os.urandom(131072), place * 131072)
os.fsync(volume)
END2
    udevadm settle
}
is_right() { [ "$(sha256sum <"$v")" = "$right" ] || fail "$1 did not put it back"; }
right=$(sha256sum <"$v")
for _ in 1 2 3; do
    dirty
    echo "borg extract --stdout | dd: $(took bash -c "$B extract --stdout ::today dev/zvol/tank/v | dd of=$v bs=1M iflag=fullblock conv=fsync") s"
    is_right dd
    dirty
    echo "restore by bookmark: $(took $B restore ::today tank/v --to "$v" --yes --json) s, $(cat said | tr '\n' ';')"
    is_right restore
done
