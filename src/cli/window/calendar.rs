//! `probegate window calendar`.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

use super::files::{Files, load};
use super::{From, Subject, now};
use crate::calendars::zones;
use crate::cli::output::{Page, Printer, Render, Tone};
use crate::cli::{Exit, Global};
use crate::windows::{Decision, State, outlook, to_ics};

/// What `calendar` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    subject: Subject,
    /// The month, such as `2026-12`. Absent: this one.
    #[arg(long, value_name = "YEAR-MONTH", value_parser = month)]
    month: Option<Date>,
    /// The zone whose days are shown. Absent: that of the first window, else UTC.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Print the stretches of all windows in that month as an iCalendar file.
    #[arg(long)]
    ics: bool,
}

/// What a day is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum DayState {
    Open,
    PartlyOpen,
    Shut,
    Freeze,
    PartlyFrozen,
    Unknown,
}

impl DayState {
    const ALL: [Self; 6] = [Self::Open, Self::PartlyOpen, Self::Shut, Self::Freeze, Self::PartlyFrozen, Self::Unknown];

    const fn mark(self) -> (char, Tone, &'static str) {
        match self {
            Self::Open => ('o', Tone::Good, "open all day"),
            Self::PartlyOpen => ('/', Tone::Good, "open for a part"),
            Self::Shut => ('.', Tone::Dim, "shut"),
            Self::Freeze => ('x', Tone::Bad, "freeze"),
            Self::PartlyFrozen => ('%', Tone::Warn, "open for a part, with a freeze"),
            Self::Unknown => ('?', Tone::Warn, "a window cannot be read"),
        }
    }
}

/// A length of time in which changes are allowed.
#[derive(Debug, Clone, Copy, Serialize)]
struct Open {
    from: Timestamp,
    to: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Day {
    date: Date,
    state: DayState,
    open: Vec<Open>,
    /// Freezes that hold on that day.
    freezes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Month {
    #[serde(rename = "month")]
    name: String,
    time_zone: String,
    days: Vec<Day>,
    #[serde(skip)]
    title: String,
}

impl Render for Month {
    fn page(&self, page: &mut Page) {
        page.line(page.paint(&self.title, Tone::Strong));
        page.line(" Mo   Tu   We   Th   Fr   Sa   Su");
        let mut line = String::new();
        let lead = self.days.first().map_or(0, |day| day.date.weekday().to_monday_zero_offset());
        (0..lead).for_each(|_| line.push_str("     "));
        for day in &self.days {
            let (mark, tone, _) = day.state.mark();
            line.push_str(&page.paint(format!("{:>2}{mark}", day.date.day()), tone));
            line.push_str("  ");
            if day.date.weekday().to_monday_zero_offset() == 6 {
                page.line(line.trim_end());
                line.clear();
            }
        }
        if !line.is_empty() {
            page.line(line.trim_end());
        }
        page.gap();
        for state in DayState::ALL.into_iter().filter(|state| self.days.iter().any(|day| day.state == *state)) {
            let (mark, tone, text) = state.mark();
            page.line(format!("{}  {text}", page.paint(mark, tone)));
        }
        let mut freezes: Vec<&str> = self.days.iter().flat_map(|day| &day.freezes).map(String::as_str).collect();
        freezes.sort_unstable();
        freezes.dedup();
        if !freezes.is_empty() {
            page.gap();
            page.line(format!("Freezes: {}", freezes.join(", ")));
        }
    }
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let today = now();
    let files = load(&args.from, today).await?;
    let (name, zone) = zone(&args, &files)?;
    let first = args.month.unwrap_or_else(|| zone.to_datetime(today).date()).first_of_month();
    let after = first.checked_add(1.month())?;
    let (from, to) = (start_of(&zone, first)?, start_of(&zone, after)?);
    if args.ics {
        // The export is a calendar of what is, and its stamp is when it was made.
        Printer::write(&to_ics(files.windows.iter().map(AsRef::as_ref), from, to, today))?;
        return Ok(Exit::Pass);
    }
    let spans = outlook(
        &files.windows,
        &args.subject.within(files.namespace.as_ref()).query(from),
        &files.overrides,
        to,
        usize::MAX,
    );
    let mut days = Vec::new();
    let mut date = first;
    while date < after {
        let next = date.tomorrow()?;
        let (from, to) = (start_of(&zone, date)?, start_of(&zone, next)?);
        if from < to {
            days.push(day(date, from, to, &spans));
        }
        date = next;
    }
    let title = format!("{} ({name})", first.strftime("%B %Y"));
    let month = Month { name: first.strftime("%Y-%m").to_string(), time_zone: name, days, title };
    global.printer().print(&month)?;
    Ok(Exit::Pass)
}

fn zone(args: &Args, files: &Files) -> anyhow::Result<(String, TimeZone)> {
    let first = || files.windows.iter().find_map(|window| window.spec.time_zone.clone());
    let name = args.time_zone.clone().or_else(first).unwrap_or_else(|| "UTC".to_owned());
    let zone = zones().get(&name).ok_or_else(|| {
        let nearest = zones().nearest(&name).map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
        anyhow::anyhow!("--time-zone: `{name}` is not an IANA time zone such as Europe/Berlin{nearest}")
    })?;
    Ok((name, zone))
}

fn start_of(zone: &TimeZone, date: Date) -> anyhow::Result<Timestamp> {
    Ok(zone.to_timestamp(date.to_datetime(Time::midnight()))?)
}

fn day(date: Date, from: Timestamp, to: Timestamp, spans: &[(Timestamp, Decision)]) -> Day {
    let (mut open, mut freezes) = (Vec::new(), Vec::new());
    let (mut unknown, mut shut) = (false, false);
    for (index, (begin, decision)) in spans.iter().enumerate() {
        let end = spans.get(index + 1).map_or(to, |(end, _)| *end).min(to);
        let begin = (*begin).max(from);
        if begin >= end {
            continue;
        }
        match decision.state {
            State::Allowed => match open.last_mut() {
                Some(Open { to, .. }) if *to == begin => *to = end,
                _ => open.push(Open { from: begin, to: end }),
            },
            State::Unknown => unknown = true,
            State::Shut => {
                shut = true;
                let freeze = decision.rule.as_ref().filter(|rule| rule.kind() == crate::api::WindowType::Freeze);
                freezes.extend(freeze.map(|rule| rule.name.clone()));
            }
        }
    }
    freezes.dedup();
    let state = match (unknown, open.is_empty(), shut, freezes.is_empty()) {
        (true, ..) => DayState::Unknown,
        (_, false, false, _) => DayState::Open,
        (_, false, true, true) => DayState::PartlyOpen,
        (_, false, true, false) => DayState::PartlyFrozen,
        (_, true, _, true) => DayState::Shut,
        (_, true, _, false) => DayState::Freeze,
    };
    Day { date, state, open, freezes }
}

fn month(text: &str) -> Result<Date, String> {
    let wrong = || format!("`{text}` is not a month: write it like 2026-12");
    if text.len() != 7 {
        return Err(wrong());
    }
    format!("{text}-01").parse().map_err(|_| wrong())
}
