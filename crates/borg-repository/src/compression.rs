//! Decompression, limited by the known size of the plain bytes.

use std::io::Read;

use super::error::{Error, Result};

/// The size of the plain bytes.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// Exactly this many bytes.
    Exactly(usize),
    /// At most this many bytes.
    AtMost(usize),
}

impl Size {
    /// The largest possible size.
    pub fn limit(self) -> usize {
        match self {
            Size::Exactly(n) | Size::AtMost(n) => n,
        }
    }

    fn admits(self, length: usize) -> bool {
        match self {
            Size::Exactly(n) => length == n,
            Size::AtMost(n) => length <= n,
        }
    }
}

/// Decompresses `data`, which begins with a mark of the compression.
///
/// # Errors
/// `Integrity` when it does not decompress to `size` bytes, `Unsupported` for an unknown mark.
pub fn decompress(data: &[u8], size: Size) -> Result<Vec<u8>> {
    let plain = match data {
        [0x04, 0x00, rest @ ..] => plain_of(uncovered(rest)?, size)?,
        _ => plain_of(data, size)?,
    };
    if size.admits(plain.len()) {
        Ok(plain)
    } else {
        Err(Error::integrity("a chunk whose size is not the listed one"))
    }
}

/// Removes the padding of obfuscation.
fn uncovered(data: &[u8]) -> Result<&[u8]> {
    let inner = data.split_first_chunk().and_then(|(length, rest)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        rest.get(..length)
    });
    inner.ok_or_else(|| Error::integrity("obfuscated data of an invalid length"))
}

fn plain_of(data: &[u8], size: Size) -> Result<Vec<u8>> {
    match data {
        [0x00, 0x00, rest @ ..] if rest.len() <= size.limit() => Ok(rest.to_vec()),
        [0x00, 0x00, ..] => Err(Error::integrity("a chunk whose size is not the listed one")),
        [0x01, 0x00, rest @ ..] => lz4(rest, size),
        [0x02, 0x00, rest @ ..] => lzma(rest, size),
        [0x03, 0x00, rest @ ..] => zstd(rest, size),
        [a, b, ..] if a & 0x0f == 8 && (u16::from(*a) * 256 + u16::from(*b)) % 31 == 0 => zlib(data, size),
        [a, b, ..] => Err(Error::unsupported(format!("compression {a:02x} {b:02x}"))),
        _ => Err(Error::integrity("truncated compressed data")),
    }
}

fn broken(name: &str, why: impl std::fmt::Display) -> Error {
    Error::integrity(format!("{name} data does not decompress: {why}"))
}

/// A block without its size. If the size is unknown, larger and larger buffers are tried.
fn lz4(data: &[u8], size: Size) -> Result<Vec<u8>> {
    let limit = size.limit();
    let mut room = match size {
        Size::Exactly(n) => n,
        Size::AtMost(_) => limit.min((data.len() * 4).max(64 << 10)),
    };
    loop {
        let mut plain = vec![0; room];
        match lz4_flex::block::decompress_into(data, &mut plain) {
            Ok(length) => {
                plain.truncate(length);
                return Ok(plain);
            }
            Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room < limit => {
                room = limit.min(room * 2);
            }
            Err(why) => return Err(broken("lz4", why)),
        }
    }
}

fn zstd(data: &[u8], size: Size) -> Result<Vec<u8>> {
    let listed = zstd::zstd_safe::get_frame_content_size(data).ok().flatten();
    let room = match listed.and_then(|n| usize::try_from(n).ok()) {
        Some(n) if n > size.limit() => return Err(broken("zstd", "it is longer than listed")),
        Some(n) => n,
        None => size.limit(),
    };
    thread_local! {
        static CONTEXT: std::cell::RefCell<zstd::zstd_safe::DCtx<'static>> =
            std::cell::RefCell::new(zstd::zstd_safe::DCtx::create());
    }
    let mut plain = Vec::with_capacity(room);
    CONTEXT
        .with_borrow_mut(|context| context.decompress(&mut plain, data))
        .map_err(|code| broken("zstd", zstd::zstd_safe::get_error_name(code)))?;
    Ok(plain)
}

fn zlib(data: &[u8], size: Size) -> Result<Vec<u8>> {
    read("zlib", flate2::read::ZlibDecoder::new(data), size)
}

fn lzma(data: &[u8], size: Size) -> Result<Vec<u8>> {
    let stream =
        liblzma::stream::Stream::new_stream_decoder(LZMA_MEMORY, 0).map_err(|e| broken("lzma", e))?;
    read("lzma", liblzma::read::XzDecoder::new_stream(data, stream), size)
}

/// The most memory for an xz stream, in bytes: level 9 needs 65 MiB.
const LZMA_MEMORY: u64 = 128 << 20;

fn read(name: &str, decoder: impl Read, size: Size) -> Result<Vec<u8>> {
    let mut plain = match size {
        Size::Exactly(n) => Vec::with_capacity(n),
        Size::AtMost(_) => Vec::new(),
    };
    // One byte more than allowed would show an excess.
    let mut bounded = decoder.take(size.limit() as u64 + 1);
    bounded.read_to_end(&mut plain).map_err(|why| broken(name, why))?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn plain() -> Vec<u8> {
        (0..200_000u32).flat_map(|n| (n / 9).to_le_bytes()).collect()
    }

    fn obfuscated(inner: &[u8]) -> Vec<u8> {
        [&[4, 0][..], &(inner.len() as u32).to_be_bytes(), inner, &[0; 333]].concat()
    }

    /// The same bytes in all encodings.
    fn forms(plain: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
        zlib.write_all(plain).unwrap();
        let mut lzma = liblzma::write::XzEncoder::new(Vec::new(), 1);
        lzma.write_all(plain).unwrap();
        let lz4 = [&[1, 0][..], &lz4_flex::block::compress(plain)].concat();
        let zstd = zstd::bulk::compress(plain, 3).unwrap();
        vec![
            ("none", [&[0, 0][..], plain].concat()),
            ("obfuscated", obfuscated(&lz4)),
            ("lz4", lz4),
            ("zstd", [&[3, 0][..], &zstd].concat()),
            ("zlib", zlib.finish().unwrap()),
            ("lzma", [&[2, 0][..], &lzma.finish().unwrap()].concat()),
        ]
    }

    #[test]
    fn each_form_gives_the_same_bytes_and_no_other_number_of_them() {
        let plain = plain();
        for (name, data) in forms(&plain) {
            assert!(decompress(&data, Size::Exactly(plain.len())).unwrap() == plain, "{name}");
            assert!(decompress(&data, Size::AtMost(10 << 20)).unwrap() == plain, "{name}");
            for wrong in [0, plain.len() - 1, plain.len() + 1] {
                assert!(decompress(&data, Size::Exactly(wrong)).is_err(), "{name} {wrong}");
            }
            assert!(decompress(&data, Size::AtMost(plain.len() - 1)).is_err(), "{name}");
            assert!(decompress(&data[..data.len() / 2], Size::Exactly(plain.len())).is_err(), "{name}");
        }
    }

    #[test]
    fn nothing_at_all_has_each_form_too() {
        for (name, data) in forms(b"") {
            assert_eq!(decompress(&data, Size::Exactly(0)).unwrap(), b"", "{name}");
        }
    }

    #[test]
    fn an_unknown_compression_is_not_supported_and_obfuscation_is_not_nested() {
        assert!(decompress(&[0xff, 0xff, 1], Size::AtMost(9)).is_err_and(|e| e.is_unsupported()));
        assert!(decompress(&obfuscated(&obfuscated(&[0, 0])), Size::AtMost(9)).is_err());
        assert!(decompress(&[4, 0, 0, 0, 1, 0, 0], Size::AtMost(9)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_give_too_much(
            mark in 0u8..6,
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        ) {
            let data = if mark == 5 { bytes } else { [&[mark, 0][..], &bytes].concat() };
            if let Ok(plain) = decompress(&data, Size::AtMost(1000)) {
                assert!(plain.len() <= 1000);
            }
        }
    }
}
