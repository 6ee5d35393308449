//! What one round of a probe gives: success or a reason and a phase, durations, facts, log lines.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Declares a closed set of words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every word of the set.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it is written everywhere.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words!(
    /// Why a round did not succeed; the set is bounded, so that it can be a metric's label.
    Reason {
        /// The name does not resolve.
        Dns = "dns",
        /// The connection was refused.
        Refused = "refused",
        /// The host cannot be reached.
        Unreachable = "unreachable",
        /// The round took longer than its timeout.
        Timeout = "timeout",
        /// The connection was closed or reset in mid-exchange.
        Reset = "reset",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The answer has another status.
        Status = "status",
        /// The body is not as expected.
        Body = "body",
        /// The answer is too large to be judged.
        Size = "size",
        /// Sending failed.
        Send = "send",
        /// What came back is not as expected.
        Expect = "expect",
        /// The other side does not speak the protocol.
        Protocol = "protocol",
        /// The answer took longer than allowed: the round succeeded, and counts as degraded.
        Latency = "latency",
        /// Our own resolver is in trouble.
        Resolver = "resolver",
        /// We are out of descriptors, ports or memory.
        Exhausted = "exhausted",
        /// We have no way to the network.
        Network = "network",
        /// A secret file of ours cannot be read.
        Secret = "secret",
        /// The address must not be probed.
        Forbidden = "forbidden",
    }
);

impl Reason {
    /// Whether the trouble is ours: it says nothing about the target.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Resolver | Self::Exhausted | Self::Network | Self::Secret | Self::Forbidden)
    }
}

words!(
    /// The parts of a round, in order. A kind that has no such part leaves it out.
    Phase {
        /// Name to address.
        Resolve = "resolve",
        /// The TCP handshake.
        Connect = "connect",
        /// The TLS handshake.
        Tls = "tls",
        /// Writing what is to be sent.
        Request = "request",
        /// From the last byte written to the first byte read.
        Processing = "processing",
        /// From the first byte read to the last.
        Transfer = "transfer",
    }
);

words!(
    /// What a round says about its target.
    Judgement {
        /// As expected.
        Good = "good",
        /// It answers, outside a softer limit.
        Degraded = "degraded",
        /// It fails.
        Failed = "failed",
        /// Nothing: the prober itself was in trouble.
        Trouble = "trouble",
    }
);

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

/// Why a round did not succeed, as a kind tells it; the phase is known to its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The word.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

impl Failure {
    /// A failure.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// One round of a probe in full.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observation {
    /// Whether the target did what was expected, if slowly.
    pub success: bool,
    /// Why not, or why it is degraded.
    pub reason: Option<Reason>,
    /// Where it failed.
    pub phase: Option<Phase>,
    /// The reason as a sentence.
    pub message: String,
    /// How long each phase took.
    pub durations: Durations,
    /// What was seen: address, status, sizes, versions.
    pub facts: BTreeMap<&'static str, Value>,
    /// What happened, line by line.
    pub log: Vec<String>,
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
}
