//! `/v1/events`: what happens, as server-sent events.
//!
//! Events come from the store's watches, so they tell of everything that any replica writes. An
//! event's id names this process and a number: who comes back with `Last-Event-ID` gets what was
//! missed, or the event `reset` when that is not known any more and everything should be read anew.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::broadcast;

use super::access::{Caller, Scope};
use super::app::App;
use super::limits::{EVENT_BACKLOG, EVENT_HEARTBEAT, MAX_SUBSCRIBERS};
use super::problem::{Kind, Problem};

/// One thing that has happened.
#[derive(Debug)]
pub(super) struct Happening {
    number: u64,
    kind: &'static str,
    /// The namespace of what it is about.
    namespace: String,
    /// The gate or window that it is about: a token that names gates hears of those alone.
    about: String,
    data: String,
}

/// Where events come together and part again.
#[derive(Debug)]
pub(super) struct Hub {
    sender: broadcast::Sender<Arc<Happening>>,
    backlog: Mutex<VecDeque<Arc<Happening>>>,
    next: AtomicU64,
    /// Which process the numbers belong to.
    epoch: String,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(EVENT_BACKLOG),
            backlog: Mutex::new(VecDeque::new()),
            next: AtomicU64::new(1),
            epoch: uuid::Uuid::now_v7().simple().to_string(),
        }
    }

    /// Tells everyone.
    pub(super) fn tell<T: serde::Serialize>(&self, kind: &'static str, namespace: &str, about: &str, data: &T) {
        let Ok(data) = serde_json::to_string(data) else { return };
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (namespace, about) = (namespace.to_owned(), about.to_owned());
        let happening = Arc::new(Happening { number, kind, namespace, about, data });
        if backlog.len() >= EVENT_BACKLOG {
            backlog.pop_front();
        }
        backlog.push_back(Arc::clone(&happening));
        // Under the lock, so that the order is the same for everyone. Nobody listening is no error.
        let _ = self.sender.send(happening);
    }

    /// What happened after `last`, or `None` when that is not known any more.
    fn since(&self, last: &str) -> Option<Vec<Arc<Happening>>> {
        let (epoch, number) = last.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        let backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.next.load(Ordering::Relaxed).saturating_sub(1);
        let oldest = backlog.front().map_or(told + 1, |happening| happening.number);
        if epoch != self.epoch || number > told || number + 1 < oldest {
            return None;
        }
        Some(backlog.iter().filter(|happening| happening.number > number).cloned().collect())
    }

    fn event(&self, happening: &Happening) -> Event {
        Event::default()
            .id(format!("{}-{}", self.epoch, happening.number))
            .event(happening.kind)
            .data(happening.data.as_str())
    }
}

/// Told to a reader that has missed something for good.
fn reset() -> Event {
    Event::default().event("reset").data("{\"reason\":\"some events are lost: read everything anew\"}")
}

/// Follow what happens: runs created, decided and made void, overrides created and revoked, windows
/// and probes turned, hooks that tell something. An endless `text/event-stream`.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "Where the last connection ended.")),
    responses(
        (status = 200, description = "Events: `run.created`, `run.decided`, `run.void`, `override.created`, `override.revoked`, `window.turned`, `probe.turned`, `hook.event`, `reset`.", body = String, content_type = "text/event-stream"),
        (status = 503, description = "Too many subscribers.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let inside = app.deps.metrics.subscribed();
    if inside.count() > i64::try_from(MAX_SUBSCRIBERS).unwrap_or(i64::MAX) {
        return Err(Problem::new(Kind::Overloaded, format!("{MAX_SUBSCRIBERS} readers are there already")));
    }
    let receiver = app.hub.sender.subscribe();
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let missed = last.map(|last| app.hub.since(last));
    let first: Vec<Event> = match &missed {
        None => Vec::new(),
        Some(None) => vec![reset()],
        Some(Some(missed)) => missed
            .iter()
            .filter(|happening| caller.sees(&happening.namespace, &happening.about))
            .map(|happening| app.hub.event(happening))
            .collect(),
    };
    let told = missed.flatten().and_then(|missed| missed.last().map(|happening| happening.number)).unwrap_or(0);
    let end = app.stop.clone();
    let live = live(app, caller, receiver, told);
    let events = stream::iter(first).chain(live).map(move |event| {
        let _still_subscribed = &inside;
        Ok::<_, Infallible>(event)
    });
    let events = events.take_until(async move { end.cancelled().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(EVENT_HEARTBEAT).text("alive")).into_response())
}

fn live(
    app: Arc<App>,
    caller: Caller,
    receiver: broadcast::Receiver<Arc<Happening>>,
    told: u64,
) -> impl Stream<Item = Event> {
    stream::unfold((app, caller, receiver), move |(app, caller, mut receiver)| async move {
        loop {
            match receiver.recv().await {
                Ok(happening) if happening.number <= told => {}
                Ok(happening) if caller.sees(&happening.namespace, &happening.about) => {
                    let event = app.hub.event(&happening);
                    return Some((event, (app, caller, receiver)));
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return Some((reset(), (app, caller, receiver))),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hub: &Hub, last: &str) -> Option<Vec<u64>> {
        hub.since(last).map(|missed| missed.iter().map(|happening| happening.number).collect())
    }

    #[test]
    fn who_comes_back_gets_what_was_missed() {
        let hub = Hub::new();
        for n in 0..3 {
            hub.tell("run.created", "shop", "checkout", &n);
        }
        let id = |number: u64| format!("{}-{number}", hub.epoch);
        assert_eq!(told(&hub, &id(1)), Some(vec![2, 3]));
        assert_eq!(told(&hub, &id(3)), Some(vec![]));
        assert_eq!(told(&hub, &id(4)), None, "a number that was never given");
        assert_eq!(told(&hub, "other-1"), None, "another process");
        assert_eq!(told(&hub, "nonsense"), None);
    }

    #[test]
    fn what_has_left_the_backlog_is_a_reset() {
        let hub = Hub::new();
        for n in 0..=EVENT_BACKLOG + 5 {
            hub.tell("run.created", "shop", "checkout", &n);
        }
        assert_eq!(told(&hub, &format!("{}-1", hub.epoch)), None);
    }
}
