//! The parts of a schedule, field by field.

use jiff::civil::{DateTime, Time};
use jiff::{SignedDuration, ToSpan};

use super::{CalendarInput, Errors, between};
use crate::api::{Calendar, CronSchedule, DateRange, RruleSchedule, Schedule, Weekday, WeeklyHours};
use crate::model::Period;
use crate::windows::cron::Cron;
use crate::windows::ics;
use crate::windows::moment::{Moment, digits};
use crate::windows::pattern::{Pattern, Weekly};
use crate::windows::rrule::{Recurrence, Rule};
use crate::windows::series::{Except, Series};
use crate::windows::stretch::Occurrence;
use crate::windows::zone::{Length, Zone, Zones};

/// A calendar is fetched at most so often: more would be a load on its server without a gain.
const LEAST_REFRESH: SignedDuration = SignedDuration::from_secs(60);

/// Gathers occurrences and series, and what is wrong.
pub(super) struct Builder<'a> {
    pub(super) zone: &'a Zone,
    pub(super) zones: &'a Zones,
    pub(super) errors: &'a mut Errors,
    pub(super) fixed: Vec<Occurrence>,
    pub(super) series: Vec<Series>,
}

impl Builder<'_> {
    /// Everything but calendars.
    pub(super) fn schedule(&mut self, schedule: &Schedule) {
        for (index, weekly) in schedule.weekly.iter().enumerate() {
            self.weekly(&format!("spec.schedule.weekly[{index}]"), weekly);
        }
        for (index, cron) in schedule.cron.iter().enumerate() {
            self.cron(&format!("spec.schedule.cron[{index}]"), cron);
        }
        for (index, rrule) in schedule.rrule.iter().enumerate() {
            self.rrule(&format!("spec.schedule.rrule[{index}]"), rrule);
        }
        for (index, dates) in schedule.dates.iter().enumerate() {
            self.dates(&format!("spec.schedule.dates[{index}]"), dates);
        }
    }

    fn weekly(&mut self, field: &str, weekly: &WeeklyHours) {
        if weekly.days.is_empty() {
            self.errors
                .push(format!("{field}.days"), "it is empty: name at least one of mon, tue, wed, thu, fri, sat, sun");
        }
        let from = clock(&weekly.from).filter(|(days, _)| *days == 0);
        let Some((_, from)) = from else {
            self.errors
                .push(format!("{field}.from"), format!("`{}` is not a time of day: 00:00 to 23:59", cut(&weekly.from)));
            return;
        };
        let Some((days, to)) = clock(&weekly.to) else {
            self.errors
                .push(format!("{field}.to"), format!("`{}` is not a time of day: 00:00 to 24:00", cut(&weekly.to)));
            return;
        };
        if days == 0 && from == to {
            self.errors.push(format!("{field}.to"), "it equals `from`: say 00:00 to 24:00 for a whole day");
            return;
        }
        let length = Length::Clock { days: if to <= from { 1 } else { days }, time: to };
        let pattern = Pattern::Weekly(Weekly { days: Weekday::ALL.map(|day| weekly.days.contains(&day)), from });
        if !weekly.days.is_empty() {
            self.take(field, Series::new(pattern, self.zone.clone(), length));
        }
    }

    fn cron(&mut self, field: &str, cron: &CronSchedule) {
        let length = self.length(field, cron.duration);
        match cron.expression.parse::<Cron>() {
            Ok(parsed) => {
                let series = Series::new(Pattern::Cron(parsed), self.zone.clone(), length);
                self.take(&format!("{field}.expression"), series);
            }
            Err(why) => self.errors.push(format!("{field}.expression"), why),
        }
    }

    fn rrule(&mut self, field: &str, written: &RruleSchedule) {
        let length = self.length(field, written.duration);
        let start = self.moment(&format!("{field}.start"), &written.start);
        let rule = match written.rule.parse::<Rule>() {
            Ok(rule) => Some(rule),
            Err(why) => {
                self.errors.push(format!("{field}.rule"), why);
                None
            }
        };
        let exclude = self.moments(&format!("{field}.exclude"), &written.exclude);
        let include = self.moments(&format!("{field}.include"), &written.include);
        let (Some(start), Some(rule)) = (start, rule) else { return };
        let zone = start.zone(self.zone);
        let mut except = Except::default();
        for moment in exclude {
            match moment {
                Moment::Day(day) => {
                    except.days.insert(day);
                }
                Moment::Local(_) | Moment::Fixed(..) => except.instants.extend(moment.instant(self.zone)),
            }
        }
        for moment in include {
            let own = moment.zone(self.zone);
            let at = own.occurrence(moment.local());
            let taken = |at| except.instants.contains(&at) || except.days.contains(&zone.local(at).date());
            let Some(at) = at.filter(|at| !taken(*at)) else { continue };
            self.fixed.extend(length.end(moment.local(), at, &own).and_then(|end| Occurrence::new(at, end)));
        }
        let series = Recurrence::new(rule, start.local(), start.is_day())
            .and_then(|recurrence| Series::new(Pattern::Recurrence(Box::new(recurrence)), zone, length));
        self.take(&format!("{field}.rule"), series.map(|series| series.without(except)));
    }

    fn dates(&mut self, field: &str, dates: &DateRange) {
        let DateRange { from, to, day, first_day, last_day } = dates;
        let ends = match (from, to, day, first_day, last_day) {
            (Some(from), Some(to), None, None, None) => {
                let from = self.moment(&format!("{field}.from"), from);
                (from, self.moment(&format!("{field}.to"), to), "to", "it does not lie after `from`")
            }
            (None, None, Some(day), None, None) => {
                let day = self.day(&format!("{field}.day"), day);
                (day, day.and_then(after), "day", "it lies outside the calendar")
            }
            (None, None, None, Some(first), Some(last)) => {
                let first = self.day(&format!("{field}.firstDay"), first);
                let last = self.day(&format!("{field}.lastDay"), last);
                (first, last.and_then(after), "lastDay", "it lies before `firstDay`")
            }
            _ => {
                self.errors
                    .push(field, "it needs `from` and `to`, or `day`, or `firstDay` and `lastDay`, and nothing else");
                return;
            }
        };
        let (Some(start), Some(end), name, why) = ends else { return };
        // As they stand: a day that its zone skips is empty, and no mistake.
        let ordered = match (start, end) {
            (Moment::Fixed(..), _) | (_, Moment::Fixed(..)) => start.instant(self.zone) < end.instant(self.zone),
            _ => start.local() < end.local(),
        };
        match between(self.zone, start, end) {
            Ok(occurrence) if ordered => self.fixed.extend(occurrence),
            Ok(_) => self.errors.push(format!("{field}.{name}"), why),
            Err(()) => self.errors.push(format!("{field}.{name}"), "it lies outside the calendar"),
        }
    }

    /// The calendars; tells why the window is unknown, where one of them cannot be stood on.
    pub(super) fn calendars(&mut self, calendars: &[Calendar], inputs: &[CalendarInput]) -> Option<String> {
        let mut unknown = None;
        for (index, calendar) in calendars.iter().enumerate() {
            let field = format!("spec.schedule.calendars[{index}]");
            let (field, name) = match (&calendar.file, &calendar.url, &calendar.inline) {
                (Some(file), None, None) => (format!("{field}.file"), self.file(&field, file)),
                (None, Some(url), None) => (format!("{field}.url"), self.url(&field, url, calendar.refresh)),
                (None, None, Some(inline)) => {
                    self.contents(&format!("{field}.inline"), inline.as_bytes());
                    continue;
                }
                _ => {
                    self.errors.push(field, "it needs exactly one of file, url and inline");
                    continue;
                }
            };
            if calendar.refresh.is_some() && calendar.url.is_none() {
                self.errors.push(format!("spec.schedule.calendars[{index}].refresh"), "it belongs to a url");
            }
            let why = match inputs.get(index) {
                Some(CalendarInput::Ready(bytes)) => {
                    self.contents(&field, bytes);
                    continue;
                }
                Some(CalendarInput::Stale(bytes, why)) => {
                    self.contents(&field, bytes);
                    why.clone()
                }
                Some(CalendarInput::Missing(why)) => why.clone(),
                None => "it was not loaded".to_owned(),
            };
            unknown.get_or_insert(format!("calendar {name}: {why}"));
        }
        unknown
    }

    fn contents(&mut self, field: &str, bytes: &[u8]) {
        match ics::read(bytes, self.zone, self.zones) {
            Ok(contents) => {
                self.fixed.extend(contents.fixed);
                self.series.extend(contents.series);
            }
            Err(error) => self.errors.push(field, error.to_string()),
        }
    }

    fn file(&mut self, field: &str, file: &str) -> String {
        let path = std::path::Path::new(file);
        let plain = path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
        if !plain {
            self.errors.push(
                format!("{field}.file"),
                format!("`{}` is not allowed: a path beside or below the file that it stands in", cut(file)),
            );
        }
        cut(file)
    }

    fn url(&mut self, field: &str, url: &str, refresh: Option<Period>) -> String {
        let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if parsed.is_none() {
            self.errors.push(format!("{field}.url"), format!("`{}` is not an http or https URL", cut(url)));
        }
        if refresh.is_some_and(|refresh| refresh.exact() < LEAST_REFRESH) {
            self.errors.push(format!("{field}.refresh"), "it is shorter than 1m, which is the least");
        }
        // Addresses of calendars are often secret behind the host.
        parsed.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    fn length(&mut self, field: &str, duration: Period) -> Length {
        if duration.is_zero() {
            self.errors.push(format!("{field}.duration"), "0s contains nothing: say how long each occurrence lasts");
        }
        Length::Period { days: duration.days(), rest: duration.rest() }
    }

    fn take(&mut self, field: &str, series: Result<Series, String>) {
        match series {
            Ok(series) => self.series.push(series),
            Err(why) => self.errors.push(field, why),
        }
    }

    fn moment(&mut self, field: &str, text: &str) -> Option<Moment> {
        Moment::parse(text).map_err(|why| self.errors.push(field, why)).ok()
    }

    fn moments(&mut self, field: &str, texts: &[String]) -> Vec<Moment> {
        let indexed = texts.iter().enumerate();
        indexed.filter_map(|(index, text)| self.moment(&format!("{field}[{index}]"), text)).collect()
    }

    fn day(&mut self, field: &str, text: &str) -> Option<Moment> {
        let moment = self.moment(field, text)?;
        if !moment.is_day() {
            self.errors.push(field, format!("`{}` is not a day such as 2026-05-01", cut(text)));
            return None;
        }
        Some(moment)
    }
}

impl Weekday {
    /// Every day, Monday first.
    const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];
}

fn after(moment: Moment) -> Option<Moment> {
    let next: DateTime = moment.local().checked_add(1.day()).ok()?;
    Some(Moment::Day(next.date()))
}

/// A time of day; `24:00` is midnight a day later.
fn clock(text: &str) -> Option<(i64, Time)> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    if (hour, minute) == (24, 0) {
        return Some((1, Time::midnight()));
    }
    Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok().map(|time| (0, time))
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
