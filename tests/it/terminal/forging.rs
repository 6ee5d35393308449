//! What the API server refuses whoever it is: verdicts by hand, and wishes in another's name.

use kube::api::{Api, Patch, PatchParams, PostParams};
use probegate::api::{Gate, GateRun, Override};
use probegate::clock::{Clock, SystemClock};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::gates;
use super::world::{Person, World, story};

/// What becomes of a patch: what the API server says against it.
async fn patch<R>(person: &Person, world: &World, name: &str, patch: &Value) -> Result<(), String>
where
    R: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api = Api::<R>::namespaced(person.client.clone(), &world.place.namespace);
    let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).map_err(|error| error.to_string())
}

fn annotated(name: &str, text: &str) -> Value {
    json!({"metadata": {"annotations": {name: text}}})
}

/// A run that waits.
async fn waiting(person: &Person) -> String {
    let asked = ["check", "--gate", "waits", "--revision", "v1", "--point", "post", "--wait", "2s", "-o", "json"];
    let id = person.runs(&asked).await.json()["id"].as_str().unwrap().to_owned();
    id.split_once('/').unwrap().1.to_owned()
}

#[test]
fn nobody_but_the_operator_writes_a_verdict_wherever_it_is_installed() {
    story(async |world| {
        gates(&world).await;
        let _operator = world.operator().await;
        let root = world.administrator("root").await;
        let run = waiting(&root).await;
        let runs = Api::<GateRun>::namespaced(root.client.clone(), &world.place.namespace);
        let verdict = json!({"status": {"verdict": "pass", "reason": "because I say so"}});
        let forged = runs.patch_status(&run, &PatchParams::default(), &Patch::Merge(&verdict)).await;
        let message = forged.unwrap_err().to_string();
        assert!(message.contains("verdicts and states are written by the operator alone"), "{message}");
        let lead = json!({"status": {"lastVerdict": "pass"}});
        let gates = Api::<Gate>::namespaced(root.client.clone(), &world.place.namespace);
        assert!(gates.patch_status("waits", &PatchParams::default(), &Patch::Merge(&lead)).await.is_err());
    });
}

#[test]
fn a_wish_bears_its_authors_name_and_stays_as_it_is() {
    story(async |world| {
        gates(&world).await;
        let _operator = world.operator().await;
        let alice = world.person("alice", "edit").await;
        let run = waiting(&alice).await;
        for forged in [
            r#"{"actor": "bob", "reason": "x"}"#.to_owned(),
            "now".to_owned(),
            format!(r#"{{"reason": "\"actor\": \"{}\"", "actor": "bob"}}"#, alice.name),
            format!(r#"{{"actor": "x{}"}}"#, alice.name),
        ] {
            let refused = patch::<GateRun>(&alice, &world, &run, &annotated("probegate.io/cancel", &forged)).await;
            let message = refused.expect_err(&forged);
            assert!(message.contains("must begin with its author"), "{message}");
        }
        let relabelled = json!({"metadata": {"labels": {"probegate.io/revision": null}}});
        let message = patch::<GateRun>(&alice, &world, &run, &relabelled).await.unwrap_err();
        assert!(message.contains("are the operator's"), "{message}");
        let own = format!(r#"{{"actor": "{}", "reason": "wrong image"}}"#, alice.name);
        patch::<GateRun>(&alice, &world, &run, &annotated("probegate.io/cancel", &own)).await.unwrap();
        let other = format!(r#"{{"actor": "{}", "reason": "something else"}}"#, alice.name);
        let message = patch::<GateRun>(&alice, &world, &run, &annotated("probegate.io/cancel", &other)).await;
        assert!(message.unwrap_err().contains("stays as it is"));
        let gone = json!({"metadata": {"annotations": {"probegate.io/cancel": null}}});
        assert!(patch::<GateRun>(&alice, &world, &run, &gone).await.unwrap_err().contains("stays as it is"));
    });
}

#[test]
fn an_override_is_nobody_elses_to_make_edit_or_take_back() {
    story(async |world| {
        gates(&world).await;
        let ada = world.person("ada", "admin").await;
        let overrides = Api::<Override>::namespaced(ada.client.clone(), &world.place.namespace);
        let made = |actor: &str, annotations: Value| -> Override {
            serde_json::from_value(json!({
                "metadata": {"name": "o-1", "annotations": annotations},
                "spec": {"gate": "waits", "change": "c-1", "effect": "pass", "actor": actor, "reason": "slow start",
                    "expires": SystemClock::new().now() + jiff::SignedDuration::from_hours(1)},
            }))
            .unwrap()
        };
        let create = async |made: Override| overrides.create(&PostParams::default(), &made).await;
        let message = create(made("bob", json!({}))).await.unwrap_err().to_string();
        assert!(message.contains("it must be whoever creates the override"), "{message}");
        let wish = json!({"probegate.io/revoke": r#"{"actor": "bob"}"#});
        let message = create(made(&ada.name, wish)).await.unwrap_err().to_string();
        assert!(message.contains("must begin with its author"), "{message}");
        create(made(&ada.name, json!({}))).await.unwrap();
        let edited = json!({"spec": {"reason": "another one"}});
        assert!(patch::<Override>(&ada, &world, "o-1", &edited).await.is_err());
        let wish = annotated("probegate.io/revoke", r#"{"actor": "bob", "reason": "x"}"#);
        assert!(
            patch::<Override>(&ada, &world, "o-1", &wish).await.unwrap_err().contains("must begin with its author")
        );
    });
}
