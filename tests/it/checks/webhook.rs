//! The check `webhook`: whole exchanges with servers that answer well and badly.

use std::sync::Arc;
use std::time::Duration;

use probegate::checks::webhook::WebhookKind;
use probegate::model::{Outcome, Report};
use probegate::outbound::{Outbound, Secrets};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::peers::{
    Authority, Peer, Rebinding, answer, closed_port, drip, outbound, outbound_with, read_request, tls_peer,
};
use super::world::{check, context, next, try_check};

/// A server that gives its answers one after another, and tells each request.
async fn scripted(answers: Vec<String>) -> (Peer, UnboundedReceiver<String>) {
    let (tell, told) = unbounded_channel();
    let answers = Arc::new(std::sync::Mutex::new(answers.into_iter()));
    let peer = Peer::start(move |mut stream| {
        let (tell, answers) = (tell.clone(), Arc::clone(&answers));
        async move {
            let _ = tell.send(read_request(&mut stream).await);
            let answer = answers.lock().unwrap().next().unwrap_or_else(|| answer("404 Not Found", "", ""));
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    (peer, told)
}

async fn ask(webhook: Value) -> Report {
    check(&WebhookKind::new(outbound()), json!({"webhook": webhook})).execute(&context()).await
}

#[tokio::test]
async fn the_question_is_sent_and_the_expectations_are_judged() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/run"))
        .and(header("content-type", "application/json"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"ok": true, "result": {"errors": 0}})))
        .mount(&server)
        .await;
    let webhook = json!({
        "url": format!("{}/run?token=s3cret", server.uri()),
        "expect": "body.ok == true && status == 200",
        "expectJson": {"path": "$.result.errors", "equals": 0},
    });
    let report = ask(webhook).await;
    assert_eq!(report.outcome, Outcome::Pass, "{report:?}");
    assert_eq!(report.summary, "answered 200, and `body.ok == true && status == 200` holds and $.result.errors is 0");
    assert!(!format!("{report:?}").contains("s3cret"), "{report:?}");
    let request = &server.received_requests().await.unwrap()[0];
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        (&body["change"]["id"], &body["batch"]["index"], &body["point"]),
        (&json!("c-17"), &json!(2), &json!("post"))
    );
    assert_eq!(body["idempotencyKey"], json!(request.headers["idempotency-key"].to_str().unwrap()));
}

#[rstest]
#[case::not_allowed(json!({}), "409 Conflict", "no stock", Outcome::Fail, "answered 409 where 2xx is expected: no stock")]
#[case::allowed(json!({"status": [409]}), "409 Conflict", "", Outcome::Pass, "answered 409")]
#[case::a_redirect(json!({}), "301 Moved", "", Outcome::Fail, "answered 301 where 2xx is expected (redirects are not followed): ")]
#[case::not_held(json!({"expect": "body.ok"}), "200 OK", "{\"ok\":false}", Outcome::Fail, "`body.ok` does not hold for: {\"ok\":false}")]
#[case::no_such_value(
    json!({"expectJson": {"path": "$.a", "equals": 1}}), "200 OK", "{}", Outcome::Fail, "$.a is not there"
)]
#[case::out_of_order(json!({}), "503 Service Unavailable", "later", Outcome::Unknown, "answered 503: later")]
#[case::too_many(json!({}), "429 Too Many Requests", "", Outcome::Unknown, "answered 429: ")]
#[case::no_json(json!({"expectJson": {"path": "$.a", "equals": 1}}), "200 OK", "<html>", Outcome::Unknown, "the answer is no JSON")]
#[case::no_json_either(json!({"expect": "body.ok"}), "200 OK", "<html>", Outcome::Unknown, "`body.ok` cannot be judged")]
#[tokio::test]
async fn an_answer_is_a_yes_a_no_or_no_evidence(
    #[case] fields: Value,
    #[case] status: &str,
    #[case] body: &str,
    #[case] outcome: Outcome,
    #[case] summary: &str,
) {
    let peer = Peer::answering(answer(status, "", body)).await;
    let mut webhook = json!({"url": peer.url("/"), "method": "GET"});
    webhook.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let report = ask(webhook).await;
    assert_eq!(report.outcome, outcome, "{report:?}");
    assert!(report.summary.starts_with(summary), "{}", report.summary);
}

#[tokio::test]
async fn no_answer_is_no_evidence() {
    let refused = ask(json!({"url": format!("http://{}/", closed_port().await)})).await;
    assert_eq!(refused.outcome, Outcome::Unknown);
    assert!(refused.summary.contains("refused"), "{}", refused.summary);

    let endless = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        drip(&mut stream, &vec![b'x'; 65_000]).await;
    })
    .await;
    let report = ask(json!({"url": endless.url("/"), "method": "GET"})).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.contains("larger than 1048576 bytes"), "{}", report.summary);

    let silent = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut context = context();
    context.timeout = Duration::from_millis(200);
    let check = check(&WebhookKind::new(outbound()), json!({"webhook": {"url": silent.url("/"), "method": "GET"}}));
    let report = check.execute(&context).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.ends_with("no answer in time"), "{}", report.summary);
}

#[tokio::test]
async fn a_busy_server_says_when_to_ask_again() {
    let peer = Peer::answering(answer("503 Service Unavailable", "retry-after: 7\r\n", "")).await;
    let report = ask(json!({"url": peer.url("/"), "method": "GET"})).await;
    assert_eq!((report.outcome, report.again.unwrap().as_secs()), (Outcome::Unknown, 7));
}

#[tokio::test]
async fn secrets_come_from_files_and_are_never_shown() {
    let (peer, mut told) = scripted(vec![answer("403 Forbidden", "", "bad token s3cret")]).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "s3cret\n").unwrap();
    let outbound = Outbound::new(Secrets::new(Some(directory.path().to_owned())));
    let headers = json!([{"name": "Authorization", "secretFile": "token", "prefix": "Bearer "}]);
    let webhook = json!({"webhook": {"url": peer.url("/"), "headers": headers, "method": "GET"}});
    let report = check(&WebhookKind::new(outbound), webhook).execute(&context()).await;
    assert!(told.recv().await.unwrap().contains("authorization: Bearer s3cret\r\n"));
    let shown = format!("{report:?}");
    assert!(!shown.contains("s3cret") && shown.contains("[hidden]"), "{shown}");
}

#[tokio::test]
async fn work_that_takes_time_is_set_off_once_and_asked_after() {
    let (peer, mut told) = scripted(vec![
        answer("202 Accepted", "location: /jobs/7\r\n", ""),
        answer("202 Accepted", "", ""),
        answer("503 Service Unavailable", "", ""),
        answer("200 OK", "", "{\"ok\": true}"),
    ])
    .await;
    let webhook = json!({"url": peer.url("/run"), "expect": "body.ok", "poll": {"interval": "200ms"}});
    let kind = WebhookKind::new(outbound());
    let mut context = context();
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        // Another process goes on: all that it has is what was carried over.
        let report = check(&kind, json!({"webhook": webhook})).execute(&context).await;
        outcomes.push(report.outcome);
        if report.outcome == Outcome::Pending {
            assert_eq!(report.again.unwrap().as_millis(), 200);
        }
        context = next(&context, &report);
    }
    assert_eq!(outcomes, [Outcome::Pending, Outcome::Pending, Outcome::Unknown, Outcome::Pass]);
    let mut requests = Vec::new();
    while let Ok(request) = told.try_recv() {
        requests.push(request);
    }
    let first: Vec<&str> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
    assert_eq!(first[0], "POST /run HTTP/1.1");
    assert!(first[1..].iter().all(|line| *line == "GET /jobs/7 HTTP/1.1"), "{first:?}");
    let key = |request: &String| request.lines().find(|line| line.starts_with("idempotency-key: ")).unwrap().to_owned();
    assert!(requests.iter().all(|request| key(request) == key(&requests[0])));
}

#[tokio::test]
async fn where_to_ask_can_stand_in_the_first_answer() {
    let (peer, mut told) = scripted(vec![
        answer("200 OK", "", "{\"id\": \"a/7\", \"state\": \"running\"}"),
        answer("200 OK", "", "{\"state\": \"failed\"}"),
    ])
    .await;
    let url = peer.url("/jobs/${body.id}");
    let poll = json!({"url": url, "done": "body.state != \"running\""});
    let webhook = json!({"url": peer.url("/run"), "expect": "body.state == \"passed\"", "poll": poll});
    let check = check(&WebhookKind::new(outbound()), json!({"webhook": webhook}));
    let start = context();
    let report = check.execute(&start).await;
    assert_eq!(report.outcome, Outcome::Pending, "{report:?}");
    let report = check.execute(&next(&start, &report)).await;
    assert_eq!(report.outcome, Outcome::Fail);
    assert_eq!(report.summary, "`body.state == \"passed\"` does not hold for: {\"state\": \"failed\"}");
    assert_eq!(report.evidence["polls"], json!(1));
    told.recv().await.unwrap();
    assert!(told.recv().await.unwrap().starts_with("GET /jobs/a%2F7 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_failed_attempt_that_is_tried_again_is_another_one() {
    let (peer, mut told) = scripted(vec![answer("409 Conflict", "", ""), answer("200 OK", "", "")]).await;
    let check = check(&WebhookKind::new(outbound()), json!({"webhook": {"url": peer.url("/"), "method": "GET"}}));
    let start = context();
    let first = check.execute(&start).await;
    let second = check.execute(&next(&start, &first)).await;
    assert_eq!((first.outcome, second.outcome), (Outcome::Fail, Outcome::Pass));
    assert_ne!(first.evidence["idempotencyKey"], second.evidence["idempotencyKey"]);
    told.recv().await.unwrap();
}

#[tokio::test]
async fn secrets_do_not_follow_to_another_origin() {
    let (other, mut told) = scripted(vec![answer("200 OK", "", "")]).await;
    let location = format!("location: {}\r\n", other.url("/job"));
    let peer = Peer::answering(answer("202 Accepted", &location, "")).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "s3cret\n").unwrap();
    let outbound = Outbound::new(Secrets::new(Some(directory.path().to_owned())));
    let headers = json!([{"name": "X-Token", "secretFile": "token"}, {"name": "X-Plain", "value": "p"}]);
    let webhook = json!({"webhook": {"url": peer.url("/"), "method": "GET", "headers": headers, "poll": {}}});
    let check = check(&WebhookKind::new(outbound), webhook);
    let start = context();
    let report = check.execute(&start).await;
    assert_eq!(check.execute(&next(&start, &report)).await.outcome, Outcome::Pass);
    let request = told.recv().await.unwrap();
    assert!(request.contains("x-plain: p") && !request.contains("s3cret"), "{request}");
}

#[tokio::test]
async fn a_poll_is_not_led_to_the_metadata_service() {
    for location in ["http://169.254.169.254/", "http://[::ffff:a9fe:a9fe]/", "file:///etc/passwd"] {
        let peer = Peer::answering(answer("202 Accepted", &format!("location: {location}\r\n"), "")).await;
        let webhook = json!({"webhook": {"url": peer.url("/"), "method": "GET", "poll": {}}});
        let check = check(&WebhookKind::new(outbound()), webhook);
        let start = context();
        let report = check.execute(&start).await;
        let report = check.execute(&next(&start, &report)).await;
        assert_eq!(report.outcome, Outcome::Unknown, "{location}: {report:?}");
    }
    let rebinding = outbound_with(Rebinding::new(&[&["169.254.169.254"]]));
    let check = check(&WebhookKind::new(rebinding), json!({"webhook": {"url": "http://innocent.example/"}}));
    let report = check.execute(&context()).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.contains("calls to it are refused"), "{}", report.summary);
}

#[tokio::test]
async fn an_unchecked_certificate_is_said_in_the_evidence() {
    let authority = Authority::new();
    let peer = tls_peer(authority.server(&authority.issue(&["elsewhere"]), false), answer("200 OK", "", "")).await;
    let url = format!("https://{}/", peer.address);
    let strict = ask(json!({"url": url, "method": "GET"})).await;
    assert_eq!(strict.outcome, Outcome::Unknown);
    assert!(strict.summary.contains("certificate"), "{}", strict.summary);
    let lax = ask(json!({"url": url, "method": "GET", "tls": {"insecureSkipVerify": true}})).await;
    assert_eq!(
        (lax.outcome, &lax.evidence["tls"]),
        (Outcome::Pass, &json!("the server's certificate was not checked"))
    );
}

#[rstest]
#[case(json!({"url": "checkout"}), "webhook.url: `checkout` is no URL")]
#[case(json!({"url": "http://169.254.169.254/"}), "webhook.url: 169.254.169.254 is a link-local address")]
#[case(json!({"url": "http://u:p@x/"}), "webhook.url: a URL must not carry a user or password")]
#[case(json!({"url": "http://x/", "method": "TRACE"}), "webhook.method: `TRACE` is not allowed")]
#[case(json!({"url": "http://x/", "headers": [{"name": "Host", "value": "y"}]}), "webhook.headers: header `Host`: it belongs")]
#[case(json!({"url": "http://x/", "headers": [{"name": "a b", "value": "y"}]}), "webhook.headers: header `a b`: this is no header's name")]
#[case(json!({"url": "http://x/", "headers": [{"name": "a", "secretFile": "../x"}]}), "webhook.headers: header `a`: secret file `../x`")]
#[case(json!({"url": "http://x/", "body": "{{ chnage.id }}"}), "webhook.body: the template")]
#[case(json!({"url": "http://x/", "expect": "body.ok =="}), "webhook.expect: ")]
#[case(json!({"url": "http://x/", "expectJson": {"path": "a.b", "equals": 1}}), "webhook.expectJson.path: ")]
#[case(json!({"url": "http://x/", "poll": {"interval": "1ms"}}), "webhook.poll.interval: at least 100ms")]
#[case(json!({"url": "http://x/", "poll": {"url": "jobs/1"}}), "webhook.poll.url: `jobs/1` is no URL")]
#[case(json!({"url": "http://x/", "tls": {"certFile": "a"}}), "webhook.tls: certFile and keyFile belong together")]
#[test]
fn a_webhook_that_makes_no_sense_does_not_compile(#[case] webhook: Value, #[case] message: &str) {
    let error =
        try_check(&WebhookKind::new(outbound()), &json!({"webhook": webhook})).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
}
