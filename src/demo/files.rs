//! The files of the demo: resources that a reader can open, change and ask about.
//!
//! The sources in `deploy/demo` are valid as they stand. Where the demo writes them, the addresses
//! of the two services and the dates of the freeze become those of this run.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::DemoError;

/// Every file: its path and its text.
const FILES: [(&str, &str); 4] = [
    ("gate.yaml", include_str!("../../deploy/demo/gate.yaml")),
    ("probes.yaml", include_str!("../../deploy/demo/probes.yaml")),
    ("windows.yaml", include_str!("../../deploy/demo/windows.yaml")),
    ("rules/small-start.rhai", include_str!("../../deploy/demo/rules/small-start.rhai")),
];

/// What stands in the sources for the address of the old revision and of the canary.
const BASELINE: &str = "http://127.0.0.1:18081/";
const CANARY: &str = "http://127.0.0.1:18082/";
/// What stands in the sources for the beginning and the end of the freeze.
const FREEZE_FROM: &str = "2026-12-24T12:00:00";
const FREEZE_TO: &str = "2026-12-27T08:00:00";
/// How long the freeze has been in force when the demo begins, and how long it still will be.
const FROZEN_SINCE: SignedDuration = SignedDuration::from_hours(1);
const FROZEN_FOR: SignedDuration = SignedDuration::from_hours(2);

/// What the sources are filled in with.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// Where the old revision answers.
    pub(super) baseline: &'a Url,
    /// Where the canary answers.
    pub(super) canary: &'a Url,
    /// The time.
    pub(super) now: Timestamp,
}

/// The files with the facts in them.
pub(super) fn filled(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let local = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:00").to_string();
    let from = facts.now.checked_sub(FROZEN_SINCE).unwrap_or(facts.now);
    let to = facts.now.checked_add(FROZEN_FOR).unwrap_or(facts.now);
    FILES
        .iter()
        .map(|(name, text)| {
            let text = text
                .replace(BASELINE, facts.baseline.as_str())
                .replace(CANARY, facts.canary.as_str())
                .replace(FREEZE_FROM, &local(from))
                .replace(FREEZE_TO, &local(to));
            (*name, text)
        })
        .collect()
}

/// Writes the files into `gates` below `directory`, which is made where it is missing.
///
/// # Errors
/// A file cannot be written.
pub(super) async fn write(directory: &Path, facts: &Facts<'_>) -> Result<Vec<PathBuf>, DemoError> {
    let mut written = Vec::new();
    for (name, text) in filled(facts) {
        let path = directory.join("gates").join(name);
        let failed = |error: std::io::Error| DemoError::Write { path: path.clone(), why: error.to_string() };
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(failed)?;
        }
        tokio::fs::write(&path, text).await.map_err(failed)?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_and_date_of_the_sources_is_filled_in() {
        let (baseline, canary) =
            (Url::parse("http://127.0.0.1:4001/").unwrap(), Url::parse("http://127.0.0.1:4002/").unwrap());
        let now = "2026-11-21T14:30:20Z".parse().unwrap();
        let files = filled(&Facts { baseline: &baseline, canary: &canary, now });
        let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
        for old in ["18081", "18082", "2026-12-2"] {
            assert!(!all.contains(old), "{old} is left");
        }
        assert!(all.contains("http://127.0.0.1:4001/healthz"), "{all}");
        assert!(all.contains("http://127.0.0.1:4002/e2e"), "{all}");
        assert!(all.contains(r#"from: "2026-11-21T13:30:00", to: "2026-11-21T16:30:00""#), "{all}");
    }
}
