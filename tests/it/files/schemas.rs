//! The generated definitions and schemas.

use std::fs;
use std::path::Path;

use probegate::api::schema_files::files;

#[test]
fn the_committed_definitions_and_schemas_are_current() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let stale: Vec<String> = files()
        .unwrap()
        .into_iter()
        .filter(|file| fs::read_to_string(deploy.join(&file.path)).ok().as_deref() != Some(&*file.text))
        .map(|file| file.path)
        .collect();
    assert!(stale.is_empty(), "{stale:?} are not current: run `cargo run -- crds --write deploy`");
}

#[test]
fn the_table_of_the_fields_of_a_probe_is_current() {
    let kinds = probegate::api::schema::kinds();
    let probe = kinds.iter().find(|kind| kind.kind == "Probe").unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes/FIELDS.md");
    let committed = fs::read_to_string(path).unwrap_or_default();
    let current = probegate::api::fields::markdown(probe);
    assert!(committed == current, "probes/FIELDS.md is not current: run `make crds`");
}

#[test]
fn nothing_else_stands_among_the_generated_files() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let made: Vec<String> = files().unwrap().into_iter().map(|file| file.path).collect();
    for folder in ["crds", "schemas"] {
        for entry in fs::read_dir(deploy.join(folder)).unwrap() {
            let path = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
            assert!(made.contains(&path), "{path} is not generated: delete it");
        }
    }
}
