//! Files with the same path in an archive.

use std::collections::HashMap;

use super::ContentId;
use super::records::{ContentRecord, Neighbours};

/// How many bytes with the same path are before and after those of each content. `repeated` has
/// pairs of contents with the same path, each with the next one.
pub fn neighbours(repeated: &[(ContentId, ContentId)], contents: &[ContentRecord]) -> Vec<Neighbours> {
    let mut first: HashMap<ContentId, ContentId> = HashMap::new();
    let mut paths: HashMap<ContentId, Vec<ContentId>> = HashMap::new();
    for (earlier, later) in repeated {
        let head = *first.get(earlier).unwrap_or(earlier);
        first.insert(*later, head);
        paths.entry(head).or_insert_with(|| vec![head]).push(*later);
    }
    let size = |id: &ContentId| contents[*id as usize].size;
    let mut neighbours = Vec::with_capacity(first.len() + paths.len());
    for same in paths.into_values() {
        let mut after = same.iter().map(size).fold(0, u64::saturating_add);
        let mut before = 0u64;
        for content in same {
            after = after.saturating_sub(size(&content));
            neighbours.push(Neighbours { before, after, content, unused: 0 });
            before = before.saturating_add(size(&content));
        }
    }
    neighbours.sort_unstable_by_key(|n| n.content);
    neighbours
}
