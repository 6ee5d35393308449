//! The standing of resources, kept written: whether a gate is of use, whether a window is in force,
//! what has become of an override.
//!
//! A reconcile is a judgement and at most one write: it reads caches alone, looks at what has
//! changed or is due, and writes a status only where it differs. It works on either home.

mod gates;
mod keeper;
mod overrides;
mod roster;
mod wallet;
mod windows;
mod workloads;

use std::sync::Arc;

use crate::api::{Condition, ConditionStatus, Gate, Override, Probe, ReleaseWindow};
use crate::calendars::WindowBook;
use crate::checks::Table;
use crate::clock::Clock;
use crate::cluster::Scope;
use crate::outbound::Secrets;
use crate::store::{Cache, Store};

/// What the standing of resources is judged by.
#[derive(Clone)]
pub struct Standings {
    /// Where statuses are written.
    pub store: Arc<dyn Store>,
    /// Every gate.
    pub gates: Cache<Gate>,
    /// Every override.
    pub overrides: Cache<Override>,
    /// Every window as a resource.
    pub windows: Cache<ReleaseWindow>,
    /// The windows as they stand.
    pub book: WindowBook,
    /// Every probe.
    pub probes: Cache<Probe>,
    /// The kinds of checks.
    pub table: Table,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The secrets that checks refer to.
    pub secrets: Secrets,
    /// Where workloads stand, and which of them are looked at; without it none is known to be missing.
    pub cluster: Option<(kube::Client, Scope)>,
}

impl Standings {
    /// Keeps every standing written, for ever.
    pub async fn keep(self) {
        let (store, clock) = (&self.store, &self.clock);
        let (roster, follow) = roster::Roster::follow(self.probes);
        let (wallet, look) = wallet::Wallet::follow(self.gates.clone(), self.secrets);
        let workloads = workloads::Workloads::new(self.cluster);
        let watch = workloads.clone().follow(self.gates.clone());
        let gates = gates::Gates { table: self.table, roster, wallet, workloads };
        let windows = windows::Windows { book: self.book };
        tokio::join!(
            follow,
            look,
            watch,
            keeper::keep(gates, store, &self.gates, clock),
            keeper::keep(windows, store, &self.windows, clock),
            keeper::keep(overrides::Overrides, store, &self.overrides, clock),
        );
    }
}

/// A condition of a resource at a generation.
fn condition(
    kind: &str,
    holds: bool,
    (reason, message): (&str, String),
    generation: Option<i64>,
    now: jiff::Timestamp,
) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: if holds { ConditionStatus::True } else { ConditionStatus::False },
        observed_generation: generation,
        last_transition_time: now,
        reason: reason.to_owned(),
        message,
    }
}
