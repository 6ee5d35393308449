//! How long an answer about windows takes: `cargo bench --bench windows`.
//!
//! No figure here is a test; that no answer walks from the beginning is held by counting steps.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use probegate::api::{ReleaseWindow, ReleaseWindowSpec};
use probegate::windows::{Compiled, Query, Zones, compile, decide};
use serde_json::{Value, json};

/// Answers per measurement: enough to be far above the clock's own noise.
const ANSWERS: u32 = 2_000;

fn window(name: &str, spec: Value) -> Result<Arc<Compiled>, String> {
    let spec: ReleaseWindowSpec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
    compile(&ReleaseWindow::new(name, spec), &Zones::bundled(), &[])
        .map(Arc::new)
        .map_err(|errors| format!("{errors:?}"))
}

fn rrule(rule: &str, duration: &str) -> Result<Arc<Compiled>, String> {
    let schedule = json!({"rrule": [{"start": "1990-01-01T09:00", "rule": rule, "duration": duration}]});
    window("w", json!({"type": "allow", "timeZone": "Europe/Berlin", "schedule": schedule}))
}

#[allow(clippy::print_stdout, reason = "a measurement is printed")]
fn measure(what: &str, windows: &[Arc<Compiled>]) -> Result<(), String> {
    let first: Timestamp = "2026-01-01T00:00:00Z".parse().map_err(|error: jiff::Error| error.to_string())?;
    let begun = Instant::now();
    for number in 0..ANSWERS {
        let at = first + SignedDuration::from_mins(i64::from(number) * 257);
        black_box(decide(windows, &Query::at(at), &[], &[]));
    }
    println!("{what:45} {:>9.1} µs an answer", begun.elapsed().as_secs_f64() * 1e6 / f64::from(ANSWERS));
    Ok(())
}

fn main() -> Result<(), String> {
    measure("daily since 1990", &[rrule("FREQ=DAILY", "8h")?])?;
    measure("daily since 1990, without a gap", &[rrule("FREQ=DAILY", "1d")?])?;
    measure("last Friday of the month since 1990", &[rrule("FREQ=MONTHLY;BYDAY=-1FR", "8h")?])?;
    measure("yearly since 1990", &[rrule("FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24", "8h")?])?;
    measure("hourly since 1990", &[rrule("FREQ=HOURLY", "10m")?])?;
    let hours = window(
        "hours",
        json!({"type": "allow", "timeZone": "Europe/Berlin",
        "schedule": {"weekly": [{"days": ["mon", "tue", "wed", "thu"], "from": "09:00", "to": "17:00"}]}}),
    )?;
    let quiet = window(
        "quiet",
        json!({"type": "freeze", "timeZone": "Europe/Berlin",
        "schedule": {"cron": [{"expression": "0 12 * * *", "duration": "1h"}], "dates": [{"firstDay": "2026-12-24", "lastDay": "2027-01-01"}]}}),
    )?;
    measure("hours, and a freeze at noon and year-end", &[hours, quiet])
}
