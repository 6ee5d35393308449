//! The check `rule`: facts in, report out, and what a reload does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use probegate::api;
use probegate::checks::rule::{ProbeStates, RuleKind, Sources, WindowStates};
use probegate::checks::{Check, CompileError, Context, Kind};
use probegate::model::{Action, Batch, Change, Invoker, Labels, Outcome, Point, Question, Report};
use probegate::rules::{Library, ProbeFact, WindowFact};
use probegate::store::sqlite::SqliteStore;
use probegate::store::{Ledger, Store};
use serde_json::{Value, json};
use tokio::sync::watch;

struct Shut;

impl WindowStates for Shut {
    fn state(&self, _: &Question, now: Timestamp) -> Option<WindowFact> {
        let opens = now.checked_add(Duration::from_secs(3_600)).unwrap();
        Some(WindowFact { reason: "year-end quiet".into(), next_opening: Some(opens), ..WindowFact::default() })
    }
}

struct NoProbes;

impl ProbeStates for NoProbes {
    fn states(&self) -> Option<Vec<ProbeFact>> {
        None
    }
}

struct World {
    kind: RuleKind,
    library: watch::Sender<Arc<Library>>,
    ledger: Ledger,
    follow: Option<tokio::task::JoinHandle<()>>,
}

fn library(text: &str) -> Arc<Library> {
    Arc::new(Library::compile([("rules/mine.rhai".to_owned(), text.to_owned())]).unwrap())
}

fn world(text: &str) -> World {
    let (library, receiver) = watch::channel(library(text));
    let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
    let (ledger, follow) = Ledger::follow(store);
    let sources = Sources {
        library: receiver,
        ledger: ledger.clone(),
        windows: Some(Arc::new(Shut)),
        probes: Some(Arc::new(NoProbes)),
    };
    World { kind: RuleKind::new(sources), library, ledger, follow: Some(tokio::spawn(follow)) }
}

fn compile(world: &World, rule: &str, parameters: &Value) -> Result<Arc<dyn Check>, CompileError> {
    let parameters: BTreeMap<String, Value> = serde_json::from_value(parameters.clone()).unwrap();
    let check = api::Check {
        name: "policy".into(),
        rule: Some(rule.into()),
        parameters: Some(parameters),
        ..api::Check::default()
    };
    world.kind.compile(&check, "shop")
}

fn context(now: &str) -> Context {
    Context {
        question: Question {
            namespace: "shop".into(),
            gate: "checkout".into(),
            change: Change {
                id: "c-17".into(),
                target: "checkout".into(),
                revision: "v42".into(),
                action: Action::Release,
                actor: "ci".into(),
                invoker: Invoker::Automation,
                cluster: None,
                labels: Labels::new(),
            },
            batch: Batch::default(),
            point: Point::Pre,
        },
        run: "run-1".into(),
        started_at: now.parse().unwrap(),
        now: now.parse().unwrap(),
        timeout: Duration::from_secs(10),
        execution: 1,
        carry: None,
    }
}

/// Executes until the machine, which is busy with other tests, lets the rule end in time.
async fn execute(check: &Arc<dyn Check>, now: &str) -> Report {
    loop {
        let report = check.execute(&context(now)).await;
        if !report.summary.contains("it ran longer than 40 ms") {
            return report;
        }
    }
}

const SATURDAY: &str = "2026-11-21T10:00:00Z";
const WEDNESDAY: &str = "2026-11-18T10:00:00Z";

#[tokio::test]
async fn a_wait_is_held_until_its_instant_and_has_its_evidence() {
    let world = world("fn decide(facts) { pass() }");
    let check = compile(&world, "rules/weekend.rhai", &json!({"timeZone": "Europe/Berlin"})).unwrap();
    let report = execute(&check, SATURDAY).await;
    assert_eq!(report.outcome, Outcome::Pending);
    assert_eq!(report.until, Some("2026-11-22T23:00:00Z".parse().unwrap()));
    assert_eq!(report.evidence["rule"], "rules/weekend.rhai");
    assert_eq!(report.evidence["parameters"]["timeZone"], "Europe/Berlin");
    assert_eq!(report.evidence["facts"]["change"]["id"], "c-17");
    assert_eq!(Some(report.evidence["hash"].as_str().unwrap().to_owned()), check.version());
    assert_eq!(execute(&check, WEDNESDAY).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn the_four_words_are_four_outcomes() {
    for (text, outcome) in [
        ("pass()", Outcome::Pass),
        ("block(\"no\")", Outcome::Fail),
        ("wait(\"later\")", Outcome::Pending),
        ("unknown(\"no idea\")", Outcome::Unknown),
        ("throw 1", Outcome::Unknown),
    ] {
        let world = world(&format!("fn decide(facts) {{ {text} }}"));
        let report = execute(&compile(&world, "rules/mine.rhai", &json!({})).unwrap(), WEDNESDAY).await;
        assert_eq!((report.outcome, report.until), (outcome, None), "{text}: {}", report.summary);
    }
}

#[tokio::test]
async fn a_rule_sees_the_windows() {
    let text =
        "fn decide(facts) { let w = facts.window; if w.allowed { pass() } else { wait(w.reason, w.nextOpening) } }";
    let world = world(text);
    let report = execute(&compile(&world, "rules/mine.rhai", &json!({})).unwrap(), WEDNESDAY).await;
    assert_eq!(report.summary, "year-end quiet");
    assert_eq!(report.until, Some("2026-11-18T11:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn what_is_not_known_yet_is_unknown_and_never_none() {
    let text =
        "fn decide(facts) { if count_probes(facts, #{ state: \"down\" }) == 0 { pass() } else { block(\"x\") } }";
    let world = world(text);
    let report = execute(&compile(&world, "rules/mine.rhai", &json!({})).unwrap(), WEDNESDAY).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.contains("the probes are not known yet"), "{}", report.summary);
}

#[tokio::test]
async fn an_empty_past_counts_nothing_once_it_has_been_read() {
    let world = world("fn decide(facts) { pass() }");
    world.ledger.wait_synced().await;
    let check = compile(&world, "rules/budget.rhai", &json!({"max": 1})).unwrap();
    let report = execute(&check, WEDNESDAY).await;
    assert_eq!(report.outcome, Outcome::Pass, "{}", report.summary);
    assert_eq!(report.evidence["lookedUp"][0]["answer"]["count"], 0);
    world.follow.as_ref().unwrap().abort();
}

#[tokio::test]
async fn a_reload_wakes_the_check_and_decides_from_then_on() {
    let world = world("fn decide(facts) { block(\"before\") }");
    let check = compile(&world, "rules/mine.rhai", &json!({})).unwrap();
    assert_eq!(execute(&check, WEDNESDAY).await.outcome, Outcome::Fail);
    let waiting = Arc::clone(&check);
    let woken = tokio::spawn(async move { waiting.changed().await });
    // Another file changes: nothing to wake for.
    world.library.send_replace(library("fn decide(facts) { block(\"before\") }"));
    tokio::task::yield_now().await;
    assert!(!woken.is_finished());
    world.library.send_replace(library("fn decide(facts) { pass() }"));
    woken.await.unwrap();
    assert_eq!(execute(&check, WEDNESDAY).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn a_rule_that_is_gone_is_unknown() {
    let world = world("fn decide(facts) { pass() }");
    let check = compile(&world, "rules/mine.rhai", &json!({})).unwrap();
    world.library.send_replace(Library::builtin());
    let report = execute(&check, WEDNESDAY).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.contains("there is no rule `rules/mine.rhai`"), "{}", report.summary);
}

#[tokio::test]
async fn a_wrong_path_or_parameter_does_not_compile() {
    let world = world("fn decide(facts) { pass() }");
    let error = |rule: &str, parameters: Value| compile(&world, rule, &parameters).err().unwrap().to_string();
    assert_eq!(
        error("rules/weeknd.rhai", json!({})),
        "rule: there is no rule `rules/weeknd.rhai`; did you mean `rules/weekend.rhai`?"
    );
    assert!(
        error("rules/weekend.rhai", json!({"dys": []})).starts_with("parameters.dys: the rule has no such parameter")
    );
}
