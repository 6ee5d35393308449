//! From a resource to something that can be asked: reads every field once and says what is wrong
//! with each.

mod parts;

use std::sync::Arc;

use jiff::Timestamp;

use super::ics;
use super::stretch::{Occurrence, Stretch};
use super::timeline::Timeline;
use super::zone::{Zone, Zones};
use crate::api::{ReleaseWindow, ReleaseWindowSpec, WindowType, name_of, namespace_of};

/// What is wrong with one field of a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct WindowError {
    /// The field, such as `spec.schedule.cron[0].expression`.
    pub field: String,
    /// What was found and what is allowed.
    pub why: String,
}

/// What is known of a calendar that a window names, in the order of `spec.schedule.calendars`. An
/// inline one needs none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalendarInput {
    /// Its bytes.
    Ready(Arc<[u8]>),
    /// The last good copy, which is too old to stand on, and why it could not be renewed.
    Stale(Arc<[u8]>, String),
    /// There is no good copy, and why.
    Missing(String),
}

/// Whether a window's schedule is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Known,
    /// It is not, and why: allow windows are shut, freezes stay.
    Unknown(String),
}

/// A window that can be asked.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The namespace of the resource.
    pub namespace: String,
    /// The name of the resource.
    pub name: String,
    /// What the resource says.
    pub spec: Arc<ReleaseWindowSpec>,
    /// Whether the schedule is known.
    pub standing: Standing,
    created: Option<Timestamp>,
    zone: Zone,
    /// `None` for a freeze without a schedule.
    timeline: Option<Timeline>,
}

/// Reads a window. Calendars that `calendars` does not have count as missing: the window is then
/// unknown, which is no error of the resource.
///
/// # Errors
/// Everything that is wrong with the resource, field by field.
pub fn compile(
    window: &ReleaseWindow,
    zones: &Zones,
    calendars: &[CalendarInput],
) -> Result<Compiled, Vec<WindowError>> {
    let spec = &window.spec;
    let mut errors = Errors::default();
    check(spec, &mut errors);
    let zone = zone_of(spec, zones, &mut errors);
    let mut standing = Standing::Known;
    let timeline = spec.schedule.as_ref().map(|schedule| {
        let mut builder =
            parts::Builder { zone: &zone, zones, errors: &mut errors, fixed: Vec::new(), series: Vec::new() };
        builder.schedule(schedule);
        if let Some(why) = builder.calendars(&schedule.calendars, calendars) {
            standing = Standing::Unknown(why);
        }
        Timeline::new(builder.fixed, builder.series)
    });
    if errors.0.is_empty() { Ok(new(window, zone, timeline, standing)) } else { Err(errors.0) }
}

/// Whether a calendar can be read as a whole, with floating times in the zone of a window.
///
/// # Errors
/// What is wrong with it, and on which line.
pub fn check_calendar(bytes: &[u8], time_zone: Option<&str>, zones: &Zones) -> Result<(), ics::IcsError> {
    let zone = time_zone.and_then(|name| zones.get(name)).map_or_else(Zone::utc, Zone::Known);
    ics::read(bytes, &zone, zones).map(|_| ())
}

fn new(window: &ReleaseWindow, zone: Zone, timeline: Option<Timeline>, standing: Standing) -> Compiled {
    Compiled {
        namespace: namespace_of(window).to_owned(),
        name: name_of(window).to_owned(),
        spec: Arc::new(window.spec.clone()),
        standing,
        created: window.metadata.creation_timestamp.as_ref().map(|created| created.0),
        zone,
        timeline,
    }
}

/// Errors as they are found.
#[derive(Debug, Default)]
struct Errors(Vec<WindowError>);

impl Errors {
    fn push(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.0.push(WindowError { field: field.into(), why: why.into() });
    }
}

/// What fields must be together.
fn check(spec: &ReleaseWindowSpec, errors: &mut Errors) {
    match (&spec.schedule, spec.kind) {
        (Some(schedule), _) => {
            let parts = [
                schedule.weekly.is_empty(),
                schedule.cron.is_empty(),
                schedule.rrule.is_empty(),
                schedule.dates.is_empty(),
                schedule.calendars.is_empty(),
            ];
            if parts.into_iter().all(|empty| empty) {
                errors.push("spec.schedule", "it is empty: it needs weekly, cron, rrule, dates or calendars");
            }
        }
        (None, WindowType::Allow) => errors.push("spec.schedule", "an allow window needs a schedule"),
        (None, WindowType::Freeze) => {
            let missing = [
                ("owner", spec.owner.is_none()),
                ("reason", spec.reason.is_none()),
                ("ticket", spec.ticket.is_none()),
                ("expires", spec.expires.is_none()),
            ];
            for (field, _) in missing.into_iter().filter(|(_, missing)| *missing) {
                errors.push(
                    format!("spec.{field}"),
                    "it is missing: a freeze without a schedule is stop the line and needs owner, reason, ticket and expires",
                );
            }
        }
    }
    match spec.max_changes {
        Some(_) if spec.kind == WindowType::Freeze => {
            errors.push("spec.maxChanges", "it belongs to an allow window: a freeze lets nothing through");
        }
        Some(0) => errors.push("spec.maxChanges", "0 lets nothing through: it is a number from 1"),
        _ => {}
    }
    if let Some(selector) = &spec.selector {
        for (index, expression) in selector.match_expressions.iter().enumerate() {
            if let Err(error) = expression.check() {
                errors.push(format!("spec.selector.matchExpressions[{index}]"), error.to_string());
            }
        }
    }
}

fn zone_of(spec: &ReleaseWindowSpec, zones: &Zones, errors: &mut Errors) -> Zone {
    let Some(name) = &spec.time_zone else { return Zone::utc() };
    zones.get(name).map_or_else(
        || {
            let nearest = zones.nearest(name).map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
            let shown: String = name.chars().take(64).collect();
            errors.push("spec.timeZone", format!("`{shown}` is not an IANA time zone such as Europe/Berlin{nearest}"));
            Zone::utc()
        },
        Zone::Known,
    )
}

impl Compiled {
    /// A window whose resource has errors: unknown until somebody mends it.
    #[must_use]
    pub fn broken(window: &ReleaseWindow, errors: &[WindowError]) -> Self {
        let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let timeline = window.spec.schedule.as_ref().map(|_| Timeline::default());
        new(window, Zone::utc(), timeline, Standing::Unknown(why.join("; ")))
    }

    /// Whether it is an allow window or a freeze.
    #[must_use]
    pub fn kind(&self) -> WindowType {
        self.spec.kind
    }

    /// Whether it exists at `at`: an expired window does not.
    #[must_use]
    pub fn exists(&self, at: Timestamp) -> bool {
        self.spec.expires.is_none_or(|expires| at < expires)
    }

    /// The stretch that contains `at`, cut at the expiry. A freeze without a schedule is in force
    /// until it expires.
    #[must_use]
    pub fn covering(&self, at: Timestamp) -> Option<Stretch> {
        if !self.exists(at) {
            return None;
        }
        let stretch = match &self.timeline {
            Some(timeline) => timeline.covering(at)?,
            None if matches!(self.standing, Standing::Unknown(_)) => return None,
            None => Stretch { since: self.created.filter(|created| *created <= at), until: None },
        };
        Some(Stretch { since: stretch.since, until: earlier(stretch.until, self.spec.expires) })
    }

    /// Whether it is in force at `at`. A freeze that cannot be judged stays in force.
    #[must_use]
    pub fn in_force(&self, at: Timestamp) -> bool {
        let blindly =
            matches!(self.standing, Standing::Unknown(_)) && self.kind() == WindowType::Freeze && self.exists(at);
        blindly || self.covering(at).is_some()
    }

    /// The first start after `at`.
    #[must_use]
    pub fn next_start(&self, at: Timestamp) -> Option<Timestamp> {
        self.timeline.as_ref()?.next_start(at).filter(|start| self.exists(*start))
    }

    /// Where `at` is not covered, the end of the stretch before it. Nothing where that lies further back
    /// than occurrences are followed.
    #[must_use]
    pub fn last_end(&self, at: Timestamp) -> Option<Timestamp> {
        self.timeline.as_ref()?.last_end(at).filter(|end| self.covering(*end).is_none())
    }

    /// The stretches that overlap `from` to `to`, in order, cut at the expiry.
    #[must_use]
    pub fn stretches(&self, from: Timestamp, to: Timestamp) -> Vec<Stretch> {
        let to = earlier(Some(to), self.spec.expires).unwrap_or(to);
        let all = match &self.timeline {
            Some(timeline) => timeline.stretches(from, to),
            None => self.covering(from).into_iter().collect(),
        };
        all.into_iter()
            .map(|stretch| Stretch { until: earlier(stretch.until, self.spec.expires), ..stretch })
            .filter(|stretch| stretch.since.zip(stretch.until).is_none_or(|(since, until)| since < until))
            .collect()
    }

    /// Whether it will ever be in force at or after `at`, as far as can be seen.
    #[must_use]
    pub fn has_future(&self, at: Timestamp) -> bool {
        self.exists(at) && self.timeline.as_ref().is_none_or(|timeline| timeline.has_future(at))
    }

    /// An instant as a person in the window's zone reads it: `Fri 2 Jan 08:00 Europe/Berlin`, with
    /// the year where it is not the one of `now`.
    #[must_use]
    pub fn say(&self, at: Timestamp, now: Timestamp) -> String {
        let (local, today) = (self.zone.local(at), self.zone.local(now));
        let year = if local.year() == today.year() { String::new() } else { format!(" {}", local.year()) };
        let seconds = if local.second() == 0 { "" } else { ":%S" };
        let (date, time) = (local.strftime("%a %-d %b"), local.strftime(&format!("%H:%M{seconds}")).to_string());
        format!("{date}{year} {time} {}", self.zone.name())
    }
}

/// The earlier of two ends, where `None` is none.
pub(super) fn earlier(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    [left, right].into_iter().flatten().min()
}

/// What lies between two local times, wherever their zone has them. What lies wholly on days that
/// the zone skips does not take place.
fn between(zone: &Zone, from: super::moment::Moment, to: super::moment::Moment) -> Result<Option<Occurrence>, ()> {
    let (Some(start), Some(end)) = (from.instant(zone), to.instant(zone)) else { return Err(()) };
    let skipped = |moment: super::moment::Moment| {
        matches!(moment, super::moment::Moment::Local(_)) && zone.skips(moment.local().date())
    };
    if skipped(from) && skipped(to) {
        return Ok(None);
    }
    Ok(Occurrence::new(start, end))
}
