//! Servers that speak HTTP.

use std::path::Path;

use super::{NAMES, Real, Recipe};
use crate::checks::peers::Authority;

/// What every server block of nginx has.
const LOCATIONS: &str = "
    location = / { return 404 'nothing here'; }
    location = /healthz { return 200 'all ok'; }
    location = /broken { return 503 'out of order'; }
    location = /moved { return 302 http://169.254.169.254/; }
    location = /elsewhere { return 301 /healthz; }
    location = /ring { return 302 /ring; }
    location = /json { default_type application/json; return 200 '{\"status\": \"ok\", \"nodes\": [1, 2]}'; }
    location = /private { auth_basic here; auth_basic_user_file USERS; root PAGES; try_files /page.txt =404; }
    location / { root PAGES; gzip on; gzip_min_length 1; gzip_types text/plain; }
";

impl Real {
    /// nginx over plain HTTP.
    pub async fn nginx() -> Self {
        Self::start(1, |directory, ports| nginx(directory, &format!("listen 127.0.0.1:{};", ports[0]))).await
    }

    /// nginx over plain HTTP on the first port, over HTTPS (HTTP/1.1 and 2) on the second, and over
    /// HTTP/2 without TLS on the third, with a certificate of `authority`; over plain
    /// HTTP on the Unix socket `socket` in its directory as well.
    pub async fn nginx_with(authority: &Authority) -> Self {
        let (certificate, key) = authority.issue(NAMES);
        Self::start(3, |directory, ports| {
            std::fs::write(directory.join("server.pem"), &certificate).unwrap();
            std::fs::write(directory.join("server.key"), &key).unwrap();
            let root = directory.display();
            let listen = format!(
                "listen 127.0.0.1:{}; listen 127.0.0.1:{} ssl http2; listen 127.0.0.1:{} http2;
                 listen unix:{root}/socket;
                 ssl_protocols TLSv1.2 TLSv1.3;
                 ssl_certificate {root}/server.pem; ssl_certificate_key {root}/server.key;",
                ports[0], ports[1], ports[2]
            );
            nginx(directory, &listen)
        })
        .await
    }

    /// Tinyproxy, which takes requests and CONNECTs to loopback.
    pub async fn tinyproxy() -> Self {
        Self::start(1, |directory, ports| {
            let config = format!(
                "Port {}\nListen 127.0.0.1\nTimeout 30\nMaxClients 20\nAllow 127.0.0.1\nLogFile \"{}/log\"\n",
                ports[0],
                directory.display()
            );
            std::fs::write(directory.join("tinyproxy.conf"), config).unwrap();
            let config = format!("{}/tinyproxy.conf", directory.display());
            // A request for itself is answered with its page of statistics, or refused.
            Recipe::new("tinyproxy", ["-d", "-c", &config])
                .ready("GET http://tinyproxy.stats/ HTTP/1.0\r\n\r\n", "HTTP/1.0 200")
        })
        .await
    }

    /// The Docker registry, without an image.
    pub async fn registry() -> Self {
        Self::start(1, |directory, ports| {
            let root = directory.display();
            let config = format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: \"{root}/images\"}}}}\n\
                 http: {{addr: \"127.0.0.1:{}\"}}\n",
                ports[0]
            );
            std::fs::write(directory.join("registry.yml"), config).unwrap();
            Recipe::new("docker-registry", ["serve".to_owned(), format!("{root}/registry.yml")]).ready_at("/v2/")
        })
        .await
    }
}

/// nginx with its pages, listening as `listen` says. The user of `/private` is ada, with `secret`.
fn nginx(directory: &Path, listen: &str) -> Recipe {
    let root = directory.display().to_string();
    std::fs::create_dir(directory.join("pages")).unwrap();
    std::fs::write(directory.join("pages/page.txt"), "a page that can be compressed\n".repeat(200)).unwrap();
    std::fs::write(directory.join("users"), "ada:{PLAIN}secret\n").unwrap();
    let locations = LOCATIONS.replace("USERS", &format!("{root}/users")).replace("PAGES", &format!("{root}/pages"));
    let config = format!(
        "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
         events {{ worker_connections 64; }}
         http {{
           access_log off; client_body_temp_path {root}/a; proxy_temp_path {root}/b;
           fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
           server {{ {listen} {locations} }}
         }}"
    );
    std::fs::write(directory.join("nginx.conf"), config).unwrap();
    Recipe::new("nginx", ["-c".to_owned(), format!("{root}/nginx.conf"), "-e".to_owned(), format!("{root}/error.log")])
        .ready_at("/healthz")
}
