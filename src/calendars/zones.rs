//! The tz database: the one that is compiled in, or the system's where it is newer.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::OnceLock;

use jiff::tz::TimeZoneDatabase;

use crate::windows::Zones;

/// Where systems have their database.
const SYSTEM: &str = "/usr/share/zoneinfo";

/// How much of the system's files is read for their version: it stands on the first line.
const MAX_VERSION_BYTES: u64 = 256;

static CHOSEN: OnceLock<(Zones, String)> = OnceLock::new();

/// The zones to use everywhere in this process.
#[must_use]
pub fn zones() -> &'static Zones {
    &chosen().0
}

/// The version of the database in use, and where it comes from: `2026e (compiled in)`.
#[must_use]
pub fn zones_version() -> &'static str {
    &chosen().1
}

fn chosen() -> &'static (Zones, String) {
    CHOSEN.get_or_init(|| choose(Path::new(SYSTEM)))
}

fn choose(directory: &Path) -> (Zones, String) {
    let bundled = Zones::bundled_version();
    // Versions are a year and letters, so that their texts are in order.
    if let Some(version) = version_of(directory).filter(|version| version.as_str() > bundled) {
        match TimeZoneDatabase::from_dir(directory) {
            Ok(database) if !database.is_definitively_empty() => {
                return (Zones::of(database), format!("{version} (of the system)"));
            }
            _ => tracing::warn!("The system's tz database is newer and cannot be read; the compiled-in one is used."),
        }
    }
    (Zones::bundled(), format!("{bundled} (compiled in)"))
}

/// The version that a database says it has.
fn version_of(directory: &Path) -> Option<String> {
    let first_line = |name: &str| {
        let file = std::fs::File::open(directory.join(name)).ok()?.take(MAX_VERSION_BYTES);
        BufReader::new(file).lines().next()?.ok()
    };
    let stated = first_line("tzdata.zi").and_then(|line| line.strip_prefix("# version ").map(str::to_owned));
    let version = stated.or_else(|| first_line("+VERSION"))?.trim().to_owned();
    let (year, letters) = version.split_at_checked(4)?;
    let plain = year.bytes().all(|byte| byte.is_ascii_digit()) && letters.bytes().all(|byte| byte.is_ascii_lowercase());
    plain.then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_database_of_the_system_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tzdata.zi"), "# version 2019c\n").unwrap();
        assert!(choose(directory.path()).1.ends_with("(compiled in)"));
    }

    #[test]
    fn a_newer_database_of_the_system_is_used() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("+VERSION"), "2999a\n").unwrap();
        let utc = b"TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0UTC\0TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0UTC\0\nUTC0\n";
        std::fs::create_dir(directory.path().join("Etc")).unwrap();
        std::fs::write(directory.path().join("Etc/UTC"), utc).unwrap();
        assert_eq!(choose(directory.path()).1, "2999a (of the system)");
    }

    #[test]
    fn a_directory_that_is_no_database_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        assert!(choose(directory.path()).1.ends_with("(compiled in)"));
        std::fs::write(directory.path().join("tzdata.zi"), "<html>").unwrap();
        assert!(choose(directory.path()).1.ends_with("(compiled in)"));
    }
}
