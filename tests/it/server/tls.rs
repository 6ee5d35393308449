//! TLS, and a certificate that changes under the server.

use std::path::Path;
use std::sync::Arc;

use probegate::server::Tls;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::world::{Setup, World, head, read};

/// Writes a new certificate for `localhost` and tells it.
fn write(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()
}

/// Asks over TLS, trusting that one certificate.
async fn ask(world: &World, trusted: &CertificateDer<'static>) -> Result<u16, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(world.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(head("GET", "/v1/runs", &[], 0).as_bytes()).await?;
    Ok(read(stream).await.status)
}

#[tokio::test]
async fn a_new_certificate_counts_for_new_connections_and_a_broken_one_keeps_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let first = write(dir.path());
    let tls = Tls::load(dir.path().join("tls.crt"), dir.path().join("tls.key")).unwrap();
    let world = World::with(Setup { tls: Some(tls.clone()), ..Setup::default() }).await;
    assert_eq!(ask(&world, &first).await.unwrap(), 200);
    let second = write(dir.path());
    tls.reload(&world.metrics).await;
    assert_eq!(ask(&world, &second).await.unwrap(), 200);
    assert!(ask(&world, &first).await.is_err(), "the old one is gone");
    std::fs::write(dir.path().join("tls.crt"), "nonsense").unwrap();
    tls.reload(&world.metrics).await;
    assert!(tls.trouble().unwrap().contains("tls.crt"));
    assert_eq!(ask(&world, &second).await.unwrap(), 200);
}

#[tokio::test]
async fn a_key_of_another_certificate_is_refused_at_the_start() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path());
    write(two.path());
    let error = Tls::load(one.path().join("tls.crt"), two.path().join("tls.key")).unwrap_err().to_string();
    assert!(error.contains("tls.crt") && error.contains("tls.key"), "{error}");
}
