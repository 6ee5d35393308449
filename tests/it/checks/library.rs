//! The ready-made probes: each one is a probe that can be made, and those with a server at hand are.

use std::path::PathBuf;
use std::time::Duration;

use probegate::api::{Probe, ProbeSpec};
use probegate::probes::{Tools, compile, plan};

use super::peers::outbound;
use super::real::Real;
use super::world::tools;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("probes")
}

fn library() -> Vec<(PathBuf, Probe)> {
    let files = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files
        .flat_map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let probes: Vec<Probe> =
                serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            probes.into_iter().map(move |probe| (path.clone(), probe))
        })
        .collect()
}

fn named(name: &str) -> ProbeSpec {
    let found = library().into_iter().find(|(_, probe)| probe.metadata.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("there is no probe {name}")).1.spec
}

#[test]
fn every_ready_made_probe_can_be_made() {
    let library = library();
    assert!(library.len() >= 8, "only {}", library.len());
    // Scripts stand beside the probes that run them.
    let tools = Tools { root: Some(directory()), ..tools(&outbound()) };
    for (path, probe) in library {
        let path = path.display();
        plan(&probe.spec).unwrap_or_else(|error| panic!("{path}: {error}"));
        if let Err(error) = compile(&probe.spec, Duration::from_secs(1), &tools) {
            panic!("{path}: {error}");
        }
        let labels = probe.metadata.labels.unwrap_or_default();
        assert!(labels.contains_key("tier") && labels.contains_key("app"), "{path}: labels tier and app");
    }
}

#[test]
fn every_ready_made_probe_stands_in_the_readme() {
    let readme = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("probes/README.md")).unwrap();
    for (path, _) in library() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in probes/README.md");
    }
}

#[tokio::test]
async fn those_for_nginx_and_prometheus_work_with_the_real_ones() {
    let (nginx, prometheus) = (Real::nginx().await, Real::prometheus().await);
    for (name, server) in [("nginx", &nginx), ("prometheus-ready", &prometheus), ("prometheus-healthy", &prometheus)] {
        let mut spec = named(name);
        let http = spec.http.as_mut().unwrap();
        let url: url::Url = http.url.parse().unwrap();
        http.url = server.url(url.path());
        // How fast a busy machine answers is not what is tested here.
        http.expect.as_mut().unwrap().latency = None;
        let seen = compile(&spec, Duration::from_secs(10), &tools(&outbound())).unwrap().observe().await;
        assert!(seen.success, "{name}: {seen:?}");
    }
}
