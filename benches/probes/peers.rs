//! The peers, each driven as it is used.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use super::process::Process;
use super::rates::Measured;
use super::targets::{AUTHORITY, Kind, Targets, free_ports, host, wait_for};

/// Scrapes of `blackbox_exporter` that are in flight, over connections that are kept.
const SCRAPES: usize = 12;

/// How often Cloudprober exports what it has counted.
const EXPORT: Duration = Duration::from_secs(10);

/// Where the peers' programs stand.
pub struct Programs {
    blackbox: PathBuf,
    cloudprober: PathBuf,
}

/// Builds them where they have not been built.
pub fn build() -> anyhow::Result<Programs> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/build.sh");
    let built = Command::new("bash").arg(script).stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(built.status.success(), "the peers could not be built");
    let cache = PathBuf::from(String::from_utf8(built.stdout)?.trim());
    Ok(Programs { blackbox: cache.join("blackbox_exporter"), cloudprober: cache.join("cloudprober") })
}

/// `blackbox_exporter`, whose only way to probe is a scrape of `/probe`: what it spends on HTTP towards
/// Prometheus is part of each probe, as it is where it is used.
pub async fn blackbox(
    targets: &Targets,
    programs: &Programs,
    kind: Kind,
    seconds: Duration,
) -> anyhow::Result<Measured> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("blackbox.yml");
    let http = "prober: http\n    http: {valid_http_versions: [HTTP/1.1], preferred_ip_protocol: ip4";
    let module = match kind {
        Kind::Http => format!("{http}}}"),
        Kind::Https => format!("{http}, tls_config: {{ca_file: {}}}}}", targets.directory().join(AUTHORITY).display()),
        Kind::Tcp => "prober: tcp\n    tcp: {preferred_ip_protocol: ip4}".to_owned(),
        Kind::Exchange => "prober: tcp\n    tcp: {preferred_ip_protocol: ip4, \
             query_response: [{send: \"PING\\r\"}, {expect: \"^[+]PONG\"}]}"
            .to_owned(),
    };
    std::fs::write(&config, format!("modules:\n  bench:\n    timeout: 2s\n    {module}\n"))?;
    let [port] = free_ports()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--web.listen-address={address}"),
        "--log.level=error".to_owned(),
    ];
    let mut exporter = Process::start("1", &programs.blackbox, &arguments, &directory.path().join("log"))?;
    wait_for(address)?;
    scrape(address, targets, kind, Duration::from_secs(1)).await?;
    let (begun, cpu) = (Instant::now(), exporter.cpu()?);
    let (probes, failed) = scrape(address, targets, kind, seconds).await?;
    exporter.check()?;
    Ok(Measured { probes, failed, cpu: exporter.cpu()? - cpu, wall: begun.elapsed().as_secs_f64() })
}

/// Asks for probes for so long; how many were made, and how many of them failed.
async fn scrape(address: SocketAddr, targets: &Targets, kind: Kind, time: Duration) -> anyhow::Result<(f64, f64)> {
    let begun = Instant::now();
    let (scheme, port) = match kind {
        Kind::Http => ("http://", targets.port(kind)),
        Kind::Https => ("https://", targets.port(kind)),
        Kind::Tcp | Kind::Exchange => ("", targets.port(kind)),
    };
    let scrapes = (0..SCRAPES).map(|place| async move {
        let mut sender = connect(address).await?;
        let (mut probes, mut failed) = (0_u32, 0_u32);
        let mut turn = place;
        while begun.elapsed() < time {
            turn += 1;
            let uri = format!("/probe?module=bench&target={scheme}{}:{port}", host(turn));
            let body = get(&mut sender, &uri).await?;
            probes += 1;
            failed += u32::from(!body.contains("\nprobe_success 1"));
        }
        anyhow::Ok((probes, failed))
    });
    let (mut probes, mut failed) = (0.0, 0.0);
    for done in futures::future::join_all(scrapes).await {
        let (more, bad) = done?;
        probes += f64::from(more);
        failed += f64::from(bad);
    }
    Ok((probes, failed))
}

/// Cloudprober with `count` probes, whose own metrics count what it does.
pub async fn cloudprober(
    targets: &Targets,
    programs: &Programs,
    (count, interval): (usize, Duration),
    seconds: Duration,
) -> anyhow::Result<Measured> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("cloudprober.cfg");
    let [port] = free_ports()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let (millis, patience) = (interval.as_millis(), interval.as_millis() * 9 / 10);
    let probes: String = (0..count)
        .map(|turn| {
            [
                format!("probe {{\n  name: \"bench-{turn}\"\n  type: HTTP\n"),
                format!("  targets {{ host_names: \"{}\" }}\n", host(turn)),
                format!("  interval_msec: {millis}\n  timeout_msec: {patience}\n"),
                format!("  http_probe {{ port: {} ", targets.port(Kind::Http)),
                "relative_url: \"/\" keep_alive: false }\n}\n".to_owned(),
            ]
            .concat()
        })
        .collect();
    let text = format!("host: \"127.0.0.1\"\nport: {port}\nsurfacer {{ type: PROMETHEUS }}\n{probes}");
    std::fs::write(&config, text)?;
    let arguments = [format!("--config_file={}", config.display()), "--logtostderr".to_owned()];
    let mut cloud = Process::start("1", &programs.cloudprober, &arguments, &directory.path().join("log"))?;
    wait_for(address)?;
    // Each of its probes exports what it has counted every ten seconds, at a moment of its own. Asking
    // costs it something: it is asked twice only, at moments as far apart as so many exports.
    let mut sender = connect(address).await?;
    tokio::time::sleep(EXPORT + interval * 2).await;
    let exports = u32::try_from(seconds.as_millis().div_ceil(EXPORT.as_millis()))?;
    let first = get(&mut sender, "/metrics").await?;
    let (begun, cpu) = (Instant::now(), cloud.cpu()?);
    tokio::time::sleep(EXPORT * exports).await;
    let (spent, wall) = (cloud.cpu()? - cpu, begun.elapsed().as_secs_f64());
    cloud.check()?;
    let last = get(&mut sender, "/metrics").await?;
    let counted = |name: &str| sum(&last, &[name]) - sum(&first, &[name]);
    let (probes, good) = (counted("total{"), counted("success{"));
    anyhow::ensure!(probes > 0.0, "Cloudprober counts no probes:\n{last}");
    Ok(Measured { probes, failed: probes - good, cpu: spent, wall })
}

/// The sum of all samples that begin with the first text and in which the others stand.
pub fn sum(metrics: &str, texts: &[&str]) -> f64 {
    let start = texts.first().copied().unwrap_or_default();
    let samples =
        metrics.lines().filter(|line| line.starts_with(start) && texts.iter().all(|text| line.contains(text)));
    // A time stamp may follow the value.
    samples.filter_map(|line| line.rsplit('}').next()?.split_whitespace().next()?.parse::<f64>().ok()).sum()
}

pub async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

pub async fn get(sender: &mut SendRequest<Empty<Bytes>>, uri: &str) -> anyhow::Result<String> {
    sender.ready().await.context("a connection that is kept")?;
    let request = hyper::Request::get(uri).header("host", "127.0.0.1").body(Empty::new())?;
    let response = sender.send_request(request).await?;
    anyhow::ensure!(response.status() == 200, "{uri}: status {}", response.status());
    Ok(String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned())
}
