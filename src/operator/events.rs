//! What a person wants to see where they look: Events on runs, gates, windows, overrides and probes,
//! when their standing has turned.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use lru::LruCache;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::api::{GROUP, Gate, GateRun, Override, Probe, ReleaseWindow, Resource, VERSION};
use crate::clock::Clock;
use crate::store::{Object, Query, Store, WatchEvent};

/// The longest note, as the API server takes it: 1,024 bytes, whatever the letters.
const MAX_NOTE: usize = 1_000;
/// How many resources the standing is remembered of: what is not remembered has no news but fresh ones.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);
/// What is not remembered and has turned longer ago than this was told by another replica.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// The most Events that wait to be written; more come only of an outage, which the first ones tell.
const MAX_WAITING: usize = 1_000;
/// The least time between two Events: an outage of a thousand probes must not keep the API server busy.
const PACE: Duration = Duration::from_millis(100);

/// How a probe stands of which nothing is known: no news, because a new target begins like that.
const UNKNOWN: &str = "Unknown";

type Key = (&'static str, String, String);

/// The standing of a resource, and what is said when it has come to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    warning: bool,
    /// `Passed`, `Down`: one word, which is what the standing is remembered by.
    reason: String,
    note: String,
    at: Option<Timestamp>,
    /// Whether coming into being with it is news.
    first: bool,
}

struct Told {
    event: Event,
    about: ObjectReference,
}

/// Publishes Events, for ever.
pub async fn publish(client: kube::Client, store: Arc<dyn Store>, clock: Arc<dyn Clock>, replica: String) {
    let reporter = Reporter { controller: "probegate".to_owned(), instance: Some(replica) };
    let recorder = Recorder::new(client, reporter);
    let (tell, mut waiting) = mpsc::channel::<Told>(MAX_WAITING);
    let write = async move {
        while let Some(told) = waiting.recv().await {
            // An Event that cannot be written is no reason to hold anything up.
            if let Err(error) = recorder.publish(&told.event, &told.about).await {
                tracing::debug!(%error, reason = told.event.reason, "An Event cannot be written.");
            }
            tokio::time::sleep(PACE).await;
        }
    };
    tokio::join!(write, follow(store, clock, tell));
}

async fn follow(store: Arc<dyn Store>, clock: Arc<dyn Clock>, tell: mpsc::Sender<Told>) {
    let watch = |kind: &'static str| {
        let events = store.watch(kind, Query { brief: true, ..Query::default() });
        events.map(move |event| (kind, event)).boxed()
    };
    let kinds = [GateRun::KIND, Gate::KIND, ReleaseWindow::KIND, Override::KIND, Probe::KIND];
    let mut all = select_all(kinds.map(watch));
    let mut memory: LruCache<Key, String> = LruCache::new(MAX_REMEMBERED);
    let mut listed: HashSet<&'static str> = HashSet::new();
    while let Some((kind, event)) = all.next().await {
        let (objects, news) = match event {
            Ok(WatchEvent::Listed(objects)) => {
                // The first list tells how things stand, a later one may hold what was missed.
                let again = !listed.insert(kind);
                (objects, again)
            }
            Ok(WatchEvent::Applied(object)) => (vec![object], true),
            Ok(WatchEvent::Deleted(object)) => {
                memory.pop(&(object.kind, object.namespace, object.name));
                continue;
            }
            Err(error) => {
                tracing::debug!(%error, "A watch for Events is in trouble; it goes on.");
                continue;
            }
        };
        for object in objects {
            let Some(standing) = standing(&object) else { continue };
            if standing.reason == UNKNOWN {
                // What comes after it is held against what was known before.
                continue;
            }
            let key = (object.kind, object.namespace.clone(), object.name.clone());
            let before = memory.put(key, standing.reason.clone());
            if news && is_news(before.as_deref(), &standing, clock.now()) {
                send(&tell, &object, standing);
            }
        }
    }
}

/// Whether a standing is to be told.
fn is_news(before: Option<&str>, standing: &Standing, now: Timestamp) -> bool {
    match before {
        Some(before) => before != standing.reason,
        None => standing.first && standing.at.is_none_or(|at| now.duration_since(at) < FRESH),
    }
}

fn send(tell: &mpsc::Sender<Told>, object: &Object, standing: Standing) {
    let reference = |kind: &str, name: &str, uid: Option<String>| ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some(kind.to_owned()),
        namespace: Some(object.namespace.clone()),
        name: Some(name.to_owned()),
        uid,
        ..ObjectReference::default()
    };
    let gate = Some(text(&object.body, "/spec/gate")).filter(|_| object.kind == GateRun::KIND);
    let event = Event {
        type_: if standing.warning { EventType::Warning } else { EventType::Normal },
        reason: standing.reason,
        note: Some(cut(standing.note)),
        action: "Judge".to_owned(),
        secondary: gate.map(|gate| reference(Gate::KIND, gate, None)),
    };
    let uid = Some(text(&object.body, "/metadata/uid").to_owned()).filter(|uid| !uid.is_empty());
    let about = reference(object.kind, &object.name, uid);
    if let Err(TrySendError::Full(told)) = tell.try_send(Told { event, about }) {
        let (kind, name) = (object.kind, &object.name);
        tracing::debug!(kind, name, reason = told.event.reason, "Too much happens at once: an Event is left out.");
    }
}

fn cut(mut text: String) -> String {
    let mut end = MAX_NOTE.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// How a resource stands, where that is a word that a person waits for.
fn standing(object: &Object) -> Option<Standing> {
    let body = &object.body;
    let probe = |warning: bool, word: &str| {
        let standing = Standing::new(warning, word, text(body, "/status/reason").to_owned());
        Standing { first: word == "Down", ..standing }.since(body, "/status/since")
    };
    match object.kind {
        GateRun::KIND => Some(run(body)),
        Probe::KIND => Some(match text(body, "/status/state") {
            "up" => probe(false, "Up"),
            "degraded" => probe(true, "Degraded"),
            "down" => probe(true, "Down"),
            _ => probe(false, UNKNOWN),
        }),
        ReleaseWindow::KIND => window(body),
        Override::KIND => exception(body),
        Gate::KIND => {
            let (ready, reason, message) = condition(body, "Ready")?;
            // The reason of a gate that is ready is `Ready`.
            Some(Standing { first: !ready, ..Standing::new(!ready, &reason, message) })
        }
        _ => None,
    }
}

fn run(body: &Value) -> Standing {
    let why = text(body, "/status/reason").to_owned();
    let decided = match (text(body, "/status/decidedAt"), text(body, "/status/verdict")) {
        ("", _) => return Standing::new(false, "Open", why),
        (_, "pass") => Standing::new(false, "Passed", why),
        _ => Standing::new(true, "Blocked", why),
    };
    Standing { first: true, ..decided }.since(body, "/status/decidedAt")
}

fn window(body: &Value) -> Option<Standing> {
    let in_force = body.pointer("/status/inForce")?.as_bool()?;
    let until = match text(body, "/status/until") {
        "" => String::new(),
        until => format!("until {until}"),
    };
    let parts = [text(body, "/spec/reason"), until.as_str()];
    let note = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    Some(match (text(body, "/spec/type") == "freeze", in_force) {
        (true, true) => Standing { first: true, ..Standing::new(true, "FreezeBegan", note) },
        (true, false) => Standing::new(false, "FreezeOver", note),
        (false, true) => Standing::new(false, "Opened", note),
        (false, false) => Standing::new(false, "Shut", note),
    })
}

fn exception(body: &Value) -> Option<Standing> {
    let (_, reason, message) = condition(body, "InForce")?;
    let by = format!("by {}: {}", text(body, "/spec/actor"), text(body, "/spec/reason"));
    Some(match reason.as_str() {
        "Used" => Standing::new(true, &reason, format!("{message}; {by}")),
        "InForce" => Standing { first: true, ..Standing::new(false, &reason, format!("{message}; {by}")) },
        _ => Standing::new(false, &reason, message),
    })
}

impl Standing {
    fn new(warning: bool, reason: &str, note: String) -> Self {
        Self { warning, reason: reason.to_owned(), note, at: None, first: false }
    }

    fn since(self, body: &Value, pointer: &str) -> Self {
        Self { at: text(body, pointer).parse().ok(), ..self }
    }
}

fn text<'a>(body: &'a Value, pointer: &str) -> &'a str {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A condition: whether it holds, why in a word and in a sentence.
fn condition(body: &Value, kind: &str) -> Option<(bool, String, String)> {
    let all = body.pointer("/status/conditions")?.as_array()?;
    let found = all.iter().find(|one| one.get("type").and_then(Value::as_str) == Some(kind))?;
    let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    Some((text("status") == "True", text("reason"), text("message")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn told(kind: &'static str, body: Value) -> Option<(bool, String)> {
        let object = Object { kind, namespace: "shop".to_owned(), name: "x".to_owned(), body };
        standing(&object).map(|standing| (standing.warning, format!("{}: {}", standing.reason, standing.note)))
    }

    #[rstest]
    #[case::passed(GateRun::KIND, json!({"status": {"verdict": "pass", "reason": "all passed",
        "decidedAt": "2026-11-21T12:00:00Z"}}), false, "Passed: all passed")]
    #[case::blocked(GateRun::KIND, json!({"status": {"verdict": "block", "reason": "errors failed",
        "decidedAt": "2026-11-21T12:00:00Z"}}), true, "Blocked: errors failed")]
    #[case::nonsense(GateRun::KIND, json!({"status": [1]}), false, "Open: ")]
    #[case::down(Probe::KIND, json!({"status": {"state": "down", "reason": "refused"}}), true, "Down: refused")]
    #[case::freeze(ReleaseWindow::KIND, json!({"spec": {"type": "freeze", "reason": "year end"},
        "status": {"inForce": true, "until": "2027-01-02T08:00:00Z"}}), true,
        "FreezeBegan: year end, until 2027-01-02T08:00:00Z")]
    #[case::gate(Gate::KIND, json!({"status": {"conditions": [{"type": "Ready", "status": "False",
        "reason": "UnresolvedReference", "message": "there is no probe shop/y"}]}}), true,
        "UnresolvedReference: there is no probe shop/y")]
    fn a_standing_is_told_in_a_word_and_a_sentence(
        #[case] kind: &'static str,
        #[case] body: Value,
        #[case] warning: bool,
        #[case] text: &str,
    ) {
        assert_eq!(told(kind, body), Some((warning, text.to_owned())));
    }

    #[test]
    fn what_has_no_status_yet_is_no_news() {
        for kind in [Gate::KIND, ReleaseWindow::KIND, Override::KIND] {
            assert_eq!(told(kind, json!({"spec": {}})), None, "{kind}");
        }
        assert!(!is_news(
            None,
            &standing(&Object {
                kind: Probe::KIND,
                namespace: "shop".to_owned(),
                name: "x".to_owned(),
                body: json!({})
            })
            .unwrap(),
            Timestamp::UNIX_EPOCH
        ));
    }

    #[rstest]
    #[case::turned(Some("Open"), "Passed", "2026-11-21T11:00:00Z", true)]
    #[case::the_same(Some("Passed"), "Passed", "2026-11-21T12:00:00Z", false)]
    #[case::fresh(None, "Passed", "2026-11-21T11:59:30Z", true)]
    #[case::old(None, "Passed", "2026-11-21T11:00:00Z", false)]
    fn only_what_has_turned_is_news(
        #[case] before: Option<&str>,
        #[case] reason: &str,
        #[case] at: &str,
        #[case] news: bool,
    ) {
        let (reason, at) = (reason.to_owned(), at.parse().ok());
        let standing = Standing { warning: false, reason, note: String::new(), at, first: true };
        assert_eq!(is_news(before, &standing, "2026-11-21T12:00:00Z".parse().unwrap()), news);
    }

    #[test]
    fn a_long_note_is_cut_between_letters() {
        let note = cut("ä".repeat(2_000));
        assert!(note.len() <= MAX_NOTE && note.chars().all(|letter| letter == 'ä'));
    }
}
