//! `probegate probe list`, `show`, `history`, `run` on a server, and `run` and `test` on files.

use super::serving::Serving;
use super::{Gates, probegate};

const PROBES: &str = "---
apiVersion: probegate.io/v1alpha1
kind: Probe
metadata: {name: shut, namespace: shop, labels: {tier: web}}
spec: {tcp: {address: '127.0.0.1:9'}, expect: failure, interval: 200ms, timeout: 100ms}
---
apiVersion: probegate.io/v1alpha1
kind: Probe
metadata: {name: away, namespace: shop}
spec: {tcp: {address: '127.0.0.1:9'}, interval: 200ms, timeout: 100ms}
";

/// Asks until the answer has what is waited for.
fn until(arguments: &[&str], has: &str) -> String {
    for _ in 0..600 {
        let ran = probegate(arguments);
        if ran.out.contains(has) {
            return ran.out;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    panic!("`{has}` does not come about: {}", probegate(arguments).out)
}

#[test]
fn a_server_tells_of_its_probes_and_runs_them() {
    let gates = Gates::new();
    std::fs::write(gates.path("probes.yaml"), PROBES).unwrap();
    let serving = Serving::start(&gates, &[]);
    let server = ["--server", serving.main.as_str()];
    let ask = |arguments: &[&str]| probegate(&[arguments, &server].concat());

    let down = until(&[&["probe", "list", "--state", "down", "-o", "json"][..], &server].concat(), "\"away\"");
    assert!(down.contains("\"counts\""), "{down}");
    until(&[&["probe", "list"][..], &server].concat(), "shop/shut");
    let web = ask(&["probe", "list", "-l", "tier=web", "-o", "json"]).json();
    assert_eq!((web["items"].as_array().unwrap().len(), &web["items"][0]["name"]), (1, &"shut".into()));

    let shown = ask(&["probe", "show", "shop/away"]);
    assert!(shown.out.starts_with("DOWN  shop/away\n"), "{}{}", shown.out, shown.err);
    assert!(shown.out.contains("refused in connect"), "{}", shown.out);
    let missing = ask(&["probe", "show", "away"]);
    assert!(missing.code == 3 && missing.err.contains("default/away"), "{}", missing.err);

    let past = ask(&["probe", "history", "shop/away", "--since", "10m"]);
    assert!(past.out.contains("0.000 %") && past.out.contains("refused"), "{}{}", past.out, past.err);

    let run = ask(&["probe", "run", "shop/shut"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("failed, as expected") && run.out.contains("\nrun "), "{}", run.out);
    let run = ask(&["probe", "run", "shop/away", "-o", "json"]);
    assert_eq!((run.code, &run.json()["runs"][0]["result"]["reason"]), (1, &"refused".into()));
}

#[test]
fn files_are_run_like_tests() {
    let gates = Gates::new();
    let file = gates.path("probes.yaml");
    std::fs::write(&file, PROBES).unwrap();
    let file = file.display().to_string();
    let test = probegate(&["probe", "test", "-f", &file]);
    assert_eq!(test.code, 1, "{}{}", test.out, test.err);
    assert!(test.out.contains("2 probes: 1 up, 1 down"), "{}", test.out);
    assert!(test.out.contains("down      shop/away ("), "{}", test.out);
    let junit = probegate(&["probe", "test", "-f", &file, "-o", "junit"]);
    assert!(junit.out.contains(r#"tests="2" failures="1""#), "{}", junit.out);
    let json = probegate(&["probe", "test", "-f", &file, "-o", "json"]).json();
    assert_eq!(json[1]["targets"][0]["result"]["reason"], "refused", "{json}");
    assert_eq!(probegate(&["probe", "run", "shop/shut", "-f", &file]).code, 0);
    let missing = probegate(&["probe", "run", "shut", "-f", &file]);
    assert!(missing.code == 3 && missing.err.contains("there is no Probe default/shut"), "{}", missing.err);
    let nowhere = probegate(&["probe", "list"]);
    assert!(nowhere.code == 3 && nowhere.err.contains("--server URL"), "{}", nowhere.err);
}
