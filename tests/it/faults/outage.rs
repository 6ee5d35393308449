//! A cluster whose parts stop, whose definitions are missing or old, whose namespaces go. Each story
//! has the one control plane to itself.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::Value;
use tokio::task::block_in_place;

use super::program::Program;
use super::{Asker, freeze, until, until_frozen};
use crate::cluster::{Cluster, Place, apply_definitions, create_namespace, definition_files, own_control_plane};
use crate::replicas::program::{gate, token};

/// The control plane of these stories, for one at a time.
fn alone() -> MutexGuard<'static, Cluster> {
    static OWN: OnceLock<Mutex<Cluster>> = OnceLock::new();
    OWN.get_or_init(|| Mutex::new(own_control_plane("faults"))).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes a fault, also where its story has failed.
struct Undo<F: Fn()>(F);

impl<F: Fn()> Drop for Undo<F> {
    fn drop(&mut self) {
        block_in_place(&self.0);
    }
}

/// Waits until the API server answers again: the next story begins with it.
fn await_api(cluster: &Cluster) {
    cluster.run_anywhere(|place| async move {
        let namespaces: Api<Namespace> = Api::all(place.client.clone());
        until("there again", async || namespaces.list(&ListParams::default()).await.is_ok()).await;
    });
}

#[test]
fn an_api_server_that_is_killed_and_started_again_costs_time_and_no_verdict() {
    let alone = alone();
    let cluster: &Cluster = &alone;
    cluster.run(|place| async move {
        gate(&place).await;
        let token = token(&place, "ci", &["check"]).await;
        let program = Program::start(&place.kubeconfig, &[&place.namespace], "a");
        program.until_ready().await;
        let asker = Asker { place: &place, program: &program, token: &token };
        asker.until_pass("v1").await;
        let from = program.loud_lines();

        block_in_place(|| cluster.script().run(&["stop", "apiserver", "KILL"]));
        let start = Undo(|| {
            cluster.script().run(&["start", "apiserver"]);
            await_api(cluster);
        });
        let unready = async || program.is_unready_because("store: while ").await;
        asker.never_passes_until("unready", unready).await;
        // The leader cannot renew its lease: it ends, and is started again without an API server.
        asker.never_passes_until("started again", async || program.starts() > 1).await;
        asker.never_passes_until("alive", async || program.admin("/livez").await.is_some()).await;
        let again = asker.ask("v1", "1s").await;
        assert!(!super::is_pass(again.as_ref()), "what was decided is not told from memory: {again:?}");
        let (count, message) = program.most_repeated(from);
        assert!(count <= 8, "{count} times: {message}\n{}", program.said());

        drop(start);
        asker.until_pass("v2").await;
        program.until_ready().await;
        asker.until_pass("v1-again").await;
    });
}

#[test]
fn nothing_passes_while_etcd_stands_still() {
    let alone = alone();
    let cluster: &Cluster = &alone;
    cluster.run(|place| async move {
        gate(&place).await;
        let token = token(&place, "ci", &["check"]).await;
        let program = Program::start(&place.kubeconfig, &[&place.namespace], "a");
        program.until_ready().await;
        let asker = Asker { place: &place, program: &program, token: &token };
        asker.until_pass("v1").await;
        let from = program.loud_lines();

        let process = place.kubeconfig.with_file_name("etcd.pid");
        let signal = |signal: &str| {
            let command = format!("kill -{signal} $(cat '{}')", process.display());
            cluster.script().run(&["exec", "sh", "-c", &command]);
        };
        block_in_place(|| signal("STOP"));
        let go_on = Undo(|| {
            signal("CONT");
            await_api(cluster);
        });
        asker.never_passes_until("unready", async || program.is_unready_because("store: ").await).await;
        asker.never_passes_until("started again", async || program.starts() > 1).await;
        let (count, message) = program.most_repeated(from);
        assert!(count <= 8, "{count} times: {message}\n{}", program.said());

        drop(go_on);
        asker.until_pass("v2").await;
        program.until_ready().await;
    });
}

fn definitions(place: &Place) -> Api<CustomResourceDefinition> {
    Api::all(place.client.clone())
}

/// Puts every definition back as it is in `deploy/crds`.
fn put_back(cluster: &Cluster) {
    cluster.run_anywhere(|place| async move { apply_definitions(&place.client).await });
}

#[test]
fn without_its_definitions_the_program_lives_says_what_is_missing_and_is_ready_once_they_are_there() {
    let alone = alone();
    let cluster: &Cluster = &alone;
    cluster.run(|place| async move {
        let back = Undo(|| put_back(cluster));
        let all = definitions(&place);
        let ours = async || {
            let found = all.list(&ListParams::default()).await.unwrap().items;
            found.into_iter().filter(|one| one.spec.group == "probegate.io").count()
        };
        for definition in definition_files() {
            let name = definition["metadata"]["name"].as_str().unwrap();
            all.delete(name, &DeleteParams::default()).await.unwrap();
        }
        until("without definitions", async || ours().await == 0).await;

        let token = token(&place, "ci", &["check"]).await;
        let program = Program::start(&place.kubeconfig, &[&place.namespace], "a");
        until("listening", async || program.url().is_some() && program.admin("/livez").await.is_some()).await;
        assert_eq!(program.admin("/livez").await.unwrap().0, 200);
        let missing = "the API server has no gates.probegate.io; apply its custom resource definition (deploy/crds)";
        until("unready with its reason", async || program.is_unready_because(missing).await).await;
        for kind in ["gates", "gateruns", "overrides", "probes", "releasewindows"] {
            let said = format!("the API server has no {kind}.probegate.io; apply its custom resource definition");
            until("told in the log", async || program.has_said(&said)).await;
        }
        let asker = Asker { place: &place, program: &program, token: &token };
        let begun = tokio::time::Instant::now();
        let answer = asker.never_passes_until("waiting", async || begun.elapsed() > Duration::from_secs(3)).await;
        let reason = answer.as_ref().and_then(|answer| answer["reason"].as_str()).unwrap_or_default().to_owned();
        assert!(reason.contains("the gates are not known yet"), "{answer:?}");
        let (count, message) = program.most_repeated(0);
        assert!(count <= 4, "{count} times: {message}\n{}", program.said());

        drop(back);
        program.until_ready().await;
        gate(&place).await;
        asker.until_pass("v1").await;
        assert_eq!(program.starts(), 1, "by itself");
    });
}

/// The definition of runs, as an older version of the program had it: without some fields of the status
/// and without its columns.
fn older_runs() -> Value {
    let mut runs =
        definition_files().into_iter().find(|file| file["metadata"]["name"] == "gateruns.probegate.io").unwrap();
    let version = &mut runs["spec"]["versions"][0];
    let status = &mut version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
    for field in ["cause", "decidedWith", "plan"] {
        assert!(status.as_object_mut().unwrap().remove(field).is_some(), "{field} is no field any more");
    }
    version.as_object_mut().unwrap().remove("additionalPrinterColumns");
    runs
}

#[test]
fn with_an_older_definition_nothing_passes_the_field_is_named_and_the_newer_one_mends_it() {
    let alone = alone();
    let cluster: &Cluster = &alone;
    cluster.run(|place| async move {
        let back = Undo(|| put_back(cluster));
        gate(&place).await;
        let token = token(&place, "ci", &["check"]).await;
        let params = PatchParams::apply("probegate-tests").force();
        definitions(&place).patch("gateruns.probegate.io", &params, &Patch::Apply(&older_runs())).await.unwrap();
        let program = Program::start(&place.kubeconfig, &[&place.namespace], "a");
        program.until_ready().await;
        let asker = Asker { place: &place, program: &program, token: &token };
        let told = async || program.has_said("field not declared in schema");
        asker.never_passes_until("told in the log", told).await;
        drop(back);
        asker.until_pass("v1").await;
    });
}

#[test]
fn a_namespace_that_is_deleted_takes_its_runs_along_and_nobody_elses() {
    let alone = alone();
    let cluster: &Cluster = &alone;
    cluster.run(|place| async move {
        let namespaces: Api<Namespace> = Api::all(place.client.clone());
        let gone = Place { namespace: format!("{}-gone", place.namespace), ..place.clone() };
        create_namespace(&namespaces, &gone.namespace).await;
        gate(&place).await;
        gate(&gone).await;
        freeze(&gone).await;
        let tokens = (token(&place, "ci", &["check"]).await, token(&gone, "ci", &["check"]).await);
        let program = Program::start(&place.kubeconfig, &[&place.namespace, &gone.namespace], "a");
        program.until_ready().await;
        until_frozen(&gone).await;
        let here = Asker { place: &place, program: &program, token: &tokens.0 };
        let there = Asker { place: &gone, program: &program, token: &tokens.1 };
        let held = there.ask("v1", "1s").await.unwrap();
        assert_eq!(held["verdict"], "wait", "{held}");
        let from = program.loud_lines();

        namespaces.delete(&gone.namespace, &DeleteParams::background()).await.unwrap();
        until("gone", async || namespaces.get_opt(&gone.namespace).await.unwrap().is_none()).await;
        here.until_pass("v1").await;
        let lost = there.ask("v1", "1s").await;
        assert!(!super::is_pass(lost.as_ref()), "{lost:?}");
        program.until_ready().await;
        let (count, message) = program.most_repeated(from);
        assert!(count <= 4, "{count} times: {message}\n{}", program.said());

        create_namespace(&namespaces, &gone.namespace).await;
        gate(&gone).await;
        let again = token(&gone, "ci", &["check"]).await;
        Asker { place: &gone, program: &program, token: &again }.until_pass("v2").await;
        assert_eq!(program.starts(), 1);
        let _ = namespaces.delete(&gone.namespace, &DeleteParams::background()).await;
    });
}
