# What the scripts share. They run in the lab, in /lab, as root, with the program beside them.
set -euo pipefail
cd /lab
PATH=/lab:$PATH
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
B="borg-offsite-backup --config /lab/x.conf"
pool=$(readlink -f /dev/disk/by-id/virtio-lab-pool)
pool2=$(readlink -f /dev/disk/by-id/virtio-lab-pool2)

step() { echo "[$SECONDS s] $*"; }
fail() { echo "FAIL: $*"; exit 1; }
trap 'echo "FAIL: line $LINENO of the script: $BASH_COMMAND"' ERR

# says FILE WORDS: FILE has WORDS in a line.
says() { grep -qF -- "$2" "$1" || fail "$1 does not say '$2': $(cat "$1")"; }
silent() { if grep -qF -- "$2" "$1"; then fail "$1 says '$2': $(cat "$1")"; fi; }
device() { echo "/dev/zvol/${1// /+}"; }
# All that there is in ZFS, but for the bookmarks, which runs leave on purpose.
in_zfs() { zfs list -H -t filesystem,volume,snapshot -o name; }
no_mounts() { ! grep -s /run/borg-offsite-backup/ /proc/[0-9]*/mountinfo; }
# The kernel lets go of the mounts of a killed process a moment later.
export_pool() {
    for _ in $(seq 100); do
        if zpool export -f "$1" 2>exported; then return; fi
        sleep 0.2
    done
    fail "zpool export: $(cat exported)"
}
next_day() { date -s "@$(($(date +%s) + 86400))" >/dev/null; }

# A borg that takes no time, for what is not about archives; it runs $AT_CREATE in the staged tree.
fake_borg() {
    mkdir -p /lab/bin
    cat >/lab/bin/borg <<'END'
#!/bin/bash
case " $* " in
    *" list "*) echo '{"archives": []}' ;;
    *" create "*)
        eval "${AT_CREATE:-}"
        echo '{"archive": {"id": "00ff", "start": "2026-11-24T00:00:00.000000", "end": "2026-11-24T00:00:01.000000",
            "stats": {"compressed_size": 1, "deduplicated_size": 1, "nfiles": 1, "original_size": 1}},
            "repository": {"last_modified": "2026-11-24T00:00:01.000000"}}'
        ;;
esac
END
    chmod +x /lab/bin/borg
    PATH=/lab/bin:$PATH
}
