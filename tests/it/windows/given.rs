//! Windows and instants for the stories.

use std::sync::Arc;

use jiff::Timestamp;
use probegate::api::{ReleaseWindow, ReleaseWindowSpec};
use probegate::windows::{Compiled, Decision, Query, WindowError, Zones, compile, decide};
use serde_json::{Value, json};

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn resource(name: &str, spec: Value) -> ReleaseWindow {
    let spec: ReleaseWindowSpec = serde_json::from_value(spec).unwrap();
    let mut window = ReleaseWindow::new(name, spec);
    window.metadata.namespace = Some("default".into());
    window
}

pub(super) fn window(name: &str, spec: Value) -> Arc<Compiled> {
    Arc::new(compile(&resource(name, spec), &Zones::bundled(), &[]).unwrap())
}

pub(super) fn errors(spec: Value) -> Vec<WindowError> {
    compile(&resource("w", spec), &Zones::bundled(), &[]).unwrap_err()
}

/// A freeze in a zone with one schedule.
pub(super) fn freeze(zone: &str, schedule: Value) -> Arc<Compiled> {
    window("w", json!({"type": "freeze", "timeZone": zone, "schedule": schedule}))
}

/// A freeze with one event of a calendar, in Berlin.
pub(super) fn events(events: &str) -> Arc<Compiled> {
    freeze("Europe/Berlin", json!({"calendars": [{"inline": calendar(events)}]}))
}

pub(super) fn calendar(events: &str) -> String {
    format!("BEGIN:VCALENDAR\nVERSION:2.0\n{events}\nEND:VCALENDAR\n")
}

/// The stretches in between as text: `2026-01-05T08:00:00Z/2026-01-05T09:00:00Z`.
pub(super) fn stretches(window: &Compiled, from: &str, to: &str) -> Vec<String> {
    let end = |end: Option<Timestamp>| end.map_or("..".to_owned(), |end| end.to_string());
    let found = window.stretches(at(from), at(to));
    found.iter().map(|stretch| format!("{}/{}", end(stretch.since), end(stretch.until))).collect()
}

pub(super) fn ask(windows: &[Arc<Compiled>], instant: &str) -> Decision {
    decide(windows, &Query::at(at(instant)), &[], &[])
}
