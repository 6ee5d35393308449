//! Name to address to connection, for every kind that speaks TCP.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::place::Place;
use crate::outbound::{GuardedLookup, LookupError};
use crate::probes::result::{Failure, Line, Phase, Reason};
use crate::probes::trace::Trace;

/// The most addresses of one name that a round tries: enough for both families and a spare each,
/// few enough to leave each a part of the timeout.
pub(super) const MAX_ATTEMPTS: usize = 4;

/// Errors of the operating system that are ours: no descriptors (per process, per system), no
/// buffers, no memory, no free port. The numbers are those of Linux.
const EXHAUSTED: [i32; 5] = [24, 23, 105, 12, 99];
/// Errors that say that nothing of ours may or can leave: no route, no interface, forbidden by a
/// local firewall. Linux again.
const NO_NETWORK: [i32; 4] = [101, 100, 1, 13];

/// The first port that the system may give for our end of a connection; those below are for servers.
const FIRST_FREE_PORT: u16 = 1_024;
/// How long before the end of a round the wait for the resolver ends, so that it is the resolver
/// that is named, and not the target.
pub(super) const MARGIN: Duration = Duration::from_millis(2);

/// Resolves a place to its addresses of the wanted family, at least one; the phase is the caller's.
///
/// # Errors
/// The name has none, our resolver is in trouble or silent, or the address must not be probed.
pub(in crate::probes) async fn resolve(
    trace: &mut Trace,
    lookup: &GuardedLookup,
    place: &Place,
) -> Result<Vec<IpAddr>, Failure> {
    let host = &place.host;
    if host.parse::<IpAddr>().is_ok() {
        // Nobody has to be asked.
        return lookup.resolve_in(host, place.family).await.map_err(|error| lookup_failure(&error));
    }
    let end = trace.deadline().checked_sub(MARGIN).unwrap_or_else(Instant::now);
    let found = timeout_at(end, lookup.resolve_in(host, place.family)).await.map_err(|_| {
        Failure::new(Reason::Resolver, format!("the resolver has not told the addresses of {host} in time"))
    })?;
    let addresses = found.map_err(|error| lookup_failure(&error))?;
    trace.note(Line::Resolved(addresses.iter().copied().take(MAX_ATTEMPTS).collect()));
    Ok(addresses)
}

/// Resolves a place and connects to the first of its addresses that answers.
///
/// # Errors
/// None does.
pub(in crate::probes) async fn connect(
    trace: &mut Trace,
    lookup: &GuardedLookup,
    place: &Place,
) -> Result<TcpStream, Failure> {
    let stream = connect_once(trace, lookup, place).await?;
    // A probe's few bytes must not wait for more.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// [`connect`] for who writes once and then reads: what is written once waits for nothing anyway,
/// and saying so is a call of the system in every round.
///
/// # Errors
/// As [`connect`].
pub(in crate::probes) async fn connect_once(
    trace: &mut Trace,
    lookup: &GuardedLookup,
    place: &Place,
) -> Result<TcpStream, Failure> {
    let port = place.port;
    let addresses = resolve(trace, lookup, place).await?;
    trace.enter(Phase::Connect);
    let attempts = addresses.len().min(MAX_ATTEMPTS);
    let mut told: Option<Failure> = None;
    for (index, address) in addresses.into_iter().take(attempts).enumerate() {
        let address = SocketAddr::new(address, port);
        // The last address gets all that is left, and the round's own timeout ends it.
        let rest = u32::try_from(attempts - index).unwrap_or(1);
        let connecting = TcpStream::connect(address);
        let connected =
            if rest == 1 { Ok(connecting.await) } else { timeout(trace.remaining() / rest, connecting).await };
        let failed = match connected {
            Ok(Ok(stream)) if is_ourselves(&stream, address) => {
                Failure::new(Reason::Refused, format!("no connection to {address}: nobody has this port but we"))
            }
            Ok(Ok(stream)) => {
                trace.fact("address", written(address));
                trace.note(Line::Connected(address));
                return Ok(stream);
            }
            Ok(Err(error)) => connect_failure(address, &error),
            Err(_) => Failure::new(Reason::Timeout, format!("no connection to {address} in time")),
        };
        trace.log(&failed.message);
        told = Some(weightier(told, failed));
    }
    Err(told.unwrap_or_else(|| Failure::new(Reason::Dns, format!("{} has no address", place.host))))
}

/// An address as text, in one allocation: every round has one.
fn written(address: SocketAddr) -> String {
    let mut text = String::with_capacity(if address.is_ipv4() { 21 } else { 58 });
    // Writing to a string does not fail.
    let _ = write!(text, "{address}");
    text
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

/// Whether a connection leads back to itself: a port of this machine that nobody listens on may be
/// the one that we are given for our end, and then the system joins the two ends of one socket.
fn is_ourselves(stream: &TcpStream, address: SocketAddr) -> bool {
    address.port() >= FIRST_FREE_PORT && stream.local_addr().is_ok_and(|own| own == address)
}

/// Of the failures of two addresses the one that is told: a machine without IPv6 cannot try half of
/// them, and what the others say counts.
pub(super) fn weightier(told: Option<Failure>, failed: Failure) -> Failure {
    told.filter(|told| !told.reason.is_own() && failed.reason.is_own()).unwrap_or(failed)
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

    #[tokio::test]
    async fn a_connection_that_leads_back_to_itself_is_known() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let itself = socket.connect(address).await.unwrap();
        assert!(is_ourselves(&itself, address));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(!is_ourselves(&TcpStream::connect(address).await.unwrap(), address));
    }

    #[rstest]
    #[case(Some(Reason::Refused), Reason::Network, Reason::Refused)]
    #[case(Some(Reason::Exhausted), Reason::Timeout, Reason::Timeout)]
    #[case(Some(Reason::Timeout), Reason::Refused, Reason::Refused)]
    #[case(None, Reason::Network, Reason::Network)]
    fn what_an_address_says_outweighs_what_we_cannot_try(
        #[case] told: Option<Reason>,
        #[case] failed: Reason,
        #[case] weightier_one: Reason,
    ) {
        let told = told.map(|reason| Failure::new(reason, ""));
        assert_eq!(weightier(told, Failure::new(failed, "")).reason, weightier_one);
    }

    #[test]
    fn our_own_trouble_is_known_as_such() {
        for number in EXHAUSTED.into_iter().chain(NO_NETWORK) {
            assert!(io_reason(&io::Error::from_raw_os_error(number), Reason::Protocol).is_own());
        }
    }
}
