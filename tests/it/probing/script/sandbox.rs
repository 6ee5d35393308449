//! Scripts that behave badly, and targets that make them wait: everything ends, cleaned up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::get;
use probegate::probes::{Judgement, Reason, compile};
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::world::{PATIENCE, Peer, log, reason, round_with, tools};
use super::{Web, run, run_for, silent, spec, steps};

#[rstest]
#[case::a_loop("loop { }")]
#[case::a_loop_that_catches("loop { try { loop { } } catch { } }")]
#[case::recursion("fn f(n) { f(n + 1) } f(0)")]
#[case::recursion_by_pointer("fn f(g) { g.call(g) } f(|g| g.call(g))")]
#[case::a_step_in_a_step("fn f() { step(\"s\", || f()) } f()")]
#[case::many_steps("for i in 0..100 { step(\"s\", || 1) }")]
#[case::many_cleanups("for i in 0..100 { cleanup(|| 1) }")]
#[case::text_that_doubles("let x = \"x\"; loop { x += x; }")]
#[case::lists_that_double("let x = [1]; loop { x += x; }")]
#[case::a_list_of_itself("let x = [1]; loop { x = [x, x]; }")]
#[case::a_map_that_grows("let x = #{}; for i in 0..100000 { x[\"k\" + i] = i; }")]
#[case::a_map_of_large_texts(
    "let b = \"\"; b.pad(200000, \"y\"); let m = #{}; for i in 0..100000 { m[\"k\" + i] = b + i; }"
)]
#[case::a_map_in_a_map(
    "let b = \"\"; b.pad(200000, \"y\"); let m = #{a: #{}}; for i in 0..100000 { m.a[\"k\" + i] = b + i; }"
)]
#[case::a_captured_map(
    "let b = \"\"; b.pad(200000, \"y\"); let m = #{}; let f = |i| m[\"k\" + i] = b + i; for i in 0..100000 { f.call(i); }"
)]
#[case::a_list_of_large_texts("let b = \"\"; b.pad(200000, \"y\"); let m = []; for i in 0..100000 { m.push(b + i); }")]
#[case::many_variables("fn f(n) { let a = n; let b = n; let c = n; f(n + 1) } f(0)")]
#[case::a_flood_of_lines("loop { log(\"x\"); }")]
#[case::a_padded_list("let x = []; x.pad(1000000000, 0);")]
#[case::eval_by_pointer("Fn(\"eval\").call(\"1\")")]
#[case::many_calls("loop { try { tcp.exchange(target, \"\", \"x\") } catch { } }")]
#[tokio::test]
async fn a_script_that_takes_too_much_is_ended_and_is_our_own_trouble(#[case] source: &str) {
    // Nobody listens there any more.
    let target = super::super::world::closed_port().await.to_string();
    let seen = run(&target, source).await;
    assert_eq!((reason(&seen), seen.judgement()), (Reason::Script, Judgement::Trouble), "{seen:?}");
    assert!(log(&seen).lines().count() <= 64 && steps(&seen).len() <= 64, "{seen:?}");
}

#[tokio::test]
async fn a_script_that_computes_to_the_end_of_its_time_is_ended_in_time() {
    // Each turn takes long for few operations.
    let source = r#"let x = "x"; x.pad(200000, "y"); loop { let y = x + "z"; y.replace("y", "zz"); }"#;
    let seen = run_for(Duration::from_millis(300), "localhost", source).await;
    assert_eq!(reason(&seen), Reason::Script, "{seen:?}");
}

#[tokio::test]
async fn a_target_that_makes_it_wait_is_a_timeout_and_is_cleaned_up_within_the_time() {
    let web = Web::start(axum::Router::new().route("/{*path}", get(async || "x").delete(async || "gone"))).await;
    let slow = silent().await;
    let source = format!(
        r#"
        cleanup(|| http.delete("/first").expect(200));
        step("make", || {{
            cleanup(|| http.delete("/second").expect(200));
            http.get("http://{}/").expect(200)
        }});
        "#,
        slow.address
    );
    let spec = spec(&web.url, &source, &json!({"hosts": [slow.address.to_string()]}));
    let seen = round_with(spec, Duration::from_millis(1_500), &tools()).await;
    assert_eq!((reason(&seen), seen.judgement()), (Reason::Timeout, Judgement::Failed), "{seen:?}");
    assert_eq!(steps(&seen), [("make".to_owned(), false)]);
    assert!(seen.message.starts_with("in step `make`, line 5: GET http://"), "{seen:?}");
    assert_eq!(web.asked(), ["DELETE /second", "DELETE /first"]);
}

#[rstest]
#[case::a_throw("throw 1", Reason::Script)]
#[case::an_assertion("assert(false, \"no\")", Reason::Assert)]
#[case::a_loop("loop { }", Reason::Script)]
#[case::nothing("1", Reason::Success)]
#[tokio::test]
async fn clean_up_runs_however_it_ends_the_last_block_first(#[case] end: &str, #[case] expected: Reason) {
    let web = Web::start(axum::Router::new().route("/{*path}", get(async || "x"))).await;
    let source = format!(
        "for n in 1..4 {{ let id = n; cleanup(|| {{ http.get(\"/\" + id); if id == 2 {{ throw \"stuck\" }} }}) }}\n\
         cleanup(|| {{ loop {{ }} }});\n{end}"
    );
    let seen = run(&web.url, &source).await;
    assert_eq!(web.asked(), ["GET /3", "GET /2", "GET /1"], "{seen:?}");
    if expected == Reason::Success {
        assert_eq!((seen.judgement(), seen.reason), (Judgement::Degraded, Some(Reason::Script)), "{seen:?}");
    } else {
        assert_eq!(reason(&seen), expected, "{seen:?}");
    }
    assert!(log(&seen).contains("the clean-up failed: line 1: it threw: stuck"), "{seen:?}");
}

#[tokio::test]
async fn a_round_that_nobody_waits_for_any_more_ends_and_is_cleaned_up() {
    let web = Web::start(axum::Router::new().route("/{*path}", get(async || "x"))).await;
    let slow = silent().await;
    let source = format!("cleanup(|| http.get(\"/end\")); http.get(\"http://{}/\")", slow.address);
    let spec = spec(&web.url, &source, &json!({"hosts": ["127.0.0.1"]}));
    let compiled = compile(&serde_json::from_value(spec).unwrap(), PATIENCE, &tools()).unwrap();
    let round = tokio::spawn(async move { compiled.observe().await });
    while slow.connections() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    round.abort();
    while web.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(web.asked(), ["GET /end"]);
}

#[tokio::test]
async fn many_scripts_wait_for_each_other_and_all_end() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (n, m) = (Arc::clone(&now), Arc::clone(&most));
    let router = axum::Router::new().route(
        "/",
        get(async move || {
            m.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            n.fetch_sub(1, Ordering::SeqCst);
        }),
    );
    let web = Web::start(router).await;
    let rounds = (0..60).map(|_| run(&web.url, "http.get(\"/\").expect(200)"));
    for seen in futures::future::join_all(rounds).await {
        assert!(seen.success, "{seen:?}");
    }
    assert!(most.load(Ordering::SeqCst) <= 16, "{most:?} at one time");
}

#[rstest]
#[case::an_endless_body(b"HTTP/1.1 200 OK\r\n\r\n", b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", Reason::Size)]
#[case::an_endless_head(b"HTTP/1.1 200 OK\r\n", b"x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", Reason::Size)]
#[case::half_a_body(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", b"", Reason::Reset)]
#[case::nothing(b"", b"", Reason::Reset)]
#[tokio::test]
async fn hostile_servers_end_a_call_with_its_reason(
    #[case] head: &'static [u8],
    #[case] more: &'static [u8],
    #[case] expected: Reason,
) {
    let peer = Peer::start(move |mut stream| async move {
        let _ = stream.read(&mut [0; 4_096]).await;
        let _ = stream.write_all(head).await;
        while !more.is_empty() && stream.write_all(&more.repeat(1_000)).await.is_ok() {}
    })
    .await;
    let seen = run(&format!("http://{}", peer.address), "http.get(\"/\").body").await;
    assert!(reason(&seen) == expected || reason(&seen) == Reason::Protocol && expected == Reason::Size, "{seen:?}");
}

#[tokio::test]
async fn a_drip_ends_with_the_time() {
    let peer = Peer::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 4_096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let seen = run_for(Duration::from_millis(400), &format!("http://{}", peer.address), "http.get(\"/\")").await;
    assert_eq!(reason(&seen), Reason::Timeout, "{seen:?}");
}
