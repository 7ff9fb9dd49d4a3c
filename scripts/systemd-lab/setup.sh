#!/bin/bash
# Makes the systemd lab: the root file system of a small Debian of this machine's release with systemd and borg, and
# systemd-nspawn beside it, not installed. Needs root. It is used again until these scripts change.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lab=$("$here/where.sh")
export DEBIAN_FRONTEND=noninteractive
say() { echo "systemd-lab: [${SECONDS} s] $*" >&2; }
die() { echo "systemd-lab: $*" >&2; exit 1; }

mkdir -p "$lab"
exec 9>"$lab/lock"
flock 9
cd "$lab"
stamp() { cat "$here"/* | sha256sum; }
if [ -d base ] && [ "$(stamp)" = "$(cat stamp 2>/dev/null)" ]; then exit 0; fi
[ "$(id -u)" = 0 ] || die "only root can make the lab"
. /etc/os-release
[ "${ID:-}" = debian ] || die "the lab is made from Debian's packages; this is ${PRETTY_NAME:-no Debian}"
rm -rf stamp base base.new nspawn nspawn.new

logged() { "$@" >>log 2>&1 </dev/null || { tail -n 20 log >&2; die "failed: $*"; }; }
: >log
logged apt-get update
command -v mmdebstrap >/dev/null || logged apt-get install -y --no-install-recommends mmdebstrap
(
    mkdir nspawn.new && cd nspawn.new
    apt-get -o APT::Sandbox::User=root download systemd-container && dpkg -x systemd-container_*.deb . && rm ./*.deb
) >nspawn.log 2>&1 </dev/null || { tail -n 20 nspawn.log >&2; die "there is no systemd-nspawn to be had"; }

# The machine's own sources of Debian; others are of no use here.
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    case $file in *.list | *.sources) ! grep -q "$VERSION_CODENAME" "$file" 2>/dev/null || sources+=("$file") ;; esac
done
logged mmdebstrap --mode=root --variant=minbase --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='APT::Install-Recommends "false"' \
    --include=systemd,systemd-sysv,dbus,udev,borgbackup,fuse3,mount,procps \
    "$VERSION_CODENAME" base.new "${sources[@]}"
rm -rf base.new/var/cache/apt/* base.new/var/lib/apt/lists/*
# What would only wait here for hardware and networks that the lab has not.
for unit in systemd-networkd-wait-online systemd-udev-settle systemd-resolved; do
    ln -sf /dev/null "base.new/etc/systemd/system/$unit.service"
done
echo lab >base.new/etc/hostname
mv nspawn.new nspawn
mv base.new base
stamp >stamp
say "ready in $lab"
