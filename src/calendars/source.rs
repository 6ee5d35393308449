//! Where calendars come from, and what is held of each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::CalendarError;
use crate::api::{ANNOTATION_SOURCE, Calendar, ReleaseWindow};
use crate::windows::{CalendarInput, MAX_CALENDAR_BYTES};

/// How often a URL is fetched where the window does not say.
const DEFAULT_REFRESH: Duration = Duration::from_secs(3_600);
/// How often files are looked at: a person who has saved one waits for it.
pub(super) const FILE_REFRESH: Duration = Duration::from_secs(5);
/// A copy that could not be renewed counts for at least a day: servers of calendars are no
/// services that somebody is woken for.
const LEAST_MAX_AGE: Duration = Duration::from_secs(24 * 3_600);
/// A URL that is fetched rarely may fail so many times.
const REFRESHES_TO_MAX_AGE: u32 = 8;

/// One place that a calendar comes from; windows may share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    File(PathBuf),
    Url(Url),
}

impl Source {
    /// The place of a calendar of `window`; `None` for an inline one or one that makes no sense.
    pub(super) fn of(window: &ReleaseWindow, calendar: &Calendar) -> Option<Result<Self, CalendarError>> {
        if let Some(file) = &calendar.file {
            let plain = Path::new(file)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
            return plain.then(|| beside(window, file));
        }
        let url = Url::parse(calendar.url.as_deref()?).ok()?;
        matches!(url.scheme(), "http" | "https").then_some(Ok(Self::Url(url)))
    }

    /// A name for logs and messages. The path of a URL may be secret.
    pub(super) fn label(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => url.host_str().unwrap_or("?").to_owned(),
        }
    }

    /// A key for its copy on disk.
    pub(super) fn key(&self) -> String {
        let (kind, place) = match self {
            Self::File(path) => ("file", path.display().to_string()),
            Self::Url(url) => ("url", url.to_string()),
        };
        crate::model::QuestionKey::over(&[kind, &place]).to_string()
    }
}

/// A file beside the one that the window stands in.
fn beside(window: &ReleaseWindow, file: &str) -> Result<Source, CalendarError> {
    let annotation = window.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION_SOURCE));
    let (path, _line) = annotation.and_then(|source| source.rsplit_once(':')).ok_or(CalendarError::NoDirectory)?;
    let directory = Path::new(path).parent().unwrap_or(Path::new(""));
    Ok(Source::File(directory.join(file)))
}

/// How often to look at a source again.
pub(super) fn refresh_of(source: &Source, calendar: &Calendar) -> Duration {
    match source {
        Source::File(_) => FILE_REFRESH,
        Source::Url(_) => calendar.refresh.map_or(DEFAULT_REFRESH, crate::model::Period::to_std),
    }
}

/// A copy that could be read as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Good {
    pub(super) bytes: Arc<[u8]>,
    /// When it was last known to be what the source says.
    pub(super) seen_at: Timestamp,
    /// What the server wants to be asked with the next time.
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// What is held of a source.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    pub(super) good: Option<Good>,
    /// Why the last attempt failed, where it did.
    pub(super) trouble: Option<CalendarError>,
}

impl Held {
    /// What a window may stand on at `now`.
    pub(super) fn input(&self, refresh: Duration, now: Timestamp) -> CalendarInput {
        let trouble = || self.trouble.as_ref().map_or_else(|| "it was not loaded yet".to_owned(), ToString::to_string);
        let Some(good) = &self.good else { return CalendarInput::Missing(trouble()) };
        let age = now.duration_since(good.seen_at);
        if age <= max_age(refresh) {
            return CalendarInput::Ready(Arc::clone(&good.bytes));
        }
        let hours = age.as_hours();
        CalendarInput::Stale(Arc::clone(&good.bytes), format!("the last good copy is {hours}h old; {}", trouble()))
    }
}

/// How old a copy may be and still count.
pub(super) fn max_age(refresh: Duration) -> SignedDuration {
    let age = LEAST_MAX_AGE.max(refresh.saturating_mul(REFRESHES_TO_MAX_AGE));
    SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX)
}

/// Reads a file, and never more than a calendar may have.
pub(super) async fn read_file(path: &Path) -> Result<Vec<u8>, CalendarError> {
    use tokio::io::AsyncReadExt;
    let wrong = |error: std::io::Error| CalendarError::File(format!("{}: {error}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(wrong)?;
    let mut bytes = Vec::new();
    file.take(MAX_CALENDAR_BYTES as u64 + 1).read_to_end(&mut bytes).await.map_err(wrong)?;
    Ok(bytes)
}
