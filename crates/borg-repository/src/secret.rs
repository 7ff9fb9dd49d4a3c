//! Keys and passphrases in memory of their own: locked, so that they reach no swap; left out of
//! cores; wiped when they are dropped.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Mutex;

/// All that is locked now, as address and length: a lock does not pass to the child of a fork.
static LOCKED: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// A value with keys in it, on pages of its own. What it owns elsewhere in memory is not guarded.
pub struct Secret<T> {
    place: NonNull<T>,
    length: usize,
}

// SAFETY: it owns the value as a Box does.
unsafe impl<T: Send> Send for Secret<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Secret<T> {}

impl<T> Secret<T> {
    /// Moves `value` there. Where the system lets us lock no memory it is kept all the same.
    ///
    /// # Panics
    /// When there is no memory.
    pub fn new(value: T) -> Secret<T> {
        let page = page_size();
        assert!(align_of::<T>() <= page);
        let length = size_of::<T>().max(1).next_multiple_of(page);
        // SAFETY: fresh memory of ours, as long as a T and aligned to a page.
        let place = unsafe {
            let memory = libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert!(memory != libc::MAP_FAILED, "no memory for a key");
            guard(memory as usize, length);
            let place = NonNull::new_unchecked(memory.cast::<T>());
            place.write(value);
            place
        };
        Secret { place, length }
    }
}

impl<T> Deref for Secret<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it holds a value from new to drop.
        unsafe { self.place.as_ref() }
    }
}

impl<T> DerefMut for Secret<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed alone.
        unsafe { self.place.as_mut() }
    }
}

impl<T> Drop for Secret<T> {
    fn drop(&mut self) {
        let address = self.place.as_ptr() as usize;
        // SAFETY: the value is dropped once, and nobody uses the memory any more.
        unsafe {
            self.place.drop_in_place();
            let bytes = std::slice::from_raw_parts_mut(address as *mut u8, self.length);
            zeroize::Zeroize::zeroize(bytes);
            libc::munmap(self.place.as_ptr().cast(), self.length);
        }
        locked().retain(|(at, _)| *at != address);
    }
}

/// Guards what lies at `bytes`, and whatever shares its pages, where it lies.
pub fn guard_in_place(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let (page, start) = (page_size(), bytes.as_ptr() as usize);
    let from = start / page * page;
    // SAFETY: the pages are mapped, since there are bytes in them.
    unsafe { guard(from, (start + bytes.len()).next_multiple_of(page) - from) };
}

/// Guards the value that the environment has of `name`, where it is set.
pub fn guard_variable(name: &std::ffi::CStr) {
    // SAFETY: the value is only looked at; who sets variables does so before there are threads.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        if !value.is_null() {
            guard_in_place(std::ffi::CStr::from_ptr(value).to_bytes());
        }
    }
}

/// To be called in the child of a fork, which has none of its parent's locks.
pub fn guard_again() {
    let all = std::mem::take(&mut *locked());
    // SAFETY: they are mapped: what was dropped is not among them.
    all.into_iter().for_each(|(address, length)| unsafe { guard(address, length) });
}

/// # Safety
/// The pages must be mapped.
unsafe fn guard(address: usize, length: usize) {
    // SAFETY: neither changes what is in the pages. Both may be refused: then they are as others are.
    unsafe {
        libc::madvise(address as *mut libc::c_void, length, libc::MADV_DONTDUMP);
        libc::mlock(address as *const libc::c_void, length);
    }
    locked().push((address, length));
}

fn locked() -> std::sync::MutexGuard<'static, Vec<(usize, usize)>> {
    LOCKED.lock().unwrap_or_else(|e| e.into_inner())
}

fn page_size() -> usize {
    // SAFETY: it only asks for a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of the mapping at `address`.
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            if let Some((range, _)) = line.split_once(' ')
                && let Some((from, to)) = range.split_once('-')
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&address);
            }
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                return flags.to_owned();
            }
        }
        String::new()
    }

    #[test]
    fn a_secret_is_locked_and_in_no_core_and_its_value_is_dropped_once() {
        let counted = std::sync::Arc::new(());
        let mut secret = Secret::new((std::sync::Arc::clone(&counted), [7_u8; 5000]));
        secret.1[4999] = 8;
        let flags = flags(secret.place.as_ptr() as usize);
        assert!(flags.contains(" lo") && flags.contains(" dd"), "{flags}");
        assert_eq!((secret.1[0], secret.1[4999], std::sync::Arc::strong_count(&counted)), (7, 8, 2));
        drop(secret);
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }
}
