//! How many chunks are fetched at once.

use crossbeam_channel::Receiver;

use super::workers;

/// Chunks in a batch. BLAKE2 hashes four at once in less than half the time of four one by one. A
/// batch has twice as many, so that a long chunk is not hashed alone for long.
pub const CHUNKS: usize = 8;
/// The bytes in a batch, unless one chunk alone has more.
pub const BYTES: u64 = 16 << 20;

/// `first` and more from `queue`, but no more than a fair share, so that no thread is idle.
pub fn share<T>(first: T, queue: &Receiver<T>) -> Vec<T> {
    let share = (queue.len() / workers::count()).min(CHUNKS - 1);
    std::iter::once(first).chain(queue.try_iter().take(share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_leaves_work_for_the_other_threads() {
        let (jobs, queue) = crossbeam_channel::unbounded();
        assert_eq!(share(0, &queue), [0], "nothing waits");
        let waiting = 2 * workers::count();
        (1..=waiting).for_each(|job| jobs.send(job).unwrap());
        assert_eq!(share(0, &queue), [0, 1, 2]);
        (0..100 * workers::count()).for_each(|job| jobs.send(job).unwrap());
        assert_eq!(share(0, &queue).len(), CHUNKS);
    }
}
