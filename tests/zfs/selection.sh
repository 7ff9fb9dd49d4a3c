. /lab/lib.sh
fake_borg
zpool create -f -O mountpoint=/tank tank "$pool"
zfs create -o mountpoint=none tank/none
zfs create -o canmount=off tank/off
zfs create tank/off/on
zfs create -o canmount=noauto -o mountpoint=/srv/noauto tank/noauto
zfs create -o mountpoint=legacy tank/legacy
zfs create -o mountpoint=legacy tank/adrift
zfs create -o mountpoint=/srv/twin tank/twin
zfs create -o canmount=noauto -o mountpoint=/srv/twin tank/twin2
zfs create "tank/with space"
printf 'password\npassword\n' | zfs create -o encryption=on -o keyformat=passphrase tank/secret
zfs unmount tank/secret
zfs unload-key tank/secret
zfs create -o mountpoint=/srv/temporary tank/moved
zfs unmount tank/moved
mkdir -p /mnt/moved /mnt/legacy
zfs mount -o mountpoint=/mnt/moved tank/moved 2>/dev/null || mount -t zfs -o zfsutil tank/moved /mnt/moved
mount -t zfs tank/legacy /mnt/legacy
mkdir "/tank/with space/data"
for place in /tank/off/on /mnt/moved /mnt/legacy "/tank/with space" /srv/twin; do echo x >"$place/here"; done
echo plain >/tank/in-the-way
before=$(in_zfs)
mounts=$(cat /proc/self/mounts)
config() { printf '{"backup_path": "/tmp/repo", "datasets_to_backup": [%s]}' "$1" >x.conf; }

config '{"name": "tank*", "glob": true}, {"name": "absent/*", "glob": true}'
AT_CREATE='find . -path ./dev -prune -o -name here -print >/lab/found' $B create >said 2>&1 || fail "create: $(cat said)"
says said "tank/none is not backed up: it has no mount point"
says said "tank/off is not backed up: canmount is off"
says said "tank/adrift is not backed up: its mount point is legacy, and it is not mounted"
says said "tank/twin2 is not backed up: tank/twin has the same mount point"
says said "tank/secret is not backed up: it is encrypted, and its key is not loaded"
says said "absent/* in datasets_to_backup matches no dataset"
silent said "tank/noauto is not"
for place in tank/off/on mnt/moved mnt/legacy "tank/with space" srv/twin; do says found "./$place/here"; done
[ "$(in_zfs)" = "$before" ] || fail "left in ZFS: $(in_zfs)"
[ "$(cat /proc/self/mounts)" = "$mounts" ] || fail "the host's mounts changed"
$B check-config >said 2>&1
says said "tank/with space"
says said "absent/* matches no dataset"
step "what can be backed up is, the rest is told"

refused() { config "$1"; $B create >said 2>&1 && fail "it took $1"; says said "$2"; [ "$(in_zfs)" = "$before" ]; }
refused '"tank/legacy", "tank/nowhere"' "there is no dataset tank/nowhere"
refused '"tank/secret"' "its key is not loaded"
refused '"tank/twin", "tank/twin2"' "they have the same mount point"
step "what is named and cannot be backed up is an error before anything is made"

# A directory that lies in the archive as a link must not lead out of it.
ln -s /srv /tank/link
zfs create -o mountpoint=/tank/link/deep -o canmount=noauto tank/deep
before=$(in_zfs)
refused '"tank", "tank/deep"' "symbolic link"
[ ! -e /srv/deep ] || fail "it made a directory outside of the staged tree"
rm /tank/link

# The root of the archive from a file system that is no ZFS, with devices below /dev.
zfs create -V 16M tank/v
printf '{"backup_path": "/tmp/repo", "filesystems_to_backup": ["/"], "datasets_to_backup": ["tank/v", "tank/off/on"]}' >x.conf
AT_CREATE='ls -lR dev/zvol >/lab/found; stat -c %s dev/zvol/tank/v >>/lab/found; ls tank/off/on >>/lab/found' \
    $B create >said 2>&1 || fail "create with the root: $(cat said)"
says found 16777216
says found here
step "volumes beside a listed root"
