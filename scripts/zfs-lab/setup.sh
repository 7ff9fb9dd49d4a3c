#!/bin/bash
# Makes the ZFS lab: a virtual machine of Debian with real ZFS, saved in its booted state. Needs root and
# Debian's packages, which come from wherever this machine's own apt takes them. What is made stays in
# $ZFS_LAB and is used again until these scripts or qemu change.
set -euo pipefail
trap 'echo "zfs-lab: line $LINENO failed" >&2' ERR
here=$(cd "$(dirname "$0")" && pwd)
lab=$("$here/where.sh")
export DEBIAN_FRONTEND=noninteractive
say() { echo "zfs-lab: [${SECONDS} s] $*" >&2; }
die() { echo "zfs-lab: $*" >&2; exit 1; }

mkdir -p "$lab"/{img,debs,modules,apt/sources,apt/lists/partial}
exec 9>"$lab/lock"
flock 9
cd "$lab"

stamp() { cat "$here"/* | sha256sum; qemu-system-x86_64 --version 2>/dev/null | head -n 1; }
if [ -e img/state ] && [ "$(stamp)" = "$(cat stamp 2>/dev/null)" ]; then exit 0; fi
[ "$(id -u)" = 0 ] || die "only root can make the lab (it installs packages)"
[ "$(uname -m)" = x86_64 ] || die "the lab is for x86_64 only"
. /etc/os-release
[ "${ID:-}" = debian ] || die "the lab is made from Debian's packages; this is ${PRETTY_NAME:-no Debian}"
rm -f stamp img/state

# The machine's own sources of Debian, with contrib, where zfs is.
debian_sources() {
    local file
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] || continue
        awk -v RS= -v ORS='\n\n' "/Suites:[^\n]*[ ]$VERSION_CODENAME/" "$file"
    done | sed -E '/^#/d; s/^Components:.*/Components: main contrib/'
}
debian_source_lines() {
    { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || :; } |
        sed -nE "s/^(deb (\[[^]]*\] *)?[^ ]+ $VERSION_CODENAME(-[a-z]+)?) .*/\1 main contrib/p"
}
rm -f apt/sources/*
debian_sources >apt/sources/debian.sources
debian_source_lines >apt/sources/debian.list
find apt/sources -empty -delete
cp -r apt/sources guest-sources.new && rm -rf guest-sources && mv guest-sources.new guest-sources

# A qemu-utils from backports does not go with a qemu of the release.
suite=$VERSION_CODENAME
if dpkg-query -W -f '${Version}' qemu-utils 2>/dev/null | grep -q '~bpo'; then
    suite=$suite-backports
    sed -i -E "s/^(Suites:.* $VERSION_CODENAME-updates.*)/\1 $suite/" apt/sources/debian.sources 2>/dev/null || :
    sed -i -E "s/^(.*) $VERSION_CODENAME-updates (.*)/&\n\1 $suite \2/" apt/sources/debian.list 2>/dev/null || :
fi

apt() {
    local tool=$1
    shift
    "$tool" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$lab/apt/sources" \
        -o Dir::State::lists="$lab/apt/lists" "$@" </dev/null
}
logged() { local log=$1; shift; "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; die "failed: $*"; }; }
: >apt.log
logged apt.log apt apt-get update
logged apt.log apt apt-get install -y --no-install-recommends -t "$suite" qemu-system-x86
image=$(apt apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/{print $2; exit}')
kernel=${image#linux-image-}
logged apt.log apt apt-get install -y --no-install-recommends "linux-headers-$kernel" \
    build-essential busybox cpio e2fsprogs kmod mmdebstrap python3
cd debs
rm -rf ./* && logged ../apt.log apt apt-get download "$image" zfs-dkms
dpkg -x "$image"_*.deb kernel && dpkg -x zfs-dkms_*.deb zfs
cd ..
zfs=$(basename debs/zfs/usr/src/zfs-*)
say "packages are here: kernel $kernel, $zfs"

# The root file system is made while the modules are built.
rm -rf root
mmdebstrap --mode=root --variant=apt --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='APT::Install-Recommends "false"' \
    --include=zfsutils-linux,borgbackup,fuse3,udev,kmod,e2fsprogs,mount,util-linux,procps,iproute2,busybox \
    "$VERSION_CODENAME" root "$lab"/guest-sources/* >root.log 2>&1 &
root=$!

modules=modules/$zfs-$kernel
if [ ! -e "$modules/zfs.ko" ]; then
    rm -rf build && cp -a "debs/zfs/usr/src/$zfs" build
    : >build.log
    (
        cd build
        tree=/lib/modules/$kernel
        logged ../build.log ./configure --prefix=/usr --with-config=kernel \
            --with-linux="$tree/source" --with-linux-obj="$tree/build"
        logged ../build.log make -s "-j$(nproc)"
    )
    mkdir -p "$modules.new"
    find build/module -name '*.ko' -exec cp {} "$modules.new/" \;
    strip --strip-debug "$modules.new"/*.ko
    rm -rf "$modules" build && mv "$modules.new" "$modules"
    say "the modules are built"
fi
wait $root || { tail -n 20 root.log >&2; die "mmdebstrap failed"; }
say "the guest's root file system is made"

: >image.log
logged image.log "$here/image.sh" "$lab" "$kernel" "$lab/$modules"
"$here/run.sh" -S >&2
[ -s img/state ] || die "the booted state could not be saved"
rm -rf root debs initramfs
stamp >stamp
say "ready in $lab"
