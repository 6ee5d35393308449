//! What the kinds share below their protocols: places, connections, datagrams, TLS, texts.

mod connect;
mod datagram;
mod headers;
mod place;
mod secure;
mod text;
mod transport;

pub(super) use connect::{connect, connect_once, io_reason, lookup_failure, resolve};
pub(super) use datagram::{Heard, ask};
pub(super) use headers::Headers;
pub(super) use place::Place;
pub(super) use secure::{Secure, Shown, check_alpn, valid_until};
pub(super) use text::{expression, show, unescape};
pub(super) use transport::transport_failure;

/// How much memory a compiled expression may take.
pub(super) const MAX_REGEX: usize = 1 << 20;
/// How much of what came back stands in a message or a log line.
pub(super) const MAX_SHOWN: usize = 120;
