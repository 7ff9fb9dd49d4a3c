//! Processes of ours that serve a mount as long as it exists.

use std::error::Error as _;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::mount_log::Log;
use crate::error::{Error, Kind, Result};
use crate::process::daemon::{self, Half, Ready};
use crate::process::interrupt;

/// An error that is sent to another process.
#[derive(Serialize, Deserialize)]
struct Answer {
    kind: Kind,
    what: String,
    hints: Vec<String>,
    cause: Option<String>,
}

impl From<Error> for Answer {
    fn from(error: Error) -> Answer {
        let mut cause: Option<String> = None;
        let mut next = error.source();
        while let Some(e) = next {
            cause = Some(cause.map_or_else(|| e.to_string(), |before| format!("{before}: {e}")));
            next = e.source();
        }
        Answer { kind: error.kind(), what: error.to_string(), hints: error.hints().to_vec(), cause }
    }
}

impl From<Answer> for Error {
    fn from(answer: Answer) -> Error {
        let error = answer.hints.into_iter().fold(Error::new(answer.kind, answer.what), Error::hint);
        match answer.cause {
            Some(cause) => error.because(cause),
            None => error,
        }
    }
}

/// Runs `bring_up` in a new process, and returns its result. If it returns something to `serve`,
/// the process stays and serves it. Must be called while there is only one thread.
///
/// # Errors
/// Those of `bring_up`, and when the process cannot be made.
pub fn start<T: Serialize + DeserializeOwned, S>(
    bring_up: impl FnOnce() -> Result<(T, Option<S>)>,
    serve: impl FnOnce(S) -> Result<()>,
) -> Result<T> {
    match daemon::split()? {
        Half::Foreground { ready: Some(message), .. } => {
            let answer: Result<T, Answer> = serde_json::from_slice(&message)
                .map_err(|e| Error::failed("the process of the mount cannot be understood").because(e))?;
            Ok(answer?)
        }
        Half::Foreground { ready: None, .. } => {
            interrupt::check()?;
            Err(Error::failed("the process of the mount was killed before it was ready"))
        }
        Half::Background(ready) => {
            let done = work(ready, bring_up, serve).inspect_err(|e| tracing::error!("{}", e.chain()));
            std::process::exit(i32::from(done.is_err()))
        }
    }
}

fn work<T: Serialize, S>(
    ready: Ready,
    bring_up: impl FnOnce() -> Result<(T, Option<S>)>,
    serve: impl FnOnce(S) -> Result<()>,
) -> Result<()> {
    daemon::share_free_memory();
    let (answer, served) = match bring_up() {
        Ok((answer, served)) => (Ok(answer), served),
        Err(e) => (Err(Answer::from(e)), None),
    };
    let message =
        serde_json::to_vec(&answer).map_err(|e| Error::failed("cannot tell how it went").because(e))?;
    let log = Log::new()?;
    ready.send(&message, log.file())?;
    let result = served.map_or(Ok(()), serve);
    if result.is_ok() {
        log.close();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_the_same_in_another_process() {
        let error = Error::new(Kind::Busy, "cannot a").because(std::io::Error::other("b")).hint("c");
        let chain = error.chain();
        let json = serde_json::to_vec(&Err::<(), _>(Answer::from(error))).unwrap();
        let answer: std::result::Result<(), Answer> = serde_json::from_slice(&json).unwrap();
        let again = Error::from(answer.unwrap_err());
        assert_eq!((again.chain(), again.kind(), again.hints()), (chain, Kind::Busy, &["c".to_owned()][..]));
    }
}
