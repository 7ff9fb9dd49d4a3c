#!/bin/sh
# Installs what is missing for one of: demo, check, test, bench, mutants, picture. Only root can install Debian packages;
# for anyone else it says what is missing and goes on (this script never calls sudo).
set -eu
cd "$(dirname "$0")/.."

BORG_VERSION=1.4.5
OLD_BORG_VERSION=1.1.18
CARGO_DENY_VERSION=0.20.2
CARGO_MUTANTS_VERSION=27.1.0
purpose=${1:-test}

say() { printf 'setup: %s\n' "$*" >&2; }

# program:package pairs; a package is wanted when its program is not there.
demo_programs="borg:borgbackup fusermount3:fuse3 mke2fs:e2fsprogs losetup:util-linux gcc:gcc"
test_programs="sshd:openssh-server ssh:openssh-client setfattr:attr setfacl:acl setpriv:util-linux shellcheck:shellcheck
pkg-config:pkg-config curl:curl systemd-analyze:systemd mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs sfdisk:fdisk
partx:util-linux mmdebstrap:mmdebstrap faketime:faketime"
# What pip needs to build borg, Debian's FUSE binding for `borg mount`, and what holds our JSON against its schema.
test_packages="python3-venv python3-dev g++ libacl1-dev libssl-dev liblz4-dev libzstd-dev libxxhash-dev python3-pyfuse3
python3-jsonschema"

missing_packages() {
    for pair in $1; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done
    for package in $2; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
    done
}

install_packages() {
    missing=$(missing_packages "$1" "$2" | sort -u | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "missing, and only root can install it: apt-get install $missing"
        return 0
    fi
    say "installing $missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 </dev/null || {
        apt-get update </dev/null
        apt-get install -y --no-install-recommends $missing </dev/null
    }
}

# borg 1.4 beside Debian's 1.2, in .venv; Debian's own python, so that its pyfuse3 serves it.
install_borg_1_4() {
    [ "$(.venv/bin/borg --version 2>/dev/null)" = "borg $BORG_VERSION" ] && return 0
    say "building borg $BORG_VERSION in .venv"
    rm -rf .venv &&
        /usr/bin/python3 -m venv --system-site-packages .venv </dev/null &&
        .venv/bin/python -m pip install --quiet "borgbackup==$BORG_VERSION" </dev/null
}

# promtool alone, in .tools: its package would also start a server.
get_promtool() {
    { command -v promtool || [ -x .tools/promtool ]; } >/dev/null && return 0
    command -v apt-get >/dev/null || return 1
    say "getting promtool into .tools"
    package=$(mktemp -d) && mkdir -p .tools &&
        (cd "$package" && apt-get -o APT::Sandbox::User=root download prometheus >/dev/null) &&
        dpkg-deb --fsys-tarfile "$package"/prometheus_*.deb |
        tar -x -C .tools --strip-components=3 ./usr/bin/promtool
    got=$?
    rm -rf "$package"
    return "$got"
}

# borg 1.1 in .venv-1.1: old servers still run it. It wants tools of its time to be built: a minute.
install_borg_1_1() {
    [ "$(.venv-1.1/bin/borg --version 2>/dev/null)" = "borg $OLD_BORG_VERSION" ] && return 0
    say "building borg $OLD_BORG_VERSION in .venv-1.1"
    rm -rf .venv-1.1 &&
        /usr/bin/python3 -m venv .venv-1.1 </dev/null &&
        .venv-1.1/bin/python -m pip install --quiet 'setuptools<70' 'cython<3' wheel pkgconfig </dev/null &&
        .venv-1.1/bin/python -m pip install --quiet --no-build-isolation \
            "borgbackup==$OLD_BORG_VERSION" </dev/null
}

# Real ZFS in a virtual machine: some minutes the first time, nothing later.
make_zfs_lab() {
    scripts/zfs-lab/setup.sh || say "there is no ZFS lab; what needs it is left out"
}

# A live systemd in a container: half a minute the first time, nothing later.
make_systemd_lab() {
    scripts/systemd-lab/setup.sh || say "there is no systemd lab; what needs it is left out"
}

# install_cargo_tool NAME VERSION: into a directory of its own, which outlives a checkout. Minutes the first time.
install_cargo_tool() {
    tools=$HOME/.cache/borg-offsite-backup-tools
    case $("$tools/bin/$1" --version 2>/dev/null) in *" $2") return 0 ;; esac
    say "building $1 $2"
    cargo install --quiet --debug --locked --root "$tools" "$1@$2" </dev/null
}

if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian; needed are: $demo_programs $test_programs $test_packages"
    test_packages=""
fi
case $purpose in
    demo) install_packages "$demo_programs" "" ;;
    check)
        install_packages "shellcheck:shellcheck gcc:gcc pkg-config:pkg-config" ""
        install_cargo_tool cargo-deny "$CARGO_DENY_VERSION"
        ;;
    mutants) install_cargo_tool cargo-mutants "$CARGO_MUTANTS_VERSION" ;;
    picture) install_packages "$demo_programs" "python3-pyte" ;;
    test | bench)
        install_packages "$demo_programs $test_programs" "$test_packages"
        install_borg_1_4 || say "borg $BORG_VERSION could not be installed; what needs it is left out"
        [ "$purpose" = bench ] || get_promtool || say "there is no promtool; what needs it is left out"
        [ "$purpose" = bench ] || install_borg_1_1 ||
            say "borg $OLD_BORG_VERSION could not be installed; what needs it is left out"
        [ "$purpose" = bench ] || make_systemd_lab
        [ "$purpose" = bench ] || make_zfs_lab
        ;;
    *) say "usage: $0 demo|check|test|bench|mutants|picture"; exit 2 ;;
esac
