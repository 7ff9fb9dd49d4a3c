# What the tests in the systemd lab share: the program and its units are installed as `make install` does, the
# repository is a directory, its key has a passphrase, and both are where only root and systemd find them.
set -euo pipefail
trap 'echo "${BASH_SOURCE[1]:-$0}: line $LINENO: $BASH_COMMAND" >&2' ERR

cp -a installed/. /
install -m 0755 borg-offsite-backup /usr/local/bin/
mkdir -p /data /srv
echo content >/data/file
cat >/etc/borg-offsite-backup.conf <<'JSON'
{"backup_path": "/srv/backup", "filesystems_to_backup": ["/data"], "compression": "none"}
JSON
install -d -m 0700 /etc/credstore
(umask 077; echo sesame >/etc/credstore/borg-offsite-backup.passphrase)
systemctl daemon-reload
borg-offsite-backup init -e keyfile-blake2 2>/dev/null

service=borg-offsite-backup.service

# until_true COMMAND...: waits until it succeeds.
until_true() {
    local end=$((SECONDS + 60))
    until "$@"; do
        [ $SECONDS -lt $end ] || { echo "in vain: $*" >&2; journalctl --no-pager -n 40 >&2; return 1; }
        sleep 0.05
    done
}
# is UNIT PROPERTY VALUE
is() { [ "$(systemctl show -P "$2" "$1")" = "$3" ]; }
# equal WHAT FOUND WANTED
equal() { [ "$2" = "$3" ] || { echo "$1: $2, not $3" >&2; journalctl --no-pager -n 40 >&2; return 1; }; }
# drop_in UNIT LINES
drop_in() {
    mkdir -p "/run/systemd/system/$1.d"
    printf '%b\n' "$2" >"/run/systemd/system/$1.d/test.conf"
    systemctl daemon-reload
}
archives() { borg-offsite-backup list --short | wc -l; }
