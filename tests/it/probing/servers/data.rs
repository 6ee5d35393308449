//! Servers that keep data.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{NAMES, NOBODY, Real, Recipe, am_root, command, give_away};
use crate::checks::peers::Authority;

impl Real {
    /// Redis, without a password, keeping nothing.
    pub async fn redis() -> Self {
        Self::start(1, |_, ports| {
            let port = ports[0].to_string();
            let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", ""];
            Recipe::new("redis-server", arguments).ready("PING\r\n", "+PONG\r\n")
        })
        .await
    }

    /// PostgreSQL that trusts everybody, with a certificate of `authority`.
    pub async fn postgres(authority: &Authority) -> Self {
        let programs = postgres_programs();
        Self::start(1, |directory, ports| {
            make_cluster(&programs.join("initdb"), directory);
            let (certificate, key) = authority.issue(NAMES);
            std::fs::write(directory.join("server.pem"), certificate).unwrap();
            std::fs::write(directory.join("server.key"), key).unwrap();
            // It refuses a key that others could read.
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(directory.join("server.key"), private).unwrap();
            let root = directory.display();
            let settings = [
                "listen_addresses=127.0.0.1".to_owned(),
                "fsync=off".to_owned(),
                "ssl=on".to_owned(),
                format!("port={}", ports[0]),
                format!("unix_socket_directories={root}"),
                format!("ssl_cert_file={root}/server.pem"),
                format!("ssl_key_file={root}/server.key"),
            ];
            let settings = settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]);
            let arguments = ["-D".to_owned(), format!("{root}/data")].into_iter().chain(settings);
            let start_up = b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0";
            Recipe::new(&programs.join("postgres").to_string_lossy(), arguments)
                .unprivileged()
                // `R`: authentication is over; `Z`, with its length of 5: ready for a query.
                .ready(start_up, b"Z\0\0\0\x05")
        })
        .await
    }

    /// MariaDB without accounts.
    pub async fn mariadb() -> Self {
        Self::start(1, |directory, ports| {
            let root = directory.display();
            std::fs::create_dir(directory.join("data")).unwrap();
            let arguments = [
                "--no-defaults".to_owned(),
                "--skip-grant-tables".to_owned(),
                "--bind-address=127.0.0.1".to_owned(),
                // Given tables are small; what it keeps for large ones takes its time to be made.
                "--innodb-buffer-pool-size=8M".to_owned(),
                "--innodb-log-file-size=4M".to_owned(),
                format!("--datadir={root}/data"),
                format!("--port={}", ports[0]),
                format!("--socket={root}/socket"),
                format!("--pid-file={root}/pid"),
            ];
            Recipe::new("mariadbd", arguments).unprivileged().ready("", "MariaDB")
        })
        .await
    }

    /// etcd: HTTP, metrics and gRPC on one port.
    pub async fn etcd() -> Self {
        Self::start(1, |directory, ports| {
            let url = format!("http://127.0.0.1:{}", ports[0]);
            let data = format!("{}/data", directory.display());
            let own = ["--unsafe-no-fsync", "--log-level", "error", "--listen-peer-urls", "http://127.0.0.1:0"];
            let arguments =
                ["--data-dir", &data, "--listen-client-urls", &url, "--advertise-client-urls", &url].into_iter();
            Recipe::new("etcd", arguments.chain(own)).ready_at("/health")
        })
        .await
    }
}

/// The directory with PostgreSQL's programs, of the newest version that is there.
fn postgres_programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not there: run tests/setup.sh");
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path().join("bin")).collect();
    versions.sort();
    versions.into_iter().rfind(|path| path.join("postgres").exists()).expect("PostgreSQL: run tests/setup.sh")
}

/// Makes an empty cluster in `directory/data`.
fn make_cluster(initdb: &Path, directory: &Path) {
    if am_root() {
        give_away(directory, NOBODY);
    }
    let made = command(&initdb.to_string_lossy(), true)
        .arg("-D")
        .arg(directory.join("data"))
        .args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
