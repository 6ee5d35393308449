//! Name to address to connection, for every kind that speaks TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::place::Place;
use crate::outbound::{GuardedLookup, LookupError};
use crate::probes::result::{Failure, Line, Phase, Reason};
use crate::probes::trace::Trace;

/// The most addresses of one name that a round tries: enough for both families and a spare each,
/// few enough to leave each a part of the timeout.
const MAX_ATTEMPTS: usize = 4;

/// Errors of the operating system that are ours: no descriptors (per process, per system), no
/// buffers, no memory, no free port. The numbers are those of Linux.
const EXHAUSTED: [i32; 5] = [24, 23, 105, 12, 99];
/// Errors that say that nothing of ours may or can leave: no route, no interface, forbidden by a
/// local firewall. Linux again.
const NO_NETWORK: [i32; 4] = [101, 100, 1, 13];

/// Resolves a place to its addresses of the wanted family; the phase is the caller's.
async fn resolve(trace: &mut Trace, lookup: &GuardedLookup, place: &Place) -> Result<Vec<IpAddr>, Failure> {
    let host = &place.host;
    let mut addresses = lookup.resolve(host).await.map_err(|error| lookup_failure(&error))?;
    addresses.retain(|address| place.takes(address));
    if addresses.is_empty() {
        return Err(Failure::new(Reason::Dns, format!("{host} has no address of the family that is asked for")));
    }
    if addresses.first().is_none_or(|address| address.to_string() != *host) {
        trace.log(format!("{host} is {}", list(&addresses)));
    }
    Ok(addresses)
}

/// Resolves a place and connects to the first of its addresses that answers.
pub(in crate::probes) async fn connect(
    trace: &mut Trace,
    lookup: &GuardedLookup,
    place: &Place,
) -> Result<TcpStream, Failure> {
    let port = place.port;
    let addresses = resolve(trace, lookup, place).await?;
    trace.enter(Phase::Connect);
    let attempts = addresses.len().min(MAX_ATTEMPTS);
    let mut last = Failure::new(Reason::Dns, format!("{} has no address", place.host));
    for (index, address) in addresses.into_iter().take(attempts).enumerate() {
        let address = SocketAddr::new(address, port);
        // The last address gets all that is left, and the round's own timeout ends it.
        let rest = u32::try_from(attempts - index).unwrap_or(1);
        let share = if rest == 1 { trace.remaining().saturating_mul(2) } else { trace.remaining() / rest };
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                trace.fact("address", address.to_string());
                trace.note(Line::Connected(address));
                // A probe's few bytes must not wait for more.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = connect_failure(address, &error),
            Err(_) => last = Failure::new(Reason::Timeout, format!("no connection to {address} in time")),
        }
        trace.log(&last.message);
    }
    Err(last)
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().take(MAX_ATTEMPTS).map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(in crate::probes) fn lookup_failure(error: &LookupError) -> Failure {
    let reason = match error {
        LookupError::NoSuchName { .. } => Reason::Dns,
        LookupError::Trouble { .. } => Reason::Resolver,
        LookupError::Refused { .. } => Reason::Forbidden,
    };
    Failure::new(reason, error.to_string())
}

fn connect_failure(address: SocketAddr, error: &io::Error) -> Failure {
    Failure::new(io_reason(error, Reason::Unreachable), format!("no connection to {address}: {error}"))
}

/// What an error of a socket says; `other` where it says nothing in particular.
pub(in crate::probes) fn io_reason(error: &io::Error, other: Reason) -> Reason {
    match (error.raw_os_error(), error.kind()) {
        (Some(number), _) if EXHAUSTED.contains(&number) => Reason::Exhausted,
        (Some(number), _) if NO_NETWORK.contains(&number) => Reason::Network,
        (_, io::ErrorKind::ConnectionRefused) => Reason::Refused,
        (_, io::ErrorKind::HostUnreachable) => Reason::Unreachable,
        (_, io::ErrorKind::TimedOut) => Reason::Timeout,
        (
            _,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof,
        ) => Reason::Reset,
        _ => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(24, Reason::Exhausted)]
    #[case(99, Reason::Exhausted)]
    #[case(101, Reason::Network)]
    #[case(111, Reason::Refused)]
    #[case(113, Reason::Unreachable)]
    #[case(110, Reason::Timeout)]
    #[case(104, Reason::Reset)]
    fn an_error_of_the_system_has_its_reason(#[case] number: i32, #[case] reason: Reason) {
        assert_eq!(io_reason(&io::Error::from_raw_os_error(number), Reason::Protocol), reason);
    }

    #[test]
    fn our_own_trouble_is_known_as_such() {
        for number in EXHAUSTED.into_iter().chain(NO_NETWORK) {
            assert!(io_reason(&io::Error::from_raw_os_error(number), Reason::Protocol).is_own());
        }
    }
}
