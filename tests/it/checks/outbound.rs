//! The way out: nothing gets around the guard, nothing takes for ever, nothing fills the memory.

use std::time::Duration;

use probegate::outbound::{
    BodyError, ClientOptions, Outbound, OutboundError, Secrets, TlsOptions, explain, read_limited, refusal,
};
use reqwest::Method;
use url::Url;

use super::peers::{Authority, Peer, Rebinding, answer, drip, outbound, outbound_with, read_request, tls_peer};

async fn get(outbound: &Outbound, options: ClientOptions, url: &str) -> Result<reqwest::Response, reqwest::Error> {
    let client = outbound.client(&options).await.unwrap();
    client.request(Method::GET, &url.parse().unwrap()).unwrap().send().await
}

#[tokio::test]
async fn a_redirect_to_the_metadata_service_is_refused_at_the_hop() {
    let peer = Peer::answering(answer("302 Found", "location: http://169.254.169.254/latest/\r\n", "")).await;
    let options = ClientOptions { redirects: 3, ..ClientOptions::default() };
    let error = get(&outbound(), options, &peer.url("/")).await.unwrap_err();
    assert!(refusal(&error).is_some(), "{}", explain(&error));
}

#[tokio::test]
async fn without_leave_a_redirect_is_the_answer() {
    let peer = Peer::answering(answer("302 Found", "location: http://169.254.169.254/latest/\r\n", "")).await;
    let response = get(&outbound(), ClientOptions::default(), &peer.url("/")).await.unwrap();
    assert_eq!(response.status(), 302);
}

#[tokio::test]
async fn a_name_that_turns_to_the_metadata_service_is_refused_when_the_connection_is_made() {
    let peer = Peer::answering(answer("200 OK", "", "hello")).await;
    let outbound = outbound_with(Rebinding::new(&[&["127.0.0.1"], &["169.254.169.254"], &["::ffff:169.254.169.254"]]));
    let url = format!("http://rebind.example:{}/", peer.address.port());
    assert_eq!(get(&outbound, ClientOptions::default(), &url).await.unwrap().status(), 200);
    for _ in 0..2 {
        let error = get(&outbound, ClientOptions::default(), &url).await.unwrap_err();
        let refused = refusal(&error).expect("the guard speaks");
        assert!(refused.to_string().contains("link-local"), "{refused}");
    }
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn a_literal_address_is_refused_before_anything_is_sent() {
    let client = outbound().client(&ClientOptions::default()).await.unwrap();
    let url: Url = "http://169.254.169.254/".parse().unwrap();
    assert!(client.request(Method::GET, &url).is_err());
    assert!(client.bare(&url).is_err());
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let peer = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
        drip(&mut stream, &[b'x'; 4_096]).await;
    })
    .await;
    let response = get(&outbound(), ClientOptions::default(), &peer.url("/")).await.unwrap();
    assert_eq!(read_limited(response, 10_000).await, Err(BodyError::TooLarge { limit: 10_000 }));
}

#[tokio::test]
async fn an_announced_length_beyond_the_limit_is_not_even_read() {
    let peer = Peer::answering("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await;
    let response = get(&outbound(), ClientOptions::default(), &peer.url("/")).await.unwrap();
    assert_eq!(read_limited(response, 10_000).await, Err(BodyError::TooLarge { limit: 10_000 }));
}

#[tokio::test]
async fn a_body_that_drips_ends_with_the_timeout() {
    let peer = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
        drip(&mut stream, b"x").await;
    })
    .await;
    let options = ClientOptions { timeout: Duration::from_millis(200), ..ClientOptions::default() };
    let response = get(&outbound(), options, &peer.url("/")).await.unwrap();
    let error = read_limited(response, 10_000).await.unwrap_err();
    assert_eq!(error.to_string(), "the answer broke off: no answer in time");
}

#[tokio::test]
async fn an_own_authority_is_trusted_and_a_client_certificate_is_shown() {
    let authority = Authority::new();
    let server = authority.server(&authority.issue(&["localhost"]), true);
    let peer = tls_peer(server, answer("200 OK", "", "hello")).await;
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.issue(&["client"]);
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(directory.path().join("cert.pem"), certificate).unwrap();
    std::fs::write(directory.path().join("key.pem"), key).unwrap();
    let outbound = Outbound::new(Secrets::new(Some(directory.path().to_owned())));
    let url = format!("https://localhost:{}/", peer.address.port());

    let tls = TlsOptions {
        ca_file: Some("ca.pem".into()),
        cert_file: Some("cert.pem".into()),
        key_file: Some("key.pem".into()),
        insecure_skip_verify: false,
    };
    let both = ClientOptions { tls, ..ClientOptions::default() };
    assert_eq!(get(&outbound, both.clone(), &url).await.unwrap().status(), 200);

    let stranger = get(&outbound, ClientOptions::default(), &url).await.unwrap_err();
    assert!(explain(&stranger).contains("certificate"), "{}", explain(&stranger));

    // A rotated authority counts at once: another one is no longer trusted.
    std::fs::write(directory.path().join("ca.pem"), Authority::new().pem()).unwrap();
    let rotated = get(&outbound, both, &url).await.unwrap_err();
    assert!(explain(&rotated).contains("certificate"), "{}", explain(&rotated));
}

#[tokio::test]
async fn without_verification_any_certificate_will_do() {
    let authority = Authority::new();
    let peer = tls_peer(authority.server(&authority.issue(&["elsewhere"]), false), answer("200 OK", "", "")).await;
    let tls = TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() };
    let url = format!("https://127.0.0.1:{}/", peer.address.port());
    let response = get(&outbound(), ClientOptions { tls, ..ClientOptions::default() }, &url).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_missing_file_is_an_error_before_the_call() {
    let tls = TlsOptions { ca_file: Some("ca.pem".into()), ..TlsOptions::default() };
    let error = outbound().client(&ClientOptions { tls, ..ClientOptions::default() }).await.unwrap_err();
    assert!(matches!(error, OutboundError::Secret(_)), "{error}");
}

#[tokio::test]
async fn an_error_names_its_cause_and_no_url() {
    let closed = super::peers::closed_port().await;
    let url = format!("http://{closed}/?token=s3cret");
    let error = get(&outbound(), ClientOptions::default(), &url).await.unwrap_err();
    let text = explain(&error);
    assert!(text.contains("refused") && !text.contains("s3cret"), "{text}");
}
