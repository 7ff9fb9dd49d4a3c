#!/bin/sh
# The main job from beginning to end, on a local repository in a temporary directory: each command is
# shown before it runs. Takes everything down again, also when it fails or is interrupted.
set -eu
# One stream, so that what is said stays beside the command that says it.
exec 2>&1
binary=$(readlink -f "${1:?usage: scripts/demo.sh PROGRAM}")
PATH=$PATH:/usr/sbin:/sbin

# The user's own borg is left alone: its home, its variables.
for variable in $(env | sed -n 's/^\(BORG_[A-Z_]*\)=.*/\1/p'); do unset "$variable"; done
unset QUIET XDG_CACHE_HOME XDG_CONFIG_HOME || :
work=$(mktemp -d "${TMPDIR:-/tmp}/offsite-demo.XXXXXX")
cd "$work"
export HOME="$work/home"
mkdir home bin data mnt inside
ln -s "$binary" bin/borg-offsite-backup
PATH=$work/bin:$PATH

take_down() {
    trap - EXIT INT TERM
    cd /
    if mountpoint -q "$work/inside"; then borg-offsite-backup detach "$work/inside"; fi
    if mountpoint -q "$work/mnt"; then borg-offsite-backup umount "$work/mnt"; fi
    rm -rf "$work"
}
trap take_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n# %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; }
run() { show "$*"; "$@"; }
is_root() { [ "$(id -u)" = 0 ]; }

say "Something worth a backup: a few files, and a disk image with a file system in it."
mkdir -p data/letters data/disk
echo "Dear reader" >data/letters/first
head -c 3000000 /dev/urandom >data/letters/photo
ln -s first data/letters/latest
head -c 20000000 /dev/urandom >data/disk/video
run mke2fs -q -t ext4 -d data/disk data/disk.img 64M

say "The configuration: where the backups go, and what is in them."
cat >demo.conf <<END
{
    "backup_path": "$work/repository",
    "filesystems_to_backup": ["$work/data"]
}
END
run cat demo.conf
run borg-offsite-backup --config demo.conf check-config
run borg-offsite-backup --config demo.conf init -e keyfile-blake2

say "Back up: an archive named after today."
run borg-offsite-backup --config demo.conf create
run borg-offsite-backup --config demo.conf list

say "Get it back: today's archive as a directory."
if [ -r /dev/fuse ] && [ -w /dev/fuse ]; then
    run borg-offsite-backup --config demo.conf mount ::today mnt
else
    say "Left out, because this account may not open /dev/fuse: mount. Extracted instead."
    (cd mnt && run borg-offsite-backup --config ../demo.conf extract ::today)
fi
there=mnt$work/data
run ls -lR "$there"
run cmp "$there/letters/photo" data/letters/photo

if is_root; then
    say "The disk image as a disk, without copying it first."
    run borg-offsite-backup --config demo.conf attach ::today "$work/data/disk.img" --mount inside
    run ls -l inside
    run cmp inside/video data/disk/video
    run borg-offsite-backup detach inside
else
    say "Left out, because only root may attach a disk image."
fi

say "The disk image as a whole; of= can as well be a disk."
run dd "if=$there/disk.img" of=copy.img bs=1M
run cmp copy.img data/disk.img

if mountpoint -q mnt; then
    say "And down again."
    run borg-offsite-backup umount mnt
fi
take_down
printf '\nAll came back as it was backed up: the files, %sand the image as a whole.\n' \
    "$(is_root && echo "the disk image from inside, ")"
