//! The maintenance of probes: which of the release windows that a probe names is open.

use jiff::Timestamp;

use crate::api::{Maintenance, ReleaseWindow};
use crate::calendars::WindowBook;
use crate::probes::{Away, Maintenances};
use crate::store::Cache;
use crate::windows::Compiled;

/// The windows, by the book and with their labels.
pub(super) struct Windows {
    pub(super) book: WindowBook,
    pub(super) resources: Cache<ReleaseWindow>,
}

impl Windows {
    fn names(&self, namespace: &str, maintenance: &Maintenance, window: &Compiled) -> bool {
        if window.namespace == namespace && maintenance.names.contains(&window.name) {
            return true;
        }
        if maintenance.match_labels.is_empty() {
            return false;
        }
        let resource = self.resources.get(&window.namespace, &window.name);
        let labels = resource.as_deref().and_then(|resource| resource.metadata.labels.as_ref());
        maintenance.match_labels.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    }
}

impl Maintenances for Windows {
    fn away(&self, namespace: &str, maintenance: &Maintenance, now: Timestamp) -> Option<Away> {
        let windows = self.book.current();
        let open = windows.iter().filter(|window| self.names(namespace, maintenance, window)).filter_map(|window| {
            let stretch = window.covering(now)?;
            Some(Away { window: format!("{}/{}", window.namespace, window.name), until: stretch.until })
        });
        // Of several the one that is open longest; one without an end is.
        open.max_by_key(|away| away.until.unwrap_or(Timestamp::MAX))
    }
}
