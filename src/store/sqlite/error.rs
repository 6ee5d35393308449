//! What can be wrong with the data directory, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not there and cannot be made.
    #[error("the data directory {} does not exist and cannot be made: {why}", dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        why: String,
    },
    /// Another process works on it.
    #[error("the data directory {} is in use by {}: stop that one, or give this one a directory of its own",
        dir.display(), holder(*pid))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process, where it has said so.
        pid: Option<u32>,
    },
    /// It cannot be written.
    #[error("{} cannot be written ({why}): make the data directory writable for this user", path.display())]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// There is no room left on its disk.
    #[error("the disk of {} is full ({why}): make room and start again", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// The database is damaged.
    #[error("the database {} is damaged ({why}): restore it from a backup, or move it away to begin with an empty one",
        path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// It is a database of another program.
    #[error("{} is a database of another program: choose another data directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program has written it.
    #[error("the database {} has version {found}, and this program knows versions up to {known}: \
        use the program that wrote it, or a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest known one.
        known: i64,
    },
    /// Anything else.
    #[error("while {doing} {}: {why}", path.display())]
    Other {
        /// What was being done.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        why: String,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl OpenError {
    pub(super) fn io(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        let (path, why) = (path.to_owned(), error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, why },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, why },
            _ => Self::Other { doing, path, why },
        }
    }

    pub(super) fn sql(doing: &'static str, path: &Path, error: &rusqlite::Error) -> Self {
        let (path, why) = (path.to_owned(), error.to_string());
        match Trouble::of(error) {
            Trouble::ReadOnly => Self::ReadOnly { path, why },
            Trouble::Full => Self::Full { path, why },
            Trouble::Damaged => Self::Damaged { path, why },
            Trouble::Other => Self::Other { doing, path, why },
        }
    }
}

/// The kinds of trouble that a user can do something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Full,
    ReadOnly,
    Damaged,
    Other,
}

impl Trouble {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DiskFull => Self::Full,
                ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged,
                // The shared memory beside the log cannot be made larger: there is no room.
                ErrorCode::SystemIoFailure if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => {
                    Self::Full
                }
                _ => Self::Other,
            },
            // What was written as text and JSON comes back as something else.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => Self::Damaged,
            _ => Self::Other,
        }
    }

    /// What a user can do about it.
    const fn advice(self) -> &'static str {
        match self {
            Self::Full => "; make room on its disk, the store goes on by itself",
            Self::ReadOnly => "; make it writable again, the store goes on by itself",
            Self::Damaged => "; restore it from a backup and start again",
            Self::Other => "",
        }
    }
}

/// Trouble of the open database at `place`, as callers of the store see it.
pub(super) fn unavailable(doing: &str, place: &str, error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable {
        doing: doing.to_owned(),
        why: format!("the database {place} says: {error}{}", Trouble::of(error).advice()),
    }
}
