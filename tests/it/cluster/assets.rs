//! etcd and kube-apiserver out of `KUBEBUILDER_ASSETS`, started here: no root, no controllers.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::KeyPair;

use super::Cluster;
use super::keeper::Keeper;

/// Ports that somebody else has taken between asking and binding: tried again with others.
const ATTEMPTS: usize = 3;
/// How long an API server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts both in a directory of their own, which goes with them.
pub fn start(assets: &Path) -> Result<Cluster, String> {
    for program in ["etcd", "kube-apiserver"] {
        if !assets.join(program).is_file() {
            return Err(format!("KUBEBUILDER_ASSETS is {}, where there is no {program}", assets.display()));
        }
    }
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match attempt(assets) {
            Ok(cluster) => return Ok(cluster),
            Err(why) => last = why,
        }
    }
    Err(last)
}

fn attempt(assets: &Path) -> Result<Cluster, String> {
    let trouble = |doing: &str, error: &dyn std::fmt::Display| format!("while {doing}: {error}");
    let dir = tempfile::tempdir().map_err(|error| trouble("making a directory", &error))?.keep();
    let [client, peer, secure] = free_ports().map_err(|error| trouble("looking for free ports", &error))?;
    let key = KeyPair::generate().map_err(|error| trouble("making a key", &error))?;
    let token = uuid::Uuid::now_v7().to_string();
    let write = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).map_err(|error| trouble("writing a file", &error))
    };
    write("sa.key", &key.serialize_pem())?;
    write("sa.pub", &key.public_key_pem())?;
    write("tokens.csv", &format!("{token},admin,admin,\"system:masters\"\n"))?;
    write(
        "kubeconfig",
        &format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{secure}', tls-server-name: kubernetes, \
             certificate-authority: '{}/apiserver.crt'}}}}]\n\
             users: [{{name: admin, user: {{token: '{token}'}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]\n",
            dir.display()
        ),
    )?;
    let run = "dir=$1 assets=$2 client=$3 peer=$4 secure=$5\n\
        kill -KILL $(cat \"$dir/etcd.pid\" \"$dir/apiserver.pid\") 2>/dev/null\nrm -rf \"$dir\"";
    let ports = [client.to_string(), peer.to_string(), secure.to_string()];
    let (dir_text, assets_text) = (dir.to_string_lossy().into_owned(), assets.to_string_lossy().into_owned());
    let arguments = [dir_text.as_str(), &assets_text, &ports[0], &ports[1], &ports[2]];
    let keeper = Keeper::start(run, &arguments).map_err(|error| trouble("starting a shell", &error))?;
    let launch = "dir=$1 assets=$2 client=$3 peer=$4 secure=$5\n\
        setsid \"$assets/etcd\" --data-dir \"$dir/etcd\" --unsafe-no-fsync \
        --listen-client-urls http://127.0.0.1:$client --advertise-client-urls http://127.0.0.1:$client \
        --listen-peer-urls http://127.0.0.1:$peer >\"$dir/etcd.log\" 2>&1 </dev/null &\n\
        echo $! >\"$dir/etcd.pid\"\n\
        setsid \"$assets/kube-apiserver\" --etcd-servers=http://127.0.0.1:$client --bind-address=127.0.0.1 \
        --secure-port=$secure --cert-dir=\"$dir\" --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file=\"$dir/sa.pub\" --service-account-signing-key-file=\"$dir/sa.key\" \
        --token-auth-file=\"$dir/tokens.csv\" --authorization-mode=RBAC --service-cluster-ip-range=10.96.0.0/16 \
        --disable-admission-plugins=ServiceAccount >\"$dir/apiserver.log\" 2>&1 </dev/null &\n\
        echo $! >\"$dir/apiserver.pid\"";
    let launched = Command::new("sh").arg("-c").arg(launch).arg("launch").args(arguments).status();
    launched.map_err(|error| trouble("starting the API server", &error))?;
    let cluster = Cluster { kubeconfig: dir.join("kubeconfig"), network: None, script: None, _keeper: Some(keeper) };
    if ready(&cluster, &dir) {
        return Ok(cluster);
    }
    let log = std::fs::read_to_string(dir.join("apiserver.log")).unwrap_or_default();
    let end: Vec<&str> = log.lines().rev().take(5).collect();
    Err(format!("the API server did not start: {}", end.join(" / ")))
}

fn free_ports() -> std::io::Result<[u16; 3]> {
    let listeners =
        [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Waits until it answers; `false` when it has ended or takes too long.
fn ready(cluster: &Cluster, dir: &Path) -> bool {
    let begun = Instant::now();
    let alive = || {
        let process = std::fs::read_to_string(dir.join("apiserver.pid")).unwrap_or_default();
        Path::new("/proc").join(process.trim()).exists()
    };
    while begun.elapsed() < PATIENCE && alive() {
        let answers = dir.join("apiserver.crt").exists()
            && cluster.run_anywhere(|place| async move {
                let request = kube::core::Request::new("/readyz").get("", &kube::api::GetParams::default());
                match request {
                    Ok(request) => place.client.request_text(request).await.is_ok(),
                    Err(_) => place.client.apiserver_version().await.is_ok(),
                }
            });
        if answers {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
    false
}
