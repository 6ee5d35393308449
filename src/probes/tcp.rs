//! The kind `tcp`: a connection, and optionally an exchange of texts.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{connect, io_reason};
use super::kind::{Prober, SpecError};
use super::result::{Failure, Reason};
use super::text::{show, unescape};
use super::trace::{Timed, Trace};
use crate::api::{ProbeSpec, TcpProbe};
use crate::outbound::{GuardedLookup, Outbound};

/// How much of what comes back is looked at: a greeting has no more, and the field says so.
const MAX_ANSWER: usize = 4_096;
/// How much memory a compiled expression may take.
pub(super) const MAX_REGEX: usize = 1 << 20;
/// How much of an answer stands in a message.
const MAX_SHOWN: usize = 120;

struct Tcp {
    host: String,
    port: u16,
    send: Vec<u8>,
    expect: Option<Regex>,
    lookup: GuardedLookup,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, outbound: &Outbound) -> Option<Result<Prober, SpecError>> {
    spec.tcp.as_ref().map(|tcp| prepare(tcp, outbound))
}

fn prepare(spec: &TcpProbe, outbound: &Outbound) -> Result<Prober, SpecError> {
    let (host, port) = split(&spec.address)?;
    let send = spec.send.as_deref().map(unescape).transpose();
    let send = send.map_err(|why| SpecError::new("tcp.send", why))?.unwrap_or_default();
    let compiled = spec.expect.as_deref().map(|text| RegexBuilder::new(text).size_limit(MAX_REGEX).build()).transpose();
    let expect = compiled.map_err(|error| SpecError::new("tcp.expect", error.to_string()))?;
    let tcp = Arc::new(Tcp { host, port, send, expect, lookup: outbound.lookup().clone() });
    Ok(Arc::new(move |trace| {
        let tcp = Arc::clone(&tcp);
        Box::pin(async move { tcp.round(trace).await })
    }))
}

/// Host and port of an address.
fn split(address: &str) -> Result<(String, u16), SpecError> {
    let wrong =
        |why: &str| SpecError::new("tcp.address", format!("`{address}` {why}: write `host:port` or `[::1]:22`"));
    let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
    let port: u16 = port.parse().map_err(|_| wrong("has no port between 1 and 65535"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        _ if port == 0 => Err(wrong("has port 0")),
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_err() => Err(wrong("has no IPv6 address in its brackets")),
        Some(v6) => Ok((v6.to_owned(), port)),
        None if host.is_empty() || host.contains([':', '/', '[', ']', '@']) || host.contains(char::is_whitespace) => {
            Err(wrong("has no host"))
        }
        None => Ok((host.to_owned(), port)),
    }
}

impl Tcp {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let stream = connect(trace, &self.lookup, &self.host, self.port).await?;
        if self.send.is_empty() && self.expect.is_none() {
            return Ok(());
        }
        let mut stream = Timed::new(stream, trace.exchange());
        if !self.send.is_empty() {
            let sent = async {
                stream.write_all(&self.send).await?;
                stream.flush().await
            };
            sent.await
                .map_err(|error| Failure::new(io_reason(&error, Reason::Send), format!("while sending: {error}")))?;
            trace.log(format!("sent {}", show(&self.send, MAX_SHOWN)));
        }
        match &self.expect {
            None => Ok(()),
            Some(expect) => self.expected(trace, &mut stream, expect).await,
        }
    }

    async fn expected(
        &self,
        trace: &mut Trace,
        stream: &mut (impl AsyncReadExt + Unpin),
        expect: &Regex,
    ) -> Result<(), Failure> {
        let mut answer = Vec::new();
        let mut chunk = [0; 1_024];
        loop {
            let read = stream.read(&mut chunk).await.map_err(|error| {
                let seen = show(&answer, MAX_SHOWN);
                Failure::new(io_reason(&error, Reason::Reset), format!("after {seen}: {error}"))
            })?;
            let room = MAX_ANSWER.saturating_sub(answer.len());
            answer.extend(chunk.iter().take(read.min(room)));
            trace.fact("answerBytes", answer.len());
            if expect.is_match(&answer) {
                trace.log(format!("received {}", show(&answer, MAX_SHOWN)));
                return Ok(());
            }
            if read == 0 || answer.len() >= MAX_ANSWER {
                let seen = show(&answer, MAX_SHOWN);
                return Err(Failure::new(Reason::Expect, format!("received {seen}, which does not match `{expect}`")));
            }
            trace.log(format!("received {read} bytes: {}", show(&answer, MAX_SHOWN)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("redis.shop:6379", "redis.shop", 6379)]
    #[case("[::1]:22", "::1", 22)]
    #[case("127.0.0.1:80", "127.0.0.1", 80)]
    fn an_address_is_host_and_port(#[case] address: &str, #[case] host: &str, #[case] port: u16) {
        assert_eq!(split(address), Ok((host.to_owned(), port)));
    }

    #[rstest]
    #[case("redis")]
    #[case("redis:")]
    #[case(":6379")]
    #[case("redis:0")]
    #[case("redis:65536")]
    #[case("::1:22")]
    #[case("[redis]:22")]
    #[case("http://redis:80")]
    #[case("a b:80")]
    fn what_is_no_address_is_refused_with_an_example(#[case] address: &str) {
        let message = split(address).unwrap_err().to_string();
        assert!(message.contains("host:port") && message.contains(address), "{message}");
    }
}
