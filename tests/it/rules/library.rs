//! The library: imports, versions, what replaces what, and the list of ready-made rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use probegate::rules::{BoundRule, Decision, ExampleFacts, Facts, Library, ScriptErrorKind};
use rstest::rstest;
use serde_json::{Value, json};

fn compile(files: &[(&str, &str)]) -> Result<Library, String> {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    Library::compile(files).map_err(|error| error.to_string())
}

fn decide(library: &Library, path: &str) -> Decision {
    let bound = library.rule(path).unwrap().bind(&BTreeMap::new()).unwrap();
    in_time(&bound, &Arc::new(ExampleFacts::default().into_facts(None)))
}

/// Decides until the machine, which is busy with other tests, lets the rule end in time.
fn in_time(bound: &BoundRule, facts: &Arc<Facts>) -> Decision {
    loop {
        let decided = bound.decide(Arc::clone(facts));
        if decided.error.is_none_or(|error| error.kind != ScriptErrorKind::Time) {
            return decided.decision;
        }
    }
}

#[test]
fn every_file_of_the_folder_comes_with_the_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "rhai"))
        .map(|name| format!("rules/{name}"))
        .collect();
    let library = Library::builtin();
    let rules: BTreeSet<String> = library.rules().map(|rule| rule.path().to_owned()).collect();
    assert_eq!(files, rules);
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/README.md")).unwrap();
    for rule in library.rules() {
        assert!(!rule.description().is_empty(), "{}", rule.path());
        assert!(readme.contains(&format!("`{}`", rule.path())), "{} is not in the README", rule.path());
        for name in rule.parameters().keys() {
            assert!(readme.contains(&format!("`{name}`")), "{name} of {} is not in the README", rule.path());
        }
    }
}

#[test]
fn a_file_imports_from_beside_it_and_its_version_covers_that() {
    let rule = "import \"lib/words\" as words;\nfn decide(facts) { block(words::why()) }";
    let with = |why: &str| {
        let words = format!("fn why() {{ \"{why}\" }}");
        compile(&[("rules/mine.rhai", rule), ("rules/lib/words.rhai", &words)]).unwrap()
    };
    let (one, other) = (with("one"), with("other"));
    assert_eq!(decide(&one, "rules/mine.rhai"), Decision::Block { why: "one".into() });
    assert_eq!(decide(&other, "rules/mine.rhai"), Decision::Block { why: "other".into() });
    let hash = |library: &Library| library.rule("rules/mine.rhai").unwrap().hash().to_owned();
    assert_ne!(hash(&one), hash(&other));
    assert_eq!(hash(&one), hash(&with("one")));
    assert_eq!(one.rule("rules/mine.rhai").unwrap().imports().collect::<Vec<_>>(), ["rules/lib/words.rhai"]);
}

#[test]
fn files_that_import_each_other_are_an_error_that_names_the_circle() {
    let error =
        compile(&[("rules/lib/a.rhai", "import \"b\" as b;"), ("rules/lib/b.rhai", "import \"a\" as a;")]).unwrap_err();
    assert!(error.contains("rules/lib/a.rhai imports rules/lib/b.rhai imports itself: rules/lib/a.rhai"), "{error}");
}

#[test]
fn a_file_with_the_path_of_a_ready_made_rule_takes_its_place() {
    let library = compile(&[("rules/weekend.rhai", "fn decide(facts) { block(\"mine\") }")]).unwrap();
    assert_eq!(decide(&library, "rules/weekend.rhai"), Decision::Block { why: "mine".into() });
    assert!(!library.rule("rules/weekend.rhai").unwrap().is_builtin());
}

#[test]
fn every_broken_file_is_named() {
    let error = compile(&[("rules/a.rhai", "fn decide(facts) {"), ("rules/b.rhai", "let x = ;")]).unwrap_err();
    assert!(error.contains("rules/a.rhai:1:") && error.contains("rules/b.rhai:1:9:"), "{error}");
}

#[rstest]
#[case(json!({"maximum": 3}), "parameter `maximum`: the rule has no such parameter; it has actions, max, scope, within")]
#[case(json!({"witin": "1h"}), "did you mean `within`?")]
#[case(json!({"max": "3"}), "parameter `max`: `\"3\"` is not a whole number")]
#[case(json!({"max": 0}), "parameter `max`: 0 is smaller than 1")]
#[case(json!({"within": "soon"}), "`soon` is not a duration")]
#[case(json!({"scope": "cluster"}), "`\"cluster\"` is not a list")]
#[case(json!({"actions": ["relase"]}), "`relase` is not one of release, scale, config; did you mean `release`?")]
fn a_parameter_that_does_not_fit_is_an_error_that_says_what_does(#[case] given: Value, #[case] message: &str) {
    let given: BTreeMap<String, Value> = serde_json::from_value(given).unwrap();
    let errors = Library::builtin().rule("rules/budget.rhai").unwrap().bind(&given).unwrap_err();
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains(message), "{text}");
}

#[test]
fn a_past_that_is_not_read_yet_is_unknown_where_it_is_asked_for() {
    let mut facts = ExampleFacts::default().into_facts(None);
    facts.runs = None;
    facts.probes = None;
    let facts = Arc::new(facts);
    let library = Library::builtin();
    let decide = |path: &str| in_time(&library.rule(path).unwrap().bind(&BTreeMap::new()).unwrap(), &facts);
    assert!(decide("rules/budget.rhai").why().contains("the past runs are not known yet"));
    assert_eq!(decide("rules/weekend.rhai"), Decision::Pass);
}
