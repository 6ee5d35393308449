//! A round as a person reads it, whether it was made here or told by a server.

use serde_json::Value;

use crate::cli::output::{Cell, Page, Table, Tone};
use crate::model::ProbeState;
use crate::probes::{Observation, Phase};

/// A round.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) state: ProbeState,
    reason: String,
    phase: Option<String>,
    message: String,
    /// Seconds by phase, in order.
    durations: Vec<(&'static str, f64)>,
    facts: Vec<(String, String)>,
    log: Vec<String>,
}

impl Seen {
    /// A round that was made here.
    pub(super) fn of(seen: &Observation) -> Self {
        let took = |phase: &Phase| Some((phase.as_str(), seen.durations.get(*phase)?.as_secs_f64()));
        Self {
            state: seen.state(),
            reason: seen.reason_word().to_owned(),
            phase: seen.phase.map(|phase| phase.to_string()),
            message: seen.message.to_string(),
            durations: Phase::ALL.iter().filter_map(took).collect(),
            facts: seen.facts.iter().map(|(name, value)| (name.to_owned(), shown(value))).collect(),
            log: seen.log.lines().collect(),
        }
    }

    /// A round as the interface has it; what is not there is empty.
    pub(super) fn read(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let took = |phase: &Phase| {
            let seconds = value.get("durations")?.get(phase.as_str())?.as_f64()?;
            Some((phase.as_str(), seconds))
        };
        let facts = value.get("facts").and_then(Value::as_object).into_iter().flatten();
        let log = value.get("log").and_then(Value::as_array).into_iter().flatten();
        Self {
            state: text("state").and_then(|state| state.parse().ok()).unwrap_or(ProbeState::Unknown),
            reason: text("reason").unwrap_or_default(),
            phase: text("phase"),
            message: text("message").unwrap_or_default(),
            durations: Phase::ALL.iter().filter_map(took).collect(),
            facts: facts.map(|(name, value)| (name.clone(), shown(value))).collect(),
            log: log.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    /// How long it took, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.durations.iter().map(|(_, seconds)| seconds).sum()
    }

    /// The reason, where it failed, and the sentence.
    pub(super) fn said(&self) -> String {
        match (self.reason.as_str(), &self.phase) {
            ("none" | "", _) => self.message.clone(),
            (reason, None) => format!("{reason}: {}", self.message),
            (reason, Some(phase)) => format!("{reason} in {phase}: {}", self.message),
        }
    }

    /// Everything about it.
    pub(super) fn full(&self, title: &str, verbose: bool, page: &mut Page) {
        let state = page.paint(self.state.as_str().to_uppercase(), tone(self.state));
        page.line(format!("{state}  {title}"));
        page.line(self.said());
        page.gap();
        let mut table = Table::new(["phase", "took", "until"]);
        let mut until = 0.0;
        for (phase, took) in &self.durations {
            until += took;
            table.row([(*phase).into(), millis(*took).into(), millis(until).into()]);
        }
        table.row([Cell::toned("total", Tone::Strong), Cell::toned(millis(until), Tone::Strong), "".into()]);
        page.table(&table);
        let mut facts = Table::plain();
        for (name, value) in &self.facts {
            facts.row([Cell::toned(name, Tone::Dim), value.into()]);
        }
        if !self.facts.is_empty() {
            page.gap();
            page.table(&facts);
        }
        if verbose {
            page.gap();
            for line in &self.log {
                page.line(line);
            }
        }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Seconds as milliseconds.
pub(super) fn millis(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1_000.0)
}

/// What a colour says about a state.
pub(super) const fn tone(state: ProbeState) -> Tone {
    match state {
        ProbeState::Up => Tone::Good,
        ProbeState::Degraded | ProbeState::Unknown => Tone::Warn,
        ProbeState::Down => Tone::Bad,
    }
}

/// A table of rounds of several targets: probe, target, round.
pub(super) fn several<'a>(all: impl IntoIterator<Item = (&'a str, &'a str, Seen)>, page: &mut Page) {
    let mut table = Table::new(["probe", "target", "state", "took", "what"]);
    for (probe, target, seen) in all {
        table.row([
            probe.into(),
            target.into(),
            Cell::toned(seen.state, tone(seen.state)),
            millis(seen.seconds()).into(),
            seen.said().into(),
        ]);
    }
    page.table(&table);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_round_that_was_told_reads_as_one_that_was_made() {
        let told = json!({
            "success": false, "state": "down", "reason": "refused", "phase": "connect", "message": "nobody listens",
            "durations": {"connect": 0.0005, "resolve": 0.000_25}, "facts": {"address": "127.0.0.1:9", "tries": 2},
            "log": ["    0.5 ms  nobody listens"],
        });
        let mut page = Page::new(false, None);
        Seen::read(&told).full("tcp://localhost:9", true, &mut page);
        insta::assert_snapshot!(page.into_text());
    }

    #[test]
    fn what_is_no_round_is_unknown() {
        assert_eq!(Seen::read(&json!([])).state, ProbeState::Unknown);
    }
}
