//! What one round of a probe gives: success or a reason and a phase, durations, facts, log lines.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

pub use super::words::{Judgement, Phase, Reason};
use crate::model::ProbeState;

/// How long each phase took; a phase that was not reached is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    /// In microseconds, by phase; what is longer than 71 minutes counts as 71 minutes.
    micros: [Option<u32>; Phase::ALL.len()],
}

impl Durations {
    /// Adds to a phase.
    pub fn add(&mut self, phase: Phase, duration: Duration) {
        if let Some(slot) = self.micros.get_mut(phase as usize) {
            let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
            *slot = Some(slot.unwrap_or(0).saturating_add(micros));
        }
    }

    /// One phase.
    #[must_use]
    pub fn get(&self, phase: Phase) -> Option<Duration> {
        self.micros.get(phase as usize).copied().flatten().map(|micros| Duration::from_micros(micros.into()))
    }

    /// All phases together.
    #[must_use]
    pub fn total(&self) -> Duration {
        Phase::ALL.iter().filter_map(|phase| self.get(*phase)).sum()
    }
}

impl Serialize for Durations {
    /// In seconds, by phase.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_map(Phase::ALL.iter().filter_map(|phase| Some((phase.as_str(), self.get(*phase)?.as_secs_f64()))))
    }
}

/// Why a round did not end as it should, as a kind tells it; the phase is known to its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The word.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
    /// Whether the round succeeded all the same, and counts as degraded.
    pub degraded: bool,
}

impl Failure {
    /// A failure.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), degraded: false }
    }

    /// The same with less weight: the round succeeded, and counts as degraded.
    #[must_use]
    pub fn degraded(self) -> Self {
        Self { degraded: true, ..self }
    }
}

/// One line of a round's log. The usual ones are values and become text when somebody reads them:
/// most rounds are never looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Any other.
    Text(Box<str>),
    /// A name has addresses.
    Resolved(Box<[IpAddr]>),
    /// A connection stands.
    Connected(SocketAddr),
    /// A TLS handshake is done.
    Secured(rustls::ProtocolVersion),
    /// So many bytes were sent.
    Sent(usize),
    /// So many bytes were received, and how they begin.
    Received(Box<[u8]>, usize),
    /// An HTTP answer began.
    Status(u16),
    /// A body has ended.
    Body(usize),
    /// The end of a round without fault.
    AsExpected,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Resolved(addresses) => {
                f.write_str("resolved to ")?;
                for (place, address) in addresses.iter().enumerate() {
                    write!(f, "{}{address}", if place == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Connected(address) => write!(f, "connected to {address}"),
            Self::Secured(version) => write!(f, "TLS handshake done, {version:?}"),
            Self::Sent(bytes) => write!(f, "sent {bytes} bytes"),
            Self::Received(start, bytes) => {
                write!(f, "received {bytes} bytes: \"{}", start.escape_ascii())?;
                f.write_str(if start.len() < *bytes { "…\"" } else { "\"" })
            }
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Body(bytes) => write!(f, "the body has {bytes} bytes"),
            Self::AsExpected => f.write_str(AS_EXPECTED),
        }
    }
}

/// The message of a round without fault.
pub(super) const AS_EXPECTED: &str = "as expected";

/// What happened in a round, line by line, each with its time since the start in microseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log(pub(super) Vec<(u32, Line)>);

impl Log {
    /// The lines, each headed by its milliseconds.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(micros, line)| format!("{:>7.1} ms  {line}", f64::from(*micros) / 1_000.0))
    }
}

impl Serialize for Log {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.lines())
    }
}

/// What was seen in a round: few values by name, in the order in which they were seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts(Vec<(&'static str, Value)>);

impl Facts {
    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    /// Sets one.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// One by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

impl std::ops::Index<&str> for Facts {
    type Output = Value;

    /// One by name; null where it was not seen, as in a JSON object.
    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// One round of a probe in full.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Whether the target did what was expected, if slowly.
    pub success: bool,
    /// Why not, or why it is degraded.
    pub reason: Option<Reason>,
    /// Where it failed.
    pub phase: Option<Phase>,
    /// The reason as a sentence.
    pub message: Cow<'static, str>,
    /// How long each phase took.
    pub durations: Durations,
    /// What was seen: address, status, sizes, versions.
    pub facts: Facts,
    /// What happened, line by line.
    pub log: Log,
}

impl Observation {
    /// What it says about the target.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        match (self.success, self.reason) {
            (true, None) => Judgement::Good,
            (true, Some(_)) => Judgement::Degraded,
            (false, Some(reason)) if reason.is_own() => Judgement::Trouble,
            (false, _) => Judgement::Failed,
        }
    }

    /// The state that this round alone speaks for.
    #[must_use]
    pub fn state(&self) -> ProbeState {
        match self.judgement() {
            Judgement::Good => ProbeState::Up,
            Judgement::Degraded => ProbeState::Degraded,
            Judgement::Failed => ProbeState::Down,
            Judgement::Trouble => ProbeState::Unknown,
        }
    }

    /// The word of the reason; `none` where all was as expected.
    #[must_use]
    pub fn reason_word(&self) -> &'static str {
        self.reason.map_or("none", Reason::as_str)
    }

    /// Finds a fault with a round that was without one.
    pub(super) fn fault(&mut self, failure: Failure) {
        if self.reason.is_none() {
            self.success = failure.degraded;
            self.reason = Some(failure.reason);
            self.message = failure.message.into();
        }
    }

    /// Turns it round, where a failure is what is expected. The prober's own trouble stays.
    #[must_use]
    pub(super) fn negated(mut self) -> Self {
        match self.judgement() {
            Judgement::Trouble => {}
            Judgement::Failed => {
                self.message = format!("failed, as expected: {}", self.message).into();
                (self.success, self.reason, self.phase) = (true, None, None);
            }
            Judgement::Good | Judgement::Degraded => {
                self.message = "it succeeded, where a failure is expected".into();
                (self.success, self.reason) = (false, Some(Reason::Success));
            }
        }
        self
    }
}

impl Serialize for Observation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Observation", 8)?;
        map.serialize_field("success", &self.success)?;
        map.serialize_field("state", &self.state())?;
        map.serialize_field("reason", self.reason_word())?;
        map.serialize_field("phase", &self.phase)?;
        map.serialize_field("message", &self.message)?;
        map.serialize_field("durations", &self.durations)?;
        map.serialize_field("facts", &self.facts)?;
        map.serialize_field("log", &self.log)?;
        map.end()
    }
}
