//! Tokens, scopes, signatures, and the file that they stand in.

use std::io::Write;
use std::sync::{Arc, Mutex};

use assert_cmd::Command;
use probegate::server::access::{HEADER_KEY, HEADER_SIGNATURE, hash_of, sign};
use rstest::rstest;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::world::{Reply, Setup, World, question, tokens};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn guarded() -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(Setup { tokens: Some(tokens(dir.path())), ..Setup::default() }).await;
    (world, dir)
}

fn exception() -> serde_json::Value {
    let expires = jiff::Timestamp::from_second(jiff_now() + 3_600).unwrap();
    json!({"gate": "shop/checkout", "change": "c-17", "effect": "pass", "reason": "known", "expires": expires})
}

fn jiff_now() -> i64 {
    use probegate::clock::Clock;
    probegate::clock::SystemClock::new().now().as_second()
}

#[rstest]
#[case("read", [200, 403, 403])]
#[case("check", [403, 200, 403])]
#[case("override", [403, 403, 201])]
#[case("admin", [200, 200, 201])]
#[case("nobody", [401, 401, 401])]
#[case("old", [401, 401, 401])]
#[tokio::test]
async fn a_scope_opens_its_own_doors_alone(#[case] token: &str, #[case] expected: [u16; 3]) {
    let (world, _dir) = guarded().await;
    let bearer = format!("Bearer {token}");
    let headers = [JSON, ("authorization", bearer.as_str())];
    let read = world.send("GET", "/v1/runs", &headers, "").await;
    let check = world.send("POST", "/v1/check?wait=5s", &headers, &question("v1").to_string()).await;
    let made = world.send("POST", "/v1/overrides", &headers, &exception().to_string()).await;
    assert_eq!([read.status, check.status, made.status], expected, "{read:?} {check:?} {made:?}");
}

#[tokio::test]
async fn who_shows_nothing_is_told_how_to() {
    let (world, _dir) = guarded().await;
    let reply = world.get("/v1/runs").await;
    assert_eq!(reply.status, 401);
    assert!(reply.headers["www-authenticate"].starts_with("Bearer"), "{reply:?}");
    assert!(reply.problem()["detail"].as_str().unwrap().contains("Authorization"), "{reply:?}");
    assert_eq!(world.get("/openapi.json").await.status, 200, "the description of the API is nobody's secret");
}

#[tokio::test]
async fn a_token_that_names_gates_reaches_no_others() {
    let (world, _dir) = guarded().await;
    let headers = [JSON, ("authorization", "Bearer t")];
    let reply = world.send("POST", "/v1/check?wait=5s", &headers, &question("v1").to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut other = question("v1");
    other["gate"] = "default/plain".into();
    let reply = world.send("POST", "/v1/check", &headers, &other.to_string()).await;
    assert_eq!(reply.status, 403, "{reply:?}");
}

#[tokio::test]
async fn a_token_in_the_path_asks_and_reads_and_does_no_more() {
    let (world, _dir) = guarded().await;
    let payload = r#"{"name":"fl","namespace":"test","phase":"Progressing","checksum":"c1"}"#;
    let reply = world.send("POST", "/t/check/hooks/flagger/shop/fl/confirm-promotion", &[JSON], payload).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.headers["referrer-policy"], "no-referrer");
    let reply = world.send("POST", "/t/wrong/hooks/flagger/shop/fl/confirm-promotion", &[JSON], payload).await;
    assert_eq!(reply.status, 403, "Flagger knows 200 and 403: {reply:?}");
    let reply = world.send("POST", "/t/admin/v1/overrides", &[JSON], &exception().to_string()).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(world.send("GET", "/t/read/v1/runs", &[], "").await.status, 200);
}

async fn signed(world: &World, time: i64, path: &str, body: &str, sent: &str) -> Reply {
    let signature = sign(b"a-key-of-some-length-0123456789", time, "POST", path, body.as_bytes()).unwrap();
    let headers = [JSON, (HEADER_KEY, "signer"), (HEADER_SIGNATURE, signature.as_str())];
    world.send("POST", path, &headers, sent).await
}

#[tokio::test]
async fn a_signed_body_is_as_good_as_a_token() {
    let (world, _dir) = guarded().await;
    let (now, body) = (jiff_now(), question("v1").to_string());
    let reply = signed(&world, now, "/v1/check?wait=5s", &body, &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = signed(&world, now, "/v1/check?wait=5s", &body, &body).await;
    assert_eq!(reply.status, 200, "a question may come again: {reply:?}");
    let other = question("v2").to_string();
    let reply = signed(&world, now, "/v1/check", &body, &other).await;
    assert_eq!(reply.status, 401, "another body: {reply:?}");
    let reply = signed(&world, now - 301, "/v1/check", &body, &body).await;
    assert!(reply.status == 401 && reply.body.contains("clock"), "{reply:?}");
}

#[tokio::test]
async fn a_signed_write_counts_once() {
    let (world, _dir) = guarded().await;
    let (now, body) = (jiff_now(), exception().to_string());
    assert_eq!(signed(&world, now, "/v1/overrides", &body, &body).await.status, 201);
    let reply = signed(&world, now, "/v1/overrides", &body, &body).await;
    assert!(reply.status == 401 && reply.body.contains("used before"), "{reply:?}");
}

#[tokio::test]
async fn a_rate_holds_one_caller_and_no_other() {
    let (world, _dir) = guarded().await;
    let headers = [("authorization", "Bearer slow")];
    let mut last = 200;
    for _ in 0..5 {
        let reply = world.send("GET", "/v1/runs", &headers, "").await;
        last = reply.status;
        if last == 429 {
            assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
            break;
        }
    }
    assert_eq!(last, 429);
    assert_eq!(world.send("GET", "/v1/runs", &[("authorization", "Bearer read")], "").await.status, 200);
}

#[tokio::test]
async fn who_guesses_tokens_is_slowed_down_and_a_good_one_still_counts() {
    let (world, _dir) = guarded().await;
    let mut seen = Vec::new();
    for n in 0..30 {
        let bearer = format!("Bearer guess-{n}");
        seen.push(world.send("GET", "/v1/runs", &[("authorization", bearer.as_str())], "").await.status);
    }
    assert_eq!((seen.first(), seen.last()), (Some(&401), Some(&429)), "{seen:?}");
    assert_eq!(world.send("GET", "/v1/runs", &[("authorization", "Bearer read")], "").await.status, 200);
}

#[tokio::test]
async fn a_changed_file_counts_at_once_and_a_broken_one_keeps_the_last_good() {
    let (world, dir) = guarded().await;
    let file = dir.path().join("tokens.yaml");
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        world.send("GET", "/v1/runs", &[("authorization", bearer.as_str())], "").await.status
    };
    let entry = format!("tokens:\n- {{name: new, hash: \"{}\", scopes: [read]}}\n", hash_of("new"));
    std::fs::write(&file, entry).unwrap();
    world.access.reload(&world.metrics).await;
    assert_eq!((ask("new").await, ask("read").await), (200, 401));
    std::fs::write(&file, "tokens:\n- {name: new, hash: plain, scopes: [read]}\n").unwrap();
    world.access.reload(&world.metrics).await;
    assert_eq!(ask("new").await, 200);
    let trouble = world.access.trouble().unwrap();
    assert!(trouble.contains("tokens[0] (new)") && trouble.contains("sha256:"), "{trouble}");
    let metrics = world.probe("/metrics").await.body;
    assert!(metrics.contains(r#"probegate_http_reloads_total{what="tokens",outcome="failed"} 1"#), "{metrics}");
}

#[rstest]
#[case("tokens:\n- {name: a, hash: x, scopes: [read]}\n", "hash")]
#[case("tokens:\n- {name: a, hash: x, scopes: [raed]}\n", "raed")]
#[case("tokens:\n- {name: a, hash: x, scope: [read]}\n", "scope")]
#[case("keys:\n- {name: a, secretFile: nowhere, scopes: [read]}\n", "nowhere")]
#[case("tokens: 7\n", "tokens.yaml")]
fn a_wrong_file_is_refused_at_the_start_and_says_why(#[case] yaml: &str, #[case] named: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.yaml");
    std::fs::write(&file, yaml).unwrap();
    let clock = Arc::new(probegate::clock::SystemClock::new());
    let Err(error) = probegate::server::Access::load(file, clock) else { panic!("it was taken") };
    assert!(error.to_string().contains(named), "{error}");
}

/// What is logged, as one text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn every_write_is_audited_and_no_token_is_logged() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let subscriber = tracing::Dispatch::new(subscriber);
    // Where there is one subscriber alone, the first thread that comes by a place in the code decides for
    // all whether anybody listens there, and other tests' threads listen to nobody.
    let _another = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::dispatcher::with_default(&subscriber, || {
        runtime.block_on(async {
            let (world, _dir) = guarded().await;
            let headers = [JSON, ("authorization", "Bearer override"), ("x-request-id", "r-42")];
            let made = world.send("POST", "/v1/overrides", &headers, &exception().to_string()).await;
            assert_eq!(made.status, 201, "{made:?}");
            let payload = r#"{"name":"fl","namespace":"test","phase":"Progressing","checksum":"c1"}"#;
            let path = "/t/secret-in-the-path/hooks/flagger/shop/fl/rollout";
            world.send("POST", path, &[JSON], payload).await;
        });
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("secret-in-the-path"), "{text}");
    let record = text.lines().find(|line| line.contains(r#""target":"audit""#)).expect("an audit record");
    let fields = &serde_json::from_str::<serde_json::Value>(record).unwrap()["fields"];
    assert_eq!((fields["who"].as_str(), fields["what"].as_str()), (Some("override-er"), Some("override")));
    assert_eq!((fields["outcome"].as_str(), fields["request_id"].as_str()), (Some("created"), Some("r-42")));
    assert!(fields["object"].as_str().unwrap().starts_with("shop/o-"), "{fields}");
}

#[test]
fn the_command_makes_a_token_that_its_own_entry_lets_in() {
    let output = Command::cargo_bin("probegate")
        .unwrap()
        .args(["token", "new", "--name", "ci", "--subject", "ci", "--scope", "check,read", "--gate", "shop/*"])
        .args(["--expires", "90d"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let token = text.lines().find(|line| line.starts_with("pgt_")).unwrap();
    let entry: String = text.lines().skip_while(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n");
    assert!(!entry.contains(token), "the entry holds the hash alone");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.yaml");
    std::fs::write(&file, format!("tokens:\n{entry}\n")).unwrap();
    let clock = Arc::new(probegate::clock::SystemClock::new());
    let access = probegate::server::Access::load(file, clock).unwrap();
    let shown = probegate::server::access::Credentials { bearer: Some(token), ..Default::default() };
    let caller = access.identify(shown).unwrap();
    assert_eq!(caller.subject(), "ci");
    assert!(caller.sees("shop", "checkout") && !caller.sees("other", "checkout"));
}
