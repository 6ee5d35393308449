//! The kind `unix`: HTTP or an exchange of texts on a Unix socket.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::http::OverUnix;
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{ProbeSpec, UnixProbe};
use crate::probes::result::{Failure, Phase, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::{MAX_REGEX, MAX_SHOWN, io_reason, show, unescape};

/// How much of what comes back is looked at: a greeting has no more, and the field says so.
const MAX_ANSWER: usize = 4_096;
/// The longest path: the system's own limit, less the byte at its end.
const MAX_PATH: usize = 107;

struct Unix {
    path: PathBuf,
    talk: Talk,
}

enum Talk {
    Http(Box<OverUnix>),
    Texts { send: Vec<u8>, expect: Option<Regex> },
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.unix.as_ref().map(|unix| {
        let unix = Arc::new(prepare(unix, tools)?);
        let prober: Prober = Arc::new(move |trace| {
            let unix = Arc::clone(&unix);
            Box::pin(async move { unix.round(trace).await })
        });
        Ok(Ready { prober, host: String::new() })
    })
}

fn prepare(spec: &UnixProbe, tools: &Tools) -> Result<Unix, SpecError> {
    let path = &spec.path;
    if !path.starts_with('/') || path.contains('\0') || path.len() > MAX_PATH {
        let why = format!("`{}` is no path from the root of at most {MAX_PATH} bytes", path.escape_debug());
        return Err(SpecError::new("unix.path", why));
    }
    let talk = match &spec.http {
        Some(_) if spec.send.is_some() || spec.expect.is_some() => {
            return Err(SpecError::new("unix.http", "either http, or send and expect"));
        }
        Some(http) => Talk::Http(Box::new(OverUnix::compile(http, tools)?)),
        None => {
            let send = spec.send.as_deref().map(unescape).transpose();
            let send = send.map_err(|why| SpecError::new("unix.send", why))?.unwrap_or_default();
            let expect = spec.expect.as_deref().map(|text| RegexBuilder::new(text).size_limit(MAX_REGEX).build());
            let expect = expect.transpose().map_err(|error| SpecError::new("unix.expect", error.to_string()))?;
            Talk::Texts { send, expect }
        }
    };
    Ok(Unix { path: path.into(), talk })
}

impl Unix {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        trace.restart(Phase::Connect);
        match &self.talk {
            Talk::Http(http) => {
                let prepared = http.prepare(trace).await?;
                let mut stream = self.connect(trace).await?;
                http.ask(trace, &mut stream, &prepared).await
            }
            Talk::Texts { send, expect } => {
                let mut stream = self.connect(trace).await?;
                exchange(trace, &mut stream, send, expect.as_ref()).await
            }
        }
    }

    async fn connect(&self, trace: &mut Trace) -> Result<UnixStream, Failure> {
        let path = self.path.display();
        trace.fact("address", path.to_string());
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|error| Failure::new(connect_reason(&error), format!("no connection to {path}: {error}")))?;
        trace.log(format!("connected to {path}"));
        Ok(stream)
    }
}

/// What it says that a socket cannot be connected to.
fn connect_reason(error: &io::Error) -> Reason {
    match error.kind() {
        // No socket: whoever should listen there has not begun, or has gone.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Reason::Unreachable,
        // The queue of the socket is full.
        io::ErrorKind::WouldBlock => Reason::Refused,
        // We may not go there: that is no fault of whoever listens.
        io::ErrorKind::PermissionDenied => Reason::Unsupported,
        _ => io_reason(error, Reason::Unreachable),
    }
}

async fn exchange(
    trace: &mut Trace,
    stream: &mut UnixStream,
    send: &[u8],
    expect: Option<&Regex>,
) -> Result<(), Failure> {
    if !send.is_empty() {
        trace.enter(Phase::Request);
        let done = stream.write_all(send).await;
        done.map_err(|error| Failure::new(io_reason(&error, Reason::Send), format!("while sending: {error}")))?;
        trace.log(format!("sent {}", show(send, MAX_SHOWN)));
    }
    let Some(expect) = expect else { return Ok(()) };
    trace.enter(Phase::Processing);
    let mut answer = Vec::new();
    loop {
        let room = MAX_ANSWER.saturating_sub(answer.len());
        let read = stream.take(room as u64).read_buf(&mut answer).await.map_err(|error| {
            let seen = show(&answer, MAX_SHOWN);
            Failure::new(io_reason(&error, Reason::Reset), format!("after {seen}: {error}"))
        })?;
        if trace.phase() == Phase::Processing && read > 0 {
            trace.enter(Phase::Transfer);
        }
        trace.fact("answerBytes", answer.len());
        let seen = show(&answer, MAX_SHOWN);
        if expect.is_match(&answer) {
            trace.log(format!("received {seen}"));
            return Ok(());
        }
        if read == 0 || answer.len() >= MAX_ANSWER {
            return Err(Failure::new(Reason::Expect, format!("received {seen}, which does not match `{expect}`")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(2, Reason::Unreachable, false)]
    #[case(111, Reason::Refused, false)]
    #[case(11, Reason::Refused, false)]
    #[case(13, Reason::Unsupported, true)]
    #[case(24, Reason::Exhausted, true)]
    fn a_socket_that_is_not_there_is_the_targets_and_one_that_is_shut_to_us_is_ours(
        #[case] number: i32,
        #[case] reason: Reason,
        #[case] own: bool,
    ) {
        let found = connect_reason(&io::Error::from_raw_os_error(number));
        assert_eq!((found, found.is_own()), (reason, own));
    }
}
