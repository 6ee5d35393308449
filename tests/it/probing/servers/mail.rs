//! A mail server.

use std::os::unix::fs::chown;

use super::{NAMES, Real, Recipe, am_root};
use crate::checks::peers::Authority;

impl Real {
    /// Exim, with STARTTLS and a certificate of `authority`; it takes no mail.
    pub async fn smtp(authority: &Authority) -> Self {
        Self::start(1, |directory, ports| {
            let (certificate, key) = authority.issue(NAMES);
            std::fs::write(directory.join("server.pem"), certificate).unwrap();
            std::fs::write(directory.join("server.key"), key).unwrap();
            let spool = directory.join("spool");
            std::fs::create_dir(&spool).unwrap();
            if am_root() {
                // It gives up root's rights for those of its own user.
                let user = user("Debian-exim");
                chown(&spool, Some(user), None).unwrap();
                chown(directory.join("server.key"), Some(user), None).unwrap();
            }
            let root = directory.display();
            let config = format!(
                "primary_hostname = mail.probegate.test\n\
                 spool_directory = {root}/spool\n\
                 log_file_path = {root}/spool/%slog\n\
                 pid_file_path = {root}/spool/pid\n\
                 tls_advertise_hosts = *\n\
                 tls_certificate = {root}/server.pem\n\
                 tls_privatekey = {root}/server.key\n\
                 keep_environment =\n\
                 host_lookup =\n"
            );
            std::fs::write(directory.join("exim.conf"), config).unwrap();
            let config = format!("{root}/exim.conf");
            let listen = format!("127.0.0.1.{}", ports[0]);
            Recipe::new("exim4", ["-C", &config, "-bdf", "-oX", &listen]).ready("", "220 mail.probegate.test")
        })
        .await
    }
}

/// The number of a user of this machine.
fn user(name: &str) -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.split(':').next() == Some(name));
    line.and_then(|line| line.split(':').nth(2)?.parse().ok()).unwrap_or_else(|| panic!("there is no user {name}"))
}
