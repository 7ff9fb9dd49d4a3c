#!/bin/bash
# run.sh [-i PATH]... [-o DIR] [-t SECONDS] SCRIPT
#   Runs SCRIPT (bash, root, in /lab, no stdin) in the lab: its output comes here, its exit code is ours.
#   -i PATH     a file or directory that the guest has as /lab/<its name>
#   -o DIR      what the guest left in /lab/out comes there
#   -t SECONDS  after which the guest is switched off; exit code 124
#   Exit code 125: the guest died; the end of its console is on stderr.
#   The guest has two empty disks for pools, /dev/disk/by-id/virtio-lab-pool and -lab-pool2 (4 GiB each).
# run.sh -S
#   Boots afresh, saves the booted state, ends.
set -u
lab=$("$(dirname "$0")/where.sh")
limit=600 out="" save="" include=()
while getopts i:o:t:S option; do
    case $option in
        i) include+=("$(realpath "$OPTARG")") ;;
        o) out=$OPTARG ;;
        t) limit=$OPTARG ;;
        S) save=yes ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ -n "$save" ] || script=${1:?usage: run.sh [-i PATH]... [-o DIR] [-t SECONDS] SCRIPT}

work=$(mktemp -d "$lab/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
truncate -s 4G "$work/pool.img" "$work/pool2.img"
truncate -s 1G "$work/out.tar"
: >"$work/code"
: >"$work/job.tar"
if [ -z "$save" ]; then
    mkdir "$work/job"
    cp "$script" "$work/job/script"
    date +%s.%N >"$work/job/.now"
    head -c 512 /dev/urandom >"$work/job/.seed"
    parts=(-C "$work/job" script .now .seed)
    for path in ${include[@]+"${include[@]}"}; do parts+=(-C "$(dirname "$path")" "$(basename "$path")"); done
    tar -cf "$work/job.tar" --owner=0 --group=0 "${parts[@]}"
fi
# Always the same size: a saved state expects the disk that it was saved with.
truncate -s 1G "$work/job.tar"

disk() { echo "-drive if=none,id=$1,file=$2,format=raw,cache=unsafe,$3 -device virtio-blk-pci,drive=$1,serial=lab-$1"; }
# KVM, where there is one, may be nested and refuse an ordinary kernel: emulation works everywhere.
# shellcheck disable=SC2046
set -- qemu-system-x86_64 -accel tcg,thread=multi,tb-size=512 -cpu Nehalem -M q35 -m 1536 -smp 1 \
    -nodefaults -no-user-config -display none -no-reboot -nic none -monitor none \
    -kernel "$lab/img/vmlinuz" -initrd "$lab/img/initrd.gz" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off audit=0 random.trust_cpu=on tsc=reliable cryptomgr.notests nokaslr no_timer_check rcupdate.rcu_expedited=1" \
    -serial "file:$work/console" -device virtio-rng-pci \
    $(disk root "$lab/img/root.ext4" readonly=on) $(disk job "$work/job.tar" readonly=on) \
    $(disk out "$work/out.tar" discard=unmap) $(disk pool "$work/pool.img" discard=unmap) \
    $(disk pool2 "$work/pool2.img" discard=unmap) \
    -device virtio-serial-pci -chardev "file,id=text,path=$work/text" -device virtserialport,chardev=text,name=lab.text \
    -chardev "file,id=code,path=$work/code" -device virtserialport,chardev=code,name=lab.code

mkfifo "$work/text"
cat <"$work/text" &
cat=$!
# Where qemu never opened the pipe, cat still waits for it.
finish_text() { { : 8<>"$work/text"; wait $cat; } 2>/dev/null; }

if [ -n "$save" ]; then
    "$@" -qmp "unix:$work/qmp,server=on,wait=off" &
    qemu=$!
    python3 - "$work/qmp" "$work/console" "$lab/img/state" <<'END'
import json, os, socket, sys, time
qmp, console, state = sys.argv[1:]
deadline = time.time() + 240
while not os.path.exists(console) or "LAB ready" not in open(console, errors="replace").read():
    time.sleep(0.1)
    if time.time() > deadline:
        sys.exit("the guest did not boot:\n" + open(console, errors="replace").read()[-3000:])
connection = socket.socket(socket.AF_UNIX)
connection.connect(qmp)
stream = connection.makefile("rw")
def call(name, **arguments):
    stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
    stream.flush()
    while True:
        answer = json.loads(stream.readline())
        if "return" in answer or "error" in answer:
            return answer
stream.readline()
call("qmp_capabilities")
time.sleep(0.3)
call("migrate-set-parameters", **{"max-bandwidth": 10**10})
call("migrate", uri="file:" + state + ".new")
while (status := call("query-migrate")["return"].get("status")) not in ("completed", "failed"):
    time.sleep(0.05)
if status == "completed":
    os.rename(state + ".new", state)
call("quit")
END
    status=$?
    [ $status = 0 ] || kill $qemu
    wait $qemu
    finish_text
    exit $status
fi

timeout -k 5 "$limit" "$@" -incoming "file:$lab/img/state"
ended=$?
finish_text
if [ -n "$out" ] && [ -n "$(head -c 1 "$work/out.tar" | tr -d '\0')" ]; then mkdir -p "$out" && tar -xf "$work/out.tar" -C "$out"; fi
[ $ended != 124 ] || { echo "zfs-lab: switched off after $limit s" >&2; exit 124; }
code=$(head -n 1 "$work/code")
[ -n "$code" ] || { echo "zfs-lab: the guest died (qemu: $ended); its console:" >&2; tail -n 30 "$work/console" >&2; exit 125; }
exit "$code"
