# The shipped mount service, and the samples of a .mount and an .automount.
. ./lib.sh
borg-offsite-backup create 2>/dev/null
unit=borg-offsite-backup-mount@mnt-restore.service

# Out of the credstore, into a unit that systemd 252 gives no credentials.
cp /usr/local/share/borg-offsite-backup/samples/mnt-restore.* /etc/systemd/system/
systemctl daemon-reload
systemctl start mnt-restore.mount
equal 'the file in the mount' "$(cat /mnt/restore/data/file)" content
systemctl stop mnt-restore.mount

# The automount mounts for whoever looks, unmounts when nobody does, and mounts again.
drop_in mnt-restore.automount '[Automount]\nTimeoutIdleSec=1'
systemctl start mnt-restore.automount
for time in first second; do
    equal "the file on the $time look" "$(timeout 60 cat /mnt/restore/data/file)" content
    until_true is mnt-restore.mount ActiveState inactive
done
systemctl stop mnt-restore.automount

# The same as a line in fstab.
fstab_line=$(grep 'x-systemd.automount' /usr/local/share/borg-offsite-backup/samples/mnt-restore.mount | sed 's/^# *//')
rm /etc/systemd/system/mnt-restore.*
echo "$fstab_line" >>/etc/fstab
systemctl daemon-reload
systemctl start mnt-restore.automount
equal 'the file under the fstab line' "$(timeout 60 cat /mnt/restore/data/file)" content
systemctl stop mnt-restore.automount mnt-restore.mount
sed -i '$d' /etc/fstab
systemctl daemon-reload

# The service waits for a repository that is away, also for longer than a few tries.
equal 'the pause before the next try' "$(systemctl show -P RestartUSec $unit)" 15s
drop_in borg-offsite-backup-mount@.service '[Service]\nRestartSec=50ms'
mv /srv/backup /srv/away
systemctl start --no-block $unit
tried() { [ "$(systemctl show -P NRestarts $unit)" -ge 8 ]; }
until_true tried
mv /srv/away /srv/backup
until_true is $unit ActiveState active
equal 'the file in the newest archive' "$(cat /mnt/restore/latest/data/file)" content
systemctl stop $unit
until_true is $unit ActiveState inactive
! mountpoint -q /mnt/restore

# A mistake in the configuration is not tried again.
mv /etc/borg-offsite-backup.conf /root/
! systemctl start $unit 2>/dev/null
equal 'the state' "$(systemctl show -P ActiveState $unit)" failed
equal 'the number of further tries' "$(systemctl show -P NRestarts $unit)" 0
mv /root/borg-offsite-backup.conf /etc/
