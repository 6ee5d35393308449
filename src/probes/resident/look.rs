//! What can be read of the board.

use std::sync::Arc;

use jiff::Timestamp;

use super::board::Board;
use super::entry::Entry;
use crate::probes::aggregate::Why;
use crate::probes::view::{ProbeSelector, ProbeView, Round, TargetView};

impl Board {
    /// The selected probes, by namespace and name.
    #[must_use]
    pub fn states(&self, selector: &ProbeSelector) -> Vec<ProbeView> {
        self.selected(selector).iter().map(|entry| self.view(entry)).collect()
    }

    /// All probes, by namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<ProbeView> {
        self.entries().iter().map(|entry| self.view(entry)).collect()
    }

    /// One probe.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<ProbeView> {
        self.named(namespace, name).map(|entry| self.view(&entry))
    }

    /// The rounds of a probe that began at `since` or later, oldest first; of each target at most as
    /// many as are kept.
    #[must_use]
    pub fn rounds_since(&self, namespace: &str, name: &str, since: Timestamp) -> Vec<Round> {
        let Some(entry) = self.named(namespace, name) else { return Vec::new() };
        let mut rounds = Vec::new();
        for record in entry.records() {
            let known = record.known();
            let words = known.history.failures();
            rounds.extend(known.history.recent().since(since).map(|round| Round {
                id: record.ids.id(round.at),
                target: Arc::clone(&record.target),
                at: round.at,
                judgement: round.judgement,
                reason: round.reason,
                phase: round.phase,
                message: round.reason.and_then(|_| words.at(round.at)).map(|words| words.message),
                seconds: round.took.as_secs_f64(),
                late_seconds: round.late.as_secs_f64(),
            }));
        }
        rounds.sort_by_key(|round| round.at);
        rounds
    }

    /// Whether every round of a probe since then is in memory.
    #[must_use]
    pub fn remembers(&self, namespace: &str, name: &str, since: Timestamp) -> bool {
        let entry = self.named(namespace, name);
        entry.is_none_or(|entry| {
            entry.records().iter().all(|record| record.known().history.recent().complete_since() <= since)
        })
    }

    fn view(&self, entry: &Arc<Entry>) -> ProbeView {
        let now = self.now();
        let seen = entry.seen(now);
        let standing = entry.judge(&seen, &self.around(entry));
        let told = entry.told();
        let stands = told.filter(|told| told.standing.state == standing.state);
        let (since, reason) = match &stands {
            Some(told) => (told.since, told.standing.reason.clone()),
            None => (now, standing.reason),
        };
        let plan = entry.plan.as_ref().ok().map(|(_, plan)| plan);
        ProbeView {
            namespace: entry.key.0.clone(),
            name: entry.key.1.clone(),
            labels: entry.labels.clone(),
            kind: entry.kind(),
            state: standing.state,
            since,
            reason,
            until: standing.until,
            invalid: entry.plan.as_ref().err().cloned(),
            warming_up: standing.why == Why::WarmUp,
            before: self.before(&entry.key).filter(|_| standing.why == Why::WarmUp),
            flapping: seen.iter().any(|seen| seen.flapping),
            failing_since: seen.iter().filter_map(|seen| seen.failing_since).min(),
            interval: plan.map(|plan| plan.interval).unwrap_or_default(),
            timeout: plan.map(|plan| plan.timeout).unwrap_or_default(),
            failures: plan.map(|plan| plan.rules.down.count).unwrap_or_default(),
            quorum: plan.map(|plan| plan.quorum).unwrap_or_default(),
            rounds: seen.iter().map(|seen| seen.total).sum(),
            missed: seen.iter().map(|seen| seen.missed).sum(),
            targets: seen.into_iter().map(target_view).collect(),
        }
    }
}

fn target_view(seen: super::record::Seen) -> TargetView {
    TargetView {
        target: seen.target,
        state: seen.state,
        since: seen.since,
        flapping: seen.flapping,
        failing_since: seen.failing_since,
        rounds: seen.total,
        missed: seen.missed,
        last: seen.last,
    }
}
