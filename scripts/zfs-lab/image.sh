#!/bin/bash
# image.sh LAB KERNEL MODULES: makes img/{vmlinuz,initrd.gz,root.ext4} of the root file system in LAB/root.
set -euo pipefail
lab=$1 kernel=$2 zfs_modules=$3
here=$(cd "$(dirname "$0")" && pwd)
from=$lab/debs/kernel/lib/modules/$kernel root=$lab/root to=$lab/root/lib/modules/$kernel
cp "$lab/debs/kernel/boot/vmlinuz-$kernel" "$lab/img/vmlinuz"

# Of the kernel's modules what the lab uses.
rm -rf "$root/lib/modules"
mkdir -p "$to/extra" "$to/kernel/drivers"
cp "$from"/modules.{order,builtin,builtin.modinfo} "$to/"
for dir in fs lib crypto arch drivers/virtio drivers/block drivers/char drivers/md; do
    [ ! -e "$from/kernel/$dir" ] || cp -a "$from/kernel/$dir" "$to/kernel/$(dirname "$dir")/"
done
rm -rf "$to"/kernel/fs/{ceph,cifs,smb,ocfs2,gfs2,btrfs,nfs,nfsd,lockd,orangefs,udf}
cp "$zfs_modules"/*.ko "$to/extra/"
depmod -b "$root" "$kernel"

install -m 0755 "$here/init" "$root/lab-init"
mkdir -p "$root/lab"
echo lab >"$root/etc/hostname"
echo '127.0.0.1 localhost lab' >"$root/etc/hosts"
printf '\x01\x02\x03\x04' >"$root/etc/hostid"
ln -sf /proc/self/mounts "$root/etc/mtab"
rm -f "$lab/img/root.ext4"
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$lab/img/root.ext4" 600M

# An initramfs that mounts the root read-only under a tmpfs: one image serves many machines, and a
# saved state stays valid.
ram=$lab/initramfs
rm -rf "$ram"
mkdir -p "$ram"/{bin,proc,sys,dev,root,m}
cp "$(command -v busybox)" "$ram/bin/"
ldd "$(command -v busybox)" | grep -oE '/[^ ]+' | while read -r library; do
    mkdir -p "$ram$(dirname "$library")" && cp -L "$library" "$ram$library"
done
for module in drivers/virtio/virtio{,_ring,_pci_modern_dev,_pci_legacy_dev,_pci} drivers/block/virtio_blk fs/overlayfs/overlay; do
    [ ! -e "$from/kernel/$module.ko" ] || cp "$from/kernel/$module.ko" "$ram/m/"
done
cat >"$ram/init" <<'END'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk overlay; do $B insmod /m/$m.ko; done
i=0; while [ ! -b /dev/vda ] && [ $i -lt 100 ]; do $B sleep 0.05; i=$((i+1)); done
$B mkdir -p /ro /rw
$B mount -t ext4 -o ro,noatime /dev/vda /ro && $B mount -t tmpfs -o size=75% rw /rw && $B mkdir -p /rw/u /rw/w &&
$B mount -t overlay -o lowerdir=/ro,upperdir=/rw/u,workdir=/rw/w ov /root || { echo "LAB-ERR no root"; $B poweroff -f; }
for d in proc sys dev; do $B mount -o move /$d /root/$d; done
exec $B switch_root /root /lab-init
END
chmod +x "$ram/init"
(cd "$ram" && find . | cpio -o -H newc --quiet | gzip -1) >"$lab/img/initrd.gz"
