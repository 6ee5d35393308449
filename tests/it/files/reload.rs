//! The config directory while it is followed: a real directory, a real store.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use probegate::clock::SystemClock;
use probegate::config::{Directory, Following};
use probegate::store::sqlite::SqliteStore;
use probegate::store::{Store, StoreExt};
use probegate::{api, store};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a condition is waited for: far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Story {
    dir: TempDir,
    store: Arc<dyn Store>,
    directory: Directory,
    _shutdown: DropGuard,
}

fn probe(name: &str, address: &str) -> String {
    format!("kind: Probe\nmetadata: {{name: {name}}}\nspec: {{tcp: {{address: \"{address}\"}}}}\n")
}

async fn follow(root: &Path, store: &Arc<dyn Store>, rescan: Duration) -> (Directory, DropGuard) {
    let shutdown = CancellationToken::new();
    let (directory, _) = Directory::follow(
        root.to_owned(),
        Arc::clone(store),
        Arc::new(SystemClock::new()),
        Following { rescan },
        shutdown.clone(),
    )
    .await;
    (directory, shutdown.drop_guard())
}

/// Starts with these files; the rescans are so rare that only the watch can notice a change.
async fn story(files: &[(&str, &str)]) -> Story {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(dir.path(), name, text);
    }
    let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
    let (directory, shutdown) = follow(dir.path(), &store, Duration::from_secs(3_600)).await;
    Story { dir, store, directory, _shutdown: shutdown }
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // As careful editors do: another file, then renamed.
    let temporary = dir.join(format!(".{}.tmp", name.replace('/', "-")));
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, path).unwrap();
}

async fn address(store: &Arc<dyn Store>, name: &str) -> Option<String> {
    let probe: Option<api::Probe> = store.get_as("default", name).await.unwrap();
    probe.map(|probe| probe.spec.tcp.unwrap().address)
}

async fn until<F: AsyncFn() -> bool>(what: &str, condition: F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited in vain until {what}");
}

impl Story {
    fn write(&self, name: &str, text: &str) {
        write(self.dir.path(), name, text);
    }

    async fn until_address(&self, name: &str, expected: Option<&str>) {
        until(&format!("{name} is at {expected:?}"), async || address(&self.store, name).await.as_deref() == expected)
            .await;
    }

    async fn until_broken(&self, files: &[&str]) {
        let broken = || {
            let health = self.directory.health();
            let names = health.broken.iter().map(|found| found.file.rsplit('/').next().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        until(&format!("{files:?} are broken"), async || broken() == files).await;
    }
}

#[tokio::test]
async fn a_change_of_a_file_reaches_the_store() {
    let story = story(&[("a.yaml", &probe("a", "one:1"))]).await;
    assert_eq!(address(&story.store, "a").await.as_deref(), Some("one:1"), "loaded when follow returns");
    story.write("a.yaml", &probe("a", "two:2"));
    story.until_address("a", Some("two:2")).await;
    let health = story.directory.health();
    assert!(health.healthy && health.files == 1 && health.resources == 1, "{health:?}");
}

#[tokio::test]
async fn a_file_that_goes_takes_its_resources_with_it() {
    let story = story(&[("a.yaml", &probe("a", "one:1")), ("b.yaml", &probe("b", "one:1"))]).await;
    fs::remove_file(story.dir.path().join("b.yaml")).unwrap();
    story.until_address("b", None).await;
    assert_eq!(address(&story.store, "a").await.as_deref(), Some("one:1"));
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_state() {
    let both = format!("{}---\n{}", probe("a", "one:1"), probe("b", "one:1"));
    let story = story(&[("ab.yaml", &both), ("c.yaml", &probe("c", "one:1"))]).await;
    // One of the file's two documents is broken: neither of its resources moves, and the other
    // file's change counts all the same.
    story.write(
        "ab.yaml",
        &format!("{}---\nkind: Probe\nmetadata: {{name: b}}\nspec: {{tpc: {{}}}}\n", probe("a", "two:2")),
    );
    story.write("c.yaml", &probe("c", "two:2"));
    story.until_broken(&["ab.yaml"]).await;
    story.until_address("c", Some("two:2")).await;
    assert_eq!(address(&story.store, "a").await.as_deref(), Some("one:1"));
    assert_eq!(address(&story.store, "b").await.as_deref(), Some("one:1"));
    let health = story.directory.health();
    assert!(!health.healthy);
    assert_eq!((health.broken[0].line, health.broken[0].suggestion.as_deref()), (7, Some("tcp")), "{health:?}");
    story.write("ab.yaml", &both.replace("one", "three"));
    story.until_broken(&[]).await;
    assert_eq!(address(&story.store, "b").await.as_deref(), Some("three:1"));
}

#[tokio::test]
async fn a_file_that_was_broken_before_the_start_keeps_what_the_store_has() {
    let story = story(&[("a.yaml", &probe("a", "one:1"))]).await;
    story.write("a.yaml", "kind: Probe\n\tbad");
    story.until_broken(&["a.yaml"]).await;
    let (again, _guard) = follow(story.dir.path(), &story.store, Duration::from_secs(3_600)).await;
    assert!(!again.health().healthy);
    assert_eq!(address(&story.store, "a").await.as_deref(), Some("one:1"));
}

#[tokio::test]
async fn an_emptied_or_vanished_directory_keeps_the_last_good_state() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("config");
    write(dir.path(), "config/a.yaml", &probe("a", "one:1"));
    let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
    let (directory, _guard) = follow(&root, &store, Duration::from_millis(50)).await;
    fs::remove_file(root.join("a.yaml")).unwrap();
    until("the emptiness is told", async || !directory.health().healthy).await;
    assert_eq!(address(&store, "a").await.as_deref(), Some("one:1"));
    assert_eq!(directory.health().resources, 1);
    fs::remove_dir(&root).unwrap();
    until("the absence is told", async || {
        directory.health().broken.iter().any(|found| found.message.contains("is not there"))
    })
    .await;
    assert_eq!(address(&store, "a").await.as_deref(), Some("one:1"));
    // It comes back, as a volume that is mounted again.
    write(dir.path(), "config/a.yaml", &probe("a", "two:2"));
    until("it is read again", async || address(&store, "a").await.as_deref() == Some("two:2")).await;
    until("all is well", async || directory.health().healthy).await;
}

#[tokio::test]
async fn a_config_map_swap_is_one_change() {
    let dir = tempfile::tempdir().unwrap();
    let version = |name: &str, to: &str| {
        write(dir.path(), &format!("{name}/a.yaml"), &probe("a", to));
        symlink(name, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    version("..2026_01", "one:1");
    symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
    let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
    let (directory, _guard) = follow(dir.path(), &store, Duration::from_secs(3_600)).await;
    assert_eq!(address(&store, "a").await.as_deref(), Some("one:1"));
    assert_eq!(directory.health().files, 1, "a file is read once, not once per link");
    version("..2026_02", "two:2");
    until("the new version counts", async || address(&store, "a").await.as_deref() == Some("two:2")).await;
}

#[tokio::test]
async fn what_was_made_through_the_api_stays() {
    let story = story(&[("a.yaml", &probe("a", "one:1"))]).await;
    let mut made: api::Probe = story.store.get_as("default", "a").await.unwrap().unwrap();
    made.metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        name: Some("made".into()),
        namespace: Some("default".into()),
        ..Default::default()
    };
    story.store.create_as(&made).await.unwrap();
    // A file cannot take it over either.
    story.write("b.yaml", &probe("made", "file:1"));
    story.until_broken(&["b.yaml"]).await;
    assert_eq!(address(&story.store, "made").await.as_deref(), Some("one:1"));
    story.write("a.yaml", &probe("a2", "one:1"));
    story.until_address("a", None).await;
    assert_eq!(address(&story.store, "made").await.as_deref(), Some("one:1"));
}

#[tokio::test]
async fn what_has_not_changed_is_not_written() {
    let story = story(&[("a.yaml", &probe("a", "one:1"))]).await;
    let version = async || {
        let probe: api::Probe = story.store.get_as("default", "a").await.unwrap().unwrap();
        probe.metadata.resource_version
    };
    let before = version().await;
    story.directory.reload().await;
    story.directory.reload().await;
    assert_eq!(version().await, before);
}

#[tokio::test]
async fn a_changed_override_is_another_override() {
    let exception = |reason: &str| {
        format!(
            "kind: Override\nmetadata: {{name: o}}\nspec: {{gate: g, change: c, effect: pass, reason: {reason}, \
             expires: 2036-01-01T00:00:00Z}}\n"
        )
    };
    let story = story(&[("o.yaml", &exception("first"))]).await;
    let read = async || story.store.get_as::<api::Override>("default", "o").await.unwrap();
    let first = read().await.unwrap();
    story.write("o.yaml", &exception("second"));
    until("the reason is new", async || read().await.is_some_and(|found| found.spec.reason == "second")).await;
    assert_ne!(read().await.unwrap().metadata.uid, first.metadata.uid, "its spec is immutable: it is created anew");
}

#[tokio::test]
async fn a_run_in_a_config_directory_is_not_started() {
    let run =
        "kind: GateRun\nmetadata: {name: r}\nspec: {gate: g, change: {id: c, target: t, revision: v}, point: pre}\n";
    let story = story(&[("r.yaml", run)]).await;
    let runs = story.store.list(<api::GateRun as api::Resource>::KIND, &store::Query::default()).await.unwrap();
    assert!(runs.items.is_empty());
    assert_eq!(story.directory.health().warnings, 1);
}

#[tokio::test]
async fn rule_files_are_told_when_they_change() {
    let story = story(&[("a.yaml", &probe("a", "one:1")), ("rules/weekend.rhai", "fn decide(facts) { pass() }")]).await;
    let mut scripts = story.directory.scripts();
    assert!(scripts.borrow_and_update()["rules/weekend.rhai"].contains("pass()"));
    story.write("rules/weekend.rhai", "fn decide(facts) { block(\"no\") }");
    tokio::time::timeout(PATIENCE, scripts.changed()).await.unwrap().unwrap();
    assert!(scripts.borrow_and_update()["rules/weekend.rhai"].contains("block"));
}

#[tokio::test]
async fn a_broken_rule_file_keeps_its_last_text() {
    let story = story(&[("a.yaml", &probe("a", "one:1")), ("rules/mine.rhai", "fn decide(facts) { pass() }")]).await;
    story.write("rules/mine.rhai", "fn decide(facts) { pass( }");
    story.until_broken(&["mine.rhai"]).await;
    assert!(story.directory.scripts().borrow()["rules/mine.rhai"].contains("pass()"));
    assert_eq!(story.directory.health().broken[0].line, 1);
}

#[tokio::test]
async fn a_file_whose_times_contradict_each_other_is_broken() {
    let story = story(&[("a.yaml", &probe("a", "one:1"))]).await;
    story.write(
        "a.yaml",
        &format!("{}  # beside\n", probe("a", "two:2").replace("}}\n", "}, interval: 1s, timeout: 5s}\n")),
    );
    story.until_broken(&["a.yaml"]).await;
    assert_eq!(address(&story.store, "a").await.as_deref(), Some("one:1"));
}

#[tokio::test]
async fn the_metrics_say_what_is_broken() {
    let story = story(&[("a.yaml", &probe("a", "one:1")), ("b.yaml", "kind: Prob\n")]).await;
    let mut registry = prometheus_client::registry::Registry::default();
    story.directory.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("probegate_config_reloads_total{outcome=\"partial\"} 1"), "{text}");
    assert!(text.contains("probegate_config_broken_files 1"), "{text}");
    assert!(text.contains("probegate_config_resources 1"), "{text}");
}
