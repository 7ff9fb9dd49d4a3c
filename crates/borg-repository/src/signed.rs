//! What the manifest and the metadata of an archive have in common: a map with a version and a TAM.

use super::crypto::Crypto;
use super::error::{Error, Result};
use super::msgpack::{Reader, Stop, Token, each_field};
use super::tam::{Authenticity, Context, Tam};

/// The version and the TAM of such a map.
#[derive(Default)]
pub struct Signed<'a> {
    pub version: Option<i64>,
    packed: &'a [u8],
    tam: Option<Tam<'a>>,
}

impl<'a> Signed<'a> {
    /// Reads the map in `packed`. Passes the name of every other field to `each`, which must read
    /// the value.
    ///
    /// # Errors
    /// `Integrity` if `packed` is not such a map. The error calls it `what`, such as "the
    /// manifest".
    pub fn read(
        packed: &'a [u8],
        what: &str,
        each: impl FnMut(&'a [u8], &mut Reader<'a>) -> Result<(), Stop>,
    ) -> Result<Self> {
        Self::parse(packed, each).map_err(|stop| match stop {
            Stop::More => Error::integrity(format!("{what} is truncated")),
            Stop::Broken(why) => Error::integrity(format!("{what} is broken: {why}")),
        })
    }

    fn parse(
        packed: &'a [u8],
        mut each: impl FnMut(&'a [u8], &mut Reader<'a>) -> Result<(), Stop>,
    ) -> Result<Self, Stop> {
        let mut reader = Reader::new(packed);
        let mut signed = Signed { packed, ..Signed::default() };
        each_field(&mut reader, |name, reader| {
            match name {
                b"version" => match reader.token()? {
                    Token::Int(n) => signed.version = Some(n),
                    _ => return Err(Stop::Broken("its version is not a number")),
                },
                b"tam" => signed.tam = Some(Tam::read(reader)?),
                _ => each(name, reader)?,
            }
            Ok(())
        })?;
        if reader.remaining() > 0 {
            return Err(Stop::Broken("there is data behind its end"));
        }
        Ok(signed)
    }

    /// Whether someone with the key wrote this.
    pub fn authenticity(&self, context: Context, crypto: &Crypto) -> Authenticity {
        self.tam.map_or(Authenticity::Missing, |tam| tam.judge(self.packed, context, crypto))
    }
}
