//! Whether the kernel has a file's bytes in memory.

use std::fs::File;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Whether the first and the last page of the file, which has `size` bytes, are in memory. Asking
/// reads nothing.
pub fn has(file: &File, size: u64) -> bool {
    let page = rustix::param::page_size() as u64;
    let Some(last) = size.checked_sub(1).map(|last| last / page * page) else { return true };
    is_resident(file, 0) && (last == 0 || is_resident(file, last))
}

fn is_resident(file: &File, at: u64) -> bool {
    let page = rustix::param::page_size();
    let mut resident = 0u8;
    // SAFETY: a new mapping of one page, which nobody reads or writes and which ends here. mincore
    // writes one byte for one page.
    unsafe {
        let Ok(mapped) = mmap(std::ptr::null_mut(), page, ProtFlags::READ, MapFlags::SHARED, file, at) else {
            return false;
        };
        let asked = libc::mincore(mapped, page, &raw mut resident);
        let _ = munmap(mapped, page);
        asked == 0 && resident & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_was_just_written_is_in_memory_until_it_is_dropped() {
        let mut file = tempfile::tempfile_in("/var/tmp").unwrap();
        assert!(has(&file, 0));
        file.write_all(&[7; 1 << 20]).unwrap();
        assert!(has(&file, 1 << 20));
        file.sync_all().unwrap();
        // SAFETY: a plain system call.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert!(!has(&file, 1 << 20));
        assert!(!has(&file, 1 << 20), "asking must not read it");
    }
}
