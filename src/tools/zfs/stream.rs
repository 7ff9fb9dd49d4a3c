//! Reads the records of a send stream, to find out which bytes of a volume changed: OpenZFS's
//! `dmu_replay_record` (zfs_ioctl.h), in the byte order of x86 and ARM.
//!
//! Only streams of plain `zfs send` are supported, without features (compressed, raw or embedded
//! blocks) and with few kinds of records. Everything else is refused: the caller then compares the
//! bytes.

use std::io::{self, Read};
use std::ops::Range;

/// The size of a record in bytes. Some have a payload after them.
const RECORD: usize = 312;
const MAGIC: u64 = 0x2_F5BA_CBAC;
/// The largest block, in bytes.
const LONGEST_PAYLOAD: u64 = 16 << 20;
/// The object with a volume's data.
const DATA: u64 = 1;
/// The dataset type of a volume.
const VOLUME: u32 = 3;
/// The header of a stream of one snapshot, not of a package.
const SINGLE: u64 = 1;

/// The changes of a volume between two moments: sorted ranges of bytes that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Blocks that were written.
    pub written: Vec<Range<u64>>,
    /// Ranges that are zeros at the later moment, and may have had data at the earlier one.
    pub freed: Vec<Range<u64>>,
}

/// The guids of the snapshots at the beginning and the end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: u64,
    pub to: u64,
}

/// The changes of a volume of `size` bytes in the incremental stream through `span`. Takes 16 bytes
/// of memory for each run of changed blocks.
///
/// # Errors
/// When the stream ends early, is another one, or has anything that could have another meaning.
pub fn changes(stream: impl Read, span: Span, size: u64) -> io::Result<Changes> {
    let mut records = Records { stream, record: [0; RECORD], scratch: vec![0; 64 << 10] };
    records.begin(span)?;
    let mut changes = Changes::default();
    loop {
        let (kind, payload) = records.next()?;
        match kind {
            Kind::End(guid) if guid == span.to => break,
            Kind::End(_) => return refuse("its end is that of another snapshot"),
            Kind::Written(range) => add(&mut changes.written, range, size),
            Kind::Freed(range) => add(&mut changes.freed, range, size),
            Kind::Other => {}
        }
        records.skip(payload)?;
    }
    records.finish()?;
    changes.written = merged(changes.written);
    changes.freed = merged(changes.freed);
    Ok(changes)
}

/// The meaning of a record for the data of a volume.
enum Kind {
    Written(Range<u64>),
    Freed(Range<u64>),
    Other,
    /// With the guid of the snapshot.
    End(u64),
}

struct Records<R> {
    stream: R,
    record: [u8; RECORD],
    scratch: Vec<u8>,
}

impl<R: Read> Records<R> {
    fn read(&mut self) -> io::Result<()> {
        self.stream.read_exact(&mut self.record).map_err(broken)
    }

    fn begin(&mut self, span: Span) -> io::Result<()> {
        self.read()?;
        if self.u32(0) != 0 || self.u64(8) != MAGIC {
            return refuse(match self.u64(8).swap_bytes() == MAGIC {
                true => "it was made in the other byte order",
                false => "it does not begin as a send stream does",
            });
        }
        let (kind, features) = (self.u64(16) & 0b11, self.u64(16) >> 2);
        if kind != SINGLE || self.u32(32) != VOLUME {
            return refuse("it is not that of one snapshot of a volume");
        }
        if features != 0 {
            return refuse(format!("it has features that are not known here ({features:#x})"));
        }
        if (self.u64(48), self.u64(40)) != (span.from, span.to) {
            return refuse("it does not lead from the one snapshot to the other");
        }
        self.skip(self.u32(4).into())
    }

    /// The next record, and the size of its payload, which must be skipped.
    fn next(&mut self) -> io::Result<(Kind, u64)> {
        self.read()?;
        let object = self.u64(8);
        let of_data = |kind: Kind| if object == DATA { kind } else { Kind::Other };
        Ok(match self.u32(0) {
            // OBJECT
            1 => (Kind::Other, u64::from(self.u32(28)).next_multiple_of(8)),
            // FREEOBJECTS
            2 if object <= DATA && DATA - object < self.u64(16) => {
                return refuse("it says that the volume was emptied");
            }
            2 => (Kind::Other, 0),
            // WRITE
            3 if self.record[50] != 0 => return refuse("it has a compressed block"),
            3 => {
                let size = self.u64(32);
                (of_data(Kind::Written(self.range(24, size))), size)
            }
            // FREE
            4 => (of_data(Kind::Freed(self.range(16, self.u64(24)))), 0),
            // END
            5 => (Kind::End(self.u64(40)), 0),
            other => return refuse(format!("it has a record of kind {other}, which is not known here")),
        })
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > LONGEST_PAYLOAD {
            return refuse(format!("it has a block of {bytes} bytes"));
        }
        let mut left = bytes as usize;
        while left > 0 {
            let part = left.min(self.scratch.len());
            self.stream.read_exact(&mut self.scratch[..part]).map_err(broken)?;
            left -= part;
        }
        Ok(())
    }

    /// After the last record, the stream must end.
    fn finish(&mut self) -> io::Result<()> {
        match self.stream.read(&mut self.scratch[..1])? {
            0 => Ok(()),
            _ => refuse("it goes on behind its end"),
        }
    }

    /// The range of `length` bytes whose offset is at `place` of the record. The largest number
    /// means up to the end.
    fn range(&self, place: usize, length: u64) -> Range<u64> {
        let start = self.u64(place);
        start..start.saturating_add(length)
    }

    fn u32(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.record[at..at + 4]);
        u32::from_le_bytes(bytes)
    }

    fn u64(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.record[at..at + 8]);
        u64::from_le_bytes(bytes)
    }
}

fn refuse<T>(why: impl Into<String>) -> io::Result<T> {
    Err(io::Error::other(why.into()))
}

fn broken(e: io::Error) -> io::Error {
    if e.kind() == io::ErrorKind::UnexpectedEof { io::Error::other("it breaks off") } else { e }
}

/// Adds the part of `range` that is within `size`. Usually it continues the last one.
fn add(ranges: &mut Vec<Range<u64>>, range: Range<u64>, size: u64) {
    let range = range.start..range.end.min(size);
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The output of `zfs send -i` of OpenZFS 2.1.11 for a volume of 64 KiB with blocks of 512
    /// bytes. Its upper half was never written; then block 7 was written, and 4 KiB at 16 KiB were
    /// discarded.
    const SAMPLE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zfs/volume.stream"));
    const SPAN: Span = Span { from: 0x0E15_9748_BBAC_6CA5, to: 0x9CCE_6961_401C_F155 };
    const SIZE: u64 = 64 << 10;

    fn read(bytes: &[u8]) -> Result<Changes, String> {
        changes(bytes, SPAN, SIZE).map_err(|e| e.to_string())
    }

    /// The sample with `bytes` at `at` of its record number `record`.
    fn altered(record: usize, at: usize, bytes: &[u8]) -> Vec<u8> {
        let payload = if record > 3 { 512 } else { 0 };
        let at = record * RECORD + payload + at;
        let mut all = SAMPLE.to_vec();
        all[at..at + bytes.len()].copy_from_slice(bytes);
        all
    }

    #[test]
    fn what_zfs_wrote_tells_which_blocks_changed() {
        let found = read(SAMPLE).unwrap();
        assert_eq!((found.written.len(), &found.written[0]), (1, &(3584..4096)));
        assert_eq!(found.freed, [16384..20480, 32768..65536]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let whole = SAMPLE.len();
        let cases = [
            (SAMPLE[..whole - 1].to_vec(), "it breaks off"),
            (SAMPLE[..whole - RECORD].to_vec(), "it breaks off"),
            (SAMPLE[..3 * RECORD + RECORD + 100].to_vec(), "it breaks off"),
            ([SAMPLE, &[0]].concat(), "behind its end"),
            (altered(0, 8, &0x2_F5BA_CBACu64.to_be_bytes()), "other byte order"),
            (altered(0, 8, &[0]), "does not begin as"),
            (altered(0, 16, &[2]), "not that of one snapshot"),
            (altered(0, 32, &[2]), "not that of one snapshot"),
            (altered(0, 18, &[1]), "features"),
            (altered(0, 40, &[0]), "from the one snapshot to the other"),
            (altered(0, 48, &[0]), "from the one snapshot to the other"),
            (altered(3, 50, &[15]), "compressed"),
            (altered(3, 36, &[1]), "a block of 4294967808 bytes"),
            (altered(4, 0, &[9]), "kind 9"),
            (altered(8, 8, &[0]), "emptied"),
            (altered(8, 8, &[1]), "emptied"),
            (altered(9, 40, &[0]), "end is that of another"),
        ];
        for (bytes, why) in cases {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(why), "{error} instead of {why}");
        }
    }

    #[test]
    fn only_what_is_within_the_volume_counts() {
        let behind = altered(3, 24, &(SIZE - 100).to_le_bytes());
        assert_eq!(read(&behind).unwrap().written[0], SIZE - 100..SIZE);
        let far = altered(3, 24, &u64::MAX.to_le_bytes());
        assert_eq!(read(&far).unwrap().written, []);
        let other_object = altered(3, 8, &[2]);
        assert_eq!(read(&other_object).unwrap().written, []);
    }

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(merged(vec![8..9, 1..3, 2..4, 4..6, 0..1]), [0..6, 8..9]);
    }

    proptest! {
        #[test]
        fn garbage_never_does_harm(cut in 0..SAMPLE.len(), garbage: Vec<u8>, at in 0..SAMPLE.len(), byte: u8) {
            let mut altered = SAMPLE.to_vec();
            altered[at] = byte;
            for bytes in [[&SAMPLE[..cut], &garbage].concat(), altered] {
                let Ok(changes) = read(&bytes) else { continue };
                for ranges in [changes.written, changes.freed] {
                    prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= SIZE));
                    prop_assert!(ranges.windows(2).all(|two| two[0].end < two[1].start));
                }
            }
        }

        #[test]
        fn merged_ranges_cover_the_same_bytes(starts in prop::collection::vec((0u64..60, 1u64..9), 0..20)) {
            let ranges: Vec<Range<u64>> = starts.iter().map(|(start, length)| *start..start + length).collect();
            let covers = |ranges: &[Range<u64>], byte| ranges.iter().any(|range| range.contains(&byte));
            let merged = merged(ranges.clone());
            prop_assert!((0..80).all(|byte| covers(&ranges, byte) == covers(&merged, byte)));
        }
    }
}
