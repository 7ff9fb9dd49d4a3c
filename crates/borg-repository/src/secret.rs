//! Keys and passphrases on memory pages of their own: locked, so that they are never swapped;
//! excluded from core dumps; wiped when they are dropped.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Mutex;

/// All locked memory, as address and length: a child does not inherit locks.
static LOCKED: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// A value with secrets on pages of its own. Memory that it owns elsewhere is not guarded.
pub struct Secret<T> {
    place: NonNull<T>,
    length: usize,
}

// SAFETY: it owns the value like a Box.
unsafe impl<T: Send> Send for Secret<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Secret<T> {}

impl<T> Secret<T> {
    /// Moves `value` to guarded memory. If the system does not allow locking, it is kept unlocked.
    ///
    /// # Panics
    /// When there is not enough memory.
    pub fn new(value: T) -> Secret<T> {
        let page = page_size();
        assert!(align_of::<T>() <= page);
        let length = size_of::<T>().max(1).next_multiple_of(page);
        // SAFETY: new memory of ours, as long as a T and aligned to a page.
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
        // SAFETY: as above, and borrowed exclusively.
        unsafe { self.place.as_mut() }
    }
}

impl<T> Drop for Secret<T> {
    fn drop(&mut self) {
        let address = self.place.as_ptr() as usize;
        // SAFETY: the value is dropped once, and nobody uses the memory afterwards.
        unsafe {
            self.place.drop_in_place();
            let bytes = std::slice::from_raw_parts_mut(address as *mut u8, self.length);
            zeroize::Zeroize::zeroize(bytes);
            libc::munmap(self.place.as_ptr().cast(), self.length);
        }
        locked().retain(|(at, _)| *at != address);
    }
}

/// Guards the memory of `bytes` in place, with everything that shares its pages.
pub fn guard_in_place(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let (page, start) = (page_size(), bytes.as_ptr() as usize);
    let from = start / page * page;
    // SAFETY: the pages are mapped, because they contain the bytes.
    unsafe { guard(from, (start + bytes.len()).next_multiple_of(page) - from) };
}

/// Guards the value of the environment variable `name`, if it is set.
pub fn guard_variable(name: &std::ffi::CStr) {
    // SAFETY: the value is only read; variables are set only before there are threads.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        if !value.is_null() {
            guard_in_place(std::ffi::CStr::from_ptr(value).to_bytes());
        }
    }
}

/// Must be called in the child of a fork, which does not inherit its parent's locks.
pub fn guard_again() {
    let all = std::mem::take(&mut *locked());
    // SAFETY: they are mapped: dropped ones are not in the list.
    all.into_iter().for_each(|(address, length)| unsafe { guard(address, length) });
}

/// # Safety
/// The pages must be mapped.
unsafe fn guard(address: usize, length: usize) {
    // SAFETY: neither call changes the contents of the pages. If they fail, the pages stay
    // ordinary.
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
    // SAFETY: it only reads a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's information about the mapping at `address`.
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
