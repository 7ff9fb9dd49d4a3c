# The shipped timer and service.
. ./lib.sh

# A day on which the machine slept is caught up with; nobody waits half an hour for it here.
drop_in borg-offsite-backup.timer '[Timer]\nRandomizedDelaySec=0'
mkdir -p /var/lib/systemd/timers
touch -d '3 days ago' /var/lib/systemd/timers/stamp-borg-offsite-backup.timer
mv /root/.borg-offsite-backup.key /etc/credstore/borg-offsite-backup.key
export BORG_KEY_FILE=/etc/credstore/borg-offsite-backup.key
systemctl start borg-offsite-backup.timer
backed_up() { is $service ActiveState inactive && [ "$(archives 2>/dev/null)" = 1 ]; }
until_true backed_up
equal 'the result of the timer' "$(systemctl show -P Result $service)" success
equal 'what the service said' "$(journalctl --no-pager -o cat -u $service _COMM=borg-offsite-ba)" ''

# Runs that succeeded are no reason to refuse another one.
for run in 1 2 3 4 5 6 7; do
    systemctl start $service || { echo "manual start $run was refused" >&2; exit 1; }
done
equal 'the archives' "$(archives)" 1

# As docs/client.md shows it to somebody who looks.
echo 'QUIET=no' >/etc/default/borg-offsite-backup
systemctl start $service
journalctl --no-pager -u $service | grep -q "There is an archive $(date +%F) already"
rm /etc/default/borg-offsite-backup

# One that fails is tried again four times, and then no more; nor is the timer then refused for what succeeded.
drop_in $service '[Service]\nRestartSec=50ms'
mv /srv/backup /srv/away
systemctl start $service 2>/dev/null && { echo 'a failed run is a success' >&2; exit 1; }
given_up() { is $service ActiveState failed && ! is $service SubState auto-restart; }
until_true given_up
runs=$(journalctl --no-pager -o cat -u $service | grep -c 'there is no repository')
equal 'the runs of one that fails' "$runs" 5
