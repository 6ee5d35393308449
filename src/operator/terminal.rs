//! What a command at a terminal asks the cluster about itself and about the operator: who it is, what it
//! may do, whether anybody leads.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Api, PostParams};

use crate::api::GROUP;
use crate::cluster::{ApiError, Call, Named};

/// How much older than it should be a lease must look before a terminal says so: its clock is not the
/// leader's.
const CLOCKS_APART: Duration = Duration::from_secs(30);

/// Who the cluster takes us for.
///
/// # Errors
/// It cannot be asked, or does not know the question (before Kubernetes 1.28).
pub async fn myself(client: &kube::Client) -> Result<String, ApiError> {
    let call = Call { verb: "create", resource: "selfsubjectreviews.authentication.k8s.io", namespace: "", name: "" };
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await.named(call)?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    Ok(user.unwrap_or_default())
}

/// Whether we may do something with our resources in a namespace.
///
/// # Errors
/// The cluster cannot be asked.
pub async fn may_i(client: &kube::Client, verb: &str, resource: &str, namespace: &str) -> Result<bool, ApiError> {
    let call =
        Call { verb: "create", resource: "selfsubjectaccessreviews.authorization.k8s.io", namespace: "", name: "" };
    let attributes = ResourceAttributes {
        group: Some(GROUP.to_owned()),
        verb: Some(verb.to_owned()),
        resource: Some(resource.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let status = api.create(&PostParams::default(), &review).await.named(call)?.status.unwrap_or_default();
    Ok(status.allowed && status.denied != Some(true))
}

/// Why nobody leads by a lease, where that can be seen; nothing where somebody does, or where we may
/// not look.
pub async fn leaderless(client: &kube::Client, namespace: &str, lease: &str, now: Timestamp) -> Option<String> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(lease).await {
        Ok(Some(found)) => {
            vacant(&found.spec.unwrap_or_default(), now).map(|why| format!("{why} (lease {namespace}/{lease})"))
        }
        Ok(None) => Some(format!("there is no lease {namespace}/{lease}")),
        Err(_) => None,
    }
}

/// Why a lease is nobody's at `now`.
fn vacant(lease: &LeaseSpec, now: Timestamp) -> Option<String> {
    let holder = lease.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() {
        return Some("the last leader has let go, and nobody has followed it".to_owned());
    }
    let renewed = lease.renew_time.as_ref()?.0;
    let seconds = u64::try_from(lease.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
    let holds = SignedDuration::try_from(CLOCKS_APART + Duration::from_secs(seconds)).ok()?;
    (now.duration_since(renewed) > holds).then(|| format!("{holder} has not renewed its lead since {renewed}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use rstest::rstest;

    #[rstest]
    #[case::held("a", "2026-11-21T11:59:58Z", None)]
    #[case::clocks_apart("a", "2026-11-21T11:59:25Z", None)]
    #[case::stale("a", "2026-11-21T11:50:00Z", Some("a has not renewed its lead since 2026-11-21T11:50:00Z"))]
    #[case::let_go("", "2026-11-21T11:59:58Z", Some("the last leader has let go, and nobody has followed it"))]
    fn a_lease_tells_whether_anybody_leads(
        #[case] holder: &str,
        #[case] renewed: &str,
        #[case] vacant_because: Option<&str>,
    ) {
        let lease = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(renewed.parse().unwrap())),
            ..LeaseSpec::default()
        };
        assert_eq!(vacant(&lease, "2026-11-21T12:00:00Z".parse().unwrap()).as_deref(), vacant_because);
    }
}
