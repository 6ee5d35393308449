//! How a gRPC call ended: its status, in words: pure.

use hyper::HeaderMap;

use crate::probes::result::{Failure, Reason};

/// The longest message of a status that is kept.
const MAX_MESSAGE: usize = 200;
/// The names of the codes (grpc/status, 0 to 16).
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The status of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u32,
    /// What the server says about it; empty where nothing.
    pub(super) message: String,
}

impl Status {
    /// Reads it from trailers, or from headers where there is no body.
    ///
    /// # Errors
    /// What stands there is no number.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let Some(code) = headers.get("grpc-status") else { return Ok(None) };
        let code = code.to_str().ok().and_then(|code| code.parse().ok());
        let code =
            code.ok_or_else(|| format!("grpc-status is {:?}, which is no number", headers.get("grpc-status")))?;
        let message = headers.get("grpc-message").map(|message| decoded(message.as_bytes())).unwrap_or_default();
        Ok(Some(Self { code, message }))
    }

    /// The name of the code.
    pub(super) fn name(&self) -> String {
        let known = usize::try_from(self.code).ok().and_then(|code| NAMES.get(code));
        known.map_or_else(|| format!("code {}", self.code), |name| (*name).to_owned())
    }

    /// What a status other than OK says of a health service's `service`.
    pub(super) fn failure(&self, service: &str) -> Failure {
        let service = if service.is_empty() { "the whole server".to_owned() } else { format!("`{service}`") };
        let (reason, meaning) = match self.code {
            4 => (Reason::Timeout, "the server had no answer in time".to_owned()),
            5 => (Reason::Serving, format!("the health service does not know {service}")),
            12 => (Reason::Serving, "the server has no health service (grpc.health.v1.Health)".to_owned()),
            7 => (Reason::Status, "we are not allowed to ask".to_owned()),
            14 => (Reason::Status, "the server cannot answer now".to_owned()),
            16 => (Reason::Status, "it wants to know who asks".to_owned()),
            _ => (Reason::Status, format!("the health of {service} is not told")),
        };
        let said = if self.message.is_empty() { String::new() } else { format!(": {}", self.message) };
        Failure::new(reason, format!("{meaning} ({}{said})", self.name()))
    }
}

/// A message is UTF-8 with percent signs for what a header cannot hold.
fn decoded(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len().min(MAX_MESSAGE));
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if plain.len() >= MAX_MESSAGE {
            break;
        }
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                digit(high).zip(digit(low)).and_then(|(high, low)| u8::try_from(high << 4 | low).ok())
            }
            _ => None,
        };
        plain.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn status(code: &str, message: &str) -> Result<Option<Status>, String> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", code.parse().unwrap());
        headers.insert("grpc-message", message.parse().unwrap());
        Status::read(&headers)
    }

    #[rstest]
    #[case("5", Reason::Serving, "the health service does not know `shop` (NOT_FOUND: unknown service)")]
    #[case(
        "12",
        Reason::Serving,
        "the server has no health service (grpc.health.v1.Health) (UNIMPLEMENTED: unknown service)"
    )]
    #[case("4", Reason::Timeout, "the server had no answer in time (DEADLINE_EXCEEDED: unknown service)")]
    #[case("16", Reason::Status, "it wants to know who asks (UNAUTHENTICATED: unknown service)")]
    #[case("13", Reason::Status, "the health of `shop` is not told (INTERNAL: unknown service)")]
    #[case("99", Reason::Status, "the health of `shop` is not told (code 99: unknown service)")]
    fn a_status_has_its_meaning(#[case] code: &str, #[case] reason: Reason, #[case] message: &str) {
        let failure = status(code, "unknown service").unwrap().unwrap().failure("shop");
        assert_eq!((failure.reason, failure.message.as_str()), (reason, message));
    }

    #[rstest]
    #[case("a%20b%C3%BC", "a bü")]
    #[case("100%", "100%")]
    #[case("%zz%4", "%zz%4")]
    #[case("%FF", "\u{fffd}")]
    fn a_message_is_decoded(#[case] message: &str, #[case] plain: &str) {
        assert_eq!(status("0", message).unwrap().unwrap().message, plain);
    }

    #[test]
    fn what_is_no_status_is_told() {
        assert!(status("ok", "").unwrap_err().contains("no number"));
        assert_eq!(Status::read(&HeaderMap::new()), Ok(None));
    }

    proptest! {
        #[test]
        fn a_message_has_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(decoded(&bytes).chars().count() <= MAX_MESSAGE);
        }
    }
}
