//! Which rollouts are to be looked at, and when: each one at most once at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A rollout: namespace and name.
pub(super) type Key = (String, String);

/// The queue. It holds each rollout once, so that it is never longer than there are rollouts.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    due: BTreeMap<Key, Instant>,
    running: BTreeSet<Key>,
}

impl Queue {
    /// Has a rollout looked at after a pause, or earlier where that was said before.
    pub(super) fn push(&self, key: Key, after: Duration) {
        let at = Instant::now() + after;
        let mut state = self.lock();
        let due = state.due.entry(key).or_insert(at);
        *due = at.min(*due);
        drop(state);
        self.wake.notify_one();
    }

    /// The next rollout, once it is due and nobody looks at it. [`Self::done`] must follow.
    pub(super) async fn next(&self) -> Key {
        loop {
            let pause = match self.take(Instant::now()) {
                Ok(key) => return key,
                Err(at) => at,
            };
            let woken = self.wake.notified();
            match pause {
                Some(at) => drop(tokio::time::timeout_at(at, woken).await),
                None => woken.await,
            }
        }
    }

    /// The look is over.
    pub(super) fn done(&self, key: &Key) {
        self.lock().running.remove(key);
        self.wake.notify_one();
    }

    fn take(&self, now: Instant) -> Result<Key, Option<Instant>> {
        let mut state = self.lock();
        let free = state.due.iter().filter(|(key, _)| !state.running.contains(*key));
        let next = free.min_by_key(|(_, at)| **at).map(|(key, at)| (key.clone(), *at));
        match next {
            Some((key, at)) if at <= now => {
                state.due.remove(&key);
                state.running.insert(key.clone());
                Ok(key)
            }
            other => Err(other.map(|(_, at)| at)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("n".to_owned(), name.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_is_next_and_is_there_once() {
        let queue = Queue::default();
        queue.push(key("late"), Duration::from_secs(5));
        queue.push(key("soon"), Duration::from_secs(9));
        queue.push(key("soon"), Duration::from_secs(1));
        let begun = Instant::now();
        assert_eq!(queue.next().await, key("soon"));
        assert_eq!(queue.next().await, key("late"));
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_looks_twice_at_a_time() {
        let queue = Queue::default();
        queue.push(key("a"), Duration::ZERO);
        let first = queue.next().await;
        queue.push(key("a"), Duration::ZERO);
        let second = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(second.is_err());
        queue.done(&first);
        assert_eq!(queue.next().await, key("a"));
    }
}
