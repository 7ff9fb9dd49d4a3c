//! A reader of the subset of msgpack that borg writes. Strings are bytes.

use rmp::Marker;

/// The reason why there is no next token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end in the middle of a token.
    More,
    /// No further bytes can make it valid.
    Broken(&'static str),
}

/// A token. Of an array or a map it is only the length; the contents follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    /// An integer that is too large for [`Token::Int`].
    Large(u64),
    Bytes(&'a [u8]),
    Array(u32),
    Map(u32),
}

/// The deepest nesting; borg needs four levels.
const DEPTH: u32 = 32;

/// Reads tokens from the front of a slice.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The number of bytes that were not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub fn token(&mut self) -> Result<Token<'a>, Stop> {
        let marker = Marker::from_u8(self.number::<1>()?[0]);
        Ok(match marker {
            Marker::Null => Token::Nil,
            Marker::False => Token::Bool(false),
            Marker::True => Token::Bool(true),
            Marker::FixPos(n) => Token::Int(n.into()),
            Marker::FixNeg(n) => Token::Int(n.into()),
            Marker::U8 => Token::Int(u8::from_be_bytes(self.number()?).into()),
            Marker::U16 => Token::Int(u16::from_be_bytes(self.number()?).into()),
            Marker::U32 => Token::Int(u32::from_be_bytes(self.number()?).into()),
            Marker::U64 => {
                let n = u64::from_be_bytes(self.number()?);
                i64::try_from(n).map_or(Token::Large(n), Token::Int)
            }
            Marker::I8 => Token::Int(i8::from_be_bytes(self.number()?).into()),
            Marker::I16 => Token::Int(i16::from_be_bytes(self.number()?).into()),
            Marker::I32 => Token::Int(i32::from_be_bytes(self.number()?).into()),
            Marker::I64 => Token::Int(i64::from_be_bytes(self.number()?)),
            Marker::FixStr(n) => Token::Bytes(self.bytes(n.into())?),
            Marker::Str8 | Marker::Bin8 => {
                let n = u8::from_be_bytes(self.number()?);
                Token::Bytes(self.bytes(n.into())?)
            }
            Marker::Str16 | Marker::Bin16 => {
                let n = u16::from_be_bytes(self.number()?);
                Token::Bytes(self.bytes(n.into())?)
            }
            Marker::Str32 | Marker::Bin32 => {
                let n = u32::from_be_bytes(self.number()?);
                Token::Bytes(self.bytes(n as usize)?)
            }
            Marker::FixArray(n) => Token::Array(n.into()),
            Marker::Array16 => Token::Array(u16::from_be_bytes(self.number()?).into()),
            Marker::Array32 => Token::Array(u32::from_be_bytes(self.number()?)),
            Marker::FixMap(n) => Token::Map(n.into()),
            Marker::Map16 => Token::Map(u16::from_be_bytes(self.number()?).into()),
            Marker::Map32 => Token::Map(u32::from_be_bytes(self.number()?)),
            _ => return Err(Stop::Broken("a type of value that borg does not write")),
        })
    }

    /// The next token, without reading it.
    pub fn peek(&self) -> Result<Token<'a>, Stop> {
        self.clone().token()
    }

    /// Skips a value with everything in it.
    pub fn skip(&mut self) -> Result<(), Stop> {
        self.skip_within(DEPTH)
    }

    fn skip_within(&mut self, depth: u32) -> Result<(), Stop> {
        let values = match self.token()? {
            Token::Array(n) => u64::from(n),
            Token::Map(n) => u64::from(n) * 2,
            _ => return Ok(()),
        };
        let depth = depth.checked_sub(1).ok_or(Stop::Broken("values that are nested too deeply"))?;
        (0..values).try_for_each(|_| self.skip_within(depth))
    }

    fn bytes(&mut self, n: usize) -> Result<&'a [u8], Stop> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or(Stop::More)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Stop::More)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// Passes each name of the next map to `each`, which must read the value. Nil counts as an empty
/// map.
pub fn each_field<'a>(
    reader: &mut Reader<'a>,
    mut each: impl FnMut(&'a [u8], &mut Reader<'a>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let count = match reader.token()? {
        Token::Map(count) => count,
        Token::Nil => 0,
        _ => return Err(Stop::Broken("a field that should be a map")),
    };
    for _ in 0..count {
        let Token::Bytes(name) = reader.token()? else { return Err(Stop::Broken("a field without a name")) };
        each(name, reader)?;
    }
    Ok(())
}

/// A text; empty for nil. Bytes that are not UTF-8 are replaced.
pub fn text(reader: &mut Reader<'_>) -> Result<String, Stop> {
    match reader.token()? {
        Token::Bytes(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Token::Nil => Ok(String::new()),
        _ => Err(Stop::Broken("a field that should be text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_value_is_read() {
        let bytes = [
            0xc0, 0xc3, 0x05, 0xff, 0xcd, 0x01, 0x00, 0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xa2, b'h', b'i',
            0xda, 0, 1, 0xfe, 0x92, 0x81,
        ];
        let mut reader = Reader::new(&bytes);
        let tokens: Vec<_> = std::iter::from_fn(|| reader.token().ok()).collect();
        let expected = [
            Token::Nil,
            Token::Bool(true),
            Token::Int(5),
            Token::Int(-1),
            Token::Int(256),
            Token::Large(0xff << 56),
            Token::Bytes(b"hi"),
            Token::Bytes(b"\xfe"),
            Token::Array(2),
            Token::Map(1),
        ];
        assert_eq!(tokens, expected);
    }

    #[test]
    fn a_bomb_of_arrays_is_refused_and_a_cut_value_asks_for_more() {
        assert!(matches!(Reader::new(&[0x91; 1000]).skip(), Err(Stop::Broken(_))));
        assert_eq!(Reader::new(&[0xdb, 0xff, 0xff, 0xff, 0xff, 1]).token(), Err(Stop::More));
        assert_eq!(Reader::new(&[0x92, 0x01]).skip(), Err(Stop::More));
    }
}
