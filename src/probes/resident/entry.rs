//! One probe: its plan, its targets, and the state that comes of theirs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::time::Instant;

use super::cell::Cell;
use super::record::{Record, Seen};
use super::worker::Seat;
use crate::api::{Maintenance, Probe, ProbeSpec, SelfCheck};
use crate::model::{Labels, ProbeState};
use crate::probes::aggregate::{Counts, Held, Situation, Standing, Target, Why, aggregate};
use crate::probes::plan::Plan;
use crate::probes::result::Reason;
use crate::store::Mark;

pub(in crate::probes) use crate::store::Key;

/// One probe with one spec; another spec makes another entry around the old records.
pub(in crate::probes) struct Entry {
    pub(super) key: Key,
    pub(super) labels: Labels,
    /// What the resource was when it was seated.
    pub(super) mark: Mark,
    pub(super) terms: Terms,
    /// Kind and schedule, or what is wrong with the spec.
    pub(super) plan: Result<(&'static str, Arc<Plan>), String>,
    inner: Mutex<Inner>,
    /// Held while it is judged and told: two threads must not tell in another order than they judged.
    settling: Mutex<()>,
}

/// What is needed of a spec for as long as it is probed. All the rest of it is compiled.
pub(super) struct Terms {
    pub(super) suspend: bool,
    pub(super) parents: Box<[String]>,
    pub(super) self_check: Option<Box<SelfCheck>>,
    pub(super) maintenance: Option<Box<Maintenance>>,
    /// A hash of the kind's own part: whether another spec asks the same question.
    question: u64,
}

impl Terms {
    fn of(spec: &ProbeSpec) -> Self {
        Self {
            suspend: spec.suspend,
            parents: spec.parents.clone().into(),
            self_check: spec.self_check.clone().map(Box::new),
            maintenance: spec.maintenance.clone().map(Box::new),
            question: question(spec),
        }
    }

    /// Whether a spec asks the same question, whatever its schedule and thresholds.
    pub(super) fn ask_what(&self, spec: &ProbeSpec) -> bool {
        self.question == question(spec)
    }
}

fn question(spec: &ProbeSpec) -> u64 {
    let kinds = ProbeSpec {
        http: spec.http.clone(),
        tcp: spec.tcp.clone(),
        tls: spec.tls.clone(),
        websocket: spec.websocket.clone(),
        grpc: spec.grpc.clone(),
        unix: spec.unix.clone(),
        dns: spec.dns.clone(),
        icmp: spec.icmp.clone(),
        udp: spec.udp.clone(),
        script: spec.script.clone(),
        expect: spec.expect,
        ..ProbeSpec::default()
    };
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&kinds).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[derive(Default)]
struct Inner {
    /// The targets; without a seat none is probed any more.
    seats: Vec<(Arc<Cell>, Option<Seat>)>,
    /// Why there are no targets yet, or why they are not current.
    search: Option<String>,
    /// The probes that may explain a failure of this one.
    explainers: Arc<[Explainer]>,
    /// While a change is under way: until when rounds come faster.
    hurried: Option<Instant>,
    told: Option<Told>,
    away: Option<Away>,
}

/// A probe that may explain a failure of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explainer {
    pub(super) key: Key,
    /// A parent explains every failure, a self-check of the prober those of the way.
    pub(super) parent: bool,
}

/// The state, as it was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) standing: Standing,
    pub(super) since: Timestamp,
    /// What it was announced as. While it is restless, that it flaps is the one thing to announce.
    pub(super) announced: ProbeState,
    unrest_announced: bool,
}

/// What became of a judgement.
pub(super) enum Settled {
    /// All is as it was told before.
    Same,
    /// It is told anew; before, it was this, if anything.
    Anew(Option<Told>),
}

/// A window that takes the target away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// The window's name.
    pub window: String,
    /// Until when, where it is known.
    pub until: Option<Timestamp>,
}

/// What others say of a probe.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// Those of its parents that are down.
    pub(super) parents_down: Vec<String>,
    /// The self-check that fails.
    pub(super) self_check: Option<String>,
}

impl Entry {
    pub(super) fn new(
        (key, mark): (Key, Mark),
        probe: &Probe,
        plan: Result<(&'static str, Arc<Plan>), String>,
        old: Option<&Self>,
    ) -> Self {
        let labels = probe.metadata.labels.clone().unwrap_or_default();
        let old = old.map(|old| {
            let inner = old.inner();
            (inner.told.clone(), inner.hurried, inner.away.clone())
        });
        let (told, hurried, away) = old.unwrap_or_default();
        Self {
            key,
            labels,
            mark,
            terms: Terms::of(&probe.spec),
            plan,
            inner: Mutex::new(Inner { hurried, told, away, ..Inner::default() }),
            settling: Mutex::new(()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name for people: `namespace/name`.
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.key.0, self.key.1)
    }

    pub(super) fn kind(&self) -> Option<&'static str> {
        self.plan.as_ref().ok().map(|(kind, _)| *kind)
    }

    pub(super) fn records(&self) -> Vec<Arc<Record>> {
        self.inner().seats.iter().map(|(cell, _)| Arc::clone(&cell.record)).collect()
    }

    /// The targets that are seated, in order.
    pub(super) fn targets(&self) -> Vec<Arc<str>> {
        self.inner().seats.iter().map(|(cell, _)| Arc::clone(&cell.record.target)).collect()
    }

    /// Whether all its targets are on this machine: what leads there needs no way out.
    pub(super) fn is_local(&self) -> bool {
        let local = |host: &str| {
            host.is_empty()
                || host.eq_ignore_ascii_case("localhost")
                || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        let inner = self.inner();
        !inner.seats.is_empty() && inner.seats.iter().all(|(cell, _)| local(cell.compiled.host()))
    }

    /// Takes the seats away, to be given others.
    pub(super) fn stand(&self) -> Vec<(Arc<Cell>, Seat)> {
        let seats = std::mem::take(&mut self.inner().seats);
        seats.into_iter().filter_map(|(cell, seat)| Some((cell, seat?))).collect()
    }

    /// Replaces the targets; what falls out is no longer probed.
    pub(super) fn sit(&self, seats: Vec<(Arc<Cell>, Seat)>, search: Option<String>) {
        let mut inner = self.inner();
        inner.search = search;
        let mut seats: Vec<_> = seats.into_iter().map(|(cell, seat)| (cell, Some(seat))).collect();
        // Most probes have one target.
        seats.shrink_to_fit();
        let old = std::mem::replace(&mut inner.seats, seats);
        drop(inner);
        drop(old);
    }

    /// Ends its probing; what is known of it stays, and grows stale.
    pub(super) fn end(&self) {
        for (_, seat) in &mut self.inner().seats {
            *seat = None;
        }
    }

    /// Notes that the search for targets is in trouble; those that are known stay.
    pub(super) fn lost(&self, why: Option<String>) {
        self.inner().search = why;
    }

    pub(super) fn explainers(&self) -> Arc<[Explainer]> {
        Arc::clone(&self.inner().explainers)
    }

    pub(super) fn explain_by(&self, explainers: Vec<Explainer>) {
        self.inner().explainers = explainers.into();
    }

    /// Does something with every seat.
    pub(super) fn each_seat(&self, mut act: impl FnMut(&Cell, &Seat)) {
        for (cell, seat) in &self.inner().seats {
            if let Some(seat) = seat {
                act(cell, seat);
            }
        }
    }

    /// Asks for rounds to come faster until then.
    pub(super) fn hurry(&self, until: Instant) {
        let mut inner = self.inner();
        inner.hurried = Some(inner.hurried.map_or(until, |before| before.max(until)));
    }

    pub(super) fn hurried(&self, now: Instant) -> bool {
        self.inner().hurried.is_some_and(|until| until > now)
    }

    pub(super) fn set_away(&self, away: Option<Away>) -> bool {
        let mut inner = self.inner();
        let changed = inner.away != away;
        inner.away = away;
        changed
    }

    pub(super) fn told(&self) -> Option<Told> {
        self.inner().told.clone()
    }

    pub(super) fn state(&self) -> ProbeState {
        self.inner().told.as_ref().map_or(ProbeState::Unknown, |told| told.standing.state)
    }

    /// Whether so many targets fail, or have failed since then, that it could be down.
    pub(super) fn failing_since(&self, since: Instant) -> bool {
        let Ok((_, plan)) = &self.plan else { return false };
        let records = self.records();
        let failing = records.iter().filter(|record| record.failing_since(since)).count();
        failing > 0 && failing >= plan.quorum.min(records.len())
    }

    /// Its targets, as they stand at `now`.
    pub(super) fn seen(&self, now: Timestamp) -> Vec<Seen> {
        let Ok((_, plan)) = &self.plan else { return Vec::new() };
        self.records().iter().map(|record| record.seen(now, &plan.rules)).collect()
    }

    /// Judges it anew.
    pub(super) fn judge(&self, seen: &[Seen], around: &Around) -> Standing {
        let quorum = match &self.plan {
            Err(why) => return self.unknown(why.clone()),
            Ok((_, plan)) => plan.quorum,
        };
        let (away, search) = {
            let inner = self.inner();
            (inner.away.clone(), inner.search.clone())
        };
        let targets: Vec<Target<'_>> = seen
            .iter()
            .map(|seen| Target {
                name: &seen.target,
                state: seen.state,
                cause: seen.cause,
                flapping: seen.flapping,
                last: seen.fault(),
            })
            .collect();
        let held = match &away {
            _ if self.terms.suspend => Some(Held::Suspended { why: "", until: None }),
            Some(away) => Some(Held::Maintenance { window: &away.window, until: away.until }),
            None => None,
        };
        if let (true, None, Some(search)) = (targets.is_empty(), held, search) {
            return self.unknown(search);
        }
        let parents: Vec<&str> = around.parents_down.iter().map(String::as_str).collect();
        aggregate(&Situation {
            targets: &targets,
            quorum,
            held,
            parents_down: &parents,
            self_check: around.self_check.as_deref(),
        })
    }

    fn unknown(&self, reason: String) -> Standing {
        let why = if self.plan.is_ok() { Why::WarmUp } else { Why::NoTargets };
        Standing { state: ProbeState::Unknown, why, until: None, reason, counts: Counts::default(), restless: false }
    }

    /// Judges it anew at `now`; gives the standing before, where this one differs from it.
    pub(super) fn settle(&self, around: &Around, now: Timestamp) -> Settled {
        let _order = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(self.judge(&self.seen(now), around), now)
    }

    fn tell(&self, standing: Standing, now: Timestamp) -> Settled {
        let mut inner = self.inner();
        let before = inner.told.clone();
        let same = before.as_ref().is_some_and(|told| {
            told.standing.state == standing.state
                && told.standing.why == standing.why
                && told.standing.until == standing.until
                && told.standing.counts == standing.counts
                && told.standing.restless == standing.restless
        });
        if same {
            return Settled::Same;
        }
        let since = before.as_ref().filter(|told| told.standing.state == standing.state).map_or(now, |told| told.since);
        let flaps = standing.why == Why::Flapping;
        let unrest = before.as_ref().filter(|told| told.standing.restless && standing.restless);
        let quiet = unrest.filter(|told| told.unrest_announced || !flaps);
        let announced = quiet.map_or(standing.state, |told| told.announced);
        let unrest_announced = flaps || unrest.is_some_and(|told| told.unrest_announced);
        inner.told = Some(Told { standing, since, announced, unrest_announced });
        Settled::Anew(before)
    }
}

impl Seen {
    /// The fault of the last round, where it had one.
    fn fault(&self) -> Option<(Reason, &str)> {
        self.last.as_ref().and_then(|last| Some((last.reason?, last.message.as_ref())))
    }
}
