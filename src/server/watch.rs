//! From the store's watches, and the turns of probes, to events.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select_all;
use jiff::SignedDuration;
use lru::LruCache;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::api::runs::RunSummary;
use super::api::windows::WindowSummary;
use super::app::App;
use crate::api::{GateRun, Override, Probe, Resource, name_of, namespace_of};
use crate::model::ProbeState;
use crate::probes::Transition;
use crate::store::{Object, Query, WatchEvent};

/// How many resources the standing is remembered of: those that change lately.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);
/// How many runs a watch begins with: those that may still be decided soon.
const FIRST_RUNS: usize = 500;
/// A resource that is not remembered and whose news is older than this had it told before.
const NEWS: SignedDuration = SignedDuration::from_secs(60);

/// How often windows are looked at: people who wait for one to open see it soon enough.
const LOOK: Duration = Duration::from_secs(2);

/// What an event tells of.
type Memory = LruCache<(&'static str, String, String), Mark>;

/// The state of every probe, as its status tells it.
type States = BTreeMap<(String, String), ProbeState>;

/// A turn of a probe's state.
#[derive(Serialize)]
struct Turn<'a> {
    namespace: &'a str,
    name: &'a str,
    from: ProbeState,
    to: ProbeState,
    since: jiff::Timestamp,
    reason: &'a str,
}

/// What was last told of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// Decided, revoked or in force.
    turned: bool,
    /// Made void.
    void: bool,
}

/// One kind's way to events.
struct News {
    mark: Mark,
    /// When it turned, or was created.
    at: Option<jiff::Timestamp>,
    created: &'static str,
    turned: &'static str,
    about: String,
}

/// Turns what the store tells into events until `stop`.
pub(super) async fn follow(app: Arc<App>, stop: CancellationToken) {
    let watch =
        |kind: &'static str, limit: usize| app.deps.store.watch(kind, Query { limit, brief: true, ..Query::default() });
    let mut all = select_all([watch(GateRun::KIND, FIRST_RUNS), watch(Override::KIND, 0), watch(Probe::KIND, 0)]);
    let mut states = States::new();
    let mut turns = app.deps.probes.board.transitions();
    let mut memory = Memory::new(MAX_REMEMBERED);
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut standings = BTreeMap::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                look(&app, &mut standings);
                continue;
            }
            turn = turns.recv() => {
                match turn {
                    Ok(turn) => turned(&app, &turn),
                    Err(RecvError::Lagged(lost)) => {
                        tracing::warn!(lost, "Turns of probes came too fast for the event stream; some are left out.");
                    }
                    // The prober ends only with the program.
                    Err(RecvError::Closed) => return,
                }
                continue;
            }
            event = all.next() => event,
        };
        match event {
            Some(Ok(WatchEvent::Listed(objects))) => {
                for object in objects {
                    take(&app, &mut memory, &mut states, object, true);
                }
            }
            Some(Ok(WatchEvent::Applied(object))) => take(&app, &mut memory, &mut states, object, false),
            Some(Ok(WatchEvent::Deleted(object))) if object.kind == Probe::KIND => {
                states.remove(&(object.namespace, object.name));
            }
            Some(Ok(WatchEvent::Deleted(object))) => {
                memory.pop(&(object.kind, object.namespace, object.name));
            }
            Some(Err(error)) => tracing::warn!(%error, "A watch for the event stream is in trouble; it goes on."),
            None => return,
        }
    }
}

fn take(app: &App, memory: &mut Memory, states: &mut States, object: Object, listed: bool) {
    match object.kind {
        Probe::KIND => written(app, states, &object),
        GateRun::KIND => told(app, memory, object, listed, news_of_run, RunSummary::of),
        Override::KIND => told(app, memory, object, listed, news_of_override, Clone::clone),
        _ => {}
    }
}

/// Tells of a probe whose state is not what it was. What comes here is without the noise: while a
/// probe flaps, its turns are no events. The first state that is known of a probe is news only where
/// an earlier process knew another one.
fn turned(app: &App, turn: &Transition) {
    let from = if turn.first { turn.earlier } else { Some(turn.from) };
    if let Some(from) = from.filter(|from| *from != turn.to) {
        let (namespace, name) = (&turn.namespace, &turn.name);
        let turn = Turn { namespace, name, from, to: turn.to, since: turn.at, reason: &turn.reason };
        app.hub.tell("probe.turned", namespace, name, &turn);
    }
}

/// Takes the state of a probe as its status tells it, and where another replica probes tells of its turn.
fn written(app: &App, states: &mut States, object: &Object) {
    let Some(told) = object.body.get("status") else { return };
    let text = |name: &str| told.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let Ok(to) = text("state").parse::<ProbeState>() else { return };
    let before = states.insert((object.namespace.clone(), object.name.clone()), to);
    // Here the prober itself tells, and sooner.
    let Some(from) = before.filter(|from| *from != to && !app.deps.probes.is_here()) else { return };
    let since = text("since").parse().unwrap_or_else(|_| app.now());
    let (namespace, name) = (&object.namespace, &object.name);
    app.hub.tell("probe.turned", namespace, name, &Turn { namespace, name, from, to, since, reason: text("reason") });
}

fn told<R: Resource, T: Serialize>(
    app: &App,
    memory: &mut Memory,
    object: Object,
    listed: bool,
    news: fn(&R) -> News,
    data: fn(&R) -> T,
) {
    let Ok(resource) = object.into_resource::<R>() else { return };
    let key = (R::KIND, namespace_of(&resource).to_owned(), name_of(&resource).to_owned());
    let news = news(&resource);
    let before = memory.put(key, news.mark);
    // The first list of a watch tells how things stand, not what has happened; a later one may hold
    // what was missed, and only what is remembered can tell.
    let fresh = !listed && news.at.is_none_or(|at| app.now().duration_since(at) < NEWS);
    let kind = match before {
        Some(before) if before.void != news.mark.void => "run.void",
        Some(before) if before.turned != news.mark.turned => news.turned,
        Some(_) => return,
        None if !fresh => return,
        None if news.mark.turned => news.turned,
        None => news.created,
    };
    app.hub.tell(kind, namespace_of(&resource), &news.about, &data(&resource));
}

fn news_of_run(run: &GateRun) -> News {
    let status = run.status.as_ref();
    let decided = status.and_then(|status| status.decided_at);
    let created = run.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mark = Mark { turned: decided.is_some(), void: status.is_some_and(|status| status.voided.is_some()) };
    News { mark, at: decided.or(created), created: "run.created", turned: "run.decided", about: run.spec.gate.clone() }
}

fn news_of_override(item: &Override) -> News {
    let revoked = item.status.as_ref().and_then(|status| status.revoked.as_ref()).map(|revoked| revoked.at);
    let created = item.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let about = item.spec.gate.clone().or_else(|| item.spec.window.clone()).unwrap_or_default();
    let mark = Mark { turned: revoked.is_some(), void: false };
    News { mark, at: revoked.or(created), created: "override.created", turned: "override.revoked", about }
}

/// Looks at every window, and tells of those that are not as they were.
fn look(app: &App, standings: &mut BTreeMap<(String, String), bool>) {
    let now = app.now();
    let windows = (app.deps.windows)();
    let mut seen = BTreeMap::new();
    for window in windows.iter() {
        let summary = WindowSummary::of(window, now);
        let key = (summary.namespace.clone(), summary.name.clone());
        if standings.get(&key).is_some_and(|before| *before != summary.in_force) {
            app.hub.tell("window.turned", &summary.namespace, &summary.name, &summary);
        }
        seen.insert(key, summary.in_force);
    }
    *standings = seen;
}
