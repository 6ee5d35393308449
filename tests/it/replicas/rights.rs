//! What the operator may do, held against what it has done: nothing was refused, and every right is of
//! use.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// How long the last of it may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The operator as the API server knows it.
const OPERATOR: &str = "system:serviceaccount:probegate:probegate";

/// A group, a resource with its subresource, a verb.
type Right = (String, String, String);

/// Rights that this story does not use, or not each time, and why they are there.
const ELSEWHERE: &[(&str, &str, &[&str], &str)] = &[
    (
        "probegate.io",
        "probes",
        &["get"],
        "a probe that somebody has written to since its version was known is read before its status is written",
    ),
    (
        "probegate.io",
        "gateruns",
        &["delete"],
        "what is older than 90 days or one of too many is removed: store::kubernetes and its retention",
    ),
    (
        "probegate.io",
        "gateruns",
        &["decide"],
        "the admission policies ask the API server whether the operator has it; nothing is ever asked by it",
    ),
    (
        "events.k8s.io",
        "events",
        &["patch"],
        "an Event that is told again is counted on the first one: nothing in this story has to be told twice",
    ),
    (
        "rollouts.kruise.io",
        "rollouts/status",
        &["patch"],
        "a batch whose gate has passed is approved there: the stories of rollouts; here the first one blocks, and \
         whether its way back has steps to approve is the controller's affair",
    ),
    (
        "apps",
        "statefulsets",
        &["get", "list", "watch", "update"],
        "a Rollout may move a StatefulSet; the story moves a Deployment, by the same calls",
    ),
    (
        "apps.kruise.io",
        "clonesets",
        &["get", "list", "watch", "update"],
        "as StatefulSets; the manager that runs them cannot be built for this cluster",
    ),
    ("apps.kruise.io", "statefulsets", &["get", "list", "watch", "update"], "as CloneSets"),
    ("apps.kruise.io", "daemonsets", &["get", "list", "watch", "update"], "as CloneSets"),
    ("apps", "controllerrevisions", &["list"], "the stable template of all these, as ReplicaSets are a Deployment's"),
];

/// Every right that `deploy/access.yaml` gives to the operator.
fn granted() -> BTreeSet<Right> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/access.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let documents = text.split("\n---\n").map(|part| serde_saphyr::from_str::<Value>(part).unwrap());
    let mut all = BTreeSet::new();
    for role in documents.filter(|one| one["kind"].as_str().unwrap().ends_with("Role")) {
        for rule in role["rules"].as_array().unwrap() {
            let words = |field: &str| -> Vec<String> {
                let words = rule[field].as_array().unwrap().iter();
                words.map(|word| word.as_str().unwrap().to_owned()).collect()
            };
            assert!(rule["resourceNames"].is_null(), "names are not looked at here: {rule}");
            for group in words("apiGroups") {
                for resource in words("resources") {
                    for verb in words("verbs") {
                        assert!(![&group, &resource, &verb].iter().any(|word| word.contains('*')), "{rule}");
                        all.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    all
}

fn elsewhere() -> BTreeSet<Right> {
    let each = |(group, resource, verbs, _): &(&str, &str, &[&str], &str)| {
        let (group, resource) = ((*group).to_owned(), (*resource).to_owned());
        verbs.iter().map(move |verb| (group.clone(), resource.clone(), (*verb).to_owned())).collect::<Vec<_>>()
    };
    ELSEWHERE.iter().flat_map(each).collect()
}

/// What the operator has done so far, and what of it was refused.
fn done(audit: &Path) -> (BTreeSet<Right>, Vec<Value>) {
    let (mut done, mut refused) = (BTreeSet::new(), Vec::new());
    // The last line may be half written.
    for line in std::fs::read_to_string(audit).unwrap().lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text("/user/username") != OPERATOR {
            continue;
        }
        let code = event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default();
        if matches!(code, 401 | 403) || text("/annotations/authorization.k8s.io~1decision") == "forbid" {
            refused.push(event);
            continue;
        }
        let resource = match text("/objectRef/subresource") {
            none if none.is_empty() => text("/objectRef/resource"),
            subresource => format!("{}/{subresource}", text("/objectRef/resource")),
        };
        if !resource.is_empty() {
            done.insert((text("/objectRef/apiGroup"), resource, text("/verb")));
        }
    }
    (done, refused)
}

/// Waits until every right was used but those that cannot be, and tells what never was.
pub async fn are_all_used(audit: &Path) {
    let (granted, elsewhere) = (granted(), elsewhere());
    let strange: Vec<&Right> = elsewhere.difference(&granted).collect();
    assert!(strange.is_empty(), "excused, and not granted any more: {strange:#?}");
    let begun = tokio::time::Instant::now();
    loop {
        let (done, refused) = done(audit);
        assert!(refused.is_empty(), "the operator was refused: {refused:#?}");
        let unused: Vec<&Right> = granted.difference(&done).filter(|right| !elsewhere.contains(*right)).collect();
        if unused.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "granted, and never used: {unused:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
