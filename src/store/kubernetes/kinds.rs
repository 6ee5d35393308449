//! The kinds, and how much of each stays in memory.

use crate::api::{Gate, GateRun, Override, Probe, ReleaseWindow, Resource};

/// Objects on a page of a list of small resources: what the API server's own client asks for.
const PAGE: u32 = 500;
/// Runs on a page: each may have as much evidence as its budget allows.
const PAGE_OF_RUNS: u32 = 50;
/// Changes of small resources that a watch may lag behind. Beyond it the watch lists anew.
const BACKLOG: usize = 1_024;
/// Changes of runs, which come with their evidence.
const BACKLOG_OF_RUNS: usize = 256;

/// What the home knows of one kind.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    /// Only an overview stays in memory.
    pub(super) brief: bool,
    pub(super) page: u32,
    pub(super) backlog: usize,
}

const fn small(kind: &'static str, plural: &'static str) -> Known {
    Known { kind, plural, brief: false, page: PAGE, backlog: BACKLOG }
}

pub(super) static KINDS: [Known; 5] = [
    small(Gate::KIND, Gate::PLURAL),
    Known { kind: GateRun::KIND, plural: GateRun::PLURAL, brief: true, page: PAGE_OF_RUNS, backlog: BACKLOG_OF_RUNS },
    small(Override::KIND, Override::PLURAL),
    small(Probe::KIND, Probe::PLURAL),
    small(ReleaseWindow::KIND, ReleaseWindow::PLURAL),
];

pub(super) fn find(kind: &str) -> Option<(usize, &'static Known)> {
    KINDS.iter().enumerate().find(|(_, known)| known.kind == kind)
}
