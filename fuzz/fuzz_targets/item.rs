//! Whatever the metadata of an archive is: the items are the same wherever it is cut.
#![no_main]

use borg_repository::{ChunkLists, Item, ItemParser};

type Items = Result<Vec<(Item, ChunkLists)>, &'static str>;

fn parse(pieces: &[&[u8]]) -> Items {
    let (mut parser, mut items) = (ItemParser::default(), Vec::new());
    for piece in pieces {
        parser.feed_chunks(piece, |item, chunks: &ChunkLists| items.push((item, chunks.clone())))?;
    }
    parser.finish().map(|()| items)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let whole = parse(&[bytes]);
    let (a, b) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let cut = parse(&[a, b]);
    match (&whole, &cut) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut),
        (Err(_), Err(_)) => {}
        _ => panic!("{whole:?} is not {cut:?}"),
    }
    if let Ok(items) = whole {
        for (item, chunks) in items {
            assert_eq!(item.size, chunks.chunks.iter().map(|c| u64::from(c.size)).sum::<u64>());
        }
    }
});
