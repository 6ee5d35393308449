//! Rounds with several steps: redirects, tokens, proxies, compression, HTTP/2, TLS, Unix sockets.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;

type Requests = Arc<Mutex<Vec<String>>>;

/// A server that answers each request as `answer` says of it, and tells what it was asked.
async fn telling(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> (SocketAddr, Requests) {
    let requests: Requests = Arc::default();
    let (told, answer) = (Arc::clone(&requests), Arc::new(answer));
    let address = serve(move |mut stream| {
        let (told, answer) = (Arc::clone(&told), Arc::clone(&answer));
        async move {
            let request = read_request(&mut stream).await;
            let reply = answer(&request);
            told.lock().unwrap().push(request);
            let _ = stream.write_all(&reply).await;
        }
    })
    .await;
    (address, requests)
}

fn reply(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

fn with_secret(name: &str, value: &str) -> (tempfile::TempDir, Secrets) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(name), value).unwrap();
    let secrets = Secrets::new(Some(directory.path().to_owned()));
    (directory, secrets)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_redirect_is_followed_to_its_end_and_secrets_stay_at_home() {
    let (other, far) = telling(|_| reply(200, "", "there")).await;
    let (address, near) = telling(move |request| {
        if request.starts_with("POST /start") {
            reply(303, "Location: /next?key=1\r\n", "")
        } else {
            reply(302, &format!("Location: http://localhost:{}/far?key=2\r\n", other.port()), "")
        }
    })
    .await;
    let (_directory, secrets) = with_secret("token", "s3cret");
    let http = json!({
        "url": format!("http://{address}/start"), "method": "POST", "body": "hello", "redirects": {"max": 2},
        "auth": {"bearer": {"tokenFile": "token"}},
        "headers": [{"name": "X-Key", "secretFile": "token"}, {"name": "Cookie", "value": "a=b"}, {"name": "X-A", "value": "1"}],
        "expect": {"body": {"contains": "there"}},
    });
    let seen = round_with(secrets, 5_000, json!({"http": http})).await;
    assert!(seen.success, "{seen:?}");
    let near = near.lock().unwrap().clone();
    assert!(near[0].contains("s3cret") && near[0].ends_with("\r\n\r\nhello"), "{near:?}");
    assert!(near[1].starts_with("GET /next?key=1 ") && near[1].contains("s3cret"), "{near:?}");
    let far = far.lock().unwrap().concat();
    assert!(far.contains("X-A: 1\r\n") && far.contains(&format!("Host: localhost:{}\r\n", other.port())), "{far}");
    for absent in ["s3cret", "Authorization", "Cookie", "X-Key", "hello"] {
        assert!(!far.contains(absent), "{absent} in {far}");
    }
    let facts = serde_json::to_value(&seen.facts).unwrap();
    assert_eq!((&facts["redirects"], &facts["status"]), (&json!(2), &json!(200)));
    assert_eq!(facts["finalUrl"], json!(format!("http://localhost:{}/far?…", other.port())));
    assert!(!serde_json::to_string(&seen).unwrap().contains("key="), "{seen:?}");
}

#[rstest]
#[case::a_ring("Location: /\r\n", "round in a circle")]
#[case::no_end("Location: /x/{n}\r\n", "more than 3 redirects")]
#[case::nowhere("", "leads nowhere")]
#[case::metadata("Location: http://169.254.169.254/\r\n", "no request may go")]
#[case::a_name_of_metadata("Location: http://metadata.google.internal/\r\n", "no request may go")]
#[tokio::test]
async fn redirects_that_lead_nowhere_good_are_failures_of_the_target(#[case] headers: &'static str, #[case] why: &str) {
    let count = AtomicUsize::new(0);
    let (address, _) = telling(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        reply(302, &headers.replace("{n}", &n.to_string()), "")
    })
    .await;
    let http = json!({"url": format!("http://{address}/"), "redirects": {"max": 3}});
    let seen = round(json!({"http": http})).await;
    assert_eq!(failed(&seen).0, Reason::Redirect, "{seen:?}");
    assert!(seen.message.contains(why), "{}", seen.message);
    assert_eq!(seen.judgement(), Judgement::Failed);
}

#[tokio::test]
async fn a_host_of_the_spec_and_another_place_to_connect_to_are_used() {
    let (address, requests) = telling(|_| reply(200, "", "")).await;
    let http = json!({"url": "http://shop.example:81/a?b", "connectTo": address.to_string()});
    assert!(round(json!({"http": http})).await.success);
    let headers = json!([{"name": "Host", "value": "other.example"}]);
    let http = json!({"url": format!("http://shop.example:{}/", address.port()), "connectTo": "127.0.0.1", "headers": headers});
    assert!(round(json!({"http": http})).await.success);
    let requests = requests.lock().unwrap();
    assert!(requests[0].starts_with("GET /a?b HTTP/1.1\r\nHost: shop.example:81\r\n"), "{requests:?}");
    assert!(requests[1].contains("\r\nHost: other.example\r\n"), "{requests:?}");
}

/// A server of tokens that gives `t1`, `t2` and so on.
async fn tokens(in_body: bool) -> (SocketAddr, Requests) {
    let count = AtomicUsize::new(0);
    telling(move |request| {
        let named = if in_body {
            request.contains("client_secret=s%3Acret")
        } else {
            request.contains("Basic YXBwOnMlM0FjcmV0")
        };
        if !named {
            return reply(401, "", r#"{"error": "invalid_client", "error_description": "s:cret is wrong"}"#);
        }
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        reply(200, "", &format!(r#"{{"access_token": "t{n}", "token_type": "Bearer", "expires_in": 3600}}"#))
    })
    .await
}

fn oauth(target: SocketAddr, server: SocketAddr) -> Value {
    let oauth2 = json!({
        "tokenUrl": format!("http://{server}/token"), "clientId": "app", "clientSecretFile": "client",
        "scopes": ["a", "b"], "parameters": {"audience": "shop"},
    });
    json!({"http": {"url": format!("http://{target}/"), "auth": {"oauth2": oauth2}}})
}

#[rstest]
#[case(false, 1)]
#[case(true, 2)]
#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_is_refused(#[case] in_body: bool, #[case] asked: usize) {
    let good = Arc::new(Mutex::new("t1".to_owned()));
    let accepted = Arc::clone(&good);
    let (target, _) = telling(move |request| {
        let good = request.contains(&format!("Authorization: Bearer {}\r\n", accepted.lock().unwrap()));
        reply(if good { 200 } else { 401 }, "", "")
    })
    .await;
    let (server, requests) = tokens(in_body).await;
    let (_directory, secrets) = with_secret("client", "s:cret\n");
    let spec: ProbeSpec = serde_json::from_value(oauth(target, server)).unwrap();
    let compile = || crate::probes::compile(&spec, Duration::from_secs(5), &tools(secrets.clone())).unwrap();
    let (one, two) = (compile(), compile());
    for seen in futures::future::join_all([one.observe(), two.observe(), one.observe()]).await {
        assert!(seen.success, "{seen:?}");
    }
    assert_eq!(requests.lock().unwrap().len(), asked);
    "t2".clone_into(&mut good.lock().unwrap());
    assert!(one.observe().await.success);
    assert!(two.observe().await.success);
    assert_eq!(requests.lock().unwrap().len(), asked + 1);
    let request = requests.lock().unwrap()[0].clone();
    assert!(request.ends_with("grant_type=client_credentials&scope=a+b&audience=shop"), "{request}");
    // Nothing that is fetched helps: the target refuses, and that is what is told.
    "none".clone_into(&mut good.lock().unwrap());
    let seen = one.observe().await;
    assert_eq!(failed(&seen).0, Reason::Status);
    assert!(!format!("{seen:?}").contains("s:cret"), "{seen:?}");
}

#[tokio::test]
async fn a_server_of_tokens_in_trouble_is_no_failure_of_the_target() {
    let (_directory, secrets) = with_secret("client", "s:cret");
    let (refuses, _) =
        telling(|_| reply(400, "", r#"{"error": "invalid_client", "error_description": "s:cret"}"#)).await;
    let babbles = answering("HTTP/1.1 200 OK\r\n\r\n<html>").await;
    let silent = serve(|_stream| std::future::pending()).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for server in [refuses, babbles, silent, closed] {
        let seen = round_with(secrets.clone(), 1_000, oauth(closed, server)).await;
        assert_eq!((seen.reason, seen.judgement()), (Some(Reason::Secret), Judgement::Trouble), "{seen:?}");
        assert!(!format!("{seen:?}").contains("s:cret"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_proxy_takes_plain_requests_as_they_are() {
    let (proxy, requests) = telling(|_| reply(200, "", "by proxy")).await;
    let (_directory, secrets) = with_secret("password", "s3cret");
    let auth = json!({"username": "ada", "passwordFile": "password"});
    let http = json!({
        "url": "http://shop.example/a?b", "proxy": {"url": format!("http://{proxy}"), "auth": auth},
        "expect": {"body": {"contains": "by proxy"}},
    });
    let seen = round_with(secrets, 1_000, json!({"http": http})).await;
    assert!(seen.success, "{seen:?}");
    let request = requests.lock().unwrap().concat();
    assert!(request.starts_with("GET http://shop.example/a?b HTTP/1.1\r\nHost: shop.example\r\n"), "{request}");
    assert!(request.contains("Proxy-Authorization: Basic YWRhOnMzY3JldA==\r\n"), "{request}");
}

#[rstest]
#[case::forbidden("HTTP/1.1 403 No\r\n\r\n", "https", "does not connect to shop.example:443: status 403")]
#[case::gone("", "https", "ended the connection")]
#[case::no_proxy("SSH-2.0-x\r\n", "https", "this is no HTTP/1 answer")]
#[case::unknown("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", "http", "status 407")]
#[tokio::test]
async fn a_proxy_that_refuses_is_told_apart(#[case] answer: &'static str, #[case] scheme: &str, #[case] why: &str) {
    let proxy = answering(answer).await;
    let http = json!({"url": format!("{scheme}://shop.example/"), "proxy": {"url": format!("http://{proxy}")}});
    let seen = round(json!({"http": http})).await;
    assert_eq!(failed(&seen).0, Reason::Proxy, "{seen:?}");
    assert!(seen.message.contains(why), "{}", seen.message);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_the_proxys_fault() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let http = json!({"url": "http://shop.example/", "proxy": {"url": format!("http://{closed}")}});
    let seen = round(json!({"http": http})).await;
    assert_eq!(failed(&seen), (Reason::Proxy, Phase::Connect));
}

fn packed(body: &[u8], coding: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[rstest]
#[case::good(packed(&gzip(b"all ok"), "gzip"), None)]
#[case::plain(b"HTTP/1.1 200 OK\r\n\r\nall ok".to_vec(), None)]
#[case::broken(packed(b"\x1f\x8b\x08\0\0\0\0\0\0\x03all ok", "gzip"), Some(Reason::Protocol))]
#[case::cut(packed(gzip(b"all ok").get(..12).unwrap(), "gzip"), Some(Reason::Protocol))]
#[case::a_bomb(packed(&gzip(&vec![b'x'; 17 << 20]), "gzip"), Some(Reason::Size))]
#[case::large(packed(&gzip(&vec![b'x'; 2 << 20]), "gzip"), Some(Reason::Size))]
#[case::not_asked_for(packed(b"all ok", "zstd"), Some(Reason::Protocol))]
#[tokio::test]
async fn what_is_compressed_is_looked_into(#[case] answer: Vec<u8>, #[case] reason: Option<Reason>) {
    let address = answering(answer).await;
    let http =
        json!({"url": format!("http://{address}/"), "compression": true, "expect": {"body": {"contains": "ok"}}});
    let seen = round_with(Secrets::default(), 20_000, json!({"http": http})).await;
    assert_eq!(seen.reason, reason, "{seen:?}");
}

/// An authority in a directory of secrets, and a server's side of it.
struct World {
    secrets: Secrets,
    acceptor: TlsAcceptor,
    _directory: tempfile::TempDir,
}

fn world(alpn: &[&str]) -> World {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2050, 1, 1);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let (directory, secrets) = with_secret("ca.pem", &issuer.pem());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    World { secrets, acceptor: Arc::new(config).into(), _directory: directory }
}

/// Speaks HTTP/2 on a connection: every request is answered with its own path.
async fn speak_h2(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let Ok(mut connection) = ::h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let body = format!("{} {}", request.method(), request.uri());
        let response = hyper::Response::builder().header("content-length", body.len()).body(()).unwrap();
        let mut sending = respond.send_response(response, false).unwrap();
        sending.send_data(Bytes::from(body), true).unwrap();
    }
}

#[rstest]
#[case("2", &["h2"], "2")]
#[case("any", &["h2", "http/1.1"], "2")]
#[case("any", &["http/1.1"], "1.1")]
#[case("1.1", &["h2", "http/1.1"], "1.1")]
#[case("any", &[], "1.1")]
#[tokio::test]
async fn by_tls_the_version_is_agreed_on(#[case] version: &str, #[case] alpn: &[&str], #[case] agreed: &str) {
    let World { secrets, acceptor, _directory } = world(alpn);
    let address = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                return speak_h2(stream).await;
            }
            let mut seen = [0; 16];
            let _ = stream.read(&mut seen).await;
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nGET https://shop.example:1/a?b ").await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    let expect = json!({
        "version": agreed, "tlsVersion": "1.3", "certificate": {"validFor": "30d"}, "body": {"matches": "^GET .*/a\\?b"},
    });
    let url = format!("https://shop.example:{}/a?b", address.port());
    let http = json!({"url": url, "connectTo": "127.0.0.1", "version": version, "tls": {"caFile": "ca.pem"}, "expect": expect});
    let seen = round_with(secrets, 10_000, json!({"http": http})).await;
    assert!(seen.success, "{seen:?}");
    let facts = serde_json::to_value(&seen.facts).unwrap();
    assert_eq!((&facts["httpVersion"], &facts["tlsVersion"]), (&json!(agreed), &json!("1.3")));
    assert_eq!(facts["certificateNotAfter"], json!("2050-01-01T00:00:00Z"));
    for phase in Phase::ALL {
        assert!(seen.durations.get(*phase).is_some(), "{phase}");
    }
}

#[tokio::test]
async fn a_server_without_http_2_is_told_apart() {
    let World { secrets, acceptor, _directory } = world(&[]);
    let address = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let _ = acceptor.accept(stream).await;
        }
    })
    .await;
    let url = format!("https://shop.example:{}/", address.port());
    let http = json!({"url": url, "connectTo": "127.0.0.1", "version": "2", "tls": {"caFile": "ca.pem"}});
    let seen = round_with(secrets, 5_000, json!({"http": http})).await;
    assert_eq!(failed(&seen), (Reason::Protocol, Phase::Tls));
    let plain = answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let seen = round(json!({"http": {"url": format!("http://{plain}/"), "version": "2"}})).await;
    assert_eq!(failed(&seen).0, Reason::Protocol, "{seen:?}");
}

#[tokio::test]
async fn http_2_is_spoken_in_the_clear_where_it_is_asked_for() {
    let address = serve(speak_h2).await;
    let http = json!({
        "url": format!("http://{address}/a"), "version": "2", "method": "POST", "body": "hello",
        "headers": [{"name": "Host", "value": "shop.example"}],
        "expect": {"body": {"matches": "^POST http://shop.example/a$"}, "version": "2"},
    });
    let seen = round(json!({"http": http})).await;
    assert!(seen.success, "{seen:?}");
}

/// A server of HTTP/2 that answers one request with what `answer` makes of it, and then goes away.
async fn hostile_h2(kind: &'static str) -> SocketAddr {
    serve(move |stream| async move {
        let Ok(mut connection): Result<::h2::server::Connection<_, Bytes>, _> = ::h2::server::handshake(stream).await
        else {
            return;
        };
        let Some(Ok((_, mut respond))) = connection.accept().await else { return };
        match kind {
            "refuses" => respond.send_reset(::h2::Reason::REFUSED_STREAM),
            "headers" => {
                let mut response = hyper::Response::new(());
                for number in 0..10_000 {
                    response.headers_mut().append("x-header", number.to_string().parse().unwrap());
                }
                let _ = respond.send_response(response, true);
            }
            "endless" => {
                let mut sending = respond.send_response(hyper::Response::new(()), false).unwrap();
                for _ in 0..64 {
                    let _ = sending.send_data(vec![b'x'; 64 << 10].into(), false);
                }
                let _ = tokio::time::timeout(Duration::from_secs(5), connection.accept()).await;
                return;
            }
            _ => return,
        }
        let _ = connection.accept().await;
    })
    .await
}

#[rstest]
#[case("refuses", Some(Reason::Reset))]
#[case("leaves", Some(Reason::Reset))]
#[case("headers", Some(Reason::Protocol))]
#[case("endless", None)]
#[tokio::test]
async fn a_bad_server_of_http_2_has_its_reason(#[case] kind: &'static str, #[case] reason: Option<Reason>) {
    let address = hostile_h2(kind).await;
    let http = json!({"url": format!("http://{address}/"), "version": "2"});
    let seen = round_with(Secrets::default(), 10_000, json!({"http": http})).await;
    assert_eq!(seen.reason, reason, "{seen:?}");
}

#[rstest]
#[case(json!({"http": {"path": "/a", "expect": {"body": {"contains": "ok"}}}}), None)]
#[case(json!({"http": {"path": "/broken"}}), Some(Reason::Status))]
#[case(json!({"send": "GET /a HTTP/1.0\\r\\n\\r\\n", "expect": "^HTTP/1.1 200 "}), None)]
#[case(json!({"send": "GET /a HTTP/1.0\\r\\n\\r\\n", "expect": "^HTTP/2"}), Some(Reason::Expect))]
#[case(json!({}), None)]
#[tokio::test]
async fn a_unix_socket_is_probed(#[case] unix: Value, #[case] reason: Option<Reason>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = [0; 512];
            let count = stream.read(&mut seen).await.unwrap_or(0);
            let status = if seen.get(..count).unwrap().starts_with(b"GET /a") { 200 } else { 500 };
            let _ = stream.write_all(&reply(status, "", "all ok")).await;
        }
    });
    let mut unix = unix;
    unix["path"] = json!(path);
    let seen = round(json!({"unix": unix})).await;
    assert_eq!(seen.reason, reason, "{seen:?}");
    assert_eq!(seen.durations.get(Phase::Resolve), None);
    assert!(seen.durations.get(Phase::Connect).is_some());
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_or_that_nobody_listens_on_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let unix = || json!({"unix": {"path": path}});
    assert_eq!(failed(&round(unix()).await), (Reason::Unreachable, Phase::Connect));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert_eq!(failed(&round(unix()).await), (Reason::Refused, Phase::Connect));
}

#[rstest]
#[case(json!({"http": {"url": ""}}), "http.url")]
#[case(json!({"http": {"url": "shop"}}), "http.url")]
#[case(json!({"http": {"url": "ftp://shop/"}}), "http.url")]
#[case(json!({"http": {"url": "http://user:pass@shop/"}}), "http.url")]
#[case(json!({"http": {"url": "http://169.254.169.254/"}}), "http.url")]
#[case(json!({"http": {"url": "http://shop/", "method": "get it"}}), "http.method")]
#[case(json!({"http": {"url": "http://shop/", "redirects": {"max": 0}}}), "http.redirects.max")]
#[case(json!({"http": {"url": "http://shop/", "connectTo": "a:b"}}), "http.connectTo")]
#[case(json!({"http": {"url": "http://shop/", "connectTo": "metadata.google.internal"}}), "http.connectTo")]
#[case(json!({"http": {"url": "http://shop/", "connectTo": "169.254.169.254:80"}}), "http.connectTo")]
#[case(json!({"http": {"url": "http://shop/", "proxy": {"url": "https://proxy"}}}), "http.proxy.url")]
#[case(json!({"http": {"url": "http://shop/", "proxy": {"url": "http://proxy/path"}}}), "http.proxy.url")]
#[case(json!({"http": {"url": "http://shop/", "version": "2", "proxy": {"url": "http://proxy"}}}), "http.version")]
#[case(json!({"http": {"url": "http://shop/", "connectTo": "a", "proxy": {"url": "http://proxy"}}}), "http.connectTo")]
#[case(json!({"http": {"url": "https://shop/", "tls": {"serverName": "a b"}}}), "http.tls.serverName")]
#[case(json!({"http": {"url": "http://shop/", "expect": {"tlsVersion": "1.3"}}}), "http.expect.tlsVersion")]
#[case(json!({"http": {"url": "http://shop/", "warn": {"rule": "("}}}), "http.warn.rule")]
#[case(
    json!({"http": {"url": "http://shop/", "auth": {"basic": {"username": "a:b", "passwordFile": "x"}}}}),
    "http.auth.basic.username"
)]
#[case(
    json!({"http": {"url": "http://shop/", "auth": {"basic": {"username": "a", "passwordFile": "/x"}}}}),
    "http.auth.basic.passwordFile"
)]
#[case(json!({"http": {"url": "http://shop/", "auth": {"bearer": {"tokenFile": "../x"}}}}), "http.auth.bearer.tokenFile")]
#[case(json!({"http": {"url": "http://shop/", "auth": {}}}), "http.auth")]
#[case(
    json!({"http": {"url": "http://shop/", "auth": {"bearer": {"tokenFile": "x"}},
        "headers": [{"name": "authorization", "value": "x"}]}}),
    "http.auth"
)]
#[case(
    json!({"http": {"url": "http://shop/", "auth": {"oauth2": {"tokenUrl": "x", "clientId": "a", "clientSecretFile": "b"}}}}),
    "http.auth.oauth2.tokenUrl"
)]
#[case(
    json!({"http": {"url": "http://shop/", "auth": {"oauth2": {"tokenUrl": "http://x", "clientId": "a",
        "clientSecretFile": "b", "parameters": {"scope": "x"}}}}}),
    "http.auth.oauth2.parameters"
)]
#[case(json!({"unix": {"path": "relative"}}), "unix.path")]
#[case(json!({"unix": {"path": "/a", "send": "x", "http": {}}}), "unix.http")]
#[case(json!({"unix": {"path": "/a", "http": {"path": "no slash"}}}), "unix.http.path")]
#[case(json!({"unix": {"path": "/a", "http": {"headers": [{"name": "a b", "value": "c"}]}}}), "unix.http.headers[0].name")]
#[case(json!({"unix": {"path": "/a", "http": {"expect": {"json": [{"path": "x["}]}}}}), "unix.http.expect.json[0].path")]
#[case(json!({"unix": {"path": "/a", "send": "\\q"}}), "unix.send")]
#[case(json!({"unix": {"path": "/a", "expect": "("}}), "unix.expect")]
#[tokio::test]
async fn a_broken_field_is_named_by_its_path(#[case] spec: Value, #[case] field: &str) {
    let spec = serde_json::from_value(spec).unwrap();
    let error = crate::probes::compile(&spec, Duration::from_secs(1), &tools(Secrets::default())).err().unwrap();
    assert_eq!(error.field, field, "{error}");
    assert!(!error.to_string().contains("pass@"), "{error}");
}
