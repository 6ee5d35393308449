//! The kinds, and how much of each stays in memory.

use crate::api::{Gate, GateRun, Override, Probe, ReleaseWindow, Resource};

/// Objects on a page of a list of small resources: what the API server's own client asks for.
const PAGE: u32 = 500;
/// Runs on a first page: each may have as much evidence as its budget allows.
const PAGE_OF_RUNS: u32 = 50;
/// A page that is shorter than this is followed by one of twice as many objects: most runs have little
/// evidence, and a hundred pages of them would make a start wait for a hundred answers.
const SHORT_PAGE_BYTES: usize = 1024 * 1024;
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

impl Known {
    /// How many objects to ask for after a page of so many, which had so many bytes.
    pub(super) fn next_page(&self, limit: u32, bytes: usize) -> u32 {
        let next = if bytes < SHORT_PAGE_BYTES { limit.saturating_mul(2) } else { limit / 2 };
        next.clamp(self.page, PAGE)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_runs_grow_while_they_are_short_and_shrink_when_they_are_not() {
        let (_, runs) = find(GateRun::KIND).unwrap();
        assert_eq!(runs.page, PAGE_OF_RUNS);
        assert_eq!(runs.next_page(50, 100_000), 100);
        assert_eq!(runs.next_page(400, 1_000_000), PAGE);
        assert_eq!(runs.next_page(100, 3_000_000), 50);
        assert_eq!(runs.next_page(50, 3_000_000), PAGE_OF_RUNS);
        let (_, probes) = find(Probe::KIND).unwrap();
        assert_eq!((probes.next_page(PAGE, 10), probes.next_page(PAGE, 9_000_000)), (PAGE, PAGE));
    }
}
