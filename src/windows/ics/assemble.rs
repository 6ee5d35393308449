//! From the events of a calendar to occurrences: series, further dates, exceptions and changes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::event::{Event, Extent, Placed};
use super::{Contents, IcsError};
use crate::windows::pattern::Pattern;
use crate::windows::rrule::{Recurrence, Rule};
use crate::windows::series::{Except, Segment, Series};
use crate::windows::stretch::Occurrence;
use crate::windows::zone::{Length, Zone};

/// Adds what `events` of one calendar say to `contents`.
pub(super) fn assemble(events: Vec<Event>, contents: &mut Contents) -> Result<(), IcsError> {
    let mut groups: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for (index, event) in events.into_iter().enumerate() {
        // An event without a UID is not the same as any other.
        let key = event.uid.as_ref().map_or_else(|| format!("#{index}"), |uid| format!("={uid}"));
        groups.entry(key).or_default().push(event);
    }
    groups.into_values().try_for_each(|group| one_group(latest(group), contents))
}

/// Of several versions of one event only the latest counts; equal ones all do.
fn latest(group: Vec<Event>) -> Vec<Event> {
    let id = |event: &Event| event.recurrence_id.as_ref().map(|id| id.at);
    let mut newest: BTreeMap<Option<Timestamp>, i64> = BTreeMap::new();
    for event in &group {
        let sequence = newest.entry(id(event)).or_insert(event.sequence);
        *sequence = event.sequence.max(*sequence);
    }
    group.into_iter().filter(|event| newest.get(&id(event)).is_none_or(|newest| event.sequence >= *newest)).collect()
}

fn one_group(group: Vec<Event>, contents: &mut Contents) -> Result<(), IcsError> {
    let (mut changes, masters): (Vec<_>, Vec<_>) = group.into_iter().partition(|event| event.recurrence_id.is_some());
    changes.sort_by_key(|event| event.recurrence_id.as_ref().map(|id| id.at));
    for master in &masters {
        Master::new(master, &changes)?.add(contents)?;
    }
    // A change stands for itself, wherever it moves to and whether or not its series is here.
    for change in &changes {
        Master::new(change, &[])?.add(contents)?;
    }
    Ok(())
}

/// An event with whatever changes its occurrences.
struct Master<'a> {
    event: &'a Event,
    except: Except,
    /// Changes of the rest, in order of where they begin.
    future: Vec<&'a Event>,
}

impl<'a> Master<'a> {
    fn new(event: &'a Event, changes: &'a [Event]) -> Result<Self, IcsError> {
        let mut except = Except::default();
        let ids = changes.iter().filter(|change| !change.this_and_future);
        for taken in event.except.iter().chain(ids.filter_map(|change| change.recurrence_id.as_ref())) {
            // A date takes the occurrence of its day, a time the one at that instant.
            if taken.moment.is_day() {
                except.days.insert(taken.local().date());
            } else {
                except.instants.insert(taken.at);
            }
        }
        for (line, rule) in &event.except_rules {
            except.rules.push(recurrence(event, *line, rule.clone(), "EXRULE")?);
        }
        Ok(Self { event, except, future: changes.iter().filter(|change| change.this_and_future).collect() })
    }

    fn add(&self, contents: &mut Contents) -> Result<(), IcsError> {
        let event = self.event;
        let mut synchronized = false;
        for (line, rule) in &event.rules {
            synchronized |= self.add_rule(*line, rule, contents)?;
        }
        if event.cancelled {
            return Ok(());
        }
        // DTSTART is the first occurrence, whether or not the rule gives it.
        if !synchronized {
            contents.fixed.extend(self.single(&event.start, &event.extent));
        }
        for further in &event.further {
            let extent = further.extent.as_ref();
            let own = Extent::Length(event.extent.length());
            contents.fixed.extend(self.single(&further.start, extent.unwrap_or(&own)));
        }
        Ok(())
    }

    /// Adds a rule's series; tells whether it gives DTSTART itself.
    fn add_rule(&self, line: usize, rule: &Rule, contents: &mut Contents) -> Result<bool, IcsError> {
        let event = self.event;
        let series = |rule: Rule| {
            let pattern = Pattern::Recurrence(Box::new(recurrence(event, line, rule, "RRULE")?));
            Series::new(pattern, event.start.zone.clone(), event.extent.length())
                .map_err(|why| IcsError::at(line, format!("RRULE: {why}")))
        };
        let mut whole = series(rule.clone())?;
        let synchronized = whole.begins_at(event.start.at) == Some(event.start.local());
        if let (false, Some(count)) = (synchronized, rule.count) {
            // DTSTART always counts as the first occurrence (RFC 5545, section 3.3.10).
            if count == 1 {
                return Ok(false);
            }
            whole = series(Rule { count: Some(count - 1), ..rule.clone() })?;
        }
        let whole = whole.without(self.except.clone());
        if self.future.is_empty() {
            if !event.cancelled && !event.extent.is_empty() {
                contents.series.push(whole);
            }
            return Ok(synchronized);
        }
        let first = Segment { from: None, before: self.future.first().and_then(|change| id_of(change)), moved: None };
        if !event.cancelled && !event.extent.is_empty() {
            contents.series.push(whole.clone().cut(first, None));
        }
        for (index, change) in self.future.iter().enumerate() {
            let before = self.future.get(index + 1).and_then(|next| id_of(next));
            // A change with rules of its own goes on by these.
            if change.cancelled || change.extent.is_empty() || !change.rules.is_empty() {
                continue;
            }
            let segment = Segment { from: id_of(change), before, moved: self.moved(change) };
            contents.series.push(whole.clone().cut(segment, Some(change.extent.length())));
        }
        Ok(synchronized)
    }

    /// By how much a change of the rest moves local times, and the zone it moves them to.
    fn moved(&self, change: &Event) -> Option<(SignedDuration, Zone)> {
        let id = change.recurrence_id.as_ref()?;
        let from = self.event.start.zone.local(id.at);
        let utc = matches!(&change.start.zone, Zone::Known(zone) if *zone == jiff::tz::TimeZone::UTC);
        // A new start in UTC tells an instant; the series goes on in its own zone.
        let (to, zone) = if utc && !change.start.moment.is_day() {
            (self.event.start.zone.local(change.start.at), self.event.start.zone.clone())
        } else {
            (change.start.local(), change.start.zone.clone())
        };
        Some((to.duration_since(from), zone))
    }

    /// One occurrence that no rule gives, unless an exception takes it or a change moves it.
    fn single(&self, start: &Placed, extent: &Extent) -> Option<Occurrence> {
        let day = self.event.start.zone.local(start.at).date();
        if self.except.instants.contains(&start.at)
            || self.except.days.contains(&day)
            || self.except.days.contains(&start.local().date())
        {
            return None;
        }
        let change = self.future.iter().rev().find(|change| id_of(change).is_some_and(|id| id <= start.at));
        let Some(change) = change else { return one_off(start, extent) };
        if change.cancelled {
            return None;
        }
        let (by, zone) = self.moved(change)?;
        let local = self.event.start.zone.local(start.at).checked_add(by).ok()?;
        let at = zone.occurrence(local)?;
        Occurrence::new(at, change.extent.length().end(local, at, &zone)?)
    }
}

fn id_of(change: &Event) -> Option<Timestamp> {
    change.recurrence_id.as_ref().map(|id| id.at)
}

fn recurrence(event: &Event, line: usize, rule: Rule, name: &str) -> Result<Recurrence, IcsError> {
    Recurrence::new(rule, event.start.local(), event.start.moment.is_day())
        .map_err(|why| IcsError::at(line, format!("{name}: {why}")))
}

/// One occurrence as it stands. What lies wholly on days that its zone skips does not take place;
/// what only begins there begins where the gap ends.
fn one_off(start: &Placed, extent: &Extent) -> Option<Occurrence> {
    let skipped = start.zone.skips(start.local().date());
    match extent {
        Extent::End(end, _) if skipped && end.zone.skips(end.local().date()) => None,
        Extent::End(end, _) => Occurrence::new(start.at, end.at),
        Extent::Length(Length::Period { days: 0, .. }) if skipped => None,
        Extent::Length(length) => Occurrence::new(start.at, length.end(start.local(), start.at, &start.zone)?),
    }
}
