//! Sets of ranges of bytes.

use std::ops::Range;

/// Sorts `ranges`, and joins those that touch.
pub fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The parts of `range` that are in `ranges`, which must be [merged](merge).
pub fn common(ranges: &[Range<u64>], range: &Range<u64>) -> Vec<Range<u64>> {
    let first = ranges.partition_point(|r| r.end <= range.start);
    let met = ranges[first..].iter().take_while(|r| r.start < range.end);
    met.map(|r| r.start.max(range.start)..r.end.min(range.end)).collect()
}

/// The number of bytes in `ranges`, which must be [merged](merge).
pub fn length(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::vec(
            (0u64..200, 0u64..20).prop_map(|(start, length)| start..start + length),
            0..20,
        )
    }

    fn has(ranges: &[Range<u64>], at: u64) -> bool {
        ranges.iter().any(|range| range.contains(&at))
    }

    proptest! {
        #[test]
        fn merged_ranges_hold_the_same_bytes_apart_from_each_other(some in ranges(), piece in (0u64..200, 0u64..50)) {
            let merged = merge(some.clone());
            let piece = piece.0..piece.0 + piece.1;
            let met = common(&merged, &piece);
            for at in 0..260 {
                prop_assert_eq!(has(&merged, at), has(&some, at));
                prop_assert_eq!(has(&met, at), has(&some, at) && piece.contains(&at));
            }
            prop_assert!(merged.windows(2).all(|two| two[0].end < two[1].start));
            prop_assert_eq!(length(&merged), (0..260).filter(|at| has(&some, *at)).count() as u64);
        }
    }
}
