//! The kind `unix`: HTTP or an exchange of texts on a Unix socket.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixStream;

use super::http::OverUnix;
use super::tcp;
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{ProbeSpec, UnixProbe};
use crate::probes::result::{Failure, Phase, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::io_reason;

/// The longest path: the system's own limit, less the byte at its end.
const MAX_PATH: usize = 107;

struct Unix {
    path: PathBuf,
    talk: Talk,
}

enum Talk {
    Http(Box<OverUnix>),
    Texts(tcp::Talk),
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
        None => Talk::Texts(tcp::Talk::compile("unix", spec.send.as_deref(), spec.expect.as_deref())?),
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
            Talk::Texts(texts) => {
                let mut stream = self.connect(trace).await?;
                texts.run(trace, &mut stream).await
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
