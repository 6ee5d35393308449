//! Release windows and freezes.

use std::path::Path;

use super::spot::Spot;
use super::{Judge, syntax};
use crate::api::{Calendar, ReleaseWindow, WindowType};
use crate::config::load::read_limited;
use crate::model::Action;
use crate::windows::{self, CalendarInput, MAX_CALENDAR_BYTES, Zones};

impl Judge<'_> {
    pub(super) fn window(&mut self, spec: &Spot<'_>, window: &ReleaseWindow) {
        if let Some(expires) = window.spec.expires.filter(|expires| *expires <= self.now) {
            let message = format!("it has expired at {expires}: it binds nothing any more");
            self.report(spec.field("expires").warning("expired", message));
        }
        if window.spec.kind == WindowType::Allow && window.spec.actions.contains(&Action::Rollback) {
            let message = "an allow window never holds a rollback: only a freeze that names rollback does";
            self.report(spec.field("actions").warning("no-effect", message));
        }
        self.schedule(spec, window);
        let Some(schedule) = &window.spec.schedule else { return };
        let spot = spec.field("schedule").field("calendars");
        for (index, calendar) in schedule.calendars.iter().enumerate() {
            self.calendar(&spot.item(index), calendar);
        }
    }

    /// Reads the window as it is read when it is asked.
    fn schedule(&mut self, spec: &Spot<'_>, window: &ReleaseWindow) {
        let zones = Zones::bundled();
        let calendars = window.spec.schedule.iter().flat_map(|schedule| &schedule.calendars);
        let (mut inputs, mut known) = (Vec::new(), true);
        for (index, calendar) in calendars.enumerate() {
            let input = match (&calendar.file, &calendar.inline) {
                (Some(file), _) => self.calendar_file(spec, index, file, window, &zones),
                (None, Some(_)) => Some(CalendarInput::Missing(String::new())),
                (None, None) => None,
            };
            known &= input.is_some();
            inputs.push(input.unwrap_or_else(|| CalendarInput::Missing("not fetched".to_owned())));
        }
        match windows::compile(window, &zones, &inputs) {
            Err(errors) => {
                for error in errors {
                    let spot = Spot::at(spec.sourced(), &error.field);
                    self.report(spot.error("window", error.why));
                }
            }
            Ok(compiled) if known && compiled.exists(self.now) && !compiled.has_future(self.now) => {
                let spot = spec.field("schedule");
                self.report(match compiled.last_end(self.now) {
                    Some(end) => spot.warning("over", format!("it ended at {end} and never occurs again")),
                    None => spot.error("never", "it never occurs"),
                });
            }
            Ok(_) => {}
        }
    }

    /// The bytes of a calendar file; `None` where they cannot be used, which is said.
    fn calendar_file(
        &mut self,
        spec: &Spot<'_>,
        index: usize,
        file: &str,
        window: &ReleaseWindow,
        zones: &Zones,
    ) -> Option<CalendarInput> {
        let path = Path::new(&spec.sourced().file).parent()?.join(file);
        // Whether it is there is judged beside; what is no plain file is not read.
        if !path.is_file() {
            return None;
        }
        let spot = spec.field("schedule").field("calendars").item(index).field("file");
        match read_limited(&path, MAX_CALENDAR_BYTES as u64) {
            Err(why) => {
                self.report(spot.error("calendar", why));
                None
            }
            Ok(bytes) => match windows::check_calendar(&bytes, window.spec.time_zone.as_deref(), zones) {
                Err(error) => {
                    self.report(spot.error("calendar", format!("`{file}`: {error}")));
                    None
                }
                Ok(()) => Some(CalendarInput::Ready(bytes.into())),
            },
        }
    }

    fn calendar(&mut self, spot: &Spot<'_>, calendar: &Calendar) {
        if let Some(url) = &calendar.url {
            self.found.extend(syntax::url(&spot.field("url"), url));
        }
        if calendar.refresh.is_some_and(crate::model::Period::is_zero) {
            self.report(spot.field("refresh").error("time", "the time between two fetches must be longer than 0s"));
        }
        if let Some(file) = &calendar.file
            && self.whole
            && !Path::new(&spot.sourced().file).parent().is_some_and(|parent| parent.join(file).is_file())
        {
            let message = format!("there is no calendar `{file}` beside {}", spot.sourced().file);
            self.report(spot.field("file").error("dangling", message));
        }
    }
}
