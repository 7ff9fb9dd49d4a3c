//! The messages of borg's remote calls: msgpack maps one after the other. Strings are bytes.

use std::io::Read;
use std::ops::Range;

use rmp::encode::{write_array_len, write_bool, write_map_len, write_sint, write_str, write_str_len};

use crate::error::{Error, Result};
use crate::id::Id;
use crate::msgpack::{Reader, Stop, Token, each_field, text};
use crate::segment::LARGEST_OBJECT;

/// The longest message in bytes: an object with its envelope.
const LONGEST: usize = LARGEST_OBJECT + (1 << 20);
/// The size of a read in bytes.
const STEP: usize = 256 << 10;
/// How much of an invalid message is shown.
const SHOWN: usize = 200;

/// The value of an argument.
pub enum Value<'a> {
    Bytes(&'a [u8]),
    Bool(bool),
    Int(i64),
    /// A map with one field, a list of numbers.
    Version(&'a str, &'a [i64]),
}

/// Encodes call number `id` of `method`. Servers up to 1.2 end when they get msgpack's type for
/// bytes, so everything is sent as text.
pub fn call(id: u64, method: &str, arguments: &[(&str, Value<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to memory cannot fail.
    let _ = write_call(&mut out, id, method, arguments);
    out
}

fn write_call(
    out: &mut Vec<u8>,
    id: u64,
    method: &str,
    arguments: &[(&str, Value<'_>)],
) -> std::io::Result<()> {
    write_map_len(out, 3)?;
    write_str(out, "i")?;
    write_sint(out, id as i64)?;
    write_str(out, "m")?;
    write_str(out, method)?;
    write_str(out, "a")?;
    write_map_len(out, arguments.len() as u32)?;
    for (name, value) in arguments {
        write_str(out, name)?;
        match value {
            Value::Bytes(bytes) => {
                write_str_len(out, bytes.len() as u32)?;
                out.extend_from_slice(bytes);
            }
            Value::Bool(value) => write_bool(out, *value)?,
            Value::Int(value) => drop(write_sint(out, *value)?),
            Value::Version(name, numbers) => {
                write_map_len(out, 1)?;
                write_str(out, name)?;
                write_array_len(out, numbers.len() as u32)?;
                for number in *numbers {
                    write_sint(out, *number)?;
                }
            }
        }
    }
    Ok(())
}

/// A message from the server: the answer to a call.
#[derive(Debug)]
pub struct Answer {
    /// The number of the call.
    pub id: u64,
    message: Vec<u8>,
    /// The position of the value in `message`; or the exception that the call raised.
    result: Result<Range<usize>, Exception>,
}

#[derive(Debug, Default)]
struct Exception {
    class: String,
    arguments: Vec<String>,
}

impl Answer {
    fn parse(message: Vec<u8>) -> Result<Self, &'static str> {
        let (mut id, mut value) = (None, None);
        let mut exception = Exception::default();
        let mut reader = Reader::new(&message);
        let parsed = each_field(&mut reader, |name, reader| {
            match name {
                b"i" => match reader.token()? {
                    Token::Int(n) => id = u64::try_from(n).ok(),
                    _ => return Err(Stop::Broken("an invalid call number")),
                },
                b"r" => {
                    let start = message.len() - reader.remaining();
                    reader.skip()?;
                    value = Some(start..message.len() - reader.remaining());
                }
                b"exception_class" => exception.class = text(reader)?,
                b"exception_args" => exception.arguments = arguments(reader)?,
                _ => reader.skip()?,
            }
            Ok(())
        });
        match parsed {
            Ok(()) => {}
            Err(Stop::Broken(why)) => return Err(why),
            Err(Stop::More) => return Err("a truncated message"),
        }
        let id = id.ok_or("an answer without a call number")?;
        let result = match value {
            Some(range) if exception.class.is_empty() => Ok(range),
            _ if !exception.class.is_empty() => Err(exception),
            _ => return Err("an answer without a value"),
        };
        Ok(Answer { id, message, result })
    }

    /// The answer if it is a string of bytes: a buffer, and the range of the string in it.
    ///
    /// # Errors
    /// The server's exception or another answer.
    pub fn bytes(self) -> Result<(Vec<u8>, Range<usize>)> {
        let value = self.result.map_err(Exception::into_error)?;
        let mut reader = Reader::new(&self.message[value.clone()]);
        let length = match reader.token() {
            Ok(Token::Bytes(bytes)) => Some(bytes.len()),
            _ => None,
        };
        match length {
            Some(length) => Ok((self.message, value.end - length..value.end)),
            None => Err(Error::integrity("the server sent something other than bytes")),
        }
    }

    /// The numbers of the server's version, from the answer to `negotiate`.
    ///
    /// # Errors
    /// The server's exception or another answer; `Unsupported` for a server of borg 1.0.
    pub fn server_version(self) -> Result<Vec<i64>> {
        let value = self.result.map_err(Exception::into_error)?;
        let mut reader = Reader::new(&self.message[value]);
        let mut version = Vec::new();
        let parsed = each_field(&mut reader, |name, reader| match (name, reader.peek()?) {
            (b"server_version", Token::Array(count)) => {
                reader.token()?;
                for _ in 0..count {
                    match reader.token()? {
                        Token::Int(n) => version.push(n),
                        _ => return Err(Stop::Broken("an invalid version")),
                    }
                }
                Ok(())
            }
            _ => reader.skip(),
        });
        parsed.map_err(|_| Error::unsupported("a server that does not send its version"))?;
        Ok(version)
    }
}

/// The arguments of an exception that are text or numbers.
fn arguments(reader: &mut Reader<'_>) -> Result<Vec<String>, Stop> {
    let Token::Array(count) = reader.peek()? else {
        reader.skip()?;
        return Ok(Vec::new());
    };
    reader.token()?;
    let mut all = Vec::new();
    for _ in 0..count {
        match reader.peek()? {
            Token::Bytes(bytes) => all.push(String::from_utf8_lossy(bytes).into_owned()),
            Token::Int(n) => all.push(n.to_string()),
            _ => {}
        }
        reader.skip()?;
    }
    Ok(all)
}

impl Exception {
    fn into_error(self) -> Error {
        let message = self.arguments.join(", ");
        let first = self.arguments.first().map(String::as_str);
        match self.class.as_str() {
            "ObjectNotFound" => match first.and_then(Id::from_hex) {
                Some(id) => Error::NotFound(id),
                None => Error::Refused { class: self.class, message },
            },
            "IntegrityError" => Error::integrity(format!("the server says: {message}")),
            "PathNotAllowed" => Error::NotAllowed(message),
            "DoesNotExist" | "InvalidRepository" => {
                Error::NoRepository(format!("the server says {}: {message}", self.class))
            }
            "AtticRepository" => Error::unsupported("a repository of Attic"),
            "InvalidRPCMethod" => Error::unsupported(format!("the server does not know the call {message}")),
            _ => Error::Refused { class: self.class, message },
        }
    }
}

/// Splits the output of a server into messages.
pub struct Messages<R> {
    input: R,
    /// The beginning of the next message, and what arrived with it.
    pending: Vec<u8>,
    step: Box<[u8]>,
}

impl<R: Read> Messages<R> {
    /// Reads messages from `input`.
    pub fn new(input: R) -> Self {
        Messages { input, pending: Vec::new(), step: vec![0; STEP].into() }
    }

    /// The next message. Calls `arrived` whenever bytes arrived.
    ///
    /// # Errors
    /// The reason why there is none, including the end of input.
    pub fn next(&mut self, arrived: impl Fn()) -> Result<Answer, String> {
        loop {
            if let Some(length) = self.complete()? {
                let rest = self.pending.split_off(length);
                let message = std::mem::replace(&mut self.pending, rest);
                return Answer::parse(message).map_err(|why| format!("the server sent {why}"));
            }
            match self.input.read(&mut self.step) {
                Ok(0) if self.pending.is_empty() => return Err("the server has exited".into()),
                Ok(0) => return Err("the server has exited in the middle of a message".into()),
                Ok(n) => {
                    self.pending.extend_from_slice(&self.step[..n]);
                    arrived();
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("the server cannot be read: {e}")),
            }
        }
    }

    /// The length of the next message, if it is complete.
    fn complete(&self) -> Result<Option<usize>, String> {
        match self.pending.first() {
            None => return Ok(None),
            Some(0x80..=0x8f | 0xde) => {}
            Some(_) => {
                let text = &self.pending[..self.pending.len().min(SHOWN)];
                return Err(format!("the server says `{}` instead of a message", text.escape_ascii()));
            }
        }
        let mut reader = Reader::new(&self.pending);
        match reader.skip() {
            Ok(()) => Ok(Some(self.pending.len() - reader.remaining())),
            Err(Stop::More) if self.pending.len() > LONGEST => {
                Err("the server sent a message that is too large".into())
            }
            Err(Stop::More) => Ok(None),
            Err(Stop::Broken(why)) => Err(format!("the server sent {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(bytes: &[u8]) -> Vec<Result<Answer, String>> {
        let mut messages = Messages::new(bytes);
        let mut all = Vec::new();
        loop {
            let next = messages.next(|| ());
            let ended = next.is_err();
            all.push(next);
            if ended {
                return all;
            }
        }
    }

    #[test]
    fn a_call_names_its_arguments_and_holds_no_bytes_type() {
        let call = call(5, "get", &[("id", Value::Bytes(&[0xff; 32]))]);
        assert_eq!(call, [&b"\x83\xa1i\x05\xa1m\xa3get\xa1a\x81\xa2id\xd9\x20"[..], &[0xff; 32]].concat());
    }

    #[test]
    fn bytes_of_every_kind_are_taken_and_messages_are_cut_where_they_end() {
        let stream = b"\x82\xa1i\x01\xa1r\xa2ab\x82\xa1r\xda\x00\x02cd\xa1i\x02\x82\xa1i\x03\xa1r\xc4\x01e";
        let mut all = answers(stream);
        assert_eq!(all.pop().unwrap().unwrap_err(), "the server has exited");
        let values = all.into_iter().map(|answer| {
            let answer = answer.unwrap();
            let id = answer.id;
            let (memory, range) = answer.bytes().unwrap();
            (id, memory[range].to_vec())
        });
        let expected = [(1, b"ab".to_vec()), (2, b"cd".to_vec()), (3, b"e".to_vec())];
        assert_eq!(values.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn exceptions_are_told_apart_by_their_class() {
        let error = |class: &str, argument: &str| {
            let mut message = b"\x83\xa1i\x01\xafexception_class\xd9".to_vec();
            message.push(class.len() as u8);
            message.extend_from_slice(class.as_bytes());
            message.extend_from_slice(b"\xaeexception_args\x92\xd9");
            message.push(argument.len() as u8);
            message.extend_from_slice(argument.as_bytes());
            message.push(0xc0);
            answers(&message).remove(0).unwrap().bytes().unwrap_err()
        };
        let id = "07".repeat(32);
        assert!(matches!(error("ObjectNotFound", &id), Error::NotFound(found) if found == Id([7; 32])));
        assert!(matches!(error("IntegrityError", "crc"), Error::Integrity(_)));
        assert!(matches!(error("PathNotAllowed", "/x"), Error::NotAllowed(_)));
        assert!(error("InvalidRPCMethod", "x").is_unsupported());
        assert!(matches!(error("MemoryError", ""), Error::Refused { .. }));
    }

    #[test]
    fn what_is_no_message_is_shown() {
        let motd = answers(b"Welcome!\n").remove(0).unwrap_err();
        assert_eq!(motd, "the server says `Welcome!\\n` instead of a message");
        for broken in
            [&b"\x81\xa1i\x01"[..], b"\x81\xa1r\x01", b"\x82\xa1i\xc0\xa1r\x01", b"\x82\xa1i\x01\xa1r"]
        {
            assert!(answers(broken).remove(0).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let head = std::io::Cursor::new(b"\x82\xa1i\x01\xa1r\xdb\xff\xff\xff\xff");
        let mut messages = Messages::new(head.chain(std::io::repeat(7)));
        assert_eq!(messages.next(|| ()).unwrap_err(), "the server sent a message that is too large");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            for answer in answers(&[&b"\x82"[..], &bytes].concat()).into_iter().flatten() {
                let _ = answer.bytes();
            }
        }
    }
}
