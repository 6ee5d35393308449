//! A datagram out, and the one that answers it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::connect::{MARGIN, MAX_ATTEMPTS, io_reason, resolve, weightier};
use super::place::Place;
use crate::outbound::GuardedLookup;
use crate::probes::result::{Failure, Line, Reason};
use crate::probes::trace::{Marks, Trace};

/// The largest datagram there is.
const MAX_DATAGRAM: usize = 65_535;
/// The most datagrams of one peer that are looked at: one answers, a few may be late or lies, and
/// a flood must not keep a round busy.
const MAX_HEARD: usize = 64;

/// How often another port of ours is tried where we were given the one that is probed.
const MAX_BINDS: usize = 4;

/// What a datagram that came back is.
pub(in crate::probes) enum Heard<T> {
    /// The answer.
    Answer(T),
    /// None of ours; this is what is told where nothing better comes in time.
    Other(Failure),
    /// An answer that ends the round.
    Wrong(Failure),
}

/// Sends `payload` to the first address of a place that does not refuse it, and hands what comes
/// back to `hear` until that has its answer. Only datagrams of the address that was asked come
/// through. Gives the address, too.
///
/// # Errors
/// Nobody answers, the place cannot be reached, or what `hear` says.
pub(in crate::probes) async fn ask<T>(
    trace: &mut Trace,
    lookup: &GuardedLookup,
    place: &Place,
    payload: &[u8],
    mut hear: impl FnMut(&[u8]) -> Heard<T> + Send,
) -> Result<(T, SocketAddr), Failure> {
    let addresses = resolve(trace, lookup, place).await?;
    let attempts = addresses.len().min(MAX_ATTEMPTS);
    let end = trace.deadline().checked_sub(MARGIN).unwrap_or_else(Instant::now);
    let mut told = None;
    for (index, address) in addresses.into_iter().take(attempts).enumerate() {
        let address = SocketAddr::new(address, place.port);
        let marks = trace.exchange();
        let now = Instant::now();
        let rest = u32::try_from(attempts - index).unwrap_or(1);
        let share = now + end.saturating_duration_since(now) / rest;
        let failed = match send(address, payload, &marks).await {
            Ok(socket) => {
                trace.fact("address", address.to_string());
                trace.note(Line::Sent(payload.len()));
                match receive(&socket, address, share, &marks, &mut hear).await {
                    Ok(answer) => return Ok((answer, address)),
                    Err(Ended::Wrong(failure)) => return Err(failure),
                    Err(Ended::Unheard(failure)) => failure,
                }
            }
            Err(error) => {
                let why = format!("no datagram to {address}: {error}");
                Failure::new(io_reason(&error, Reason::Send), why)
            }
        };
        trace.log(&failed.message);
        told = Some(weightier(told, failed));
    }
    Err(told.unwrap_or_else(|| Failure::new(Reason::Dns, format!("{} has no address", place.host))))
}

/// Why there is no answer.
enum Ended {
    /// There was a wrong one.
    Wrong(Failure),
    /// There was none.
    Unheard(Failure),
}

async fn send(address: SocketAddr, payload: &[u8], marks: &Arc<Marks>) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    for _ in 0..MAX_BINDS {
        let socket = UdpSocket::bind(any).await?;
        // From here on the system hands on datagrams of this address only, and tells when its port is shut.
        socket.connect(address).await?;
        // The port that we were given may be the very one that is probed on this machine, and nobody's:
        // we would hear ourselves.
        if socket.local_addr()? != address {
            socket.send(payload).await?;
            marks.wrote();
            return Ok(socket);
        }
    }
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody has this port but we"))
}

async fn receive<T>(
    socket: &UdpSocket,
    address: SocketAddr,
    end: Instant,
    marks: &Arc<Marks>,
    hear: &mut (impl FnMut(&[u8]) -> Heard<T> + Send),
) -> Result<T, Ended> {
    let mut unheard = Failure::new(Reason::Timeout, format!("no answer from {address} in time"));
    for _ in 0..MAX_HEARD {
        let mut datagram = Vec::with_capacity(MAX_DATAGRAM);
        match timeout_at(end, socket.recv_buf(&mut datagram)).await {
            Err(_) => return Err(Ended::Unheard(unheard)),
            Ok(Err(error)) => {
                let failure = Failure::new(io_reason(&error, Reason::Reset), format!("from {address}: {error}"));
                return Err(Ended::Unheard(failure));
            }
            Ok(Ok(_)) => marks.read(),
        }
        match hear(&datagram) {
            Heard::Answer(answer) => return Ok(answer),
            Heard::Wrong(failure) => return Err(Ended::Wrong(failure)),
            Heard::Other(failure) => unheard = failure,
        }
    }
    Err(Ended::Wrong(unheard))
}
