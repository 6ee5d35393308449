//! How much may be under way at once: in all, to one host, and in a second.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

/// Limits of the whole prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most rounds under way at once. Each takes a descriptor, so that half of those that the
    /// process may have is the most in any case.
    pub in_flight: usize,
    /// The most rounds under way to one host: a host that hangs must not take the places of others.
    pub per_host: usize,
    /// The most rounds in a second, on average.
    pub per_second: NonZeroU32,
    /// How many threads probe.
    pub threads: usize,
}

impl Default for Limits {
    /// For one machine with some ten thousand probes.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            in_flight: 4_096,
            per_host: 64,
            per_second: NonZeroU32::new(20_000).unwrap_or(NonZeroU32::MIN),
            threads: cores.min(MAX_THREADS),
        }
    }
}

/// More threads than this don't pay: one alone makes more than ten thousand rounds in a second.
const MAX_THREADS: usize = 4;

/// The bucket holds what a tenth of a second brings: a burst that is longer would be felt.
const BURST_SHARE: u32 = 10;

/// Lets rounds in.
pub(super) struct Gatekeeper {
    in_flight: Semaphore,
    bucket: RateLimiter<
        NotKeyed,
        InMemoryState,
        MonotonicClock,
        NoOpMiddleware<<MonotonicClock as governor::clock::Clock>::Instant>,
    >,
    hosts: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
    per_host: usize,
}

/// A round that was let in; dropping it lets the next one in.
pub(super) struct Admission<'a> {
    _whole: SemaphorePermit<'a>,
    _host: SemaphorePermit<'a>,
}

impl Gatekeeper {
    pub(super) fn new(limits: &Limits) -> Self {
        let in_flight = limits.in_flight.min(descriptors() / 2).max(1);
        let burst = NonZeroU32::new(limits.per_second.get() / BURST_SHARE).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(limits.per_second).allow_burst(burst);
        Self {
            in_flight: Semaphore::new(in_flight),
            bucket: RateLimiter::direct_with_clock(quota, MonotonicClock),
            hosts: Mutex::default(),
            per_host: limits.per_host.max(1),
        }
    }

    /// The places of one host. They are shared by everybody who probes it.
    pub(super) fn host(&self, host: &Arc<str>) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = hosts.get(host).and_then(Weak::upgrade) {
            return places;
        }
        hosts.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.per_host));
        hosts.insert(Arc::clone(host), Arc::downgrade(&places));
        places
    }

    /// Waits for a place, in the order of asking; `None` where there is none by `latest`.
    pub(super) async fn admit<'a>(&'a self, host: &'a Semaphore, latest: Instant) -> Option<Admission<'a>> {
        let waiting = async {
            let host = match host.try_acquire() {
                Ok(permit) => permit,
                Err(_) => host.acquire().await.ok()?,
            };
            let whole = match self.in_flight.try_acquire() {
                Ok(permit) => permit,
                Err(_) => self.in_flight.acquire().await.ok()?,
            };
            while let Err(early) = self.bucket.check() {
                sleep(early.wait_time_from(MonotonicClock.now())).await;
            }
            Some(Admission { _whole: whole, _host: host })
        };
        timeout_at(latest, waiting).await.ok().flatten()
    }
}

/// How many descriptors the process may have, after asking for as many as it can get: 1,024, which
/// is usual to begin with, would be a few hundred rounds at once.
fn descriptors() -> usize {
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: now.maximum.or(now.current), maximum: now.maximum };
    let have = if now.current < wanted.current && setrlimit(Resource::Nofile, wanted).is_ok() { wanted } else { now };
    have.current.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn gatekeeper(in_flight: usize, per_host: usize, per_second: u32) -> Gatekeeper {
        let per_second = NonZeroU32::new(per_second).unwrap();
        Gatekeeper::new(&Limits { in_flight, per_host, per_second, threads: 1 })
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_hangs_takes_no_places_of_others() {
        let keeper = gatekeeper(10, 2, 1_000);
        let (slow, fast) = (keeper.host(&"slow".into()), keeper.host(&"fast".into()));
        let soon = Instant::now() + Duration::from_secs(1);
        let first = keeper.admit(&slow, soon).await;
        let _second = keeper.admit(&slow, soon).await.unwrap();
        assert!(keeper.admit(&slow, soon).await.is_none());
        assert!(keeper.admit(&fast, soon + Duration::from_secs(1)).await.is_some());
        drop(first);
        assert!(keeper.admit(&slow, soon + Duration::from_secs(1)).await.is_some());
    }

    #[tokio::test]
    async fn a_host_has_one_set_of_places() {
        let keeper = gatekeeper(10, 2, 1_000);
        let first = keeper.host(&"shop".into());
        assert!(Arc::ptr_eq(&first, &keeper.host(&"shop".into())));
        drop(first);
        assert_eq!(keeper.host(&"shop".into()).available_permits(), 2);
    }

    #[tokio::test]
    async fn beyond_the_rate_rounds_wait() {
        let keeper = gatekeeper(100, 100, 10);
        let host = keeper.host(&"shop".into());
        let now = Instant::now();
        assert!(keeper.admit(&host, now + Duration::from_secs(60)).await.is_some());
        assert!(keeper.admit(&host, now).await.is_none());
    }
}
