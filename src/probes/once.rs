//! Rounds at once, apart from any schedule: every target of a probe, one time each.

use std::time::Duration;

use futures::StreamExt;

use super::aggregate::{Counts, together};
use super::kinds::{Compiled, SpecError, Tools, compile};
use super::resident::{ExpandError, expand};
use super::result::{Failure, Observation, Reason};
use super::targets::{bind, own_target};
use super::trace::Trace;
use super::wire::lookup_failure;
use crate::api::{DEFAULT_NAMESPACE, ProbeSpec};
use crate::model::ProbeState;

/// The most targets that are probed at the same time: each has a socket, and a shell's usual limit
/// of 1,024 descriptors leaves room for several probes.
const MAX_TOGETHER: usize = 64;

/// A probe whose targets are known, ready to be run by hand.
pub struct Prepared {
    /// Each target; a failure where it could not even be found.
    targets: Vec<(String, Result<Compiled, Failure>)>,
    timeout: Duration,
    quorum: usize,
}

/// What one target gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Once {
    /// The target, as it was listed or found.
    pub target: String,
    /// The round.
    pub seen: Observation,
}

impl Prepared {
    /// Finds the targets of a probe and prepares each of them. The schedule of the spec has no part
    /// in it.
    ///
    /// # Errors
    /// The spec or a target is wrong, or a file of targets cannot be read. A name of targets that
    /// does not resolve is no error but what its rounds will tell.
    pub async fn new(spec: &ProbeSpec, timeout: Duration, tools: &Tools) -> Result<Self, SpecError> {
        let quorum = spec.quorum.map_or(1, |quorum| usize::try_from(quorum).unwrap_or(usize::MAX));
        let name = || spec.targets.as_ref().and_then(|targets| targets.dns.clone()).unwrap_or_default();
        let targets = match (expand((DEFAULT_NAMESPACE, spec), tools, None).await, &spec.targets) {
            (Ok(_), None) => vec![(own_target(spec), Ok(compile(spec, timeout, tools)?))],
            (Ok(list), Some(_)) => {
                let each = list.into_iter().map(|target| {
                    let compiled = at(spec, &target, timeout, tools)?;
                    Ok((target, Ok(compiled)))
                });
                each.collect::<Result<_, SpecError>>()?
            }
            (Err(ExpandError::Lookup(error)), _) => vec![(name(), Err(lookup_failure(&error)))],
            (Err(error @ ExpandError::Slow { .. }), _) => {
                vec![(name(), Err(Failure::new(Reason::Resolver, error.to_string())))]
            }
            (Err(error @ ExpandError::File { .. }), _) => {
                return Err(SpecError::new("targets.file", error.to_string()));
            }
            (Err(error @ (ExpandError::TooMany { .. } | ExpandError::Cluster(_))), _) => {
                return Err(SpecError::new("targets", error.to_string()));
            }
        };
        Ok(Self { targets, timeout, quorum })
    }

    /// Makes one round of each target; many at a time, told in the order of the targets.
    pub async fn observe(&self) -> Vec<Once> {
        let rounds = self.targets.iter().map(async |(target, compiled)| {
            let seen = match compiled {
                Ok(compiled) => compiled.observe().await,
                Err(failure) => Trace::begin(self.timeout).finish(Some(Err(failure.clone()))),
            };
            Once { target: target.clone(), seen }
        });
        futures::stream::iter(rounds).buffered(MAX_TOGETHER).collect().await
    }

    /// The state that rounds of its targets speak for together: by the probe's quorum, as the
    /// resident prober has it.
    #[must_use]
    pub fn state(&self, rounds: &[Once]) -> ProbeState {
        together(Counts::of(rounds.iter().map(|once| once.seen.state())), self.quorum)
    }
}

/// Prepares one target; what is wrong with it is said of the list that it stands in.
fn at(spec: &ProbeSpec, target: &str, timeout: Duration, tools: &Tools) -> Result<Compiled, SpecError> {
    let targets = spec.targets.as_ref();
    let listed = targets.and_then(|targets| targets.list.iter().position(|listed| listed == target));
    let field = match (listed, targets.and_then(|targets| targets.file.as_ref())) {
        (Some(index), _) => format!("targets.static[{index}]"),
        (None, Some(_)) => "targets.file".to_owned(),
        (None, None) => "targets.dns".to_owned(),
    };
    let bound = bind(spec, target).map_err(|error| SpecError { field, ..error })?;
    compile(&bound, timeout, tools)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::{Targets, TcpProbe};
    use crate::clock::SystemClock;
    use crate::outbound::{Outbound, Secrets};
    use rstest::rstest;

    fn tools(root: Option<std::path::PathBuf>) -> Tools {
        Tools { outbound: Outbound::new(Secrets::default()), clock: Arc::new(SystemClock::new()), root }
    }

    fn spec(targets: Targets) -> ProbeSpec {
        let tcp = TcpProbe { address: "shop:9".to_owned(), ..TcpProbe::default() };
        ProbeSpec { tcp: Some(tcp.into()), targets: Some(targets), ..ProbeSpec::default() }
    }

    #[rstest]
    #[case("uuu", 1, "u")]
    #[case("udu", 1, "d")]
    #[case("udu", 2, "g")]
    #[case("dud", 2, "d")]
    #[case("d?u", 2, "?")]
    #[case("??u", 3, "u")]
    #[case("u?", 1, "?")]
    #[case("ug", 1, "g")]
    #[case("dd", 5, "d")]
    #[case("", 1, "?")]
    fn a_quorum_of_targets_makes_the_state(#[case] targets: &str, #[case] quorum: usize, #[case] expected: &str) {
        let state = |letter: char| match letter {
            'u' => ProbeState::Up,
            'g' => ProbeState::Degraded,
            'd' => ProbeState::Down,
            _ => ProbeState::Unknown,
        };
        assert_eq!(together(Counts::of(targets.chars().map(state)), quorum), state(expected.chars().next().unwrap()));
    }

    #[tokio::test]
    async fn targets_come_from_all_their_sources_once_each() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("shops"), "127.0.0.1\n127.0.0.2 # second\n").unwrap();
        let targets = Targets {
            list: vec!["127.0.0.1".to_owned(), "127.0.0.3:1".to_owned()],
            file: Some("shops".to_owned()),
            dns: Some("127.0.0.4:2".to_owned()),
            ..Targets::default()
        };
        let timeout = Duration::from_secs(1);
        let prepared = Prepared::new(&spec(targets), timeout, &tools(Some(directory.path().to_owned()))).await.unwrap();
        let names: Vec<&str> = prepared.targets.iter().map(|(target, _)| target.as_str()).collect();
        assert_eq!(names, ["127.0.0.1", "127.0.0.2", "127.0.0.3:1", "127.0.0.4:2"]);
    }

    #[tokio::test]
    async fn a_target_that_is_none_is_named_by_its_field() {
        let error = |targets| async {
            let prepared = Prepared::new(&spec(targets), Duration::from_secs(1), &tools(None)).await;
            prepared.err().unwrap().field
        };
        let list = vec!["127.0.0.1".to_owned(), "a b".to_owned()];
        assert_eq!(error(Targets { list, ..Targets::default() }).await, "targets.static[1]");
        let file = Some("/nowhere/at/all".to_owned());
        assert_eq!(error(Targets { file, ..Targets::default() }).await, "targets.file");
        let dns = Some("127.0.0.1".to_owned());
        let spec = ProbeSpec { tcp: Some(Box::default()), ..spec(Targets { dns, ..Targets::default() }) };
        let prepared = Prepared::new(&spec, Duration::from_secs(1), &tools(None)).await;
        assert_eq!(prepared.err().unwrap().field, "targets.dns", "an address alone has no port");
    }

    #[tokio::test]
    async fn a_name_of_targets_that_must_not_be_probed_is_told_as_a_round() {
        let dns = Some("metadata.google.internal".to_owned());
        let targets = Targets { dns, ..Targets::default() };
        let prepared = Prepared::new(&spec(targets), Duration::from_secs(1), &tools(None)).await.unwrap();
        let rounds = prepared.observe().await;
        assert_eq!(rounds.len(), 1);
        assert_eq!((rounds[0].seen.reason, prepared.state(&rounds)), (Some(Reason::Forbidden), ProbeState::Unknown));
    }
}
