//! `probegate probe`: an address, the probes of files, and the modules of others.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use rstest::rstest;

use super::{Ran, command, probegate};

/// A server that answers every connection with `answer`, for as long as the test's process lives.
fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut seen = [0; 1_024];
            let _ = stream.read(&mut seen);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
const BROKEN: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

fn keys(value: &serde_json::Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn an_address_shows_its_phases_like_a_stopwatch() {
    let url = format!("http://{}/healthz", server(OK));
    let ran = probegate(&["probe", &url, "--status", "200", "--contains", "ok"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.starts_with(&format!("UP  {url}\nas expected\n")), "{}", ran.out);
    for word in ["PHASE", "resolve", "connect", "request", "processing", "transfer", "total", " ms", "address"] {
        assert!(ran.out.contains(word), "{word} is missing: {}", ran.out);
    }
    assert!(!ran.out.contains("connected to"), "the log is for -v: {}", ran.out);
    assert!(probegate(&["probe", &url, "-v"]).out.contains("connected to"));
}

#[test]
fn the_json_of_a_round_is_one_line_to_the_letter() {
    let ran = probegate(&["probe", &format!("http://{}/", server(OK)), "-o", "json"]);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    let begin =
        r#"{"success":true,"state":"up","reason":"none","phase":null,"message":"as expected","durations":{"resolve":"#;
    assert!(ran.out.starts_with(begin), "{}", ran.out);
    let seen = ran.json();
    assert_eq!(keys(&seen), ["durations", "facts", "log", "message", "phase", "reason", "state", "success"]);
    assert!(seen["durations"]["connect"].is_f64() && seen["log"].is_array() && seen["facts"].is_object());
}

#[rstest]
#[case(&[], 0, "up")]
#[case(&["--expect-failure"], 1, "down")]
#[case(&["--max-latency", "1ms", "--status", "503"], 1, "down")]
#[case(&["--contains", "nothing of the kind"], 1, "down")]
fn the_exit_code_is_the_state(#[case] flags: &[&str], #[case] code: i32, #[case] state: &str) {
    let url = format!("http://{}/", server(OK));
    let ran = probegate(&[&["probe", &url, "-o", "json"], flags].concat());
    assert_eq!((ran.code, ran.json()["state"].as_str()), (code, Some(state)), "{}{}", ran.out, ran.err);
}

#[test]
fn the_probers_own_trouble_is_unknown() {
    let ran = probegate(&["probe", "http://169.254.169.254/latest/meta-data", "-o", "json"]);
    // Refused before anything is sent: whoever may probe must not read the machine's credentials.
    assert!(matches!(ran.code, 2 | 3), "{}{}", ran.out, ran.err);
    assert!(format!("{}{}", ran.out, ran.err).contains("link-local"), "{}{}", ran.out, ran.err);
}

#[test]
fn a_refused_connection_names_reason_and_phase() {
    let ran = probegate(&["probe", &format!("tcp://{}", nobody())]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("refused in connect: "), "{}", ran.out);
    assert_eq!(probegate(&["probe", &format!("tcp://{}", nobody()), "--expect-failure"]).code, 0);
}

#[test]
fn many_rounds_are_told_one_by_one_and_summed_up() {
    let url = format!("http://{}/", server(OK));
    let ran = probegate(&["probe", &url, "--count", "3", "--interval", "10ms"]);
    assert!(ran.out.contains("3 rounds: 3 up") && ran.out.contains("least "), "{}", ran.out);
    let json = probegate(&["probe", &url, "-n", "2", "--interval", "10ms", "-o", "json"]);
    assert_eq!(json.out.lines().count(), 2, "{}", json.out);
}

fn write(directory: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

fn probe(name: &str, spec: &str) -> String {
    format!("---\napiVersion: probegate.io/v1alpha1\nkind: Probe\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn lines(ran: &Ran) -> Vec<serde_json::Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn one_probe_of_a_file_with_one_target_has_no_name_in_its_json() {
    let home = tempfile::tempdir().unwrap();
    let file = write(&home, "probe.yaml", &probe("shop", &format!("{{http: {{url: 'http://{}/'}}}}", server(OK))));
    let ran = probegate(&["probe", "-f", &file, "-o", "json"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(keys(&ran.json()), ["durations", "facts", "log", "message", "phase", "reason", "state", "success"]);
}

#[rstest]
#[case(1, 1, "down")]
#[case(2, 0, "degraded")]
fn each_target_is_a_line_and_the_quorum_makes_the_exit_code(
    #[case] quorum: u32,
    #[case] code: i32,
    #[case] state: &str,
) {
    let home = tempfile::tempdir().unwrap();
    write(&home, "targets", &format!("{}\n", server(BROKEN)));
    let spec = format!(
        "{{http: {{url: 'http://shop.example/'}}, targets: {{static: ['{}'], file: targets, dns: '{}'}}, quorum: {quorum}}}",
        server(OK),
        server(OK).replace("127.0.0.1", "localhost"),
    );
    let file = write(&home, "probe.yaml", &probe("shop", &spec));
    let ran = probegate(&["probe", "-f", &file, "-o", "json"]);
    let seen = lines(&ran);
    assert!(seen.len() >= 3, "localhost may have two addresses: {}", ran.out);
    assert!(seen.iter().all(|line| line["target"].is_string() && line.get("probe").is_none()), "{}", ran.out);
    assert!(ran.out.lines().all(|line| line.contains(r#"],"target":""#)), "the names stand at the end: {}", ran.out);
    if seen.len() == 3 {
        assert_eq!(ran.code, code, "{}", ran.out);
        let table = probegate(&["probe", "-f", &file]);
        assert!(table.out.contains(&format!("default/shop: {state}")), "{}", table.out);
    }
}

#[test]
fn of_several_probes_the_worst_counts() {
    let home = tempfile::tempdir().unwrap();
    let up = probe("up", &format!("{{http: {{url: 'http://{}/'}}}}", server(OK)));
    let down = probe("down", &format!("{{tcp: {{address: '{}'}}}}", nobody()));
    let secret = "{http: {url: 'http://127.0.0.1:9/', headers: [{name: X-Key, secretFile: nothing}]}}";
    let unknown = probe("unknown", secret);
    for (text, code) in [
        (format!("{up}{down}"), 1),
        (format!("{up}{unknown}"), 2),
        (format!("{up}{unknown}{down}"), 1),
        (format!("{up}{}", up.replace("name: up", "name: two")), 0),
    ] {
        let file = write(&home, "probe.yaml", &text);
        let ran = probegate(&["probe", "-f", &file, "-o", "json"]);
        assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
        assert!(lines(&ran).iter().all(|line| line["probe"].as_str().unwrap().starts_with("default/")), "{}", ran.out);
    }
    let file = write(&home, "probe.yaml", &format!("{up}{down}"));
    let junit = probegate(&["probe", "-f", &file, "-o", "junit"]);
    assert!(junit.out.contains(r#"tests="2" failures="1""#), "{}", junit.out);
    let yaml = probegate(&["probe", "-f", &file, "-o", "yaml"]);
    assert_eq!(yaml.out.matches("---\n").count(), 2, "{}", yaml.out);
}

#[test]
fn secrets_come_from_their_directory_and_are_not_shown() {
    let home = tempfile::tempdir().unwrap();
    write(&home, "token", "s3cret\n");
    let spec = format!("{{http: {{url: 'http://{}/', auth: {{bearer: {{tokenFile: token}}}}}}}}", server(OK));
    let spec = spec.replace("auth: {bearer: {tokenFile: token}}", "headers: [{name: X-Key, secretFile: token}]");
    let file = write(&home, "probe.yaml", &probe("shop", &spec));
    let secrets = home.path().display().to_string();
    let ran = probegate(&["probe", "-f", &file, "--secrets", &secrets, "-o", "json"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(!ran.out.contains("s3cret"), "{}", ran.out);
    assert_eq!(probegate(&["probe", "-f", &file]).code, 2, "without its secret nothing is known");
}

#[test]
fn standard_input_is_a_file() {
    let text = probe("shop", &format!("{{http: {{url: 'http://{}/'}}}}", server(OK)));
    let mut child = command(&["probe", "-f", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.code, ran.json()["state"].as_str()), (0, Some("up")));
}

#[rstest]
#[case(&["probe"], "-f PATH")]
#[case(&["probe", "localhost:8080"], "write http://localhost:8080")]
#[case(&["probe", "import-blackbx"], "did you mean `import-blackbox`")]
#[case(&["probe", "ftp://shop/"], "there is no scheme `ftp`")]
#[case(&["probe", "tcp://redis"], "host:port")]
#[case(&["probe", "http://shop/", "-f", "x.yaml"], "cannot be used with")]
#[case(&["probe", "-f", "tests/data/valid", "--status", "200"], "--status is for an address")]
#[case(&["probe", "-f", "tests/data/invalid-probe-timeout.yaml"], "invalid-probe-timeout.yaml:7:12: error: spec.timeout: ")]
#[case(&["probe", "-f", "tests/data/invalid-unknown-word.yaml"], "invalid-unknown-word.yaml:8:16")]
#[case(&["probe", "-f", "/nowhere"], "/nowhere")]
#[case(&["probe", "-f", "tests/data/rules"], "there is no Probe")]
fn wrong_use_exits_with_3_and_says_what_to_do(#[case] arguments: &[&str], #[case] hint: &str) {
    let ran = probegate(arguments);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.out.is_empty() && ran.err.contains(hint), "{}{}", ran.out, ran.err);
}

#[test]
fn modules_of_others_become_resources_that_can_be_served() {
    let home = tempfile::tempdir().unwrap();
    let good = probegate(&["probe", "import-blackbox", "tests/data/blackbox/modules.yml"]);
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    let file = write(&home, "modules.yaml", &good.out);
    let valid = probegate(&["validate", &file]);
    assert_eq!(valid.code, 0, "{}", valid.out);
    let lossy = probegate(&["probe", "import-blackbox", "tests/data/blackbox/lossy.yml", "-o", "json"]);
    assert_eq!(lossy.code, 0);
    assert_eq!(lossy.json()["items"][0]["metadata"]["annotations"]["probegate.io/module"], "http_secrets");
    assert!(lossy.err.contains("tests/data/blackbox/lossy.yml:6:"), "{}", lossy.err);
    assert_eq!(probegate(&["probe", "import-blackbox", "tests/data/blackbox/broken.yml"]).code, 1);
    assert_eq!(probegate(&["probe", "import-blackbox", "/nowhere"]).code, 3);
}
