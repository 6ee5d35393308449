//! Whom a probe probes just now: its list, the lines of its file, the addresses of its name, what
//! stands in the cluster.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::api::{ProbeSpec, Targets};
use crate::outbound::LookupError;
use crate::probes::kinds::Tools;
use crate::probes::places::Places;
use crate::probes::targets::{MAX_FILE, MAX_TARGETS, own_target, read_lines};
use crate::probes::wire::Place;

/// How often files and names are looked at again: the addresses of a service are current within a
/// few seconds, and its resolver is not asked more often than its answers usually live.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A name that takes longer is asked for again later; the last known addresses stay.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the targets of a probe are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// The file cannot be read.
    #[error("the file of targets {file}: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The name cannot be resolved.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The name takes too long.
    #[error("the resolver gave no answer for {name} within {} s", LOOKUP_TIMEOUT.as_secs())]
    Slow {
        /// The name.
        name: String,
    },
    /// What stands in the cluster is not there, or there is no cluster.
    #[error("{0}")]
    Cluster(String),
    /// There are too many.
    #[error("{found} targets are too many: {MAX_TARGETS} are allowed")]
    TooMany {
        /// How many there are.
        found: usize,
    },
}

/// The targets of a spec that stands in `namespace`, each once, in order. A spec without a list has its
/// own one. Without `places` there is no cluster.
///
/// # Errors
/// Any of [`ExpandError`].
pub async fn expand(
    (namespace, spec): (&str, &ProbeSpec),
    tools: &Tools,
    places: Option<&dyn Places>,
) -> Result<Vec<String>, ExpandError> {
    let Some(targets) = &spec.targets else { return Ok(vec![own_target(spec)]) };
    let mut all: BTreeSet<String> = targets.list.iter().cloned().collect();
    if let Some(file) = &targets.file {
        all.extend(read(file, tools.root.as_deref())?);
    }
    if let Some(name) = &targets.dns {
        all.extend(resolve(name, tools).await?);
    }
    if targets.are_in_cluster() {
        let nowhere = || "its targets stand in a cluster: only an operator there (`serve --kubernetes`) finds them";
        let places = places.ok_or_else(|| ExpandError::Cluster(nowhere().to_owned()))?;
        all.extend(places.find(namespace, targets).map_err(ExpandError::Cluster)?);
    }
    if all.len() > MAX_TARGETS {
        return Err(ExpandError::TooMany { found: all.len() });
    }
    Ok(all.into_iter().collect())
}

/// Whether the targets may change without a new spec.
pub(super) fn moves(targets: &Targets) -> bool {
    targets.file.is_some() || targets.dns.is_some() || targets.are_in_cluster()
}

fn read(file: &str, root: Option<&Path>) -> Result<Vec<String>, ExpandError> {
    let wrong = |why: String| ExpandError::File { file: file.to_owned(), why };
    // Whoever may write a probe must not read other files by it: lines stand in messages.
    let plain = Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain {
        return Err(wrong("only a path below the directory of the resources is allowed".to_owned()));
    }
    let path = root.map_or_else(|| PathBuf::from(file), |root| root.join(file));
    let mut text = String::new();
    let opened = fs::File::open(&path).map_err(|error| wrong(error.to_string()))?;
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX) + 1;
    opened.take(most).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    if text.len() > MAX_FILE {
        return Err(wrong(format!("it is larger than {MAX_FILE} bytes")));
    }
    read_lines(&text).map_err(|error| wrong(error.why))
}

/// The addresses of a name, each with the port that the name came with.
async fn resolve(name: &str, tools: &Tools) -> Result<Vec<String>, ExpandError> {
    let place = Place::parse("targets.dns", name, None, None).ok();
    let host = place.as_ref().map_or(name, |place| place.host.as_str());
    let asked = tokio::time::timeout(LOOKUP_TIMEOUT, tools.outbound.lookup().resolve(host)).await;
    let addresses = asked.map_err(|_| ExpandError::Slow { name: host.to_owned() })??;
    let shown = |address: std::net::IpAddr| match &place {
        Some(place) => std::net::SocketAddr::new(address, place.port).to_string(),
        None => address.to_string(),
    };
    Ok(addresses.into_iter().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TcpProbe;
    use crate::clock::SystemClock;
    use crate::outbound::{Outbound, Secrets};
    use std::sync::Arc;

    fn tools(root: Option<PathBuf>) -> Tools {
        Tools { outbound: Outbound::new(Secrets::new(None)), clock: Arc::new(SystemClock::new()), root }
    }

    fn spec(targets: Option<Targets>) -> ProbeSpec {
        let tcp = TcpProbe { address: "redis:6379".to_owned(), ..TcpProbe::default() };
        ProbeSpec { tcp: Some(tcp.into()), targets, ..ProbeSpec::default() }
    }

    #[tokio::test]
    async fn without_a_list_there_is_the_kinds_own_address() {
        assert_eq!(expand(("shop", &spec(None)), &tools(None), None).await.unwrap(), ["redis:6379"]);
    }

    #[tokio::test]
    async fn list_file_and_name_are_taken_together() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("hosts"), "10.0.0.2:1\n10.0.0.1:1 # again\n").unwrap();
        let targets = Targets {
            list: vec!["10.0.0.1:1".to_owned()],
            file: Some("hosts".to_owned()),
            dns: Some("[::1]:6379".to_owned()),
            ..Targets::default()
        };
        let found =
            expand(("shop", &spec(Some(targets))), &tools(Some(directory.path().to_owned())), None).await.unwrap();
        assert_eq!(found, ["10.0.0.1:1", "10.0.0.2:1", "[::1]:6379"]);
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let targets = Targets { file: Some("gone".to_owned()), ..Targets::default() };
        let error = expand(("shop", &spec(Some(targets))), &tools(None), None).await.unwrap_err().to_string();
        assert!(error.starts_with("the file of targets gone: No such file"), "{error}");
    }

    #[tokio::test]
    async fn a_file_elsewhere_is_not_read() {
        for file in ["/etc/hostname", "../secret", "lists/../../secret"] {
            let targets = Targets { file: Some(file.to_owned()), ..Targets::default() };
            let error = expand(("shop", &spec(Some(targets))), &tools(None), None).await.unwrap_err().to_string();
            assert!(error.ends_with("only a path below the directory of the resources is allowed"), "{error}");
        }
    }

    #[tokio::test]
    async fn without_a_cluster_what_stands_in_one_is_not_found() {
        let targets = Targets { service: Some("checkout".to_owned()), ..Targets::default() };
        let error = expand(("shop", &spec(Some(targets))), &tools(None), None).await.unwrap_err().to_string();
        assert!(error.contains("only an operator there"), "{error}");
    }
}
