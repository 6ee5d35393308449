//! The kind `icmp`: echo requests and their answers.

mod packet;
mod socket;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use self::socket::{Came, EchoSocket, Options};
use self::tally::Tally;
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{IcmpExpect, IcmpProbe, IpFamily, ProbeSpec};
use crate::outbound::GuardedLookup;
use crate::probes::result::{Failure, Phase, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::{Place, resolve};

/// How many requests a round sends by default.
const COUNT: u32 = 1;
/// The time between two requests by default.
const SPACING: Duration = Duration::from_millis(100);
/// How many bytes a request carries by default: as many as every ping.
const SIZE: u32 = 56;
/// The most that a packet of IPv4 can hold: 65,535 bytes less the headers of IP and ICMP.
const MAX_SIZE: u32 = 65_507;
/// The part of the timeout that is kept for the end of the round: answers that have not come before
/// it are lost, which says more than that the time ran out. At most [`MAX_RESERVE`].
const RESERVE: u32 = 20;
const MAX_RESERVE: Duration = Duration::from_millis(50);
/// The most packets that are looked at in a round: somebody else's answers are few on a raw socket,
/// and none on a ping socket.
const MAX_PACKETS: usize = 10_000;
/// The errors from the way that stand in the log of a round; the rest says the same.
const MAX_TOLD: usize = 5;

struct Icmp {
    place: Place,
    count: u16,
    spacing: Duration,
    size: usize,
    options: Options,
    expect: IcmpExpect,
    warn: Option<IcmpExpect>,
    lookup: GuardedLookup,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.icmp.as_ref().map(|icmp| {
        let icmp = Arc::new(prepare(icmp, tools.outbound.lookup())?);
        let host = icmp.place.host.clone();
        let prober: Prober = Arc::new(move |trace| {
            let icmp = Arc::clone(&icmp);
            Box::pin(async move { icmp.round(trace).await })
        });
        Ok(Ready { prober, host })
    })
}

fn prepare(spec: &IcmpProbe, lookup: &GuardedLookup) -> Result<Icmp, SpecError> {
    let place = Place::parse("icmp.host", &spec.host, spec.family, Some(1))?;
    // Echoes have no ports: one that is given means something else.
    if place.port != 1 {
        return Err(SpecError::new("icmp.host", format!("`{}` has a port: write the host alone", spec.host)));
    }
    let within = |field: &str, value: Option<u32>, least: u32, most: u32| match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(SpecError::new(format!("icmp.{field}"), format!("{value} is not allowed: {least} to {most} are")))
        }
        _ => Ok(()),
    };
    within("count", spec.count, 1, 20)?;
    within("size", spec.size, 0, MAX_SIZE)?;
    within("ttl", spec.ttl, 1, 255)?;
    for (field, expect) in [("expect", &spec.expect), ("warn", &spec.warn)] {
        let Some(expect) = expect else { continue };
        within(&format!("{field}.maxLoss"), expect.max_loss, 0, 99)?;
        within(&format!("{field}.minTtl"), expect.min_ttl, 1, 255)?;
        if expect.max_rtt.is_some_and(crate::model::Period::is_zero) {
            return Err(SpecError::new(format!("icmp.{field}.maxRtt"), "it is 0: no answer could be so fast"));
        }
    }
    Ok(Icmp {
        place,
        count: u16::try_from(spec.count.unwrap_or(COUNT)).unwrap_or(1),
        spacing: spec.spacing.map_or(SPACING, crate::model::Period::to_std),
        size: usize::try_from(spec.size.unwrap_or(SIZE)).unwrap_or_default(),
        options: Options { ttl: spec.ttl, dont_fragment: spec.dont_fragment },
        expect: spec.expect.clone().unwrap_or_default(),
        warn: spec.warn.clone(),
        lookup: lookup.clone(),
    })
}

impl Icmp {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let addresses = resolve(trace, &self.lookup, &self.place).await?;
        trace.enter(Phase::Processing);
        let Some(address) = self.choose(&addresses) else {
            return Err(Failure::new(Reason::Dns, format!("{} has no address", self.place.host)));
        };
        trace.fact("address", address.to_string());
        let mut token = [0; 16];
        getrandom::fill(&mut token)
            .map_err(|error| Failure::new(Reason::Exhausted, format!("no random numbers: {error}")))?;
        let [id_high, id_low, ..] = token;
        let id = u16::from_be_bytes([id_high, id_low]);
        let mut socket = EchoSocket::open(address, self.size, id, self.options)?;
        if socket.is_raw() {
            trace.log("over a raw socket: ping sockets are not allowed here");
        }
        // What an echo carries tells our own from older ones.
        let payload: Vec<u8> = token.iter().copied().cycle().take(self.size).collect();
        let (tally, told) = self.exchange(trace, &mut socket, &payload).await?;
        note(trace, &tally);
        tally.judge(&self.expect, told.as_ref())?;
        let warned = self.warn.as_ref().map_or(Ok(()), |warn| tally.judge(warn, told.as_ref()));
        warned.map_err(|failure| if failure.reason.is_own() { failure } else { failure.degraded() })
    }

    /// The first address, of IPv4 where there is a choice: fewer systems forbid it.
    fn choose(&self, addresses: &[std::net::IpAddr]) -> Option<std::net::IpAddr> {
        let v4 = addresses.iter().find(|address| self.place.family == IpFamily::Any && address.is_ipv4());
        v4.or(addresses.first()).copied()
    }

    /// Sends all requests on time, and takes the answers until all are there or the round must end.
    async fn exchange(
        &self,
        trace: &mut Trace,
        socket: &mut EchoSocket,
        payload: &[u8],
    ) -> Result<(Tally, Option<Failure>), Failure> {
        let start = Instant::now();
        let end = trace.deadline() - (trace.remaining() / RESERVE).min(MAX_RESERVE);
        let mut tally = Tally::default();
        let mut sent_at: Vec<Instant> = Vec::with_capacity(self.count.into());
        let (mut told, mut errors) = (None, 0);
        for _ in 0..MAX_PACKETS {
            let due = start + self.spacing * tally.sent;
            if tally.sent < self.count.into() && Instant::now() >= due {
                sent_at.push(Instant::now());
                let sequence = u16::try_from(tally.sent).unwrap_or(u16::MAX);
                tally.sent += 1;
                if let Err(failure) = socket.send(sequence, payload).await {
                    if failure.reason.is_own() || failure.reason == Reason::Mtu {
                        return Err(failure);
                    }
                    told = Some(failure);
                }
                continue;
            }
            if tally.received() >= u32::from(self.count) || errors >= u32::from(self.count) {
                break;
            }
            let until = if tally.sent < self.count.into() { due.min(end) } else { end };
            let Ok(came) = timeout_at(until, socket.next(payload)).await else {
                if until == end {
                    break;
                }
                sleep_until(due).await;
                continue;
            };
            match came {
                Came::Answer { sequence, ttl } => {
                    if let Some(at) = sent_at.get(usize::from(sequence))
                        && tally.take(sequence, at.elapsed(), ttl)
                    {
                        let millis = at.elapsed().as_secs_f64() * 1_000.0;
                        trace.log(format!("answer {} after {millis:.1} ms", sequence + 1));
                    }
                }
                Came::Error(failure) if failure.reason.is_own() || failure.reason == Reason::Mtu => {
                    return Err(failure);
                }
                Came::Error(failure) => {
                    errors += 1;
                    if usize::try_from(errors).unwrap_or(MAX_TOLD) <= MAX_TOLD {
                        trace.log(&failure.message);
                    }
                    told = Some(failure);
                }
                Came::Other => {}
            }
        }
        Ok((tally, told))
    }
}

fn note(trace: &mut Trace, tally: &Tally) {
    trace.fact("sent", tally.sent);
    trace.fact("received", tally.received());
    trace.fact("lossPercent", tally.loss());
    if let Some(times) = tally.times() {
        trace.fact("rttMin", times.min.as_secs_f64());
        trace.fact("rttAvg", times.avg.as_secs_f64());
        trace.fact("rttMax", times.max.as_secs_f64());
        trace.fact("rttJitter", times.jitter.as_secs_f64());
    }
    if let Some(ttl) = tally.ttl() {
        trace.fact("ttl", ttl);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{Outbound, Secrets};
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!({}), "icmp.host")]
    #[case(json!({"host": "a b"}), "icmp.host")]
    #[case(json!({"host": "shop:80"}), "icmp.host")]
    #[case(json!({"host": "shop", "count": 0}), "icmp.count")]
    #[case(json!({"host": "shop", "count": 21}), "icmp.count")]
    #[case(json!({"host": "shop", "size": 65_508}), "icmp.size")]
    #[case(json!({"host": "shop", "ttl": 256}), "icmp.ttl")]
    #[case(json!({"host": "shop", "expect": {"maxLoss": 100}}), "icmp.expect.maxLoss")]
    #[case(json!({"host": "shop", "warn": {"minTtl": 0}}), "icmp.warn.minTtl")]
    #[case(json!({"host": "shop", "warn": {"maxRtt": "0s"}}), "icmp.warn.maxRtt")]
    fn what_makes_no_sense_is_refused_by_its_field(#[case] spec: Value, #[case] field: &str) {
        let spec = serde_json::from_value(spec).unwrap();
        let outbound = Outbound::new(Secrets::default());
        assert_eq!(prepare(&spec, outbound.lookup()).err().unwrap().field, field);
    }
}
