//! The next opening: a search from edge to edge over all windows that bind the change.

use jiff::Timestamp;

use super::view::Bound;
use crate::api::WindowType;
use crate::windows::HORIZON;

/// The most edges that a search goes over: years of windows that a daily freeze always covers.
const MAX_EDGES: usize = 2_000;

/// What stands at an instant.
enum Barrier {
    /// Nothing.
    Open,
    /// Something, and nothing changes before this instant.
    Until(Timestamp),
    /// Something that is not known to end.
    Unknown,
}

impl Barrier {
    fn until(end: Option<Timestamp>) -> Self {
        end.map_or(Self::Unknown, Self::Until)
    }
}

/// The first instant at or after `at` at which everything is open.
pub(super) fn next_opening(bound: &[Bound<'_>], at: Timestamp) -> Option<Timestamp> {
    let limit = at.saturating_add(HORIZON).ok()?;
    let mut at = at;
    for _ in 0..MAX_EDGES {
        match barrier(bound, at) {
            Barrier::Open => return Some(at),
            Barrier::Until(end) if end > at && end <= limit => at = end,
            Barrier::Until(_) | Barrier::Unknown => return None,
        }
    }
    None
}

/// Where everything is open at `at`: the next opening after it has shut.
pub(super) fn next_opening_after_shutting(bound: &[Bound<'_>], at: Timestamp) -> Option<Timestamp> {
    let limit = at.saturating_add(HORIZON).ok()?;
    let mut at = at;
    for _ in 0..MAX_EDGES {
        if !matches!(barrier(bound, at), Barrier::Open) {
            return next_opening(bound, at);
        }
        at = next_edge(bound, at).filter(|edge| *edge > at && *edge <= limit)?;
    }
    None
}

fn barrier(bound: &[Bound<'_>], at: Timestamp) -> Barrier {
    if let Some(by) = bound.iter().find_map(|bound| bound.blocked_by(at)) {
        return Barrier::Until(by.spec.expires);
    }
    let here = |kind| bound.iter().filter(move |bound| bound.kind() == kind && bound.window.exists(at));
    for freeze in here(WindowType::Freeze).filter(|freeze| freeze.lifted_by(at).is_none()) {
        if freeze.unknown() {
            return Barrier::until(freeze.window.spec.expires);
        }
        if let Some(stretch) = freeze.covering(at) {
            return Barrier::until(stretch.until);
        }
    }
    let mut next: Option<Timestamp> = None;
    let mut shut = false;
    for allow in here(WindowType::Allow) {
        if allow.open_at(at) || allow.lifted_by(at).is_some() {
            return Barrier::Open;
        }
        shut = true;
        // An exhausted stretch has to end before its next one can begin.
        let from = allow.covering(at).map_or(Some(at), |stretch| stretch.until);
        let start = from.filter(|_| !allow.unknown()).and_then(|from| allow.window.next_start(from));
        // With the last allow window the need for one ends as well.
        next = [next, start, allow.window.spec.expires].into_iter().flatten().min();
    }
    if shut { Barrier::until(next) } else { Barrier::Open }
}

/// The first instant after `at` at which what stands may change.
pub(super) fn next_edge(bound: &[Bound<'_>], at: Timestamp) -> Option<Timestamp> {
    bound
        .iter()
        .flat_map(|bound| {
            // Inside a stretch only its end matters: what begins in between changes nothing.
            let edge = match bound.covering(at) {
                Some(stretch) => stretch.until,
                None => bound.window.next_start(at),
            };
            let expires = bound.window.spec.expires;
            [edge, expires].into_iter().flatten().chain(bound.override_ends(at))
        })
        .filter(|edge| *edge > at)
        .min()
}

/// The freeze that begins next.
pub(super) fn next_freeze<'b, 'a>(bound: &'b [Bound<'a>], at: Timestamp) -> Option<(Timestamp, &'b Bound<'a>)> {
    bound
        .iter()
        .filter(|bound| bound.kind() == WindowType::Freeze)
        .filter_map(|freeze| Some((freeze.window.next_start(at)?, freeze)))
        .min_by_key(|(start, _)| *start)
}

/// Why a change is allowed that no window speaks about now.
pub(super) fn why_free(bound: &[Bound<'_>], at: Timestamp) -> String {
    match next_freeze(bound, at) {
        Some((start, freeze)) => {
            format!("no window is in force; {} begins {}", freeze.title(), freeze.window.say(start, at))
        }
        None if bound.is_empty() => "no window selects the change".to_owned(),
        None => "no window is in force".to_owned(),
    }
}
