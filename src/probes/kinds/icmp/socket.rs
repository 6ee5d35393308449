//! A socket for echoes: a ping socket, or a raw one where only that is allowed.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::packet::{self, Echo};
use crate::probes::result::{Failure, Reason};
use crate::probes::wire::io_reason;

/// Room for what the system tells beside a packet: hops, and an error with the address that sent it.
const CONTROL: usize = 256;
/// Room for a header of IPv4 with options and one of ICMP, beside what an echo carries.
const HEADERS: usize = 60 + 8;
/// The numbers of errors that say that such a socket is not allowed (EPERM, EACCES) or not known
/// (EPROTONOSUPPORT, ESOCKTNOSUPPORT). Those of Linux.
const NOT_ALLOWED: [i32; 4] = [1, 13, 93, 94];
/// No such family of addresses (EAFNOSUPPORT). Linux again.
const NO_FAMILY: i32 = 97;
/// A packet is too large for the way (EMSGSIZE). Linux again.
const TOO_LARGE: i32 = 90;
/// Where an error was made (`SO_EE_ORIGIN_LOCAL`): on this machine.
const LOCAL: u8 = 1;

/// What the options of a socket are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) ttl: Option<u32>,
    pub(super) dont_fragment: bool,
}

/// A socket that is connected to one address.
pub(super) struct EchoSocket {
    /// Whatever sends datagrams can stand in this type, which the runtime knows how to wait for.
    inner: UdpSocket,
    v6: bool,
    raw: bool,
    id: u16,
    buffer: Vec<u8>,
}

/// What came.
pub(super) enum Came {
    /// An answer to one of our requests, with the hops that were left of it.
    Answer { sequence: u16, ttl: Option<u32> },
    /// A router or the host itself says why there is none.
    Error(Failure),
    /// Something that is not for us.
    Other,
}

impl EchoSocket {
    /// Opens one for `size` bytes in each echo; `id` tells ours from others' on a raw socket.
    ///
    /// # Errors
    /// Neither kind is allowed, or the system is in trouble.
    pub(super) fn open(address: IpAddr, size: usize, id: u16, options: Options) -> Result<Self, Failure> {
        let v6 = address.is_ipv6();
        let (socket, raw) = match make(v6, Type::DGRAM) {
            Ok(socket) => (socket, false),
            Err(error) if is_not_allowed(&error) => (make(v6, Type::RAW).map_err(|error| forbidden(&error))?, true),
            Err(error) => return Err(forbidden(&error)),
        };
        prepare(&socket, v6, options).map_err(|error| trouble("while preparing the socket", &error))?;
        let to = SockAddr::from(SocketAddr::new(address, 0));
        socket.connect(&to).map_err(|error| trouble(&format!("no way to {address}"), &error))?;
        let inner = UdpSocket::from_std(socket.into());
        let inner = inner.map_err(|error| trouble("while watching the socket", &error))?;
        Ok(Self { inner, v6, raw, id, buffer: vec![0; size + HEADERS] })
    }

    /// Whether it is a raw one.
    pub(super) const fn is_raw(&self) -> bool {
        self.raw
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The packet is too large, there is no way, or the system is in trouble.
    pub(super) async fn send(&self, sequence: u16, payload: &[u8]) -> Result<(), Failure> {
        let bytes = Echo { id: self.id, sequence, payload }.request(self.v6);
        self.inner.send(&bytes).await.map(drop).map_err(|error| trouble("while sending", &error))
    }

    /// Waits for whatever comes next.
    pub(super) async fn next(&mut self, payload: &[u8]) -> Came {
        let (socket, buffer) = (self.inner.as_raw_fd(), &mut self.buffer);
        match self.inner.async_io(Interest::READABLE | Interest::ERROR, || read(socket, buffer)).await {
            Ok(Read::Packet { length, ttl }) => {
                let bytes = self.buffer.get(..length).unwrap_or_default();
                self.answer(bytes, payload).map_or(Came::Other, |sequence| Came::Answer { sequence, ttl })
            }
            Ok(Read::Error(failure)) => Came::Error(failure),
            Err(error) => Came::Error(trouble("while waiting for an answer", &error)),
        }
    }

    /// The sequence number of an answer to us.
    fn answer(&self, bytes: &[u8], payload: &[u8]) -> Option<u16> {
        let bytes = if self.raw && !self.v6 { packet::without_ipv4(bytes)? } else { bytes };
        let echo = packet::answer(bytes, self.v6)?;
        // A ping socket has an identifier of the system's choice, and gets nobody else's answers.
        let ours = (!self.raw || echo.id == self.id) && echo.payload == payload;
        ours.then_some(echo.sequence)
    }
}

enum Read {
    Packet { length: usize, ttl: Option<u32> },
    Error(Failure),
}

/// Reads an error that was told, or else a packet.
fn read(socket: RawFd, buffer: &mut [u8]) -> io::Result<Read> {
    if let Some(failure) = told(socket)? {
        return Ok(Read::Error(failure));
    }
    let mut control = [0; CONTROL];
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let ttl = message.cmsgs().into_iter().flatten().find_map(|control| match control {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => u32::try_from(ttl).ok(),
        _ => None,
    });
    Ok(Read::Packet { length: message.bytes, ttl })
}

/// The next error of the socket's queue.
fn told(socket: RawFd) -> io::Result<Option<Failure>> {
    let mut control = [0; CONTROL];
    // What of our own packet comes back with the error is of no use.
    let mut sent = [0; HEADERS];
    let mut parts = [IoSliceMut::new(&mut sent)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = match recvmsg::<()>(socket, &mut parts, Some(&mut control), flags) {
        Ok(message) => message,
        Err(nix::errno::Errno::EAGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(message.cmsgs().into_iter().flatten().find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, from) => {
            let from = from.map(|from| IpAddr::from(u32::from_be(from.sin_addr.s_addr).to_be_bytes()));
            Some(explained(error.ee_errno, error.ee_origin, error.ee_type == 11, error.ee_info, from))
        }
        ControlMessageOwned::Ipv6RecvErr(error, from) => {
            let from = from.map(|from| IpAddr::from(from.sin6_addr.s6_addr));
            Some(explained(error.ee_errno, error.ee_origin, error.ee_type == 3, error.ee_info, from))
        }
        _ => None,
    }))
}

/// An error in words: `hops` where a packet had made all its hops, `info` the MTU where one was too large.
fn explained(number: u32, origin: u8, hops: bool, info: u32, from: Option<IpAddr>) -> Failure {
    let error = io::Error::from_raw_os_error(i32::try_from(number).unwrap_or_default());
    let who = match from {
        Some(from) if origin != LOCAL && !from.is_unspecified() => format!(", says {from}"),
        _ => String::new(),
    };
    if error.raw_os_error() == Some(TOO_LARGE) {
        return Failure::new(Reason::Mtu, format!("the packet is too large for the way: at most {info} bytes go{who}"));
    }
    if origin != LOCAL && hops {
        return Failure::new(Reason::Ttl, format!("the request had made all its hops before it arrived{who}"));
    }
    // Somebody on the way knows no way on: that is not our own network.
    let reason = if origin == LOCAL { io_reason(&error, Reason::Unreachable) } else { Reason::Unreachable };
    Failure::new(reason, format!("{error}{who}"))
}

fn make(v6: bool, kind: Type) -> io::Result<Socket> {
    let (domain, protocol) = if v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn prepare(socket: &Socket, v6: bool, options: Options) -> io::Result<()> {
    if v6 {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
        setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true)?;
        if options.dont_fragment {
            set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
            setsockopt(socket, sockopt::Ipv6DontFrag, &true)?;
        }
        options.ttl.map_or(Ok(()), |ttl| socket.set_unicast_hops_v6(ttl))
    } else {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
        setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?;
        if options.dont_fragment {
            // What the system remembers of the way is not asked: every round measures it anew.
            set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?;
        }
        options.ttl.map_or(Ok(()), |ttl| socket.set_ttl_v4(ttl))
    }
}

fn is_not_allowed(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| NOT_ALLOWED.contains(&number))
}

/// No socket is to be had.
fn forbidden(error: &io::Error) -> Failure {
    if is_not_allowed(error) {
        let message = format!(
            "unsupported here: the system allows neither ping sockets nor raw ones ({error}); allow one of them by the \
             sysctl net.ipv4.ping_group_range (it must contain a group of this process) or the capability CAP_NET_RAW"
        );
        return Failure::new(Reason::Unsupported, message);
    }
    if error.raw_os_error() == Some(NO_FAMILY) {
        return Failure::new(Reason::Unsupported, format!("unsupported here: {error}"));
    }
    trouble("while opening a socket", error)
}

fn trouble(doing: &str, error: &io::Error) -> Failure {
    if error.raw_os_error() == Some(TOO_LARGE) {
        return Failure::new(Reason::Mtu, format!("{doing}: the packet is too large for the interface"));
    }
    Failure::new(io_reason(error, Reason::Unreachable), format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(1, Reason::Unsupported, "net.ipv4.ping_group_range")]
    #[case(13, Reason::Unsupported, "CAP_NET_RAW")]
    #[case(97, Reason::Unsupported, "unsupported here")]
    #[case(24, Reason::Exhausted, "while opening")]
    fn what_the_system_forbids_is_never_held_against_the_target(
        #[case] number: i32,
        #[case] reason: Reason,
        #[case] message: &str,
    ) {
        let failure = forbidden(&io::Error::from_raw_os_error(number));
        assert!(failure.reason == reason && reason.is_own() && failure.message.contains(message), "{failure:?}");
    }

    #[rstest]
    #[case(90, 2, false, 1_400, Reason::Mtu, "at most 1400 bytes go, says 10.0.0.1")]
    #[case(113, 2, true, 0, Reason::Ttl, "all its hops before it arrived, says 10.0.0.1")]
    #[case(113, 2, false, 0, Reason::Unreachable, "says 10.0.0.1")]
    #[case::somebody_elses_network(101, 2, false, 0, Reason::Unreachable, "says 10.0.0.1")]
    #[case::our_own_network(101, LOCAL, false, 0, Reason::Network, "")]
    #[case(90, LOCAL, false, 1_500, Reason::Mtu, "at most 1500 bytes go")]
    fn an_error_from_the_way_has_its_reason(
        #[case] number: u32,
        #[case] origin: u8,
        #[case] hops: bool,
        #[case] info: u32,
        #[case] reason: Reason,
        #[case] message: &str,
    ) {
        let failure = explained(number, origin, hops, info, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(failure.reason, reason);
        assert!(failure.message.ends_with(message), "{failure:?}");
    }
}
