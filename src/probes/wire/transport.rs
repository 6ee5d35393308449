//! What an error of an HTTP connection says, of every version.

use std::error::Error;

use super::connect::io_reason;
use crate::probes::result::{Failure, Reason};

/// Why a peer of HTTP/2 ends a stream or a connection without our having done anything wrong.
const GONE: [h2::Reason; 5] = [
    h2::Reason::NO_ERROR,
    h2::Reason::REFUSED_STREAM,
    h2::Reason::CANCEL,
    h2::Reason::INTERNAL_ERROR,
    h2::Reason::ENHANCE_YOUR_CALM,
];

/// Finds the cause of an error: the socket's, the protocol's, or the end of the connection.
pub(in crate::probes) fn transport_failure(error: &hyper::Error) -> Failure {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let h2 = inner.downcast_ref::<h2::Error>();
        if let Some(io) = inner.downcast_ref::<std::io::Error>().or_else(|| h2.and_then(h2::Error::get_io)) {
            return Failure::new(io_reason(io, Reason::Reset), format!("in mid-exchange: {io}"));
        }
        if let Some(h2) = h2 {
            let gone = h2.is_remote() && h2.reason().is_some_and(|reason| GONE.contains(&reason));
            let reason = if gone { Reason::Reset } else { Reason::Protocol };
            return Failure::new(reason, format!("HTTP/2: {h2}"));
        }
        cause = inner.source();
    }
    let reason = if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
        Reason::Reset
    } else if error.is_parse_too_large() {
        Reason::Size
    } else {
        Reason::Protocol
    };
    Failure::new(reason, format!("no whole HTTP answer: {error}"))
}
