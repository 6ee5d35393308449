//! One lease, several candidates, a real API server.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use probegate::clock::SystemClock;
use probegate::operator::{Candidate, Ended};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;
use crate::cluster::{Place, control_plane};

struct Running {
    leads: watch::Receiver<bool>,
    /// Where the leader is, as it hears.
    leader: watch::Receiver<Option<String>>,
    stop: CancellationToken,
    task: JoinHandle<Ended>,
}

impl Running {
    fn start(place: &Place, identity: &str) -> Self {
        let (tell, leads) = watch::channel(false);
        let stop = CancellationToken::new();
        let leader = watch::Sender::new(None);
        let candidate = Candidate {
            client: place.client.clone(),
            namespace: place.namespace.clone(),
            lease: "probegate".to_owned(),
            identity: identity.to_owned(),
            clock: Arc::new(SystemClock::new()),
            address: watch::Sender::new(Some(format!("http://{identity}.example"))).subscribe(),
            leader: leader.clone(),
        };
        let task = tokio::spawn(candidate.run(tell, stop.clone()));
        Self { leads, leader: leader.subscribe(), stop, task }
    }

    async fn leads(&mut self) {
        let waited = tokio::time::timeout(PATIENCE, self.leads.wait_for(|leads| *leads)).await;
        waited.expect("it never leads").unwrap();
    }
}

async fn lease(place: &Place) -> Lease {
    Api::<Lease>::namespaced(place.client.clone(), &place.namespace).get("probegate").await.unwrap()
}

#[test]
fn one_of_two_leads_and_the_other_one_follows_as_soon_as_it_lets_go() {
    control_plane().run(|place| async move {
        let mut first = Running::start(&place, "first");
        first.leads().await;
        let mut second = Running::start(&place, "second");
        // Longer than the second one needs to look twice.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!*second.leads.borrow());
        assert_eq!(second.leader.borrow().as_deref(), Some("http://first.example"));
        first.stop.cancel();
        assert_eq!(first.task.await.unwrap(), Ended::Stopped);
        second.leads().await;
        let spec = lease(&place).await.spec.unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("second"), Some(2)));
        second.stop.cancel();
        second.task.await.unwrap();
    });
}

#[test]
fn the_lease_of_one_that_was_killed_is_taken_when_it_has_run_out() {
    control_plane().run(|place| async move {
        let mut first = Running::start(&place, "first");
        first.leads().await;
        first.task.abort();
        let mut second = Running::start(&place, "second");
        second.leads().await;
        second.stop.cancel();
        second.task.await.unwrap();
    });
}

#[test]
fn one_whose_lease_was_taken_has_lost() {
    control_plane().run(|place| async move {
        let mut first = Running::start(&place, "first");
        first.leads().await;
        let leases = Api::<Lease>::namespaced(place.client.clone(), &place.namespace);
        // The first one may renew in between: then it is tried again.
        loop {
            let mut taken = lease(&place).await;
            taken.spec.as_mut().unwrap().holder_identity = Some("thief".to_owned());
            if leases.replace("probegate", &kube::api::PostParams::default(), &taken).await.is_ok() {
                break;
            }
        }
        let ended = tokio::time::timeout(PATIENCE, first.task).await.expect("it never ends").unwrap();
        assert_eq!(ended, Ended::Lost("thief has taken the lease".to_owned()));
    });
}
