//! What the embedded home does when its disk or its directory misbehaves: a clear error, nothing
//! lost, nothing made up.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jiff::SignedDuration;
use probegate::store::sqlite::{OpenError, Options, SqliteStore};
use probegate::store::{Object, Query, Store, StoreError};
use rstest::rstest;
use serde_json::json;

use super::home::{Home, decided, names, run, version, with_status};

fn open(dir: &Path) -> Result<Arc<SqliteStore>, OpenError> {
    SqliteStore::open(dir, Options::default())
}

/// The error of a directory that must not open, its path written as DIR.
fn refused(dir: &Path) -> String {
    match open(dir) {
        Ok(_) => panic!("{} must not open", dir.display()),
        Err(error) => error.to_string().replace(&dir.display().to_string(), "DIR"),
    }
}

fn database(dir: &Path) -> PathBuf {
    dir.join("probegate.db")
}

fn overwrite(path: &Path, from: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(bytes).unwrap();
}

/// A run of a few KB: 2000 of them are more than what is checked before the first use.
fn large(index: usize) -> Object {
    with_status(run(&format!("run-{index:04}")), json!({"reason": "because ".repeat(400)}))
}

async fn fill(store: &SqliteStore, count: usize) {
    let writes = (0..count).map(|index| store.create(large(index)));
    futures::future::join_all(writes).await.into_iter().for_each(|written| drop(written.unwrap()));
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (written, gone) = {
        let store = open(dir.path()).unwrap();
        let written = store.create(with_status(run("a"), decided())).await.unwrap();
        let gone = store.create(run("b")).await.unwrap();
        store.delete("GateRun", "shop", "b", None).await.unwrap();
        (written, gone)
    };

    let store = open(dir.path()).unwrap();

    assert_eq!(store.get("GateRun", "shop", "a").await.unwrap(), Some(written));
    let next = store.create(run("c")).await.unwrap();
    let number = |object: &Object| version(object).parse::<u64>().unwrap();
    assert!(number(&next) > number(&gone) + 1, "a version must not come twice, not even that of a deletion");
}

#[test]
fn the_last_part_of_the_path_is_made() {
    let dir = tempfile::tempdir().unwrap();

    drop(open(&dir.path().join("data")).unwrap());

    assert!(database(&dir.path().join("data")).exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(dir.path().join("data")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700, "for this user alone");
}

#[test]
fn a_path_that_leads_nowhere_is_refused_and_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let parent = dir.path().join("no");

    let error =
        open(&parent.join("where")).err().unwrap().to_string().replace(&dir.path().display().to_string(), "TMP");

    assert_eq!(
        error,
        "the data directory TMP/no/where does not exist and cannot be made: TMP/no does not exist either"
    );
    assert!(!parent.exists());
}

#[test]
fn a_file_is_no_data_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();

    assert_eq!(
        refused(file.path()),
        "the data directory DIR does not exist and cannot be made: there is a file of that name"
    );
}

#[test]
fn a_directory_in_use_names_the_process_and_is_free_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();

    let expected = format!(
        "the data directory DIR is in use by process {}: stop that one, or give this one a directory of its own",
        std::process::id()
    );
    assert_eq!(refused(dir.path()), expected);

    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    rusqlite::Connection::open(database(dir.path())).unwrap().pragma_update(None, "user_version", 99).unwrap();

    for _ in 0..2 {
        assert_eq!(
            refused(dir.path()),
            "the database DIR/probegate.db has version 99, and this program knows versions up to 1: use the program \
             that wrote it, or a newer one"
        );
    }
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(database(dir.path())).unwrap();
    connection.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    drop(connection);

    assert_eq!(refused(dir.path()), "DIR/probegate.db is a database of another program: choose another data directory");
    let connection = rusqlite::Connection::open(database(dir.path())).unwrap();
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[rstest]
#[case::no_database_at_all(0, b"this is not a database, it is a shopping list: milk, bread, butter.....".as_slice())]
#[case::header(0, &[0xAA; 100])]
#[case::page_size(16, &[0xFF, 0xFF])]
#[case::first_page(100, &[0xAA; 3_000])]
#[case::a_page_in_the_middle(40_960, &[0xAA; 8_192])]
#[tokio::test]
async fn a_damaged_database_is_refused_with_what_to_do(#[case] from: u64, #[case] garbage: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    fill(open(dir.path()).unwrap().as_ref(), 100).await;
    overwrite(&database(dir.path()), from, garbage);

    let error = refused(dir.path());

    assert!(error.starts_with("the database DIR/probegate.db is damaged ("), "{error}");
    assert!(error.ends_with("restore it from a backup, or move it away to begin with an empty one"), "{error}");
}

#[tokio::test]
async fn a_truncated_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fill(open(dir.path()).unwrap().as_ref(), 100).await;
    let file = OpenOptions::new().write(true).open(database(dir.path())).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();

    let error = refused(dir.path());

    assert!(error.starts_with("the database DIR/probegate.db is damaged ("), "{error}");
}

#[tokio::test]
async fn damage_that_shows_later_stops_all_writing() {
    let dir = tempfile::tempdir().unwrap();
    fill(open(dir.path()).unwrap().as_ref(), 2_000).await;
    let size = fs::metadata(database(dir.path())).unwrap().len();
    assert!(size > 6_000_000, "{size}: large enough not to be checked before the first use");
    overwrite(&database(dir.path()), size / 2 / 4_096 * 4_096, &vec![0xAA; 200_000]);
    let store = open(dir.path()).unwrap();

    let mut query = Query::default();
    let error = loop {
        match store.list("GateRun", &query).await {
            Ok(page) => query.after = Some(page.next.expect("the damage comes before the end")),
            Err(error) => break error,
        }
    };

    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    for error in [store.ready().await.unwrap_err(), store.create(run("new")).await.unwrap_err()] {
        assert!(error.to_string().contains("is damaged ("), "{error}");
        assert!(error.to_string().contains("restore it from a backup and start again"), "{error}");
    }
}

/// A small file system of its own; only root can have one.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new(options: &str) -> Option<Self> {
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        disk.mount(&["-t", "tmpfs", "-o", options, "tmpfs"]).then_some(disk)
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let output = Command::new("mount").args(arguments).arg(self.path()).output();
        output.is_ok_and(|output| output.status.success())
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_loses_nothing_and_is_forgotten_when_there_is_room() {
    let Some(disk) = Disk::new("size=3m") else {
        eprintln!("skipped: a small disk can only be mounted by root");
        return;
    };
    let store = open(disk.path()).unwrap();
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![0; 1_000_000]).unwrap();

    let mut written = 0;
    let error = loop {
        match store.create(large(written)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };

    let text = error.to_string().replace(&disk.path().display().to_string(), "DIR");
    assert!(
        text.starts_with(&format!(
            "while creating GateRun shop/run-{written:04}: the database DIR/probegate.db says: "
        )),
        "{text}"
    );
    assert!(text.ends_with("; make room on its disk, the store goes on by itself"), "{text}");
    assert!(written > 10, "{written}");
    assert!(store.get("GateRun", "shop", &format!("run-{written:04}")).await.unwrap().is_none());
    assert_eq!(count(&store).await, written);

    fs::remove_file(ballast).unwrap();
    store.ready().await.unwrap();
    store.create(large(written)).await.unwrap();
    drop(store);
    assert_eq!(count(&open(disk.path()).unwrap()).await, written + 1);
}

#[tokio::test]
async fn a_clock_that_steps_back_does_not_change_the_order() {
    let opened = Home::Directory.open();
    let (store, clock) = (&opened.store, opened.clock());
    for name in ["a", "b", "c"] {
        store.create(run(name)).await.unwrap();
        clock.jump(SignedDuration::from_hours(-24));
    }

    let page = store.list("GateRun", &Query::default()).await.unwrap();

    assert_eq!(names(&page.items), ["c", "b", "a"]);
}

/// A database as the first version has written it, and every later one must read.
#[tokio::test]
async fn a_database_of_version_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(database(dir.path())).unwrap();
    connection.execute_batch(include_str!("../../data/store/v1.sql")).unwrap();
    drop(connection);

    let store = open(dir.path()).unwrap();

    let run = store.get("GateRun", "shop", "checkout-c17-2-post").await.unwrap().unwrap();
    assert_eq!(version(&run), "4");
    let conditions = json!([{"type": "Decided", "status": "True"}]);
    assert_eq!(run.body["status"], json!({"verdict": "pass", "reason": "all passed", "conditions": conditions}));
    assert_eq!(run.body["spec"]["gate"], "checkout");
    let labels = [("tier".to_owned(), "web".to_owned())].into();
    let query = Query { labels, decided: Some(true), namespace: Some("shop".to_owned()), ..Query::default() };
    assert_eq!(names(&store.list("GateRun", &query).await.unwrap().items), ["checkout-c17-2-post"]);
    assert_eq!(names(&store.list("Gate", &Query::default()).await.unwrap().items), ["checkout"]);
    assert_eq!(version(&store.create(self::run("next")).await.unwrap()), "5");
}

async fn count(store: &SqliteStore) -> usize {
    let (mut count, mut query) = (0, Query::default());
    loop {
        let page = store.list("GateRun", &query).await.unwrap();
        count += page.items.len();
        query.after = match page.next {
            Some(next) => Some(next),
            None => return count,
        };
    }
}

#[tokio::test]
async fn a_directory_without_any_room_says_so() {
    let Some(disk) = Disk::new("size=64k") else {
        eprintln!("skipped: a small disk can only be mounted by root");
        return;
    };
    let _ = fs::write(disk.path().join("ballast"), vec![0; 100_000]);

    let error = refused(disk.path());

    assert!(error.starts_with("the disk of DIR/probegate."), "{error}");
    assert!(error.ends_with(": make room and start again"), "{error}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_says_so() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let mut permissions = fs::metadata(dir.path()).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(dir.path(), permissions.clone()).unwrap();
    fs::set_permissions(dir.path().join("probegate.lock"), permissions).unwrap();
    // Permissions do not bind root: for root it is a disk that is mounted read-only.
    let root = fs::write(dir.path().join("try"), "").is_ok();
    let disk = root.then(|| Disk::new("size=1m,ro")).flatten();
    let path = match (&disk, root) {
        (Some(disk), _) => disk.path(),
        (None, false) => dir.path(),
        (None, true) => {
            eprintln!("skipped: root that must not mount");
            return;
        }
    };

    let error = refused(path);

    assert!(error.starts_with("DIR/probegate.lock cannot be written ("), "{error}");
    assert!(error.ends_with("): make the data directory writable for this user"), "{error}");
}
