//! `ReleaseWindow`: a time rule, an allow window or a freeze.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::names::resource;
use crate::model::{Action, Expression, Invoker, Labels, Period, Running};

/// A time rule: an allow window, or a freeze.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "probegate.io",
    version = "v1alpha1",
    kind = "ReleaseWindow",
    plural = "releasewindows",
    shortname = "pgw",
    category = "probegate",
    namespaced,
    derive = "PartialEq",
    status = "ReleaseWindowStatus",
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"In Force","type":"boolean","jsonPath":".status.inForce"}"#,
    printcolumn = r#"{"name":"Until","type":"string","jsonPath":".status.until"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".spec.reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.type == 'freeze' || has(self.schedule)", "message": "an allow window needs a schedule"},
    {"rule": "self.type == 'allow' || has(self.schedule) || (has(self.owner) && has(self.reason) && has(self.ticket) && has(self.expires))",
     "message": "a freeze without a schedule is stop the line: it needs owner, reason, ticket and expires"},
    {"rule": "!has(self.maxChanges) || self.type == 'allow'", "message": "maxChanges belongs to an allow window"}
]))]
pub struct ReleaseWindowSpec {
    /// Whether changes are allowed in it, or frozen.
    #[serde(rename = "type")]
    pub kind: WindowType,
    /// The zone of every time without an offset: an IANA name. Default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// When: the union of what stands here. A freeze without one is "stop the line", in force now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Which changes it binds. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WindowSelector>,
    /// Which actions it binds. Default release alone; a rollback only where it is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub actions: Vec<Action>,
    /// Whose changes it binds. Absent: everyone's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub invokers: Vec<Invoker>,
    /// For a change already under way when it shuts. Absent: what the gate says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// The most changes that may begin in one occurrence of an allow window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_changes: Option<u32>,
    /// Why it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub reason: Option<String>,
    /// Where it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ticket: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub owner: Option<String>,
    /// When it ends to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires: Option<Timestamp>,
    /// Who may override it, by the actor's name; `*` and `?` are wildcards. Absent: whoever may
    /// create overrides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub overridable_by: Option<Vec<String>>,
}

/// What a window does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WindowType {
    /// Changes are allowed in it; where such windows are defined, outside all of them they are not.
    Allow,
    /// Changes are not allowed in it, whatever the allow windows say.
    Freeze,
}

/// When: the union of what stands here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.weekly) || has(self.cron) || has(self.rrule) || has(self.dates) || has(self.calendars)",
     "message": "a schedule needs weekly, cron, rrule, dates or calendars"}
]))]
pub struct Schedule {
    /// Days of the week with hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub weekly: Vec<WeeklyHours>,
    /// Cron expressions with durations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub cron: Vec<CronSchedule>,
    /// Recurrence rules of RFC 5545 with durations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub rrule: Vec<RruleSchedule>,
    /// One-off dates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 512))]
    pub dates: Vec<DateRange>,
    /// iCalendar files: every event in them is an occurrence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    pub calendars: Vec<Calendar>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Days of the week with hours. `to` at or before `from` crosses midnight and belongs to the day
/// that it began on; `24:00` is the end of the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.from != self.to", "message": "from and to are equal: say 00:00 to 24:00 for a whole day"}
]))]
pub struct WeeklyHours {
    /// The days.
    #[schemars(length(min = 1, max = 7), extend("x-kubernetes-list-type" = "set"))]
    pub days: Vec<Weekday>,
    /// The first minute, such as `09:00`.
    #[schemars(length(max = 5), regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub from: String,
    /// The first minute after it, such as `17:00` or `24:00`.
    #[schemars(length(max = 5), regex(pattern = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"))]
    pub to: String,
}

/// A cron expression with a duration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CronSchedule {
    /// Five fields: minute, hour, day of month, month, day of week.
    #[schemars(length(min = 9, max = 256))]
    pub expression: String,
    /// How long each occurrence lasts.
    pub duration: Period,
}

/// A recurrence rule of RFC 5545 with a duration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RruleSchedule {
    /// The first occurrence, such as `2026-01-05T09:00:00`.
    #[schemars(length(min = 10, max = 40))]
    pub start: String,
    /// The rule, such as `FREQ=MONTHLY;BYDAY=-1FR`.
    #[schemars(length(min = 6, max = 1_024))]
    pub rule: String,
    /// How long each occurrence lasts.
    pub duration: Period,
    /// Occurrences that do not take place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), inner(length(min = 10, max = 40)))]
    pub exclude: Vec<String>,
    /// Further occurrences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), inner(length(min = 10, max = 40)))]
    pub include: Vec<String>,
}

/// One-off dates: `from` and `to`, a whole `day`, or whole days from `firstDay` to `lastDay`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.from) && has(self.to), has(self.day), has(self.firstDay) && has(self.lastDay)].filter(x, x).size() == 1 && has(self.from) == has(self.to) && has(self.firstDay) == has(self.lastDay)",
     "message": "from and to, or day, or firstDay and lastDay"}
]))]
pub struct DateRange {
    /// The first instant, such as `2026-12-24T12:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 40))]
    pub from: Option<String>,
    /// The first instant after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 40))]
    pub to: Option<String>,
    /// One whole day, such as `2026-05-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub day: Option<String>,
    /// The first of several whole days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub first_day: Option<String>,
    /// The last of several whole days, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub last_day: Option<String>,
}

/// An iCalendar file: exactly one of its sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.file), has(self.url), has(self.inline)].filter(x, x).size() == 1",
     "message": "exactly one of file, url and inline"},
    {"rule": "!has(self.refresh) || has(self.url)", "message": "refresh belongs to a url"}
]))]
pub struct Calendar {
    /// A file beside the one that this stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub file: Option<String>,
    /// Where to fetch it: http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2_048))]
    pub url: Option<String>,
    /// The calendar itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 262_144))]
    pub inline: Option<String>,
    /// How often a URL is fetched. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Period>,
}

/// Which changes a window binds; everything given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowSelector {
    /// Names of clusters; `*` and `?` are wildcards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub clusters: Vec<String>,
    /// Namespaces; `*` and `?` are wildcards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub namespaces: Vec<String>,
    /// Names of targets; `*` and `?` are wildcards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub targets: Vec<String>,
    /// Labels of the target, by equality.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub match_labels: Labels,
    /// Set-based requirements on the target's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<Expression>,
}

/// The standing of a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseWindowStatus {
    /// Whether it is in force now.
    #[serde(default)]
    pub in_force: bool,
    /// Until when that stays so, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// The generation of the spec that this was seen at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the spec is valid and every calendar could be read.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

resource!(ReleaseWindow, ReleaseWindowStatus, "ReleaseWindow", "releasewindows");
