#!/bin/bash
# run.sh [-i PATH]... [-t SECONDS] SCRIPT
#   Boots the lab afresh and runs SCRIPT (bash, root, in /lab, no stdin) in it: its output comes here, its exit code is ours.
#   -i PATH     a file or directory that the lab has as /lab/<its name>
#   -t SECONDS  after which the lab is switched off; exit code 124
#   Exit code 125: the lab did not boot; its console is on stderr.
# Nothing of it is left afterwards, and nothing outside is changed: the mounts are its own.
set -eu
lab=$("$(dirname "$0")/where.sh")
limit=300 include=()
while getopts i:t: option; do
    case $option in
        i) include+=("$(realpath "$OPTARG")") ;;
        t) limit=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
script=$(realpath "${1:?usage: run.sh [-i PATH]... [-t SECONDS] SCRIPT}")

if [ -z "${SYSTEMD_LAB_INSIDE:-}" ]; then
    # Everything that is mounted from here on goes with the namespace.
    SYSTEMD_LAB_INSIDE=yes exec unshare --mount --propagation private -- "$0" -t "$limit" \
        "${include[@]/#/-i}" "$script"
fi

name=lab-$$
work=$(mktemp -d /tmp/systemd-lab.XXXXXX)
group=/sys/fs/cgroup/borg-offsite-backup-$name
nspawn='' init=''
end() {
    trap - EXIT INT TERM
    [ -z "$init" ] || kill -KILL "$init" 2>/dev/null || :
    [ -z "$nspawn" ] || { kill -KILL "$nspawn" 2>/dev/null || :; wait "$nspawn" 2>/dev/null || :; }
    # What ran in there is gone a moment later.
    for _ in $(seq 100); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || :
        [ -d "$group" ] || break
        sleep 0.05
    done
    umount -R "$work" 2>/dev/null || umount -R -l "$work" 2>/dev/null || :
    rmdir "$work" 2>/dev/null || :
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mount -t tmpfs -o mode=755,size=2g lab "$work"
mkdir "$work"/{root,upper,work}
mount -t overlay -o "lowerdir=$lab/base,upperdir=$work/upper,workdir=$work/work" lab "$work/root"
mkdir "$work/root/lab"
cp "$script" "$work/root/lab/script"
for path in ${include[@]+"${include[@]}"}; do cp -r "$path" "$work/root/lab/"; done

# systemd wants the one hierarchy of version 2, and a place in it.
umount -R /sys/fs/cgroup 2>/dev/null || :
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "$group"
exec 7>"$work/console"
(
    echo $BASHPID >"$group/cgroup.procs"
    # Without /dev/autofs there are no automounts; without bpf nothing enforces DevicePolicy.
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec "$lab/nspawn/usr/bin/systemd-nspawn" -q -D "$work/root" --boot \
        --register=no --keep-unit --capability=all --system-call-filter=bpf --private-network \
        --bind=/dev/fuse --bind=/dev/autofs --resolv-conf=off --timezone=off --machine="$name" --console=pipe
) </dev/null >&7 2>&1 &
nspawn=$!

inside() { nsenter -t "$init" -m -u -i -p -n -C -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"; }
booted() {
    init=$(cat /proc/$nspawn/task/$nspawn/children 2>/dev/null) && init=${init%% *} && [ -n "$init" ] || return 1
    case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) return 0 ;; esac
    return 1
}
until booted; do
    kill -0 $nspawn 2>/dev/null && [ $SECONDS -lt 60 ] || {
        echo "systemd-lab: it did not boot; its console:" >&2
        tail -n 30 "$work/console" >&2
        exit 125
    }
    sleep 0.05
done
code=0
timeout -k 5 "$limit" nsenter -t "$init" -m -u -i -p -n -C -- env -i \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    bash -c 'cd /lab && exec bash script' </dev/null || code=$?
[ $code != 124 ] || echo "systemd-lab: switched off after $limit s" >&2
exit $code
