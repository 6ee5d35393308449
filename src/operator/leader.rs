//! Which of several replicas leads: one Lease, taken and renewed by optimistic concurrency.
//!
//! The rules are those of client-go: a lease is somebody else's for as long as its record keeps
//! changing, measured by this process's own monotonic clock, so that clocks of other nodes do not
//! matter. Whoever leads and cannot renew in time has lost, and must end before another one begins.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// How long a lease holds after its last renewal. With [`LOOK`] it bounds a failover after a crash.
const HOLDS: Duration = Duration::from_secs(10);
/// How long the leader tries to renew before it has lost: well before others may take the lease.
const RENEW_WITHIN: Duration = Duration::from_secs(7);
/// How often the leader renews.
const RENEW: Duration = Duration::from_secs(3);
/// How often the others look: a lease that was let go of is taken within this time.
const LOOK: Duration = Duration::from_secs(1);
/// On the lease: where the leader is reached by the others, such as `http://10.244.0.7:8080`.
const ANNOTATION_ADDRESS: &str = "probegate.io/address";
/// How long an attempt may take: an API server that needs some seconds for a call is slow, not away.
const CALL: Duration = Duration::from_secs(5);
/// When the last attempt at a renewal ends, after the one before it: others take the lease later.
const LAST: Duration = Duration::from_secs(8);

/// Who wants to lead, and by which lease.
#[derive(Clone)]
pub struct Candidate {
    /// The client.
    pub client: kube::Client,
    /// The namespace of the lease.
    pub namespace: String,
    /// The lease.
    pub lease: String,
    /// This process, unlike every other one that ever was: a pod's name is not enough, because a
    /// container that was restarted is not the leader that it was before.
    pub identity: String,
    /// The time that is written down.
    pub clock: Arc<dyn Clock>,
    /// Where the others reach this process while it leads; not known before it listens.
    pub address: watch::Receiver<Option<String>>,
    /// Where the leader is reached, where that is another process.
    pub leader: watch::Sender<Option<String>>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped, and has let go of the lease.
    Stopped,
    /// It led and could not renew, or somebody else leads.
    Lost(String),
}

/// What is to be done about a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// It is ours to write: taken anew or renewed.
    Write,
    /// It is somebody else's.
    Wait,
}

/// Whose a lease is after an attempt at it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    Ours,
    Theirs(String),
    /// Somebody has written at the same time: the next look tells.
    Raced,
}

/// A lease as it was seen last, and when it had changed.
#[derive(Debug, Clone, Default)]
struct Seen {
    record: Option<(LeaseSpec, Instant)>,
    /// As we have written it last: it is renewed without being read.
    ours: Option<Lease>,
}

impl Seen {
    /// Notes what became of a write.
    fn won(&mut self, written: Option<Lease>) -> Held {
        self.ours = written;
        if self.ours.is_some() { Held::Ours } else { Held::Raced }
    }

    /// Judges a lease that was read at `now`.
    fn judge(&mut self, spec: &LeaseSpec, identity: &str, now: Instant) -> Step {
        let changed = self.record.as_ref().is_none_or(|(old, _)| old != spec);
        if changed {
            self.record = Some((spec.clone(), now));
        }
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == identity {
            return Step::Write;
        }
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let holds = seconds.map_or(HOLDS, Duration::from_secs);
        let since = self.record.as_ref().map_or(now, |(_, since)| *since);
        if now.saturating_duration_since(since) > holds { Step::Write } else { Step::Wait }
    }
}

/// The record of whoever takes or renews a lease at `now`.
fn record(old: &LeaseSpec, identity: &str, now: Timestamp) -> LeaseSpec {
    let same = old.holder_identity.as_deref() == Some(identity);
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(HOLDS.as_secs()).ok(),
        renew_time: Some(MicroTime(now)),
        acquire_time: if same { old.acquire_time.clone() } else { Some(MicroTime(now)) },
        lease_transitions: Some(old.lease_transitions.unwrap_or(0).saturating_add(i32::from(!same))),
        ..old.clone()
    }
}

impl Candidate {
    /// Tries to lead until `stop`, and tells through `leading`. Ends when it led and has lost.
    pub async fn run(self, leading: watch::Sender<bool>, stop: CancellationToken) -> Ended {
        let mut seen = Seen::default();
        let mut renewed: Option<Instant> = None;
        let mut told_well = true;
        loop {
            let begun = Instant::now();
            let limit = renewed.map_or(CALL, |at| CALL.min(LAST.saturating_sub(at.elapsed())));
            let held = timeout(limit, self.attempt(&mut seen)).await;
            let mut well = true;
            let pause = match held {
                Ok(Ok(Held::Ours)) => {
                    if renewed.replace(begun).is_none() {
                        tracing::info!(identity = self.identity, lease = self.lease, "This replica leads now.");
                        leading.send_replace(true);
                    }
                    RENEW.saturating_sub(begun.elapsed())
                }
                Ok(Ok(Held::Theirs(who))) if renewed.is_some() => {
                    return Ended::Lost(format!("{who} has taken the lease"));
                }
                Ok(Ok(Held::Theirs(_) | Held::Raced)) => LOOK,
                Ok(Err(error)) => {
                    well = false;
                    self.in_trouble(renewed.is_some() && told_well, &error.to_string())
                }
                Err(_) => {
                    well = false;
                    self.in_trouble(renewed.is_some() && told_well, "the API server did not answer in time")
                }
            };
            told_well = well;
            if let Some(at) = renewed.filter(|at| at.elapsed() > RENEW_WITHIN) {
                let seconds = at.elapsed().as_secs();
                return Ended::Lost(format!("the lease could not be renewed for {seconds} s"));
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        if renewed.is_some()
            && let Ok(Err(error)) | Err(error) =
                timeout(CALL, self.release()).await.map_err(|_| "the API server did not answer in time".to_owned())
        {
            tracing::warn!(%error, "The lease could not be let go of; another replica leads when it has run out.");
        }
        Ended::Stopped
    }

    /// Told once for as long as it lasts.
    fn in_trouble(&self, is_news: bool, error: &str) -> Duration {
        if is_news {
            tracing::warn!(error, lease = self.lease, "The lease could not be renewed; it is tried again.");
        } else {
            tracing::debug!(error, lease = self.lease, "The lease could not be read or renewed; it is tried again.");
        }
        LOOK
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Takes or renews the lease, where it is free or ours.
    async fn attempt(&self, seen: &mut Seen) -> Result<Held, kube::Error> {
        let api = self.api();
        let now = self.clock.now();
        if let Some(lease) = &seen.ours {
            match self.write(lease.clone(), now).await? {
                // Somebody else has written: it is read.
                None => seen.ours = None,
                Some(written) => return Ok(seen.won(Some(written))),
            }
        }
        let Some(lease) = api.get_opt(&self.lease).await? else {
            let mut lease = Lease {
                metadata: ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() },
                spec: Some(record(&LeaseSpec::default(), &self.identity, now)),
            };
            self.address_on(&mut lease.metadata);
            return Ok(seen.won(raced(api.create(&PostParams::default(), &lease).await)?));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if seen.judge(&spec, &self.identity, Instant::now()) == Step::Wait {
            let address = lease.metadata.annotations.and_then(|mut all| all.remove(ANNOTATION_ADDRESS));
            self.leader.send_if_modified(|known| std::mem::replace(known, address.clone()) != address);
            return Ok(Held::Theirs(spec.holder_identity.unwrap_or_default()));
        }
        self.leader.send_replace(None);
        Ok(seen.won(self.write(lease, now).await?))
    }

    /// Writes the lease as ours; nothing where somebody else was faster.
    async fn write(&self, mut lease: Lease, now: Timestamp) -> Result<Option<Lease>, kube::Error> {
        let spec = lease.spec.clone().unwrap_or_default();
        // The version that was read goes along: of two who write at once one gets a conflict.
        lease.spec = Some(record(&spec, &self.identity, now));
        self.address_on(&mut lease.metadata);
        raced(self.api().replace(&self.lease, &PostParams::default(), &lease).await)
    }

    /// Writes down where this process is reached, and never where an earlier leader was.
    fn address_on(&self, metadata: &mut ObjectMeta) {
        let annotations = metadata.annotations.get_or_insert_default();
        match self.address.borrow().clone() {
            Some(address) => annotations.insert(ANNOTATION_ADDRESS.to_owned(), address),
            None => annotations.remove(ANNOTATION_ADDRESS),
        };
    }

    async fn release(&self) -> Result<(), String> {
        let api = self.api();
        let lease = api.get(&self.lease).await.map_err(|error| error.to_string())?;
        let mut spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        (spec.holder_identity, spec.renew_time) = (Some(String::new()), Some(MicroTime(self.clock.now())));
        let lease = Lease { spec: Some(spec), ..lease };
        api.replace(&self.lease, &PostParams::default(), &lease).await.map_err(|error| error.to_string())?;
        tracing::info!(lease = self.lease, "The lease was let go of.");
        Ok(())
    }
}

/// What became of a write; that somebody else was faster, or has deleted it, is no error.
fn raced(written: Result<Lease, kube::Error>) -> Result<Option<Lease>, kube::Error> {
    match written {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(holder: &str, renewals: i64) -> LeaseSpec {
        let at = Timestamp::from_second(1_000 + renewals).unwrap();
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(at)),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_keeps_changing_is_left_alone_whatever_its_clock_says() {
        let mut seen = Seen::default();
        for renewal in 0..20 {
            // The holder's clock stands decades before ours: only that it changes counts.
            assert_eq!(seen.judge(&spec("a", renewal), "b", Instant::now()), Step::Wait);
            tokio::time::advance(Duration::from_secs(9)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_stands_still_for_longer_than_it_holds_is_taken() {
        let mut seen = Seen::default();
        assert_eq!(seen.judge(&spec("a", 0), "b", Instant::now()), Step::Wait);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(seen.judge(&spec("a", 0), "b", Instant::now()), Step::Wait);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(seen.judge(&spec("a", 0), "b", Instant::now()), Step::Write);
    }

    #[tokio::test]
    async fn a_lease_that_was_let_go_of_is_taken_at_once_and_one_s_own_renewed() {
        for holder in ["", "b"] {
            assert_eq!(Seen::default().judge(&spec(holder, 0), "b", Instant::now()), Step::Write, "{holder}");
        }
    }

    #[test]
    fn taking_a_lease_counts_as_a_transition_and_renewing_it_does_not() {
        let now = Timestamp::from_second(2_000).unwrap();
        let taken = record(&spec("a", 0), "b", now);
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("b"), Some(1)));
        let renewed = record(&taken, "b", now + jiff::SignedDuration::from_secs(3));
        assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(1), taken.acquire_time));
    }
}
