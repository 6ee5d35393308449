//! One VEVENT.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::IcsError;
use super::component::Component;
use super::lines::Line;
use super::zones::FileZones;
use crate::model::Period;
use crate::windows::days::number_of;
use crate::windows::moment::Moment;
use crate::windows::rrule::Rule;
use crate::windows::zone::{Length, Zone};

/// A time with the zone that it is in.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) moment: Moment,
    pub(super) zone: Zone,
    /// The instant; of a day its first one.
    pub(super) at: Timestamp,
}

impl Placed {
    /// The local time in its zone.
    pub(super) fn local(&self) -> DateTime {
        self.moment.local()
    }
}

/// How long an event lasts.
#[derive(Debug, Clone)]
pub(super) enum Extent {
    /// By a length of its own.
    Length(Length),
    /// Up to DTEND; the exact length is that of the first occurrence.
    End(Placed, SignedDuration),
}

impl Extent {
    /// The length of every occurrence.
    pub(super) fn length(&self) -> Length {
        match self {
            Self::Length(length) => *length,
            Self::End(_, exact) => Length::Period { days: 0, rest: *exact },
        }
    }

    /// Whether it contains nothing.
    pub(super) fn is_empty(&self) -> bool {
        match self.length() {
            Length::Period { days, rest } => days == 0 && rest.is_zero(),
            Length::Clock { .. } => false,
        }
    }
}

/// A further occurrence (RDATE), perhaps with a length of its own.
#[derive(Debug, Clone)]
pub(super) struct Further {
    pub(super) start: Placed,
    pub(super) extent: Option<Extent>,
}

/// One event as it was read.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) uid: Option<String>,
    pub(super) sequence: i64,
    pub(super) start: Placed,
    pub(super) extent: Extent,
    pub(super) rules: Vec<(usize, Rule)>,
    pub(super) except_rules: Vec<(usize, Rule)>,
    pub(super) further: Vec<Further>,
    pub(super) except: Vec<Placed>,
    pub(super) recurrence_id: Option<Placed>,
    pub(super) this_and_future: bool,
    pub(super) cancelled: bool,
}

/// Reads one event.
pub(super) fn read(component: &Component, zones: &FileZones<'_>) -> Result<Event, IcsError> {
    let start = component
        .one("DTSTART")?
        .ok_or_else(|| IcsError::at(component.line, "an event without DTSTART"))
        .and_then(|line| placed(line, &line.value, zones))?;
    let extent = extent(component, &start, zones)?;
    let rules = |name: &'static str| {
        component
            .all(name)
            .map(move |line| match line.value.parse::<Rule>() {
                Ok(rule) => Ok((line.number, rule)),
                Err(why) => Err(IcsError::at(line.number, format!("{name}: {why}"))),
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let mut further_dates = Vec::new();
    for line in component.all("RDATE") {
        for text in values(line) {
            further_dates.push(further(line, text, zones)?);
        }
    }
    let mut except = Vec::new();
    for line in component.all("EXDATE") {
        for text in values(line) {
            except.push(placed(line, text, zones)?);
        }
    }
    let id = component.one("RECURRENCE-ID")?;
    let range = id.and_then(|line| Some((line, line.parameter("RANGE")?)));
    if let Some((line, range)) = range.filter(|(_, range)| !range.eq_ignore_ascii_case("THISANDFUTURE")) {
        return Err(IcsError::at(line.number, format!("RANGE={} is not read: only THISANDFUTURE", cut(range))));
    }
    let status = component.one("STATUS")?;
    Ok(Event {
        uid: component.one("UID")?.map(|line| line.value.clone()),
        sequence: sequence(component)?,
        start,
        extent,
        rules: rules("RRULE")?,
        except_rules: rules("EXRULE")?,
        further: further_dates,
        except,
        recurrence_id: id.map(|line| placed(line, &line.value, zones)).transpose()?,
        this_and_future: range.is_some(),
        cancelled: status.is_some_and(|line| line.value.trim().eq_ignore_ascii_case("CANCELLED")),
    })
}

/// The values of a list; one that ends with a comma, as some programs write it, has no last one.
fn values(line: &Line) -> impl Iterator<Item = &str> {
    let value = line.value.trim();
    value.strip_suffix(',').unwrap_or(value).split(',')
}

fn sequence(component: &Component) -> Result<i64, IcsError> {
    let Some(line) = component.one("SEQUENCE")? else { return Ok(0) };
    line.value
        .trim()
        .parse()
        .map_err(|_| IcsError::at(line.number, format!("SEQUENCE: `{}` is not a whole number", cut(&line.value))))
}

fn placed(line: &Line, text: &str, zones: &FileZones<'_>) -> Result<Placed, IcsError> {
    let error = |why: String| IcsError::at(line.number, format!("{}: {why}", line.name));
    let moment = Moment::parse_short(text.trim()).map_err(error)?;
    match line.parameter("VALUE").map(str::to_ascii_uppercase).as_deref() {
        Some("DATE") if !moment.is_day() => return Err(error(format!("VALUE=DATE, but `{}` has a time", cut(text)))),
        Some("DATE-TIME") if moment.is_day() => {
            return Err(error(format!("VALUE=DATE-TIME, but `{}` has no time", cut(text))));
        }
        Some(other) if !matches!(other, "DATE" | "DATE-TIME" | "PERIOD") => {
            return Err(error(format!("VALUE={} is not allowed: DATE or DATE-TIME", cut(other))));
        }
        _ => {}
    }
    // Dates are in the window's zone, whatever TZID stands beside them.
    let zone = if moment.is_day() { zones.default.clone() } else { moment.zone(&zones.of(line)?) };
    let at = zone.instant(moment.local()).ok_or_else(|| error(format!("`{}` is outside the calendar", cut(text))))?;
    Ok(Placed { moment, zone, at })
}

fn extent(component: &Component, start: &Placed, zones: &FileZones<'_>) -> Result<Extent, IcsError> {
    match (component.one("DTEND")?, component.one("DURATION")?) {
        (Some(_), Some(line)) => Err(IcsError::at(line.number, "an event has DTEND or DURATION, not both")),
        (Some(line), None) => up_to(line, start, placed(line, &line.value, zones)?),
        (None, Some(line)) => Ok(Extent::Length(duration(line, &line.value)?)),
        // Alone, a date lasts one day, and a time has no length.
        (None, None) => {
            let days = i64::from(start.moment.is_day());
            Ok(Extent::Length(Length::Period { days, rest: SignedDuration::ZERO }))
        }
    }
}

fn up_to(line: &Line, start: &Placed, end: Placed) -> Result<Extent, IcsError> {
    let error = |why: &str| Err(IcsError::at(line.number, format!("{}: {why}", line.name)));
    if start.moment.is_day() != end.moment.is_day() {
        return error("a date and a time do not go together: both ends are dates, or both have times");
    }
    if start.moment.is_day() {
        let days = number_of(end.local().date()) - number_of(start.local().date());
        return match days {
            0.. => Ok(Extent::Length(Length::Period { days, rest: SignedDuration::ZERO })),
            _ => error("it lies before DTSTART"),
        };
    }
    let exact = end.at.duration_since(start.at);
    if exact.is_negative() { error("it lies before DTSTART") } else { Ok(Extent::End(end, exact)) }
}

fn duration(line: &Line, text: &str) -> Result<Length, IcsError> {
    let text = text.trim();
    let period: Period = text
        .strip_prefix('+')
        .unwrap_or(text)
        .parse()
        .map_err(|why| IcsError::at(line.number, format!("{}: {why}", line.name)))?;
    if !text.trim_start_matches('+').starts_with(['P', 'p']) {
        return Err(IcsError::at(line.number, format!("{}: `{}` does not begin with P", line.name, cut(text))));
    }
    Ok(Length::Period { days: period.days(), rest: period.rest() })
}

fn further(line: &Line, text: &str, zones: &FileZones<'_>) -> Result<Further, IcsError> {
    let Some((start, end)) = text.split_once('/') else {
        return Ok(Further { start: placed(line, text, zones)?, extent: None });
    };
    let start = placed(line, start, zones)?;
    let extent = if end.trim_start().starts_with(['P', 'p', '+', '-']) {
        Extent::Length(duration(line, end)?)
    } else {
        up_to(line, &start, placed(line, end, zones)?)?
    };
    Ok(Further { start, extent: Some(extent) })
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
