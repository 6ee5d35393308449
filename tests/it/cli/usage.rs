//! Wrong use, help, and readers that go away.

use std::io::Read;
use std::process::Stdio;

use rstest::rstest;

use super::{Gates, command, probegate};

#[rstest]
#[case(&["chek"], "check")]
#[case(&["check"], "--revision")]
#[case(&["check", "--revision", "v1"], "-f PATH")]
#[case(&["check", "--revision", "v1", "-f", "/nowhere"], "/nowhere")]
#[case(&["check", "--revision", "v1", "-f", ".", "--batch", "6/5"], "from 1/5 to 5/5")]
#[case(&["check", "--revision", "v1", "-f", ".", "--wait", "5"], "5m")]
#[case(&["check", "--revision", "v1", "--server", "ftp://x", "--gate", "a/b"], "https://probegate.example")]
#[case(&["run", "show", "nothing", "--server", "http://127.0.0.1:9"], "is the server running there")]
#[case(&["run", "show", "nothing"], "--kubernetes for a cluster")]
#[case(&["probe", "list"], "say where")]
#[case(&["override", "create", "--change", "c", "--reason", "r", "-f", "."], "--gate")]
#[case(&["run", "list", "-f", ".", "--log", "probegate=loud"], "write it like")]
#[case(&["serve", "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"], "--tokens")]
#[case(&["serve", "--tls-cert", "x.pem"], "--tls-key")]
fn wrong_use_exits_with_3_and_says_what_to_do(#[case] arguments: &[&str], #[case] hint: &str) {
    let ran = probegate(arguments);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert_eq!(ran.out, "");
    assert!(ran.err.starts_with("error: ") && ran.err.contains(hint), "{}", ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
}

#[test]
fn help_and_version_are_what_was_asked_for() {
    for arguments in [&["--help"][..], &["check", "--help"], &["--version"], &["run", "list", "-h"]] {
        let ran = probegate(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        assert!(ran.out.contains("probegate"), "{}", ran.out);
    }
    assert!(probegate(&["--help"]).out.contains("2  wait, or unknown"));
}

#[test]
fn the_version_names_the_time_zone_database() {
    let ran = probegate(&["version"]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains(env!("CARGO_PKG_VERSION")), "{}", ran.out);
    assert!(ran.out.lines().any(|line| line.starts_with("time zone database 20")), "{}", ran.out);
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = probegate(&["completions", shell]);
        assert_eq!(ran.code, 0, "{shell}: {}", ran.err);
        assert!(ran.out.contains("override"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() {
    let gates = Gates::new();
    for (arguments, code) in [
        (vec!["completions", "bash"], 0),
        (vec!["check", "-f", &gates.files(), "--gate", "blocks", "--revision", "v1"], 1),
    ] {
        let mut child =
            command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}: {err}");
        assert!(!err.contains("panicked"), "{err}");
    }
}

#[test]
fn the_files_of_the_readme_are_valid_and_its_commands_exist() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let yaml = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a gate");
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("checkout.yaml"), yaml).unwrap();
    let files = home.path().display().to_string();
    let valid = probegate(&["validate", &files]);
    assert_eq!(valid.code, 0, "{}{}", valid.out, valid.err);
    let asked = probegate(&["check", "-f", &files, "--revision", "v42", "--point", "pre", "--wait", "0s"]);
    assert!(asked.code < 3, "{}", asked.err);
    let target = ["--namespace", "shop", "--target", "checkout", "--at", "2026-11-21T12:00:00Z", "-o", "json"];
    let explained = probegate(&[&["window", "explain", "-f", &files][..], &target].concat());
    assert_eq!(explained.json()["allowed"], false, "a Saturday: {}{}", explained.out, explained.err);
    assert_eq!(probegate(&["token", "new", "--name", "ci", "--scope", "check,read"]).code, 0);

    let table = readme.split("## Commands").nth(1).expect("a table of commands");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', ' ']).next());
    let help = probegate(&["--help"]).out;
    let mut count = 0;
    for verb in rows {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{verb} "))), "{verb}");
        count += 1;
    }
    let verbs = help.split("Commands:").nth(1).unwrap().split("Options").next().unwrap();
    let verbs = verbs.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")).count();
    assert_eq!(count, verbs, "the table and the help tell of the same commands");
}
