//! What scripts can say, one thing at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get, post};
use probegate::probes::{Judgement, Phase, Reason};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::servers::Real;
use super::super::world::{PATIENCE, Peer, closed_port, log, reason, refused, round_with, tools, tools_at};
use super::{Web, run, run_for, run_with, silent, spec, steps};
use crate::checks::peers::Authority;

/// Answers with what it was asked, and a few pages beside.
async fn mirror() -> Web {
    let echo = async |method: axum::http::Method,
                      headers: HeaderMap,
                      Query(query): Query<BTreeMap<String, String>>,
                      body: String| {
        let headers: BTreeMap<String, String> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        axum::Json(json!({"method": method.as_str(), "headers": headers, "query": query, "body": body}))
    };
    let router = axum::Router::new()
        .route("/echo", any(echo))
        .route("/moved", get(async || Redirect::to("/echo?from=moved")))
        .route("/ring", get(async || Redirect::temporary("/ring")))
        .route("/away", get(async || Redirect::temporary("http://169.254.169.254/latest")))
        .route("/other", get(async || Redirect::temporary("http://other.example/")))
        .route("/posted", post(async || (StatusCode::FOUND, [("location", "/echo")])))
        .route("/cookie", get(async || [("set-cookie", "a=1; Path=/")]))
        .route("/text", get(async || "no JSON"))
        .route("/broken", get(async || (StatusCode::INTERNAL_SERVER_ERROR, "out of order")))
        .route("/large", get(async || "x".repeat(1 << 20)))
        .route("/deep", get(async || "[".repeat(100_000)))
        .route(
            "/slow",
            get(async || {
                tokio::time::sleep(Duration::from_secs(60)).await;
                "late".into_response()
            }),
        );
    Web::start(router).await
}

#[rstest]
#[case::a_path_of_the_target(r#"http.get("/echo").expect(200)"#)]
#[case::a_whole_url(r#"http.get(target + "/echo").expect([200, 204])"#)]
#[case::a_query(
    r#"assert(http.get("/echo?a=1", #{query: #{b: "x y", c: 2}}).json.query == #{a: "1", b: "x y", c: "2"}, "query")"#
)]
#[case::headers(r#"assert(http.get("/echo", #{headers: #{"X-A": "b"}}).value("headers.x-a") == "b", "header")"#)]
#[case::a_json_body(
    r#"let r = http.post("/echo", #{a: [1, 2.5, "x", true, ()]}).json;
    assert(r.body == "{\"a\":[1,2.5,\"x\",true,null]}" && r.headers["content-type"] == "application/json", r.body)"#
)]
#[case::a_text(r#"let r = http.put("/echo", "plain").json; assert(r.body == "plain" && r.method == "PUT", "text")"#)]
#[case::a_form(r#"let r = http.request("patch", "/echo", #{form: #{a: "b c"}}).json; assert(r.body == "a=b+c" && r.method == "PATCH", r.body)"#)]
#[case::no_body(r#"assert(http.delete("/echo").json.body == "", "body")"#)]
#[case::bearer(r#"assert(http.get("/echo", #{bearer: "t"}).value("headers.authorization") == "Bearer t", "bearer")"#)]
#[case::basic(r#"assert(http.get("/echo", #{basic: #{user: "ada", password: "x"}}).value("headers.authorization") == "Basic YWRhOng=", "basic")"#)]
#[case::an_answer(r#"let r = http.get("/broken");
    assert(r.status == 500 && !r.ok && r.body == "out of order" && r.header("Content-Type").starts_with("text/plain"), "answer");
    assert(r.header("x-none") == () && r.headers["content-length"] == "12" && r.seconds > 0.0 && r.url.ends_with("/broken"), "more")"#)]
#[case::redirects_are_answers(r#"assert(http.get("/moved").status == 303, "status")"#)]
#[case::redirects_are_followed(
    r#"assert(http.get("/moved", #{redirects: 1}).value("query.from") == "moved", "query")"#
)]
#[case::a_post_turns_to_get(r#"assert(http.post("/posted", "x", #{redirects: 3}).json.method == "GET", "method")"#)]
#[case::cookies(r#"http.get("/cookie"); assert(http.get("/echo").value("headers.cookie") == "a=1" && http.cookie("a") == "1" && http.cookie("b") == (), "cookie")"#)]
#[case::a_missing_value_is_nothing(r#"assert(http.get("/echo").json.absent == (), "absent")"#)]
#[case::functions_and_loops(
    r#"fn ask(n) { http.get("/echo?n=" + n).value("query.n") }
    for n in 1..4 { assert(ask(n) == n.to_string(), "n") }"#
)]
#[case::values_between_steps(r#"let seen = (); step("one", || { seen = http.get("/echo").status; }); step("two", || assert(seen == 200, "seen"));"#)]
#[case::a_step_gives_its_value(r#"let n = step("one", || step("inner", || 41) + 1); assert(n == 42, "n")"#)]
#[case::json_to_and_fro(r#"let v = json.parse("{\"a\": [1, null, \"x\"]}"); assert(v.a[1] == () && json.stringify(v) == "{\"a\":[1,null,\"x\"]}", "json")"#)]
#[case::random(r#"assert(random_id() != random_id() && random_id().len() == 16, "id"); for i in 0..50 { let n = random_int(-3, 3); assert(n >= -3 && n <= 3, "n") }"#)]
#[case::texts_for_urls(r#"assert(url_encode("a/b c&ü") == "a%2Fb%20c%26%C3%BC", url_encode("a/b c&ü"))"#)]
#[case::what_fails_can_be_caught(r#"try { http.get("/broken").expect(200); } catch (err) {
        assert(err.reason == "status" && err.message.contains("500 where 200") && err.phase == () && err.step == (), err.message); }
    try { step("s", || assert(false, "no")); } catch (err) { assert(err.reason == "assert" && err.step == "s" && err.line == 3 && err.to_string().contains("`s`"), "err"); }"#)]
#[case::own_names_go_first(
    r#"fn f(target) { target + 1 } assert(f(1) == 2, "f"); let json = 3; assert(json == 3, "json")"#
)]
#[case::a_pause(r#"sleep("5ms")"#)]
#[tokio::test]
async fn a_script_can_say(#[case] source: &str) {
    let web = mirror().await;
    let seen = run(&web.url, source).await;
    assert_eq!(seen.judgement(), Judgement::Good, "{seen:?}");
}

#[rstest]
#[case::an_assertion("\nassert(1 == 2, \"one is two\");", Reason::Assert, "line 2: one is two")]
#[case::without_words("assert(false);", Reason::Assert, "line 1: an assertion does not hold")]
#[case::a_status(
    r#"http.get("/broken").expect(200)"#,
    Reason::Status,
    "/broken answered 500 where 200 is expected; body \"out of order\""
)]
#[case::not_json(r#"http.get("/text").json.a"#, Reason::Json, "the body is no JSON")]
#[case::not_there(r#"http.get("/echo").value("a.0.b")"#, Reason::Json, "the body has no `a.0.b`")]
#[case::parsed_by_hand(r#"json.parse("{")"#, Reason::Json, "the text is no JSON")]
#[case::a_large_body(r#"http.get("/large").body"#, Reason::Size, "larger than the 262144 bytes")]
#[case::a_deep_body(r#"http.get("/deep").json"#, Reason::Json, "the body is no JSON")]
#[case::a_ring(r#"http.get("/ring", #{redirects: 3}).expect(200)"#, Reason::Status, "answered 307 where 200")]
#[case::to_a_metadata_service(
    r#"http.get("/away", #{redirects: 3})"#,
    Reason::Redirect,
    "169.254.169.254:80 is neither the target's host nor among `hosts`"
)]
#[case::to_another_host(r#"http.get("/other", #{redirects: 1})"#, Reason::Redirect, "other.example:80 is neither")]
#[case::slow(r#"http.get("/slow", #{timeout: "50ms"})"#, Reason::Timeout, "no end of processing within ")]
#[tokio::test]
async fn a_target_that_fails_has_its_reason(#[case] source: &str, #[case] expected: Reason, #[case] message: &str) {
    let web = mirror().await;
    let seen = run(&web.url, source).await;
    assert_eq!((reason(&seen), seen.judgement()), (expected, Judgement::Failed), "{seen:?}");
    assert!(seen.message.contains(message), "{seen:?}");
}

#[rstest]
#[case::it_throws("\n\nthrow \"no idea\";", "line 3: it threw: no idea")]
#[case::an_unknown_function("frobnicate(1)", "line 1: there is no function frobnicate")]
#[case::an_unknown_method("http.gett(\"/\")", "line 1: there is no function gett")]
#[case::a_wrong_type("let x = 1 + http;", "line 1")]
#[case::a_division("1 / 0", "Division by zero")]
#[case::elsewhere(
    r#"http.get("http://evil.example/")"#,
    "evil.example:80 is neither the target's host nor among `hosts`"
)]
#[case::a_metadata_service(r#"http.get("http://169.254.169.254/")"#, "169.254.169.254:80 is neither")]
#[case::another_scheme(r#"http.get("ftp://127.0.0.1/")"#, "")]
#[case::tcp_elsewhere(r#"tcp.exchange("evil.example:1", "x", "y")"#, "evil.example:1 is neither")]
#[case::names_elsewhere(r#"dns.lookup("secret.evil.example")"#, "secret.evil.example is neither")]
#[case::an_unknown_option(
    r#"http.get("/", #{heders: #{}})"#,
    "a request has no option `heders`; did you mean `headers`?"
)]
#[case::a_wrong_option(
    r#"http.get("/", #{redirects: 11})"#,
    "the option `redirects` is a whole number: it is a number up to 10"
)]
#[case::a_wrong_header(r#"http.get("/", #{headers: #{"a b": "c"}})"#, "`a b` is no header's name")]
#[case::an_unknown_parameter("parameters.uzer", "there is no parameter `uzer`; did you mean `user`?")]
#[case::an_unknown_secret("secrets.token", "there is no secret `token`")]
#[case::no_method(r#"http.request("a b", "/")"#, "`a b` is no method")]
#[case::no_duration(r#"sleep("soon")"#, "`soon` is no duration such as 500ms")]
#[case::no_expression(r#"tcp.exchange("127.0.0.1:1", "", "(")"#, "`(` is no regular expression")]
#[case::in_a_step("step(\"one\", || {\n  throw 1\n})", "in step `one`, line 2: it threw: 1")]
#[tokio::test]
async fn a_broken_script_is_our_own_trouble(#[case] source: &str, #[case] message: &str) {
    let web = mirror().await;
    let seen = round_with(spec(&web.url, source, &json!({"parameters": {"user": "ada"}})), PATIENCE, &tools()).await;
    let own = [Reason::Script, Reason::Forbidden];
    assert!(own.contains(&reason(&seen)) && seen.judgement() == Judgement::Trouble, "{seen:?}");
    assert!(seen.message.contains(message), "{seen:?}");
}

#[tokio::test]
async fn what_fails_in_the_network_keeps_its_reason_and_phase() {
    let closed = closed_port().await;
    let quiet = silent().await;
    let garbled = Peer::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 1_024]).await;
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    })
    .await;
    let url = |address: std::net::SocketAddr| format!("http://{address}");
    for (target, expected, phase) in [
        (url(closed), Reason::Refused, Phase::Connect),
        (url(garbled.address), Reason::Protocol, Phase::Transfer),
        (url(quiet.address), Reason::Timeout, Phase::Processing),
        ("http://name.invalid".to_owned(), Reason::Dns, Phase::Resolve),
    ] {
        let timeout = if expected == Reason::Timeout { Duration::from_millis(500) } else { PATIENCE };
        let seen = run_for(timeout, &target, r#"step("ask", || http.get("/a?token=x"))"#).await;
        if expected == Reason::Dns && reason(&seen) == Reason::Resolver {
            continue; // No resolver answers here.
        }
        assert_eq!((reason(&seen), seen.phase), (expected, Some(phase)), "{seen:?}");
        assert_eq!(seen.facts.get("step"), Some(&json!("ask")));
        assert!(seen.message.contains("GET http://") && !seen.message.contains("token"), "{seen:?}");
    }
}

#[tokio::test]
async fn steps_are_timed_and_the_phases_of_all_calls_are_added_up() {
    let web = mirror().await;
    let source =
        r#"step("one", || http.get("/echo")); step("two", || { sleep("30ms"); http.get("/echo") }); log("done " + 1);"#;
    let seen = run(&web.url, source).await;
    assert_eq!(steps(&seen), [("one".to_owned(), true), ("two".to_owned(), true)]);
    let two = &seen.facts.get("steps").unwrap()[1];
    assert!(two["seconds"].as_f64().unwrap() >= 0.03, "{two}");
    for phase in [Phase::Connect, Phase::Request, Phase::Processing, Phase::Transfer] {
        assert!(seen.durations.get(phase).is_some(), "{phase} in {seen:?}");
    }
    assert!(seen.durations.total() >= Duration::from_millis(30), "{seen:?}");
    assert!(log(&seen).contains("done 1"), "{seen:?}");
}

#[tokio::test]
async fn secrets_are_given_and_never_shown() {
    let web = mirror().await;
    let secrets = BTreeMap::from([("shop/key", "s3cret/ü\n")]);
    let more = json!({"secrets": {"key": "shop/key"}});
    let source = r#"
        log("the key is " + secrets.key);
        log(secrets.key);
        step("with " + secrets.key, || http.get("/echo?key=" + url_encode(secrets.key)).expect(200));
        let token = hide("token-" + 7);
        log(#{token: token, key: secrets.key});
        log("as a form " + http.post("/echo", (), #{form: #{key: secrets.key}}).value("body"));
        assert(secrets["key"] == "s3cret/ü", "the line end is cut off");
        assert(http.get("/echo/" + secrets.key).status == 404, "path");
        assert(false, "the key is " + secrets.key + ", the token " + token);
    "#;
    let seen = run_with(&web.url, source, &more, &secrets).await;
    assert_eq!(reason(&seen), Reason::Assert, "{seen:?}");
    assert!(seen.message.contains("the key is [hidden], the token [hidden]"), "{seen:?}");
    let all = format!("{} {}", serde_json::to_string(&seen).unwrap(), log(&seen));
    for text in ["s3cret", "token-7"] {
        assert!(!all.contains(text), "{all}");
    }
    let seen = run_with(&web.url, "1", &more, &BTreeMap::new()).await;
    assert_eq!((reason(&seen), seen.judgement()), (Reason::Secret, Judgement::Trouble), "{seen:?}");
}

#[tokio::test]
async fn over_https_the_certificate_counts() {
    let authority = Authority::new();
    let nginx = Real::nginx_with(&authority).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let target = format!("https://{}", nginx.address_of(1));
    let source = r#"assert(http.get("/healthz").expect(200).body == "all ok", "body")"#;
    let seen = round_with(
        spec(&target, source, &json!({"tls": {"caFile": "ca.pem"}})),
        PATIENCE,
        &tools_at(Some(directory.path())),
    )
    .await;
    assert!(seen.success, "{seen:?}");
    assert!(seen.durations.get(Phase::Tls).is_some(), "{seen:?}");
    let seen = run(&target, source).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Certificate, Some(Phase::Tls)), "{seen:?}");
}

#[tokio::test]
async fn redis_talks_over_tcp() {
    let redis = Real::redis().await;
    let source = r#"
        let key = "probe:" + random_id();
        cleanup(|| tcp.exchange(target, "DEL " + key + "\r\n", "^:1\r\n"));
        assert(tcp.exchange(target, "SET " + key + " 42\r\n", "\r\n") == "+OK\r\n", "SET");
        let answers = tcp.exchange(target, [
            #{send: "PING\r\n", expect: "PONG"},
            #{send: "GET " + key + "\r\n", expect: "42\r\n"},
            #{send: "QUIT\r\n"},
        ]);
        assert(answers == ["+PONG\r\n", "$2\r\n42\r\n", ""], json.stringify(answers));
    "#;
    let seen = run(&redis.address(), source).await;
    assert_eq!(seen.judgement(), Judgement::Good, "{seen:?}");
    let seen = run(&redis.address(), r#"tcp.exchange(target, "GET\r\nQUIT\r\n", "^\\+OK\r\n$")"#).await;
    assert_eq!(reason(&seen), Reason::Expect, "{seen:?}");
}

#[tokio::test]
async fn names_are_looked_up() {
    let source =
        r#"let all = dns.lookup("localhost"); assert("127.0.0.1" in all || "::1" in all, json.stringify(all));"#;
    let seen = round_with(spec("localhost", source, &json!({})), PATIENCE, &tools()).await;
    assert!(seen.success, "{seen:?}");
}

#[rstest]
#[case(json!({}), "script")]
#[case(json!({"source": "1", "file": "a.rhai"}), "script")]
#[case(json!({"source": "let x = ;"}), "script.source")]
#[case(json!({"source": "1\nnowhere.get()"}), "script.source")]
#[case(json!({"file": "a.rhai"}), "script.file")]
#[case(json!({"source": "1", "target": "a b"}), "script.target")]
#[case(json!({"source": "1", "hosts": ["a", "b*"]}), "script.hosts[1]")]
#[case(json!({"source": "1", "secrets": {"key": "../key"}}), "script.secrets.key")]
#[case(json!({"source": "1", "tls": {"serverName": "a b"}}), "script.tls.serverName")]
fn what_makes_no_sense_is_refused_by_its_field(#[case] script: Value, #[case] field: &str) {
    let error = refused(json!({"script": script}), &tools());
    assert_eq!(error.field, field, "{error}");
    if error.why.contains("nowhere") {
        assert!(error.why.starts_with("line 2, column 1"), "{error}");
    }
}
