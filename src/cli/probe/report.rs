//! What rounds gave, for people and for programs.

use serde::{Serialize, Serializer};

use super::list::case;
use super::seen::{Seen, millis, several, tone};
use crate::cli::Global;
use crate::cli::output::{Output, Page, Printer, Render, Suite};
use crate::model::ProbeState;
use crate::probes::{Observation, Once};

/// The rounds of one probe.
#[derive(Debug)]
pub(super) struct Rounds {
    /// `namespace/name`, or the address.
    pub(super) title: String,
    /// The state that they speak for together.
    pub(super) state: ProbeState,
    /// One for each target.
    pub(super) targets: Vec<Once>,
}

/// One round of every probe.
#[derive(Debug)]
pub(super) struct Report {
    /// Each probe.
    pub(super) probes: Vec<Rounds>,
}

/// The worst of several states: down, then unknown, then degraded.
pub(super) fn worst(states: impl Iterator<Item = ProbeState>) -> ProbeState {
    let rank = |state: &ProbeState| match state {
        ProbeState::Up => 0,
        ProbeState::Degraded => 1,
        ProbeState::Unknown => 2,
        ProbeState::Down => 3,
    };
    states.max_by_key(rank).unwrap_or(ProbeState::Unknown)
}

/// One round as programs read it: exactly an observation, and the names where there are several.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    seen: &'a Observation,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
}

impl Report {
    fn worst(&self) -> ProbeState {
        worst(self.probes.iter().map(|probe| probe.state))
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let probes = self.probes.len() > 1;
        let targets = self.probes.iter().any(|probe| probe.targets.len() > 1);
        self.probes.iter().flat_map(move |probe| {
            probe.targets.iter().map(move |once| Line {
                seen: &once.seen,
                probe: probes.then_some(&probe.title),
                target: targets.then_some(&once.target),
            })
        })
    }
}

/// Writes reports as they come.
pub(super) struct Writer {
    printer: Printer,
    output: Output,
    verbose: bool,
    repeated: bool,
    /// What the forms for CI systems show, at the end.
    kept: Vec<Report>,
    number: u32,
    states: Vec<ProbeState>,
    /// Seconds.
    took: Vec<f64>,
}

impl Writer {
    /// A writer; `repeated` is whether there will be several rounds.
    pub(super) fn new(global: &Global, repeated: bool) -> Self {
        Self {
            printer: global.printer(),
            output: global.output,
            verbose: global.verbose > 0,
            repeated,
            kept: Vec::new(),
            number: 0,
            states: Vec::new(),
            took: Vec::new(),
        }
    }

    /// Writes a report, or keeps it for the end.
    pub(super) fn take(&mut self, report: Report) -> anyhow::Result<()> {
        self.number += 1;
        self.states.push(report.worst());
        self.took
            .extend(report.probes.iter().flat_map(|probe| &probe.targets).map(|once| Seen::of(&once.seen).seconds()));
        match self.output {
            Output::Json => {
                for line in report.lines() {
                    Printer::write(&format!("{}\n", serde_json::to_string(&line)?))?;
                }
            }
            Output::Yaml => {
                for line in report.lines() {
                    // Through JSON: a YAML writer wants to know its fields beforehand.
                    let value = serde_json::to_value(&line)?;
                    Printer::write(&format!("---\n{}", serde_saphyr::to_string(&value)?))?;
                }
            }
            Output::Table => {
                let mut page = self.printer.page();
                self.page(&report, &mut page);
                Printer::write(&page.into_text())?;
            }
            Output::Junit | Output::Github => self.kept.push(report),
        }
        Ok(())
    }

    /// Writes what stands at the end, and tells the worst state.
    pub(super) fn finish(self) -> anyhow::Result<ProbeState> {
        let state = worst(self.states.iter().copied());
        match self.output {
            Output::Junit | Output::Github => self.printer.print(&Cases(&self.kept))?,
            Output::Table if self.repeated => {
                let mut page = self.printer.page();
                self.sum_up(&mut page);
                Printer::write(&page.into_text())?;
            }
            _ => {}
        }
        Ok(state)
    }

    fn page(&self, report: &Report, page: &mut Page) {
        let all: Vec<(&Rounds, &Once)> =
            report.probes.iter().flat_map(|probe| probe.targets.iter().map(move |once| (probe, once))).collect();
        match all.as_slice() {
            [(probe, once)] if self.repeated => self.short(&probe.title, once, page),
            [(probe, once)] => Seen::of(&once.seen).full(&probe.title, self.verbose, page),
            many => {
                let rows =
                    many.iter().map(|(probe, once)| (probe.title.as_str(), once.target.as_str(), Seen::of(&once.seen)));
                several(rows, page);
                for probe in report.probes.iter().filter(|probe| probe.targets.len() > 1) {
                    let state = page.paint(probe.state, tone(probe.state));
                    page.line(format!("{}: {state}", probe.title));
                }
                if self.verbose {
                    for (probe, once) in many {
                        page.gap();
                        Seen::of(&once.seen).full(&format!("{} {}", probe.title, once.target), true, page);
                    }
                }
            }
        }
    }

    /// One line of many rounds.
    fn short(&self, title: &str, once: &Once, page: &mut Page) {
        let seen = Seen::of(&once.seen);
        let state = page.paint(format!("{:<8}", seen.state), tone(seen.state));
        page.line(format!("{:>4}  {state}  {:>11}  {}", self.number, millis(seen.seconds()), seen.said()));
        if self.verbose {
            seen.full(title, true, page);
        }
    }

    fn sum_up(&self, page: &mut Page) {
        let count = |wanted: ProbeState| self.states.iter().filter(|state| **state == wanted).count();
        let states = ProbeState::ALL.iter().map(|state| (*state, count(*state))).filter(|(_, count)| *count > 0);
        let states: Vec<String> = states.map(|(state, count)| format!("{count} {state}")).collect();
        page.gap();
        page.line(format!("{} rounds: {}", self.states.len(), states.join(", ")));
        if !self.took.is_empty() {
            let mean = self.took.iter().sum::<f64>() / self.took.len() as f64;
            let least = self.took.iter().copied().fold(f64::INFINITY, f64::min);
            let most = self.took.iter().copied().fold(0.0, f64::max);
            page.line(format!("least {}, mean {}, most {}", millis(least), millis(mean), millis(most)));
        }
    }
}

/// Rounds as test cases.
struct Cases<'a>(&'a [Report]);

impl Serialize for Cases<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().flat_map(Report::lines))
    }
}

impl Render for Cases<'_> {
    fn page(&self, _: &mut Page) {}

    fn suite(&self) -> Option<Suite> {
        let probes = self.0.iter().flat_map(|report| &report.probes);
        let all = probes.flat_map(|probe| probe.targets.iter().map(move |once| (probe, once)));
        let cases = all.map(|(probe, once)| {
            let one = probe.title == once.target || probe.targets.len() == 1;
            let name = if one { probe.title.clone() } else { format!("{} {}", probe.title, once.target) };
            case(name, once.seen.state(), Seen::of(&once.seen).said())
        });
        Some(Suite { name: "probe".to_owned(), cases: cases.collect() })
    }
}
