//! Good copies on disk, so that a restart does not lose them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::source::{Good, Source, read_file};

/// The directory of copies; without one, nothing is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    directory: Option<PathBuf>,
}

/// What stands beside a copy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Label {
    seen_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    /// Of the copy, so that a label never stands on another one.
    length: usize,
    hash: String,
}

impl Kept {
    pub(super) const fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    /// The copy of a source, where there is a whole one.
    pub(super) async fn read(&self, source: &Source) -> Option<Good> {
        let (copy, label) = self.paths(source)?;
        let label: Label = serde_json::from_slice(&read_file(&label).await.ok()?).ok()?;
        let bytes = read_file(&copy).await.ok()?;
        if label.length != bytes.len() || label.hash != hash(&bytes) {
            tracing::warn!(calendar = source.label(), "The copy of a calendar is damaged and is not used.");
            return None;
        }
        let Label { seen_at, etag, last_modified, .. } = label;
        Some(Good { bytes: Arc::from(bytes), seen_at, etag, last_modified })
    }

    /// Keeps a copy. Trouble is a warning: the copy in memory counts all the same.
    pub(super) async fn write(&self, source: &Source, good: &Good) {
        let Some((copy, label)) = self.paths(source) else { return };
        let text = Label {
            seen_at: good.seen_at,
            etag: good.etag.clone(),
            last_modified: good.last_modified.clone(),
            length: good.bytes.len(),
            hash: hash(&good.bytes),
        };
        let written = async {
            if let Some(directory) = &self.directory {
                tokio::fs::create_dir_all(directory).await?;
            }
            replace(&copy, &good.bytes).await?;
            replace(&label, &serde_json::to_vec(&text).unwrap_or_default()).await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, calendar = source.label(), "The copy of a calendar could not be kept on disk.");
        }
    }

    fn paths(&self, source: &Source) -> Option<(PathBuf, PathBuf)> {
        let directory = self.directory.as_ref()?;
        let key = source.key();
        Some((directory.join(format!("{key}.ics")), directory.join(format!("{key}.json"))))
    }
}

/// Writes beside and renames, so that nobody ever reads half of it.
async fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    tokio::fs::write(&beside, bytes).await?;
    tokio::fs::rename(&beside, path).await
}

fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write;

    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
