//! From a directory to a database that can be trusted.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::error::OpenError;
use super::schema;

/// The database inside the data directory.
pub(super) const DATABASE: &str = "probegate.db";
/// The file that keeps a second process out.
const LOCK: &str = "probegate.lock";
/// A database up to this size is checked from end to end before it is used (some milliseconds);
/// a larger one while it is.
pub(super) const CHECK_AT_OPEN_BYTES: u64 = 4_194_304;
/// How long a statement waits for another connection of this process; only checkpoints ever make
/// one wait.
const BUSY_MILLIS: u64 = 5_000;
/// Pages in memory per connection, in KiB: the disk cache of the system does the rest.
const CACHE_KIB: i64 = 2_048;
/// The same for a connection that only reads, of which there may be several.
const READER_CACHE_KIB: i64 = 512;
/// The log is cut back to this after a burst has made it larger.
const LOG_BYTES: i64 = 16_777_216;
/// Prepared statements per connection: every shape of a list is one.
const STATEMENTS: usize = 64;

/// Where the database is. Keeps the directory locked while it lives.
#[derive(Debug)]
pub(super) enum Place {
    Memory,
    File { path: PathBuf, _lock: File },
}

impl Place {
    /// Locks the directory, making it where only its last part is missing.
    pub(super) fn directory(dir: &Path) -> Result<Self, OpenError> {
        make(dir)?;
        let lock = lock(dir)?;
        Ok(Self::File { path: dir.join(DATABASE), _lock: lock })
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Memory => "in memory".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    /// Bytes on the disk: the database and its log.
    pub(super) fn bytes(&self) -> u64 {
        let Self::File { path, .. } = self else { return 0 };
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        size(path) + size(Path::new(&log))
    }

    /// The connection that writes, on tables of the newest version.
    pub(super) fn writer(&self) -> Result<Connection, OpenError> {
        let path = match self {
            Self::Memory => Path::new(":memory:"),
            Self::File { path, .. } => path,
        };
        let failed = |error: rusqlite::Error| OpenError::sql("opening the database", path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        self.settle(&connection).map_err(failed)?;
        if self.bytes() > 0 && self.bytes() <= CHECK_AT_OPEN_BYTES {
            quick_check(&connection, path)?;
        }
        schema::migrate(&mut connection, path, schema::MIGRATIONS)?;
        Ok(connection)
    }

    /// A further connection, that cannot write.
    pub(super) fn reader(&self) -> Result<Connection, rusqlite::Error> {
        let Self::File { path, .. } = self else {
            return Err(rusqlite::Error::InvalidPath(PathBuf::from(":memory:")));
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        self.settle(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        Ok(connection)
    }

    fn settle(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        connection.busy_timeout(std::time::Duration::from_millis(BUSY_MILLIS))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // Checked while a row is read: a damaged cell is an error, never a wrong value.
        connection.pragma_update(None, "cell_size_check", true)?;
        // Views, triggers and functions of a foreign file are not to be trusted.
        connection.pragma_update(None, "trusted_schema", false)?;
        if matches!(self, Self::File { .. }) {
            // Readers go on while the writer writes, and a commit is one append and one fsync.
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
            // The fsync at every commit: what was acknowledged survives a power failure.
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |row| row.get::<_, i64>(0))?;
        }
        Ok(())
    }
}

fn make(dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    let missing = |why: String| OpenError::Missing { dir: dir.to_owned(), why };
    if dir.exists() {
        return Err(missing("there is a file of that name".to_owned()));
    }
    match dir.parent() {
        // Only the last part: a typing error in a path shall not grow a tree.
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            Err(missing(format!("{} does not exist either", parent.display())))
        }
        _ => create(dir).map_err(|error| missing(error.to_string())),
    }
}

/// For this user alone: who overrode what, and why, is not for everybody on the machine.
fn create(dir: &Path) -> Result<(), std::io::Error> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// The lock is the system's and ends with the process, however it ends; the pid inside is only for
/// people.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let failed = |error: std::io::Error| OpenError::io("locking", &path, &error);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Without the pid the message is still a message.
            let _ = (&file).take(32).read_to_string(&mut text);
            return Err(OpenError::Locked { dir: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(file)
}

/// Looks for damage from end to end: pages, cells and the order of the tables. Indexes are not held
/// against their tables.
fn quick_check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    match find_damage(connection) {
        Ok(None) => Ok(()),
        Ok(Some(why)) => Err(OpenError::Damaged { path: path.to_owned(), why }),
        Err(error) => Err(OpenError::sql("checking the database", path, &error)),
    }
}

pub(super) fn find_damage(connection: &Connection) -> Result<Option<String>, rusqlite::Error> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then(|| found.replace('\n', " ")))
}
