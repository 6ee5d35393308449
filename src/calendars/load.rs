//! Windows read once, for a command that answers and ends.

use std::sync::Arc;

use jiff::Timestamp;

use super::CalendarError;
use super::fetch::{Fetched, fetch};
use super::source::{Good, Held, Source, read_file, refresh_of};
use super::zones::zones;
use crate::api::ReleaseWindow;
use crate::outbound::Outbound;
use crate::windows::{CalendarInput, Compiled, WindowError, check_calendar, compile};

/// Reads windows with their calendars: files, and URLs where there is a way out.
///
/// # Errors
/// The index of the first window whose resource has errors, with these.
pub async fn load(
    windows: &[&ReleaseWindow],
    outbound: Option<&Outbound>,
    now: Timestamp,
) -> Result<Vec<Arc<Compiled>>, (usize, Vec<WindowError>)> {
    let mut out = Vec::with_capacity(windows.len());
    for (index, window) in windows.iter().enumerate() {
        let mut inputs = Vec::new();
        for calendar in window.spec.schedule.iter().flat_map(|schedule| &schedule.calendars) {
            let source = match Source::of(window, calendar) {
                Some(Ok(source)) => source,
                Some(Err(error)) => {
                    inputs.push(CalendarInput::Missing(error.to_string()));
                    continue;
                }
                // Inline, or an error that compiling tells.
                None => {
                    inputs.push(CalendarInput::Missing(String::new()));
                    continue;
                }
            };
            let mut held = Held::default();
            match read(&source, outbound, window.spec.time_zone.as_deref()).await {
                Ok(bytes) => {
                    let bytes = Arc::from(bytes);
                    held.good = Some(Good { bytes, seen_at: now, etag: None, last_modified: None });
                }
                Err(error) => held.trouble = Some(error),
            }
            inputs.push(held.input(refresh_of(&source, calendar), now));
        }
        out.push(Arc::new(compile(window, zones(), &inputs).map_err(|errors| (index, errors))?));
    }
    Ok(out)
}

async fn read(source: &Source, outbound: Option<&Outbound>, zone: Option<&str>) -> Result<Vec<u8>, CalendarError> {
    let bytes = match (source, outbound) {
        (Source::File(path), _) => read_file(path).await?,
        (Source::Url(url), Some(outbound)) => match fetch(outbound, url, None).await? {
            Fetched::New { bytes, .. } => bytes,
            Fetched::Same => Vec::new(),
        },
        (Source::Url(_), None) => return Err(CalendarError::Fetch("it was not asked for".to_owned())),
    };
    check_calendar(&bytes, zone, zones()).map_err(|error| CalendarError::Contents(error.to_string()))?;
    Ok(bytes)
}
