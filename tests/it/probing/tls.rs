//! Probes of TLS and certificates.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use probegate::clock::Clock;
use probegate::probes::{Judgement, Observation, Phase, Reason, Tools};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rstest::rstest;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::servers::Real;
use super::world::{PATIENCE, Peer, reason, refused, round_with, tools, tools_at};
use crate::checks::peers::Authority;

/// A timeout for rounds that end with it.
const SHORT: Duration = Duration::from_millis(300);

/// Tools that find an authority's certificate as `ca.pem`.
fn trusting(authority: &str) -> (tempfile::TempDir, Tools) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), authority).unwrap();
    let tools = tools_at(Some(directory.path()));
    (directory, tools)
}

async fn round(tls: Value, tools: &Tools) -> Observation {
    round_with(json!({"tls": tls}), PATIENCE, tools).await
}

/// A server that makes handshakes.
async fn server(config: Arc<ServerConfig>) -> Peer {
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    Peer::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.shutdown().await;
            }
        }
    })
    .await
}

/// A clock that stands still.
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// An authority of our own, for certificates that nobody would issue.
struct Issuer(CertifiedIssuer<'static, KeyPair>);

impl Issuer {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Probegate Test Authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A server whose certificate is for `name` and valid in these years; signed by itself where
    /// `alone` says so.
    fn server(&self, name: &str, years: (i32, i32), alone: bool) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = if alone { params.self_signed(&key) } else { params.signed_by(&key, &self.0) };
        let chain = vec![certificate.unwrap().der().clone(), self.0.der().clone()];
        config(chain, &key)
    }
}

fn config(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

#[tokio::test]
async fn a_real_server_shows_its_chain() {
    let authority = Authority::new();
    let nginx = Real::nginx_with(&authority).await;
    let (_directory, tools) = trusting(&authority.pem());
    let ciphers = ["TLS_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"];
    let expect =
        json!({"names": ["localhost"], "minVersion": "1.2", "alpn": "h2", "validFor": "365d", "ciphers": ciphers});
    let spec = json!({"address": nginx.address_of(1), "alpn": ["h2", "http/1.1"], "expect": expect,
                      "tls": {"caFile": "ca.pem", "serverName": "localhost"}});
    let seen = round(spec, &tools).await;
    assert!(seen.success, "{seen:?}");
    let fact = |name: &str| seen.facts.get(name).cloned().unwrap_or_default();
    assert_eq!((fact("alpn"), fact("trusted")), (json!("h2"), json!(true)));
    assert!(fact("tlsVersion").as_str().unwrap().starts_with("1."), "{seen:?}");
    assert!(fact("tlsCipher").as_str().unwrap().starts_with("TLS_"), "{seen:?}");
    let names = fact("certificate")["names"].clone();
    assert_eq!(names.as_array().unwrap()[..2], [json!("localhost"), json!("127.0.0.1")], "{names}");
    assert_eq!(fact("certificate")["notAfter"], fact("certificateNotAfter"));
    for key in ["subject", "issuer", "notBefore", "serial", "sha256"] {
        assert!(fact("certificate")[key].is_string(), "{key} in {seen:?}");
    }
    assert!(seen.durations.get(Phase::Tls).is_some(), "{seen:?}");
    let pinned = json!({"fingerprints": [fact("certificate")["sha256"]], "trusted": false});
    assert!(round(json!({"address": nginx.address_of(1), "expect": pinned}), &tools).await.success);
}

#[rstest]
#[case::untrusted("localhost", (2020, 2090), false, json!({}), "not trusted")]
#[case::expired("localhost", (2020, 2021), false, json!({"caFile": "ca.pem"}), "has expired")]
#[case::early("localhost", (2089, 2090), false, json!({"caFile": "ca.pem"}), "is not valid yet")]
#[case::another_name("other.example", (2020, 2090), false, json!({"caFile": "ca.pem"}), "is not for localhost")]
#[case::signed_by_itself("localhost", (2020, 2090), true, json!({"caFile": "ca.pem"}), "is signed by itself")]
#[tokio::test]
async fn a_bad_chain_is_evidence(
    #[case] name: &str,
    #[case] years: (i32, i32),
    #[case] alone: bool,
    #[case] tls: Value,
    #[case] wrong: &str,
) {
    let issuer = Issuer::new();
    let peer = server(issuer.server(name, years, alone)).await;
    let (_directory, tools) = trusting(&issuer.0.pem());
    let address = format!("localhost:{}", peer.address.port());
    let seen = round(json!({"address": address, "tls": tls}), &tools).await;
    assert_eq!((reason(&seen), seen.judgement()), (Reason::Certificate, Judgement::Failed));
    for part in [wrong, name, &format!("valid from {}-01-01T00:00:00Z to {}-01-01T00:00:00Z", years.0, years.1)] {
        assert!(seen.message.contains(part), "{part} in {}", seen.message);
    }
    assert_eq!(seen.facts.get("trusted"), Some(&json!(false)));
    assert_eq!(seen.facts.get("certificate").unwrap()["names"], json!([name]), "{seen:?}");
    // Those who do not ask for trust see the same, and are content.
    let calm = json!({"address": address, "tls": tls, "expect": {"trusted": false}});
    assert!(round(calm, &tools).await.success);
    // For every other kind it is a handshake that failed, with the same sentence.
    let strict = round_with(json!({"tcp": {"address": address, "tls": tls}}), PATIENCE, &tools).await;
    assert_eq!((reason(&strict), strict.phase), (Reason::Certificate, Some(Phase::Tls)));
    assert!(strict.message.contains(wrong), "{}", strict.message);
}

#[tokio::test]
async fn a_chain_that_ends_soon_is_degraded_where_it_only_should_last() {
    let issuer = Issuer::new();
    let peer = server(issuer.server("localhost", (2020, 2090), false)).await;
    let (_directory, tools) = trusting(&issuer.0.pem());
    let tools = Tools { clock: Arc::new(At("2089-06-01T00:00:00Z".parse().unwrap())), ..tools };
    let address = format!("localhost:{}", peer.address.port());
    let long = json!({"validFor": "365d"});
    let spec = json!({"address": address, "tls": {"caFile": "ca.pem"}, "warn": long});
    let seen = round(spec, &tools).await;
    assert_eq!((seen.judgement(), seen.reason), (Judgement::Degraded, Some(Reason::Certificate)), "{seen:?}");
    let spec = json!({"address": address, "tls": {"caFile": "ca.pem"}, "expect": long});
    assert_eq!(reason(&round(spec, &tools).await), Reason::Certificate);
    let enough = json!({"validFor": "200d"});
    let spec = json!({"address": address, "tls": {"caFile": "ca.pem"}, "expect": enough, "warn": enough});
    assert_eq!(round(spec, &tools).await.judgement(), Judgement::Good);
}

#[tokio::test]
async fn versions_are_bounded_and_expected() {
    let issuer = Issuer::new();
    let peer = server(issuer.server("localhost", (2020, 2090), false)).await;
    let (_directory, tools) = trusting(&issuer.0.pem());
    let spec = |version: &str, least: &str| {
        json!({"address": format!("localhost:{}", peer.address.port()),
               "tls": {"caFile": "ca.pem", "maxVersion": version}, "expect": {"minVersion": least}})
    };
    let seen = round(spec("1.2", "1.2"), &tools).await;
    assert!(seen.success && seen.facts.get("tlsVersion") == Some(&json!("1.2")), "{seen:?}");
    assert_eq!(reason(&round(spec("1.2", "1.3"), &tools).await), Reason::Tls);
    let mut unsafely = spec("1.3", "1.3");
    unsafely["tls"] = json!({"insecureSkipVerify": true});
    let seen = round(unsafely, &tools).await;
    assert!(seen.success && seen.facts.get("insecureSkipVerify") == Some(&json!(true)), "{seen:?}");
}

#[tokio::test]
async fn files_are_followed_and_those_that_are_gone_are_our_own_trouble() {
    let (old, new) = (Authority::new(), Authority::new());
    let issued = new.issue(&["localhost"]);
    let peer = server(new.server(&issued, true)).await;
    let (directory, tools) = trusting(&old.pem());
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let files = json!({"caFile": "ca.pem", "certFile": "cert.pem", "keyFile": "key.pem"});
    let spec = json!({"tcp": {"address": format!("localhost:{}", peer.address.port()), "tls": files, "expect": "^$"}});
    let compiled = probegate::probes::compile(&serde_json::from_value(spec).unwrap(), PATIENCE, &tools)
        .unwrap_or_else(|e| panic!("{e}"));
    let seen = compiled.observe().await;
    assert_eq!((reason(&seen), seen.judgement()), (Reason::Secret, Judgement::Trouble), "{seen:?}");
    write("cert.pem", &issued.0);
    write("key.pem", &issued.1);
    let until = async |wanted: Reason| {
        let seen = async {
            loop {
                let seen = compiled.observe().await;
                if seen.reason == Some(wanted) {
                    break seen;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap()
    };
    until(Reason::Certificate).await;
    write("ca.pem", &new.pem());
    // The server takes our certificate and says nothing more.
    until(Reason::Expect).await;
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_ours_says_so() {
    let authority = Authority::new();
    let peer = server(authority.server(&authority.issue(&["localhost"]), true)).await;
    let (_directory, tools) = trusting(&authority.pem());
    let address = format!("localhost:{}", peer.address.port());
    // With TLS 1.2 the handshake itself fails; with 1.3 only what follows.
    let seen = round(json!({"address": address, "tls": {"caFile": "ca.pem", "maxVersion": "1.2"}}), &tools).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Tls, Some(Phase::Tls)), "{seen:?}");
    assert!(seen.message.contains("alert"), "{}", seen.message);
}

#[rstest]
#[case::smtp("smtp")]
#[case::postgres("postgres")]
#[tokio::test]
async fn a_real_server_turns_to_tls(#[case] protocol: &str) {
    let authority = Authority::new();
    let real = if protocol == "smtp" { Real::smtp(&authority).await } else { Real::postgres(&authority).await };
    let (_directory, tools) = trusting(&authority.pem());
    let spec = json!({"address": real.address(), "startTLS": protocol, "tls": {"caFile": "ca.pem"}});
    let seen = round(spec, &tools).await;
    assert!(seen.success, "{seen:?}");
    assert!(seen.durations.get(Phase::Processing).is_some(), "{seen:?}");
    let strangers = json!({"tls": {"address": real.address(), "startTLS": "imap"}});
    let strangers = round_with(strangers, SHORT, &tools).await;
    assert!(matches!(reason(&strangers), Reason::Protocol | Reason::Reset | Reason::Timeout), "{strangers:?}");
}

#[rstest]
#[case::endless(b"220-on and on\r\n".repeat(10_000), Reason::Protocol)]
#[case::refusing(b"554 go away\r\n".to_vec(), Reason::Protocol)]
#[case::gone(b"220 mail\r\n".to_vec(), Reason::Reset)]
#[tokio::test]
async fn what_does_not_lead_to_tls_has_its_reason(#[case] says: Vec<u8>, #[case] why: Reason) {
    let says = Arc::new(says);
    let peer = Peer::start(move |mut stream| {
        let says = Arc::clone(&says);
        async move {
            let _ = stream.write_all(&says).await;
            let _ = stream.shutdown().await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    })
    .await;
    let seen = round(json!({"address": peer.address.to_string(), "startTLS": "smtp"}), &tools()).await;
    assert_eq!(reason(&seen), why, "{seen:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_the_hello_ends_with_the_round() {
    let peer = Peer::start(|stream| async move {
        tokio::time::sleep(PATIENCE).await;
        drop(stream);
    })
    .await;
    let seen = round_with(json!({"tls": {"address": peer.address.to_string()}}), SHORT, &tools()).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Timeout, Some(Phase::Tls)));
}

#[rstest]
#[case(json!({"address": "a"}), "tls.address")]
#[case(json!({"address": "a:1", "alpn": ["h2", ""]}), "tls.alpn[1]")]
#[case(json!({"address": "a:1", "tls": {"serverName": " "}}), "tls.tls.serverName")]
#[case(json!({"address": "a:1", "expect": {"issuer": "("}}), "tls.expect.issuer")]
#[case(json!({"address": "a:1", "warn": {"fingerprints": ["00"]}}), "tls.warn.fingerprints[0]")]
fn what_makes_no_sense_names_its_field(#[case] tls: Value, #[case] field: &str) {
    assert_eq!(refused(json!({"tls": tls}), &tools()).field, field);
}
