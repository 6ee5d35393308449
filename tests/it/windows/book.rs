//! The book of windows, and the check that stands on it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use probegate::api::{self, ANNOTATION_SOURCE, Override, ReleaseWindow};
use probegate::calendars::{Options, WindowBook};
use probegate::checks::window::WindowKind;
use probegate::checks::{Check, Context, Kind};
use probegate::clock::Clock;
use probegate::model::{Action, Batch, Change, Invoker, Labels, Outcome, Point, Question};
use probegate::outbound::{Outbound, Secrets};
use probegate::store::sqlite::SqliteStore;
use probegate::store::{Cache, Ledger, Store, StoreExt};
use probegate::windows::{Compiled, Standing};
use serde_json::{Value, json};
use wiremock::matchers::{header, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::given::{at, resource};

/// A clock that a test moves.
struct Hand(Mutex<(Timestamp, Duration)>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }
    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

impl Hand {
    fn advance(&self, hours: i64) {
        let mut now = self.0.lock().unwrap();
        now.0 += SignedDuration::from_hours(hours);
        now.1 += Duration::from_secs(u64::try_from(hours).unwrap() * 3_600);
    }
}

struct Scene {
    store: Arc<dyn Store>,
    book: WindowBook,
    clock: Arc<Hand>,
    overrides: Cache<Override>,
    ledger: Ledger,
}

const NOW: &str = "2026-12-28T10:00:00Z";

/// A book over a store that holds one window.
async fn scene(window: ReleaseWindow, keep_in: Option<&Path>) -> Scene {
    let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
    store.create_as(&window).await.unwrap();
    let clock = Arc::new(Hand(Mutex::new((at(NOW), Duration::from_secs(1)))));
    let (windows, follow) = Cache::follow(store.clone());
    tokio::spawn(follow);
    let (overrides, follow) = Cache::follow(store.clone());
    tokio::spawn(follow);
    let (ledger, follow) = Ledger::follow(store.clone());
    tokio::spawn(follow);
    let options = Options { keep_in: keep_in.map(Path::to_owned), look_every: Duration::from_millis(5) };
    let (book, follow) = WindowBook::follow(windows, Outbound::new(Secrets::default()), clock.clone(), options);
    tokio::spawn(follow);
    book.wait_synced().await;
    overrides.wait_synced().await;
    ledger.wait_synced().await;
    Scene { store, book, clock, overrides, ledger }
}

impl Scene {
    fn window(&self) -> Option<Arc<Compiled>> {
        self.book.current().first().cloned()
    }

    /// Waits until the window is as expected.
    async fn until(&self, what: &str, expected: impl Fn(&Compiled) -> bool) -> Arc<Compiled> {
        for _ in 0..2_000 {
            if let Some(window) = self.window().filter(|window| expected(window)) {
                return window;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {what}: {:?} {:?}", self.window().map(|window| window.standing.clone()), self.book.calendars());
    }

    async fn report(&self, change: impl FnOnce(&mut Question)) -> probegate::model::Report {
        let check =
            api::Check { name: "window".into(), window: Some(api::WindowCheck::default()), ..api::Check::default() };
        let kind = WindowKind::new(self.book.clone(), self.ledger.clone(), self.overrides.clone());
        let check: Arc<dyn Check> = kind.compile(&check, "default").unwrap();
        let mut question = Question {
            namespace: "shop".into(),
            gate: "g".into(),
            change: Change {
                id: "c-1".into(),
                target: "checkout".into(),
                revision: "v1".into(),
                action: Action::Release,
                actor: "ci".into(),
                invoker: Invoker::Automation,
                cluster: None,
                labels: Labels::new(),
            },
            batch: Batch::default(),
            point: Point::Pre,
        };
        change(&mut question);
        let now = self.clock.now();
        let timeout = Duration::from_secs(1);
        check
            .execute(&Context { question, run: "r".into(), started_at: now, now, timeout, execution: 1, carry: None })
            .await
    }
}

fn known(window: &Compiled) -> bool {
    window.standing == Standing::Known
}

fn unknown(window: &Compiled) -> bool {
    !known(window)
}

fn event(day: &str) -> String {
    super::given::calendar(&format!("BEGIN:VEVENT\nUID:{day}\nDTSTART:{day}\nEND:VEVENT"))
}

fn from_file(directory: &Path) -> ReleaseWindow {
    let spec = json!({"type": "freeze", "schedule": {"calendars": [{"file": "holidays.ics"}]}});
    let mut window = resource("cal", spec);
    let source = format!("{}:3", directory.join("windows.yaml").display());
    window.metadata.annotations = Some([(ANNOTATION_SOURCE.to_owned(), source)].into());
    window
}

fn from_url(server: &MockServer, more: Value) -> ReleaseWindow {
    let mut calendar = json!({"url": format!("{}/secret/freeze.ics", server.uri())});
    calendar.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    resource("cal", json!({"type": "freeze", "schedule": {"calendars": [calendar]}}))
}

#[tokio::test]
async fn a_file_beside_the_window_is_read_and_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("holidays.ics");
    std::fs::write(&file, event("20261228")).unwrap();
    let scene = scene(from_file(directory.path()), None).await;
    let window = scene.until("known", known).await;
    assert!(window.covering(at(NOW)).is_some());
    std::fs::write(&file, event("20261229")).unwrap();
    scene.clock.advance(1);
    scene.until("changed", |window| known(window) && window.covering(at(NOW)).is_none()).await;
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_copy_until_that_is_too_old() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("holidays.ics");
    std::fs::write(&file, event("20261228")).unwrap();
    let scene = scene(from_file(directory.path()), None).await;
    scene.until("known", known).await;
    std::fs::write(&file, "<html>Log in</html>").unwrap();
    scene.clock.advance(1);
    while scene.book.calendars()[0].trouble.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let window = scene.window().unwrap();
    assert!(known(&window) && window.covering(at(NOW)).is_some());
    assert_eq!(scene.report(|_| {}).await.outcome, Outcome::Pending);
    scene.clock.advance(24);
    let window = scene.until("too old", unknown).await;
    // Its freezes stay.
    assert!(window.covering(at(NOW)).is_some());
    assert_eq!(scene.report(|_| {}).await.outcome, Outcome::Unknown);
    std::fs::write(&file, event("20261231")).unwrap();
    scene.clock.advance(1);
    scene.until("known again", known).await;
    assert_eq!(scene.report(|_| {}).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn a_file_that_is_not_there_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let scene = scene(from_file(directory.path()), None).await;
    let report = scene.report(|_| {}).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.contains("holidays.ics"), "{}", report.summary);
}

#[tokio::test]
async fn a_url_is_fetched_and_then_asked_only_for_something_newer() {
    let server = MockServer::start().await;
    let body = ResponseTemplate::new(200).set_body_string(event("20261228")).insert_header("etag", "\"v1\"");
    Mock::given(method("GET"))
        .and(header("if-none-match", "\"v1\""))
        .respond_with(ResponseTemplate::new(304))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(method("GET")).respond_with(body).mount(&server).await;
    let scene = scene(from_url(&server, json!({"refresh": "30m"})), None).await;
    scene.until("known", known).await;
    scene.clock.advance(20);
    let fresh = scene.clock.now();
    while scene.book.calendars()[0].seen_at != Some(fresh) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(known(&scene.window().unwrap()));
    let asked = server.received_requests().await.unwrap();
    assert!(asked.len() >= 2 && !asked[0].headers.contains_key("if-none-match"));
    assert_eq!(scene.book.calendars()[0].calendar, "127.0.0.1");
}

#[tokio::test]
async fn a_copy_survives_a_restart_without_the_server() {
    let (kept, server) = (tempfile::tempdir().unwrap(), MockServer::start().await);
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_string(event("20261228")))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let first = scene(from_url(&server, json!({})), Some(kept.path())).await;
    first.until("known", known).await;
    while std::fs::read_dir(kept.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension() == Some("json".as_ref()))
        .count()
        == 0
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Now the server answers 404.
    let second = scene(from_url(&server, json!({})), Some(kept.path())).await;
    let window = second.until("known", known).await;
    assert!(window.covering(at(NOW)).is_some());
}

#[tokio::test]
async fn a_damaged_copy_is_not_used() {
    let (kept, server) = (tempfile::tempdir().unwrap(), MockServer::start().await);
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_string(event("20261228")))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let first = scene(from_url(&server, json!({})), Some(kept.path())).await;
    first.until("known", known).await;
    let copies = || std::fs::read_dir(kept.path()).unwrap().map(|entry| entry.unwrap().path());
    while !copies().any(|path| path.extension() == Some("json".as_ref())) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(first);
    copies()
        .filter(|path| path.extension() == Some("ics".as_ref()))
        .for_each(|path| std::fs::write(path, event("20300101")).unwrap());
    let second = scene(from_url(&server, json!({})), Some(kept.path())).await;
    assert!(unknown(&second.window().unwrap()));
}

#[tokio::test]
async fn a_page_instead_of_a_calendar_never_opens_a_freeze() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_string(event("20261228")))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_string("<html>Please log in</html>"))
        .mount(&server)
        .await;
    let scene = scene(from_url(&server, json!({})), None).await;
    scene.until("known", known).await;
    scene.clock.advance(2);
    while scene.book.calendars()[0].trouble.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(scene.window().unwrap().covering(at(NOW)).is_some());
}

#[tokio::test]
async fn an_edited_window_wakes_the_check() {
    let window = resource("w", json!({"type": "freeze", "schedule": {"dates": [{"day": "2026-12-28"}]}}));
    let scene = scene(window, None).await;
    let report = scene.report(|_| {}).await;
    assert_eq!((report.outcome, report.until), (Outcome::Pending, Some(at("2026-12-29T00:00:00Z"))));
    let mut changes = scene.book.changes();
    scene.store.delete("ReleaseWindow", "default", "w", None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
    assert_eq!(scene.report(|_| {}).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn the_check_says_what_a_person_wants_at_three_in_the_morning() {
    let window = resource(
        "year-end",
        json!({"type": "freeze", "timeZone": "Europe/Berlin", "reason": "year-end quiet",
        "ticket": "OPS-1", "owner": "platform-team", "schedule": {"dates": [{"from": "2026-12-24T12:00", "to": "2027-01-02T08:00"}]}}),
    );
    let scene = scene(window, None).await;
    let report = scene.report(|_| {}).await;
    assert_eq!(
        report.summary,
        "freeze year-end (year-end quiet, OPS-1, platform-team) until Sat 2 Jan 2027 08:00 Europe/Berlin"
    );
    assert_eq!(report.since, Some(at("2026-12-24T11:00:00Z")));
    assert_eq!(report.evidence["windows"][0]["state"], "shut");
    let rollback = scene.report(|question| question.change.action = Action::Rollback).await;
    assert_eq!(rollback.outcome, Outcome::Pass);
}

#[tokio::test]
async fn a_shut_window_that_never_opens_is_a_failure() {
    let window = resource("w", json!({"type": "allow", "schedule": {"dates": [{"day": "2026-12-01"}]}}));
    let report = scene(window, None).await.report(|_| {}).await;
    assert_eq!(report.outcome, Outcome::Fail);
    assert!(report.summary.contains("does not open again"), "{}", report.summary);
}

#[tokio::test]
async fn what_the_book_knows_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("holidays.ics"), event("20261228")).unwrap();
    let scene = scene(from_file(directory.path()), None).await;
    scene.until("known", known).await;
    let mut registry = prometheus_client::registry::Registry::default();
    scene.book.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "probegate_windows_in_force{type=\"freeze\"} 1",
        "probegate_windows_unknown 0",
        "probegate_calendar_age_seconds{namespace=\"default\",window=\"cal\"} 0",
        "probegate_calendar_failures_total 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
