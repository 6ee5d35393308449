//! Real servers from the distribution's packages, each with a directory and a port of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use probegate::outbound::ClientOptions;
use reqwest::Method;

use super::peers::outbound;

/// How long a server may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it ends with this value.
pub(super) struct Real {
    child: Child,
    pub(super) port: u16,
    _directory: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    /// Starts `program`, whose arguments and files depend on directory and port, and waits until
    /// its port answers.
    async fn start(program: &str, prepare: impl Fn(&Path, u16) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = prepare(directory.path(), port);
        let child = Command::new(program)
            .args(arguments)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start ({error}): run tests/setup.sh"));
        let mut real = Self { child, port, _directory: directory };
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "{program} does not listen on {port}");
            if let Some(status) = real.child.try_wait().unwrap() {
                panic!("{program} ended with {status}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        real
    }

    /// nginx with a page, a TLS port beside it where a certificate is given.
    pub(super) async fn nginx() -> Self {
        let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        Self::start(program, |directory, port| {
            let root = directory.display();
            let config = format!(
                "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
                 events {{ worker_connections 64; }}
                 http {{
                   access_log off; client_body_temp_path {root}/a; proxy_temp_path {root}/b;
                   fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
                   server {{
                     listen 127.0.0.1:{port};
                     location = /healthz {{ return 200 'all ok'; }}
                     location = /broken {{ return 503 'out of order'; }}
                     location = /moved {{ return 302 http://169.254.169.254/; }}
                   }}
                 }}"
            );
            std::fs::write(directory.join("nginx.conf"), config).unwrap();
            vec!["-c".into(), format!("{root}/nginx.conf"), "-e".into(), format!("{root}/error.log")]
        })
        .await
    }

    /// Prometheus, which watches itself every second.
    pub(super) async fn prometheus() -> Self {
        let real = Self::start("prometheus", |directory, port| {
            let root = directory.display();
            let config = format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: self\n  \
                 static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
            );
            std::fs::write(directory.join("prometheus.yml"), config).unwrap();
            vec![
                format!("--config.file={root}/prometheus.yml"),
                format!("--storage.tsdb.path={root}/data"),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ]
        })
        .await;
        let client = outbound().client(&ClientOptions::default()).await.unwrap();
        let ready = real.url("/-/ready").parse().unwrap();
        while !client
            .request(Method::GET, &ready)
            .unwrap()
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        real
    }

    /// The blackbox exporter, which answers probes of its own.
    pub(super) async fn blackbox() -> Self {
        Self::start("prometheus-blackbox-exporter", |directory, port| {
            let config = "modules: {http_2xx: {prober: http, timeout: 2s, http: {preferred_ip_protocol: ip4}}}\n";
            std::fs::write(directory.join("blackbox.yml"), config).unwrap();
            vec![
                format!("--config.file={}/blackbox.yml", directory.display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ]
        })
        .await
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}
