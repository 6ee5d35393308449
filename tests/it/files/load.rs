//! The loader on real files.

use std::path::{Path, PathBuf};

use probegate::config::{Loaded, load, load_with};

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn messages(loaded: &Loaded) -> Vec<String> {
    loaded.diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_reads_from_one_file_of_several_documents() {
    let loaded = load(&[data("valid/checkout.yaml")]).unwrap();
    assert_eq!(messages(&loaded), Vec::<String>::new());
    let kinds: Vec<_> = loaded.all().map(probegate::api::AnyResource::kind).collect();
    assert_eq!(kinds, ["Gate", "ReleaseWindow", "Probe", "Probe", "GateRun", "Override"]);
    assert_eq!(loaded.windows().next().unwrap().spec.schedule.as_ref().unwrap().weekly[0].from, "09:00");
    assert!(loaded.resources[1].resource.annotation("probegate.io/source").unwrap().ends_with("checkout.yaml:25"));
}

#[test]
fn a_list_holds_resources() {
    let text =
        "apiVersion: v1\nkind: List\nitems:\n- kind: Probe\n  metadata: {name: a}\n  spec: {tcp: {address: 'a:1'}}\n";
    let loaded = load_with(&[], vec![("list.yaml".into(), text.into())]).unwrap();
    assert_eq!(messages(&loaded), Vec::<String>::new());
    assert_eq!(loaded.probes().count(), 1);
}

#[test]
fn scripts_of_probes_and_load_tests_are_no_rules() {
    let base = tempfile::tempdir().unwrap();
    let rules = ["weekend.rhai", "rules/a.rhai", "rules/probesque/b.rhai"];
    let others = ["probes/scripts/c.rhai", "rules/probes/d.rhai", "load/e.rhai", "scripts/f.rhai"];
    for path in rules.iter().chain(&others) {
        let path = base.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "fn decide(facts) { pass() }").unwrap();
    }
    let scripts = |path: PathBuf| load(&[path]).unwrap().scripts.into_keys().collect::<Vec<_>>();
    assert_eq!(scripts(base.path().to_owned()), ["rules/a.rhai", "rules/probesque/b.rhai", "weekend.rhai"]);
    // The library of probes itself, as people apply it.
    assert_eq!(scripts(base.path().join("probes")), Vec::<String>::new());
    // A directory above the one that is named says nothing.
    std::fs::create_dir_all(base.path().join("load/config/rules")).unwrap();
    std::fs::write(base.path().join("load/config/rules/g.rhai"), "fn decide(facts) { pass() }").unwrap();
    assert_eq!(scripts(base.path().join("load/config")), ["rules/g.rhai"]);
}
