//! Windows and freezes: in force or not, until when, and whether they can be judged at all.

use jiff::Timestamp;
use tokio::sync::watch;

use super::condition;
use super::keeper::{Judge, Judged};
use crate::api::{ReleaseWindow, ReleaseWindowStatus, name_of, namespace_of, set_condition};
use crate::calendars::WindowBook;
use crate::windows::Standing;

/// The condition that tells whether the window can be judged.
const READY: &str = "Ready";

/// Judges windows.
pub(super) struct Windows {
    pub(super) book: WindowBook,
}

impl Judge for Windows {
    type Resource = ReleaseWindow;

    fn judge(&self, resource: &ReleaseWindow, now: Timestamp) -> Option<Judged<ReleaseWindowStatus>> {
        let all = self.book.current();
        let (namespace, name) = (namespace_of(resource), name_of(resource));
        let window = all.iter().find(|window| window.namespace == namespace && window.name == name)?;
        // The book may be a moment behind the resource: then it tells when it has caught up.
        if *window.spec != resource.spec {
            return None;
        }
        let mut status = resource.status.clone().unwrap_or_default();
        let stretch = window.covering(now);
        (status.in_force, status.until) = (window.in_force(now), stretch.and_then(|stretch| stretch.until));
        status.observed_generation = resource.metadata.generation;
        let (ready, why) = match &window.standing {
            Standing::Known => (true, ("Judged", String::new())),
            Standing::Unknown(why) => (false, ("CannotBeJudged", why.clone())),
        };
        let new = condition(READY, ready, why, resource.metadata.generation, now);
        set_condition(&mut status.conditions, new);
        let due = [status.until, window.next_start(now), resource.spec.expires.filter(|expires| now < *expires)];
        Some(Judged { status, due: due.into_iter().flatten().min() })
    }

    fn around(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.book.changes()]
    }
}
