//! Servers that watch others.

use super::{Real, Recipe};

impl Real {
    /// Prometheus, which watches itself every second.
    pub async fn prometheus() -> Self {
        Self::start(1, |directory, ports| {
            let (root, port) = (directory.display(), ports[0]);
            let config = format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: self\n  \
                 static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
            );
            std::fs::write(directory.join("prometheus.yml"), config).unwrap();
            let arguments = [
                format!("--config.file={root}/prometheus.yml"),
                format!("--storage.tsdb.path={root}/data"),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ];
            Recipe::new("prometheus", arguments).ready_at("/-/ready")
        })
        .await
    }

    /// The blackbox exporter, which answers probes of its own.
    pub async fn blackbox() -> Self {
        Self::blackbox_with("modules: {http_2xx: {prober: http, timeout: 2s, http: {preferred_ip_protocol: ip4}}}\n")
            .await
    }

    /// The blackbox exporter with these modules.
    pub async fn blackbox_with(config: &str) -> Self {
        Self::start(1, |directory, ports| {
            std::fs::write(directory.join("blackbox.yml"), config).unwrap();
            let arguments = [
                format!("--config.file={}/blackbox.yml", directory.display()),
                format!("--web.listen-address=127.0.0.1:{}", ports[0]),
            ];
            Recipe::new("prometheus-blackbox-exporter", arguments).ready_at("/-/healthy")
        })
        .await
    }
}
