//! The bare client: connects, sends, reads and closes, with several connections in flight, and
//! nothing else. What it spends is the kernel's share of every prober.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};

use super::process::{Process, cpu_of};
use super::rates::Measured;
use super::targets::{Kind, Targets, host};

/// Connections in flight.
const IN_FLIGHT: usize = 16;

/// Runs the client in a process of its own, on the second core.
pub async fn measure(targets: &Targets, kind: Kind, seconds: Duration, log: &Path) -> anyhow::Result<Measured> {
    let (port, seconds) = (targets.port(kind).to_string(), seconds.as_secs().to_string());
    let mut client = Process::start("1", &std::env::current_exe()?, &["bare", kind.name(), &port, &seconds], log)?;
    while client.check().is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said: Value = serde_json::from_str(&std::fs::read_to_string(log)?).context("what the bare client says")?;
    let number = |name: &str| said[name].as_f64().context("a number of the bare client");
    Ok(Measured { probes: number("probes")?, failed: number("failed")?, cpu: number("cpu")?, wall: number("wall")? })
}

/// The client itself: `bare KIND PORT SECONDS`.
pub fn main(words: &[String]) -> anyhow::Result<()> {
    let [kind, port, seconds] = words else { anyhow::bail!("bare KIND PORT SECONDS") };
    let (send, answer): (&[u8], &[u8]) = match kind.as_str() {
        "http" => (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 OK"),
        "tcp" => (b"", b""),
        "tcp exchange" => (b"PING\r\n", b"+PONG\r\n"),
        _ => anyhow::bail!("there is no bare client for {kind}"),
    };
    let port: u16 = port.parse()?;
    let addresses: Result<Vec<SocketAddr>, _> = (0..16).map(|turn| format!("{}:{port}", host(turn)).parse()).collect();
    let mut client = Client { addresses: addresses?, send, answer, poll: Poll::new()?, turn: 0, probes: 0, failed: 0 };
    let said = client.run(Duration::from_secs(seconds.parse()?))?;
    println!("{said}");
    Ok(())
}

struct Client {
    addresses: Vec<SocketAddr>,
    send: &'static [u8],
    answer: &'static [u8],
    poll: Poll,
    turn: usize,
    probes: u64,
    failed: u64,
}

/// One connection.
struct Flight {
    stream: TcpStream,
    sent: bool,
}

impl Client {
    fn run(&mut self, time: Duration) -> anyhow::Result<Value> {
        let mut flights: Vec<Flight> = (0..IN_FLIGHT).map(|place| self.connect(place)).collect::<Result<_, _>>()?;
        let mut events = Events::with_capacity(IN_FLIGHT);
        let (begun, cpu) = (Instant::now(), cpu_of("self")?);
        while begun.elapsed() < time {
            self.poll.poll(&mut events, Some(Duration::from_secs(5)))?;
            anyhow::ensure!(!events.is_empty(), "nothing happened for five seconds");
            for event in &events {
                let place = event.token().0;
                let flight = flights.get_mut(place).context("a token of ours")?;
                if let Some(success) = self.go_on(flight) {
                    self.probes += 1;
                    self.failed += u64::from(!success);
                    *flight = self.connect(place)?;
                }
            }
        }
        let cpu = cpu_of("self")? - cpu;
        Ok(json!({"probes": self.probes, "failed": self.failed, "cpu": cpu, "wall": begun.elapsed().as_secs_f64()}))
    }

    fn connect(&mut self, place: usize) -> anyhow::Result<Flight> {
        self.turn = (self.turn + 1) % self.addresses.len();
        let mut stream = TcpStream::connect(self.addresses[self.turn])?;
        self.poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Flight { stream, sent: false })
    }

    /// Whether the exchange succeeded, once it is over.
    fn go_on(&self, flight: &mut Flight) -> Option<bool> {
        if !flight.sent {
            match flight.stream.write(self.send) {
                // The answer has an event of its own.
                Ok(count) if count == self.send.len() => {
                    flight.sent = true;
                    return self.answer.is_empty().then_some(true);
                }
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::NotConnected].contains(&error.kind()) => return None,
                _ => return Some(false),
            }
        }
        let mut answer = [0; 1_024];
        match flight.stream.read(&mut answer) {
            Ok(count) => Some(answer[..count].starts_with(self.answer)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(false),
        }
    }
}
