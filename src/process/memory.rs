//! How much memory this process may still take: a list of files from outside must not kill it.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};

/// The part of the free memory that may be taken: three quarters.
const SHARE: (u64, u64) = (3, 4);

/// The memory that may be taken from now on.
pub struct Budget {
    /// In bytes, including everything that this process has.
    resident: u64,
    data: Option<u64>,
}

impl Budget {
    /// The free memory of the machine, of the control group, and up to `ulimit -d`.
    pub fn of_free_memory() -> Budget {
        let (resident, data) = used();
        let free = [in_machine(), in_group()].into_iter().flatten().min();
        let most = |used: u64, free: u64| used.saturating_add(free / SHARE.1 * SHARE.0);
        let limit = getrlimit(Resource::RLIMIT_DATA).map_or(libc::RLIM_INFINITY, |(soft, _)| soft);
        Budget {
            resident: free.map_or(u64::MAX, |free| most(resident, free)),
            data: (limit != libc::RLIM_INFINITY).then(|| most(data, limit.saturating_sub(data))),
        }
    }

    /// # Errors
    /// [`ErrorKind::OutOfMemory`] when more was taken.
    pub fn check(&self) -> Result<()> {
        let (resident, data) = used();
        let most = match self.data {
            Some(most) if data > most => most,
            _ if resident > self.resident => self.resident,
            _ => return Ok(()),
        };
        let megabytes = most / 1_000_000;
        Err(Error::new(ErrorKind::OutOfMemory, format!("it takes more memory than is free, {megabytes} MB")))
    }
}

/// The anonymous resident memory, and the data segment, of this process, in bytes; 0 if /proc does
/// not have them.
fn used() -> (u64, u64) {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Vec<u64> = statm.split(' ').map(|n| n.trim().parse().unwrap_or_default()).collect();
    // SAFETY: it only asks for a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let bytes = |n: usize| pages.get(n).copied().unwrap_or_default() * page;
    // Pages of mapped files are reclaimed on demand.
    (bytes(1).saturating_sub(bytes(2)), bytes(5))
}

fn in_machine() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// What `memory.max` leaves in our control group, and in those above it.
fn in_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let ours = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let number = |group: &Path, file: &str| -> Option<u64> {
        fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
    };
    let root = Path::new("/sys/fs/cgroup");
    let ours: PathBuf = root.join(ours);
    let left = |group: &Path| {
        Some(number(group, "memory.max")?.saturating_sub(number(group, "memory.current").unwrap_or(0)))
    };
    ours.ancestors().take_while(|group| group.starts_with(root)).filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_may_be_taken_and_more_may_not() {
        let taken = std::hint::black_box(vec![1_u8; 8 << 20]);
        let (resident, data) = used();
        assert!(resident > 4 << 20 && data > 4 << 20, "{resident} {data}");
        drop(taken);
        assert!(in_machine().unwrap() > 1 << 20);
        Budget::of_free_memory().check().unwrap();
        for (resident, data) in [(1 << 20, None), (u64::MAX, Some(1 << 16))] {
            let error = Budget { resident, data }.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        }
    }
}
