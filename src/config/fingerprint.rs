//! Whether the files of a directory can be what they were when they were last read.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::discover::discover;

/// A file that was changed so lately may be changed once more within one tick of the clock that its
/// file system stamps it with: its stamps do not tell yet.
const SETTLED: SignedDuration = SignedDuration::from_secs(1);

/// Names, sizes, inodes and stamps of all files of a directory, as one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Looks at a directory, without reading a file; nothing where that cannot tell.
    pub(super) fn of(root: &Path, now: Timestamp) -> Option<Self> {
        let found = discover(&[PathBuf::from(root)]).ok().filter(|found| found.diagnostics.is_empty())?;
        let mut hash = Sha256::new();
        for file in found.resources.iter().chain(&found.scripts) {
            let stamps = std::fs::metadata(&file.path).ok()?;
            let changed = Timestamp::from_second(stamps.ctime().max(stamps.mtime())).ok()?;
            if now.duration_since(changed) <= SETTLED {
                return None;
            }
            hash.update(file.name.as_bytes());
            for number in [stamps.mtime(), stamps.mtime_nsec(), stamps.ctime(), stamps.ctime_nsec()] {
                hash.update(number.to_le_bytes());
            }
            for number in [stamps.len(), stamps.ino(), stamps.dev()] {
                hash.update(number.to_le_bytes());
            }
        }
        Some(Self(hash.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_tells_a_change_a_new_file_and_a_lost_one() {
        let directory = tempfile::tempdir().unwrap();
        let later = |hours| Timestamp::from_second(i64::from(u32::MAX)).unwrap() + SignedDuration::from_hours(hours);
        let take = || Fingerprint::of(directory.path(), later(1)).unwrap();
        let empty = take();
        fs::write(directory.path().join("a.yaml"), "a").unwrap();
        let one = take();
        assert_eq!(one, take());
        fs::write(directory.path().join("a.yaml"), "ab").unwrap();
        let longer = take();
        fs::write(directory.path().join("b.rhai"), "").unwrap();
        let two = take();
        assert!(empty != one && one != longer && longer != two);
    }

    #[test]
    fn what_was_changed_just_now_tells_nothing_yet() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        fs::write(&file, "a").unwrap();
        let changed = Timestamp::from_second(fs::metadata(&file).unwrap().ctime()).unwrap();
        assert_eq!(Fingerprint::of(directory.path(), changed), None);
        assert!(Fingerprint::of(directory.path(), changed + SETTLED + SETTLED).is_some());
    }
}
