use std::sync::atomic::AtomicI64;

use jiff::SignedDuration;
use rusqlite::TransactionBehavior;

use super::*;
use crate::model::ProbeState;
use crate::probes::history::{Failed, Finished, Rollup, StateTurn, Stretch};
use crate::probes::result::{Durations, Judgement, Phase, Reason};

/// Minutes since 1970 at which an hour begins.
const START: i64 = 30_000_000;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second((START + minute) * 60).unwrap()
}

struct Fixed(AtomicI64);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        at(self.0.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

fn options(keep: Keep) -> Options {
    Options { keep, clock: Arc::new(Fixed(AtomicI64::new(0))) }
}

fn open(dir: &tempfile::TempDir) -> SqliteArchive {
    SqliteArchive::open(dir.path(), options(Keep::default())).unwrap()
}

fn series(target: &str) -> Arc<Series> {
    Arc::new(Series::target("shop", "checkout", target))
}

fn rollup(good: u32) -> Rollup {
    let mut rollup = Rollup { good, ..Rollup::default() };
    (0..good).for_each(|round| rollup.latencies.record(Duration::from_millis(10 + u64::from(round))));
    rollup
}

fn failed(minute: i64) -> Failed {
    let mut durations = Durations::default();
    durations.add(Phase::Connect, Duration::from_micros(420));
    Failed {
        at: at(minute),
        ended: at(minute) + SignedDuration::from_millis(3),
        judgement: Judgement::Failed,
        reason: Reason::Refused,
        phase: Some(Phase::Connect),
        message: Arc::from("the connection was refused"),
        durations,
        log: Some(Arc::from("one\ntwo")),
    }
}

fn turn(minute: i64) -> StateTurn {
    StateTurn {
        at: at(minute),
        from: ProbeState::Up,
        to: ProbeState::Down,
        reason: "2 rounds failed in a row".to_owned(),
    }
}

fn known(minute: i64) -> Known {
    Known { state: ProbeState::Down, since: at(minute), seen: at(minute + 1), reason: "refused".to_owned() }
}

fn minute(target: &str, minute: i64, good: u32) -> Batch {
    let finished = Finished { minute: START + minute, rollup: rollup(good), failures: Vec::new() };
    Batch { minutes: vec![(series(target), finished)], ..Batch::default() }
}

/// Everything at minute `number` of a target: a minute, a failure, a turn and the state.
fn full(target: &str, number: i64) -> Batch {
    let finished = Finished { minute: START + number, rollup: rollup(3), failures: vec![failed(number)] };
    Batch {
        minutes: vec![(series(target), finished)],
        turns: vec![(series(target), turn(number))],
        states: vec![(series(target), known(number))],
    }
}

fn window(from: i64, to: i64) -> Window {
    Window { from: at(from), to: at(to) }
}

fn stretch(minute: i64, good: u32) -> Stretch {
    Stretch::minute(START + minute, rollup(good))
}

#[tokio::test]
async fn what_was_handed_over_is_read_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    for number in 0..3 {
        assert!(archive.append(full("a", number)));
    }
    archive.append(minute("b", 1, 1));
    drop(archive);

    let archive = open(&dir);
    let past = archive.past(&series("a"), window(1, 3)).await.unwrap();
    assert_eq!(past.stretches, [stretch(1, 3), stretch(2, 3)]);
    assert_eq!((past.failures, past.turns), (vec![failed(1), failed(2)], vec![turn(1), turn(2)]));
    assert_eq!(archive.targets("shop", "checkout").await.unwrap(), ["a", "b"]);
    assert_eq!(archive.known().await.unwrap(), [((*series("a")).clone(), known(2))]);
    assert_eq!(archive.past(&series("c"), window(0, 9)).await.unwrap(), Past::default());
    assert_eq!(archive.past(&series("a"), window(2, 2)).await.unwrap(), Past::default());
}

#[tokio::test]
async fn a_process_that_is_killed_loses_nothing_that_was_written() {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let archive = open(&dir);
    for number in 0..3 {
        archive.append(full("a", number));
    }
    archive.flush().await.unwrap();
    // What stands on the disk of a process that ends here, without an end.
    for file in ["history.db", "history.db-wal"] {
        std::fs::copy(dir.path().join(file), killed.path().join(file)).unwrap();
    }

    let past = open(&killed).past(&series("a"), window(0, 9)).await.unwrap();

    assert_eq!((past.stretches.len(), past.failures.len(), past.turns.len()), (3, 3, 3));
}

/// The file that tells the child of the test below that it is one.
const CHILD: &str = "to-be-killed";

#[tokio::test]
#[ignore = "it is the child of the test below"]
async fn a_child_that_writes_until_it_is_killed() {
    if !Path::new(CHILD).exists() {
        return;
    }
    let archive = SqliteArchive::open(Path::new("."), options(Keep::default())).unwrap();
    for number in 0..100_000 {
        archive.append(full("a", number));
        archive.flush().await.unwrap();
        println!("\nwritten {number}");
    }
}

#[tokio::test]
async fn what_was_written_survives_a_kill_in_the_middle_of_the_work() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(CHILD), "").unwrap();
    for _ in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("probes::history::sqlite::tests::a_child_that_writes_until_it_is_killed")
            .current_dir(dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let told = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("written ")?.parse::<i64>().ok());
        let last = told.take(40).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let archive = open(&dir);
        let past = archive.past(&series("a"), window(0, last + 1)).await.unwrap();
        assert_eq!((last, past.stretches.len(), past.failures.len()), (39, 40, 40));
        assert!(!dir.path().join("history.db.damaged").exists());
    }
}

#[tokio::test]
async fn a_read_sees_what_was_handed_over_just_before() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    for number in 0..50 {
        archive.append(minute("a", number, 1));
        let past = archive.past(&series("a"), window(0, 100)).await.unwrap();
        assert_eq!(past.stretches.last(), Some(&stretch(number, 1)));
    }
}

#[tokio::test]
async fn parts_of_a_minute_are_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    archive.append(minute("a", 7, 2));
    archive.append(minute("a", 7, 2));
    let past = archive.past(&series("a"), window(7, 8)).await.unwrap();
    let mut both = rollup(2);
    both.merge(&rollup(2));
    assert_eq!(past.stretches, [Stretch::minute(START + 7, both)]);
}

#[tokio::test]
async fn a_probe_has_a_series_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    let probe = Arc::new(Series::probe("shop", "checkout"));
    archive.append(Batch { turns: vec![(Arc::clone(&probe), turn(1))], ..Batch::default() });
    archive.append(minute("a", 1, 1));
    assert_eq!(archive.past(&probe, window(0, 9)).await.unwrap().turns, [turn(1)]);
    assert_eq!(archive.targets("shop", "checkout").await.unwrap(), ["a"]);
}

#[tokio::test]
async fn only_the_newest_failures_and_turns_of_many_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    for number in 0..1_010 {
        archive.append(full("a", number));
    }
    let past = archive.past(&series("a"), window(0, 2_000)).await.unwrap();
    assert_eq!((past.stretches.len(), past.failures.len(), past.turns.len()), (1_010, 1_000, 1_000));
    assert_eq!((past.failures[0].at, past.turns[999].at), (at(10), at(1_009)));
}

#[tokio::test]
async fn old_minutes_become_hours_and_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    for number in 0..150 {
        archive.append(minute("a", number, 1));
        archive.append(minute("b", number, 2));
    }
    let sum = |past: Past| {
        let mut sum = Rollup::default();
        past.stretches.iter().for_each(|stretch| sum.merge(&stretch.rollup));
        (past.stretches.len(), sum)
    };
    let (_, before) = sum(archive.past(&series("b"), window(0, 200)).await.unwrap());

    let forgotten = archive.forget(at(2 * 24 * 60 + 121)).await.unwrap();

    assert_eq!(forgotten, Forgotten { minutes: 240, ..Forgotten::default() });
    let past = archive.past(&series("b"), window(0, 200)).await.unwrap();
    assert_eq!((past.stretches[0].from, past.stretches[0].to, past.stretches[2].from), (at(0), at(60), at(120)));
    assert_eq!(sum(past), (2 + 30, before.clone()));

    // A minute that comes late goes where its hour is.
    archive.append(minute("b", 5, 1));
    archive.forget(at(2 * 24 * 60 + 121)).await.unwrap();
    let (count, after) = sum(archive.past(&series("b"), window(0, 200)).await.unwrap());
    assert_eq!((count, after.good), (32, before.good + 1));
}

#[tokio::test]
async fn what_is_too_old_goes_and_what_nobody_wrote_for_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    archive.append(full("a", 0));
    let day = 24 * 60;

    let forgotten = archive.forget(at(31 * day)).await.unwrap();
    assert_eq!(forgotten, Forgotten { minutes: 1, hours: 1, failures: 1, turns: 1, series: 0 });
    assert_eq!(archive.known().await.unwrap().len(), 1);

    assert_eq!(archive.forget(at(33 * day)).await.unwrap(), Forgotten { series: 1, ..Forgotten::default() });
    assert_eq!(archive.known().await.unwrap(), []);
    // Its number is not remembered either.
    archive.append(full("a", 1));
    assert_eq!(archive.known().await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_more_rows_are_kept_than_allowed_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep { minutes: 100, hours: 2, failures: 10, turns: 20, ..Keep::default() };
    let archive = SqliteArchive::open(dir.path(), options(keep)).unwrap();
    for number in 0..300 {
        archive.append(full("a", number));
    }

    let forgotten = archive.forget(at(300)).await.unwrap();

    assert_eq!(forgotten, Forgotten { minutes: 240, hours: 2, failures: 290, turns: 280, series: 0 });
    let past = archive.past(&series("a"), window(0, 400)).await.unwrap();
    assert_eq!((past.stretches[0].from, past.stretches[2].from), (at(120), at(240)));
    assert_eq!((past.failures[0].at, past.turns[0].at), (at(290), at(280)));
    // Nothing is left to do.
    assert_eq!(archive.forget(at(300)).await.unwrap(), Forgotten::default());
}

#[tokio::test]
async fn the_hour_under_way_stays_in_minutes_however_many_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep { minutes: 1, ..Keep::default() };
    let archive = SqliteArchive::open(dir.path(), options(keep)).unwrap();
    for number in 0..50 {
        archive.append(minute("a", number, 1));
    }
    assert_eq!(archive.forget(at(59)).await.unwrap().minutes, 0);
    assert_eq!(archive.forget(at(60)).await.unwrap().minutes, 50);
}

#[tokio::test]
async fn a_wrong_clock_leaves_no_walk_over_all_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    archive.append(minute("a", -START, 1));
    archive.append(minute("a", 5, 1));
    archive.append(minute("a", 100 * 365 * 24 * 60, 1));
    let all = Window { from: Timestamp::MIN, to: Timestamp::MAX };
    let past = archive.past(&series("a"), all).await.unwrap();
    assert_eq!(past.stretches.len(), 3);
}

#[tokio::test]
async fn what_cannot_wait_is_dropped_and_counted_and_the_rest_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    archive.flush().await.unwrap();
    let mut holder = Connection::open(dir.path().join("history.db")).unwrap();
    let hold = holder.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let many = |count: usize| Batch { states: vec![(series("a"), known(1)); count], ..Batch::default() };

    assert!(archive.append(many(MAX_WAITING)));
    assert!(!archive.append(minute("a", 1, 1)));
    assert!(!archive.append(full("a", 2)));
    assert_eq!(archive.metrics().all_dropped(), 1 + 4);

    hold.rollback().unwrap();
    archive.flush().await.unwrap();
    assert!(archive.append(minute("b", 3, 1)));
    assert_eq!(archive.targets("shop", "checkout").await.unwrap(), ["a", "b"]);
    assert_eq!(archive.metrics().all_dropped(), 5);
}

#[tokio::test]
async fn damage_that_is_found_at_work_begins_it_anew() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    for number in 0..2_000 {
        archive.append(full("a", number));
    }
    drop(archive);
    // The head stays, so that it opens; all else is noise, and too large to be checked before.
    let path = dir.path().join("history.db");
    let length = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let noise = vec![0xAA; usize::try_from(length - 8_192).unwrap()];
    std::os::unix::fs::FileExt::write_all_at(&file, &noise, 8_192).unwrap();
    file.set_len(6_000_000).unwrap();
    drop(file);

    let archive = open(&dir);
    archive.append(full("a", 1));
    archive.flush().await.unwrap();
    // The batch that came upon the damage is written to the new file.
    let past = archive.past(&series("a"), window(0, 9)).await.unwrap();
    assert_eq!(past.stretches, [stretch(1, 3)]);
    assert!(dir.path().join("history.db.damaged").exists());
}

#[tokio::test]
async fn damage_that_a_reader_finds_begins_it_anew() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    archive.append(full("a", 1));
    archive.flush().await.unwrap();

    archive.send(Job::Damaged(0)).unwrap_or_else(|_| panic!("there is room"));
    archive.send(Job::Damaged(0)).unwrap_or_else(|_| panic!("there is room"));

    assert_eq!(archive.past(&series("a"), window(0, 9)).await.unwrap(), Past::default());
    archive.append(full("a", 2));
    assert_eq!(archive.past(&series("a"), window(0, 9)).await.unwrap().turns, [turn(2)]);
}

/// How long ten thousand targets take; by hand, with `--ignored --nocapture`.
#[tokio::test]
#[ignore = "it measures, and asserts nothing"]
async fn ten_thousand_targets() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(&dir);
    let all: Vec<_> = (0..10_000).map(|target| series(&format!("10.0.{}.{}:80", target / 250, target % 250))).collect();
    let started = std::time::Instant::now();
    for number in 0..60 {
        let finished = || Finished { minute: START + number, rollup: rollup(30), failures: Vec::new() };
        let minutes = all.iter().map(|series| (Arc::clone(series), finished())).collect();
        let states = all.iter().map(|series| (Arc::clone(series), known(number))).collect();
        archive.append(Batch { minutes, states, ..Batch::default() });
        archive.flush().await.unwrap();
    }
    println!("a minute: {:?}, {} bytes on the disk", started.elapsed() / 60, archive.readers.place.bytes());
    let started = std::time::Instant::now();
    let past = archive.past(&all[77], window(0, 60)).await.unwrap();
    println!("reading {} minutes: {:?}", past.stretches.len(), started.elapsed());
    let started = std::time::Instant::now();
    let forgotten = archive.forget(at(4 * 24 * 60)).await.unwrap();
    println!("putting {} minutes into hours: {:?}", forgotten.minutes, started.elapsed());
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = SqliteArchive::open(&missing, Options::default()).err().unwrap().to_string();
    assert!(error.starts_with("while opening the probes' history ") && error.contains("missing/history.db"), "{error}");
}
