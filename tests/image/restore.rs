//! Putting an image back.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::common::{Need, available, each_borg, each_way};
use crate::device::{Disk, MIB, archived, image, number, restore, told};

#[test]
fn a_device_gets_the_bytes_of_the_volume_and_only_what_differs_is_fetched_and_written() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    each_borg(|flavour| {
        let bytes = image(24, 512);
        let (sandbox, _repository) = archived(flavour, &bytes);
        let mut old = bytes.clone();
        // One page in the noise, one in the zeros.
        old[20 * MIB + 5] ^= 1;
        old[7 * MIB] = 1;
        let disk = Disk::with(&sandbox, "disk", &old);
        let told = told(&restore(&sandbox, disk.device(), &[]).ok());
        assert!(disk.bytes() == bytes);
        let of = |name| number(&told["restored"], name);
        assert_eq!((of("size"), of("read")), (bytes.len() as u64, bytes.len() as u64), "{told}");
        assert_eq!((of("fetched_chunks"), of("written")), (1, 4096), "{told}");
        assert!(of("fetched") <= 513 << 10, "{told}");
        assert_eq!(of("zeroed"), 512 << 10, "{told}");
        assert!(of("verified") > 0, "{told}");
    });
}

#[test]
fn a_new_file_is_made_for_its_owner_with_holes_where_the_zeros_are() {
    each_way(|flavour, source| {
        let bytes = image(16, 77);
        let (sandbox, _repository) = archived(flavour, &bytes);
        let file = sandbox.path("out/new");
        let told = told(&restore(&sandbox, &file, &["--source", source]).ok());
        assert!(std::fs::read(&file).unwrap() == bytes);
        let meta = file.metadata().unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert!(meta.blocks() * 512 <= 13 << 20, "{} blocks", meta.blocks());
        assert_eq!(number(&told["restored"], "read"), 0);
    });
}
