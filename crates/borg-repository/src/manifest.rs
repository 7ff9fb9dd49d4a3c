//! The manifest: the list of archives, and what a reader must support.

use super::crypto::Crypto;
use super::error::{Error, Result};
use super::id::Id;
use super::msgpack::{Reader, Stop, Token, each_field, text};
use super::signed::Signed;
use super::tam::{Authenticity, Context};

/// The first bytes of borg 2's manifests.
const BORG_2: [u8; 4] = [0xc1; 4];

/// An entry of the manifest: an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Its name; normally UTF-8.
    pub name: Vec<u8>,
    /// The id of the object that describes the archive.
    pub id: Id,
    /// UTC, as borg writes it: `2026-11-23T10:00:00.000000`.
    pub time: String,
}

/// The manifest of a repository.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// In the order of the manifest, which is sorted by name.
    pub archives: Vec<ManifestEntry>,
    /// UTC, as borg writes it.
    pub timestamp: String,
    /// Whether someone with the key wrote this.
    pub authenticity: Authenticity,
}

impl Manifest {
    /// Parses and authenticates the plain bytes of the manifest. If `tam_required` is set, it must
    /// have a TAM.
    ///
    /// # Errors
    /// `Integrity` when it is broken or not authentic, `Unsupported` when it is of another version
    /// or needs unknown features.
    #[doc(hidden)]
    pub fn parse(packed: &[u8], crypto: &Crypto, tam_required: bool) -> Result<Self> {
        if packed.starts_with(&BORG_2) {
            return Err(Error::unsupported("a repository of borg 2"));
        }
        let (mut archives, mut timestamp, mut features) = (Vec::new(), String::new(), Vec::new());
        let signed = Signed::read(packed, "the manifest", |field, reader| match field {
            b"archives" => each_field(reader, |name, reader| {
                archives.push(entry(name, reader)?);
                Ok(())
            }),
            b"timestamp" => text(reader).map(|text| timestamp = text),
            b"config" => each_field(reader, |name, reader| match name {
                b"feature_flags" => mandatory_features(&mut features, reader),
                _ => reader.skip(),
            }),
            _ => reader.skip(),
        })?;
        let authenticity = signed.authenticity(Context::Manifest, crypto);
        match authenticity {
            Authenticity::Authenticated => {}
            Authenticity::Wrong => return Err(Error::integrity("the manifest is not authentic")),
            Authenticity::Missing if tam_required => {
                return Err(Error::integrity("the manifest must be authenticated, but is not"));
            }
            Authenticity::Unknown if tam_required => {
                return Err(Error::unsupported("a manifest with an unknown kind of authentication"));
            }
            Authenticity::Missing | Authenticity::Unknown => {}
        }
        if !matches!(signed.version, Some(1 | 2)) {
            return Err(Error::unsupported(format!("a manifest of version {:?}", signed.version)));
        }
        if !features.is_empty() {
            return Err(Error::unsupported(format!("the repository needs {}", features.join(", "))));
        }
        Ok(Manifest { archives, timestamp, authenticity })
    }
}

fn entry(name: &[u8], reader: &mut Reader<'_>) -> Result<ManifestEntry, Stop> {
    let (mut id, mut time) = (None, String::new());
    each_field(reader, |field, reader| {
        match field {
            b"id" => match reader.token()? {
                Token::Bytes(bytes) => id = Id::from_bytes(bytes),
                _ => return Err(Stop::Broken("an archive with an invalid id")),
            },
            b"time" => time = text(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    let id = id.ok_or(Stop::Broken("an archive without an id"))?;
    Ok(ManifestEntry { name: name.to_vec(), id, time })
}

/// The features that a reader must know; borg 1.x has none.
fn mandatory_features(found: &mut Vec<String>, reader: &mut Reader<'_>) -> Result<(), Stop> {
    each_field(reader, |operation, reader| match operation {
        b"read" => each_field(reader, |kind, reader| match kind {
            b"mandatory" => {
                let Token::Array(count) = reader.token()? else {
                    return Err(Stop::Broken("its features are not a list"));
                };
                (0..count).try_for_each(|_| {
                    found.push(text(reader)?);
                    Ok(())
                })
            }
            _ => reader.skip(),
        }),
        _ => reader.skip(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"\x84\xa7version\x01\xa8archives\x81\xa1a\x82\xa2id\xda\x00\x20";

    /// A manifest with the archive `a` and this config.
    fn manifest(config: &[u8]) -> Vec<u8> {
        let tail = b"\xa4time\xa1t\xa9timestamp\xa1s\xa6config";
        [HEAD, &[7; 32], tail, config].concat()
    }

    #[test]
    fn archives_are_listed_with_their_ids() {
        let manifest = Manifest::parse(&manifest(b"\x80"), &Crypto::plain(), false).unwrap();
        let entry = ManifestEntry { name: b"a".to_vec(), id: Id([7; 32]), time: "t".into() };
        assert_eq!((manifest.archives, manifest.timestamp), (vec![entry], "s".into()));
        assert_eq!(manifest.authenticity, Authenticity::Missing);
    }

    #[test]
    fn a_feature_that_a_reader_must_know_is_refused_by_name() {
        let flags = b"\x81\xadfeature_flags\x82\xa5write\x81\xa9mandatory\x91\xa1w\xa4read\x81\xa9mandatory\x91\xa3odd";
        let refused = Manifest::parse(&manifest(flags), &Crypto::plain(), false).unwrap_err();
        assert_eq!(refused.to_string(), "not supported: the repository needs odd");
    }

    #[test]
    fn what_must_be_authenticated_is_refused_without() {
        let refused = Manifest::parse(&manifest(b"\x80"), &Crypto::plain(), true);
        assert!(matches!(refused, Err(Error::Integrity(_))));
    }

    #[test]
    fn borg_2_and_other_versions_are_not_supported_and_what_is_cut_off_is_broken() {
        let mut other = manifest(b"\x80");
        other[9] = 3;
        for packed in [&b"\xc1\xc1\xc1\xc1\x80"[..], &other] {
            assert!(Manifest::parse(packed, &Crypto::plain(), false).is_err_and(|e| e.is_unsupported()));
        }
        let whole = manifest(b"\x80");
        for length in 0..whole.len() {
            let cut = Manifest::parse(&whole[..length], &Crypto::plain(), false);
            assert!(matches!(cut, Err(Error::Integrity(_))), "{length}");
        }
        let more = [&whole[..], &[0xc0]].concat();
        assert!(Manifest::parse(&more, &Crypto::plain(), false).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = Manifest::parse(&bytes, &Crypto::plain(), false);
        }
    }
}
