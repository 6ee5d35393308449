//! Which zone a TZID means: an IANA name first, else the VTIMEZONE of the file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::DateTime;

use super::IcsError;
use super::component::Component;
use super::lines::Line;
use crate::windows::moment::{Moment, offset_of};
use crate::windows::rrule::Rule;
use crate::windows::vtimezone::{CustomZone, Observance};
use crate::windows::zone::{Zone, Zones};

/// The zones of one calendar.
pub(super) struct FileZones<'a> {
    calendar: &'a Component,
    zones: &'a Zones,
    /// The zone of times without one.
    pub(super) default: &'a Zone,
    found: RefCell<BTreeMap<String, Zone>>,
}

impl<'a> FileZones<'a> {
    pub(super) fn new(calendar: &'a Component, zones: &'a Zones, default: &'a Zone) -> Self {
        Self { calendar, zones, default, found: RefCell::default() }
    }

    /// The zone that a property's times without `Z` are in.
    pub(super) fn of(&self, line: &Line) -> Result<Zone, IcsError> {
        let Some(id) = line.parameter("TZID") else { return Ok(self.default.clone()) };
        if let Some(zone) = self.found.borrow().get(id) {
            return Ok(zone.clone());
        }
        let zone = match self.zones.get(id) {
            Some(zone) => Zone::Known(zone),
            None => self.custom(id, line)?,
        };
        self.found.borrow_mut().insert(id.to_owned(), zone.clone());
        Ok(zone)
    }

    fn custom(&self, id: &str, line: &Line) -> Result<Zone, IcsError> {
        let mut named = self
            .calendar
            .children
            .iter()
            .filter(|component| component.name == "VTIMEZONE")
            .filter(|zone| zone.all("TZID").any(|line| line.value.trim() == id));
        let component = named.next().ok_or_else(|| {
            let shown: String = id.chars().take(64).collect();
            let nearest = self.zones.nearest(id).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            IcsError::at(
                line.number,
                format!(
                    "TZID `{shown}` is unknown: it is neither an IANA zone nor a VTIMEZONE of this calendar{nearest}"
                ),
            )
        })?;
        let parts = component.children.iter().filter(|part| matches!(part.name.as_str(), "STANDARD" | "DAYLIGHT"));
        let observances = parts.map(observance).collect::<Result<Vec<_>, _>>()?;
        let zone = CustomZone::new(id.to_owned(), observances)
            .map_err(|why| IcsError::at(component.line, format!("VTIMEZONE {}: {why}", id.escape_debug())))?;
        Ok(Zone::Custom(Arc::new(zone)))
    }
}

fn observance(part: &Component) -> Result<Observance, IcsError> {
    let needed = |name: &'static str| {
        part.one(name)?.ok_or_else(|| IcsError::at(part.line, format!("a {} part without {name}", part.name)))
    };
    let offset = |name: &'static str| {
        let line = needed(name)?;
        offset_of(line.value.trim(), false).ok_or_else(|| {
            IcsError::at(line.number, format!("{name}: `{}` is not an offset such as +0100", cut(&line.value)))
        })
    };
    let start = needed("DTSTART")?;
    let rules = part
        .all("RRULE")
        .map(|line| line.value.parse::<Rule>().map_err(|why| IcsError::at(line.number, format!("RRULE: {why}"))));
    let mut dates = Vec::new();
    for line in part.all("RDATE") {
        for text in line.value.split(',') {
            let text = text.split_once('/').map_or(text, |(start, _)| start);
            dates.push(local(line, text)?);
        }
    }
    Ok(Observance {
        start: local(start, &start.value)?,
        from: offset("TZOFFSETFROM")?,
        to: offset("TZOFFSETTO")?,
        rules: rules.collect::<Result<_, _>>()?,
        dates,
    })
}

fn local(line: &Line, text: &str) -> Result<DateTime, IcsError> {
    let moment =
        Moment::parse_short(text.trim()).map_err(|why| IcsError::at(line.number, format!("{}: {why}", line.name)))?;
    Ok(moment.local())
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
