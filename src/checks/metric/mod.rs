//! The kind `metric`: a query on a Prometheus server, held against a threshold.
//!
//! Every sample of the answer is judged; [`judge`] has the meaning of `max`, `min` and `for`. An
//! empty answer, what is no number, warnings, a server in trouble: unknown, because no data is never
//! a pass.

mod fill;
mod judge;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use url::Url;

use self::fill::Query;
use self::judge::{Judged, Limits, Range, Says, judge};
use self::server::{Answer, Server};
use super::{Check, CompileError, Context, Kind};
use crate::api::{self, CheckKind, MetricCheck};
use crate::model::{Decimal, Period, Report};
use crate::outbound::{Outbound, shown_url};

/// The most steps of a range query: Prometheus refuses more.
const MAX_STEPS: u64 = 11_000;
/// The longest stretch that can be asked for: longer ones outlive any batch.
const MAX_HOLD: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const MIN_STEP: Duration = Duration::from_secs(1);
const DEFAULT_STEP: Duration = Duration::from_secs(15);
/// A default step is small enough for so many of them.
const LEAST_STEPS: u32 = 4;
/// The most series that are judged: a query with more lacks an aggregation.
const MAX_SERIES: usize = 1_000;
/// The series and the points of each that stand in the evidence; of more, the worst and the last.
const MAX_SERIES_SHOWN: usize = 20;
const MAX_POINTS_SHOWN: usize = 60;
/// How far a sample's time may be from ours, beyond the step.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(60);
/// The part of an execution's time that the server may use: the rest is for the answer.
const SERVER_SHARE: f64 = 0.95;

/// The kind; it knows the server that is asked where a check names none.
#[derive(Clone)]
pub struct MetricKind {
    outbound: Outbound,
    default: Option<Url>,
}

impl MetricKind {
    /// Checks that go out by `outbound`.
    #[must_use]
    pub const fn new(outbound: Outbound, default: Option<Url>) -> Self {
        Self { outbound, default }
    }
}

impl Kind for MetricKind {
    fn name(&self) -> &'static str {
        "metric"
    }

    fn compile(&self, check: &api::Check, _: &str) -> Result<Arc<dyn Check>, CompileError> {
        let error = |field: &str, why: String| CompileError { field: format!("metric{field}"), why };
        let Some(CheckKind::Metric(spec)) = check.kind() else {
            return Err(error("", "this is no metric check".to_owned()));
        };
        let url = match (&spec.server, &self.default) {
            (Some(text), _) => text.parse().map_err(|why| error(".server", format!("`{text}` is no URL: {why}")))?,
            (None, Some(url)) => url.clone(),
            (None, None) => {
                let why = "no server is named, and the program was started without one (--prometheus)";
                return Err(error(".server", why.to_owned()));
            }
        };
        self.outbound.guard().check_url(&url).map_err(|refused| error(".server", refused.to_string()))?;
        Ok(Arc::new(Metric {
            server: Server::new(url, self.outbound.clone()),
            query: Query::parse(&spec.query).map_err(|why| error(".query", why))?,
            limits: limits(spec).map_err(|why| error("", why))?,
            hold: hold(spec).map_err(|(field, why)| error(field, why))?,
            spec: spec.clone(),
        }))
    }
}

fn limits(spec: &MetricCheck) -> Result<Limits, String> {
    let limits = Limits { max: spec.max.as_ref().map(Decimal::value), min: spec.min.as_ref().map(Decimal::value) };
    match (limits.max, limits.min) {
        (None, None) => Err("say what is allowed: max, min or both".to_owned()),
        (Some(max), Some(min)) if min > max => Err(format!("nothing is allowed: min ({min}) is above max ({max})")),
        _ => Ok(limits),
    }
}

/// Length and step of a range query.
fn hold(spec: &MetricCheck) -> Result<Option<(Duration, Duration)>, (&'static str, String)> {
    let Some(hold) = spec.hold.map(Period::to_std) else {
        return match spec.step {
            Some(_) => Err((".step", "it belongs to a range query: say `for` too".to_owned())),
            None => Ok(None),
        };
    };
    if !(MIN_STEP..=MAX_HOLD).contains(&hold) {
        return Err((".for", format!("`{}` is not allowed: 1s to 7d are", spec.hold.unwrap_or_default())));
    }
    let whole = |duration: Duration| Duration::from_secs(duration.as_secs().max(1));
    let step = spec.step.map_or_else(|| whole(DEFAULT_STEP.min(hold / LEAST_STEPS)), Period::to_std);
    if step < MIN_STEP || step > hold {
        return Err((".step", format!("`{}` is not allowed: 1s up to `for` are", spec.step.unwrap_or_default())));
    }
    let steps = hold.as_secs() / step.as_secs().max(1);
    if steps > MAX_STEPS {
        return Err((".step", format!("`for` has {steps} steps; at most {MAX_STEPS} are allowed")));
    }
    Ok(Some((hold, step)))
}

struct Metric {
    server: Server,
    query: Query,
    limits: Limits,
    hold: Option<(Duration, Duration)>,
    spec: MetricCheck,
}

#[async_trait]
impl Check for Metric {
    async fn execute(&self, context: &Context) -> Report {
        let query = self.query.fill(&context.question);
        let range = self.hold.map(|(hold, step)| {
            let end = context.now.as_second() as f64;
            Range { start: end - hold.as_secs_f64().ceil(), end, step: step.as_secs_f64() }
        });
        let timeout = context.timeout.mul_f64(SERVER_SHARE);
        let report = match self.server.query(&query, range.as_ref(), timeout).await {
            Ok(answer) => self.conclude(answer, range.as_ref(), context.now),
            Err(why) => Report::unknown(format!("{}: {why}", shown_url(self.server.url()))),
        };
        self.with_question(report, query, range.as_ref())
    }
}

impl Metric {
    fn conclude(&self, answer: Answer, range: Option<&Range>, now: Timestamp) -> Report {
        let count = answer.series.len();
        let warnings = answer.warnings.clone();
        let base = |report: Report| {
            let report = report.with("seriesCount", count);
            if warnings.is_empty() { report } else { report.with("warnings", warnings.clone()) }
        };
        if let Some(warning) = answer.warnings.first() {
            return base(Report::unknown(format!("the answer is not whole: {warning}")));
        }
        if answer.series.iter().all(|series| series.points.is_empty()) {
            return base(Report::unknown("no data: the query gives no sample"));
        }
        if count > MAX_SERIES {
            return base(Report::unknown(format!(
                "the query gives {count} series; at most {MAX_SERIES} are judged: aggregate"
            )));
        }
        let skew =
            answer.series.iter().filter_map(|series| series.points.last()).map(|(at, _)| *at).fold(f64::MIN, f64::max);
        let samples: usize = answer.series.iter().map(|series| series.points.len()).sum();
        let judged = judge(answer.series, &self.limits, range);
        let step = range.map_or(SignedDuration::ZERO, |range| seconds(range.step));
        let report = match instant(skew).map(|at| now.duration_since(at)) {
            Some(age) if age.abs() > MAX_SKEW + step => {
                Report::unknown(format!("the newest sample is {} s old: it says nothing about now", age.as_secs()))
            }
            _ => self.say(&judged, range),
        };
        base(report).with("sampleCount", samples).with("series", shown(&judged))
    }

    fn say(&self, judged: &[Judged], range: Option<&Range>) -> Report {
        let Some(worst) = judged.first() else {
            return Report::unknown("no data: the query gives no sample");
        };
        let value = worst.worst.map_or_else(|| "no number".to_owned(), |worst| format!("{worst}"));
        let name = named(&worst.series.labels);
        let limit = self.limit(worst.worst.unwrap_or_default());
        let others = judged.iter().skip(1).filter(|judged| same(&judged.says, &worst.says)).count();
        let more = if others > 0 { format!(", and {others} more series") } else { String::new() };
        let lasting = |since: f64| range.map_or(0, |range| seconds(range.end - since).as_secs());
        let hold = self.hold.map_or(0, |(hold, _)| hold.as_secs());
        match worst.says {
            Says::Fails { since } => {
                let long = if range.is_some() { format!(" for all of the last {hold} s") } else { String::new() };
                let since = range.and_then(|_| instant(since));
                Report { since, ..Report::fail(format!("{value}{name} is {limit}{long}{more}")) }
            }
            Says::Beyond { since } => {
                let again = range.map(|range| seconds(range.step));
                let summary = format!("{value}{name} is {limit} for {} s; {hold} s fail{more}", lasting(since));
                Report { since: instant(since), again, ..Report::pending(summary) }
            }
            Says::Few { points, expected } => {
                Report::unknown(format!("too few points{name}: {points} of {expected}{more}"))
            }
            Says::NoNumber => Report::unknown(format!("no data: the value{name} is no number{more}")),
            Says::Ended => Report::unknown(format!("no data: every series has ended, such as{name}")),
            Says::Within => {
                let of =
                    if judged.len() > 1 { format!(", the worst of {} series", judged.len()) } else { String::new() };
                Report::pass(format!("{value}{name} is {limit}{of}"))
            }
        }
    }

    /// How a value stands to the threshold.
    fn limit(&self, value: f64) -> String {
        match (&self.spec.max, &self.spec.min) {
            (Some(max), _) if value > max.value() => format!("above {max}"),
            (_, Some(min)) if value < min.value() => format!("below {min}"),
            (Some(max), None) => format!("not above {max}"),
            (None, Some(min)) => format!("not below {min}"),
            (Some(max), Some(min)) => format!("between {min} and {max}"),
            (None, None) => String::new(),
        }
    }

    fn with_question(&self, report: Report, query: String, range: Option<&Range>) -> Report {
        let mut threshold = json!({});
        if let Some(map) = threshold.as_object_mut() {
            map.extend(self.spec.max.as_ref().map(|max| ("max".to_owned(), json!(max))));
            map.extend(self.spec.min.as_ref().map(|min| ("min".to_owned(), json!(min))));
            map.extend(self.spec.hold.map(|hold| ("for".to_owned(), json!(hold))));
        }
        let report =
            report.with("server", shown_url(self.server.url())).with("query", query).with("threshold", threshold);
        match range {
            Some(range) => report
                .with("start", json!(instant(range.start)))
                .with("end", json!(instant(range.end)))
                .with("stepSeconds", range.step),
            None => report,
        }
    }
}

fn same(a: &Says, b: &Says) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn seconds(seconds: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// An instant from seconds since 1970.
fn instant(seconds: f64) -> Option<Timestamp> {
    SignedDuration::try_from_secs_f64(seconds).ok().and_then(|since| Timestamp::from_duration(since).ok())
}

/// The labels of a series, for a sentence.
fn named(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let (name, rest): (Vec<_>, Vec<_>) = labels.iter().partition(|(key, _)| *key == "__name__");
    let name = name.first().map_or("", |(_, value)| value.as_str());
    let pairs: Vec<String> = rest.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    format!(" of {name}{{{}}}", pairs.join(", "))
}

/// The worst series for the evidence.
fn shown(judged: &[Judged]) -> Value {
    let one = |judged: &Judged| {
        let points = judged.series.points.iter().rev().take(MAX_POINTS_SHOWN).rev();
        // JSON has no NaN: values are texts, as in Prometheus' own answers.
        let points: Vec<Value> = points.map(|(at, value)| json!([instant(*at), value.to_string()])).collect();
        json!({
            "labels": judged.series.labels,
            "says": match judged.says {
                Says::Fails { .. } => "fails",
                Says::Beyond { .. } => "beyond",
                Says::Few { .. } => "too few points",
                Says::NoNumber => "no number",
                Says::Within => "within",
                Says::Ended => "ended",
            },
            "worst": judged.worst.map(|worst| worst.to_string()),
            "points": points,
        })
    };
    judged.iter().take(MAX_SERIES_SHOWN).map(one).collect()
}
