//! Asking: /etc/hosts, then the name servers of resolv.conf, through hickory.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::{Either, select};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::time::timeout;

use super::names::{Fault, Found};
use super::{MAX_ADDRESSES, no_address};
use crate::api::IpFamily;

/// How long the second family is waited for once the first has addresses: some servers never answer
/// a question for AAAA, and a healthy target must not wait for them.
const GRACE: Duration = Duration::from_millis(300);
/// How long an answer holds that lacks a family nobody could tell about.
const INCOMPLETE_TTL: Duration = Duration::from_secs(5);
/// How long what stands in /etc/hosts holds: the file is looked at anyway.
const HOSTS_TTL: Duration = Duration::from_secs(60);
/// The most search domains that are tried: what glibc allowed for decades, and as much again.
const MAX_SEARCH: usize = 12;
/// The most that is waited for one name server before it is asked again, whatever resolv.conf says: a
/// lost datagram must not cost more rounds than it has to.
const MAX_PATIENCE: Duration = Duration::from_secs(2);
/// The most often that a question is asked again.
const MAX_ATTEMPTS: usize = 4;

/// One configuration, ready to ask.
pub(super) struct Servers {
    /// The resolver, or why there is none.
    resolver: Result<TokioResolver, String>,
    search: Vec<Name>,
    ndots: usize,
    hosts: Hosts,
}

/// What came of the question for one kind of record.
enum Half {
    /// Addresses, and how long they hold.
    Addresses(Vec<IpAddr>, Duration),
    /// There is no such name, or it has no such record.
    Nothing(&'static str),
    /// Nobody could tell; whether a server at least answered.
    Trouble { why: String, answered: bool },
}

impl Servers {
    /// Reads the texts of resolv.conf and of the hosts file; either may be absent.
    pub(super) fn read(resolv_conf: Result<Vec<u8>, String>, hosts: &[u8]) -> Self {
        let parsed =
            resolv_conf.and_then(|text| system_conf::parse_resolv_conf(text).map_err(|error| error.to_string()));
        match parsed {
            Ok((config, options)) => Self::build(&config, options, hosts),
            Err(why) => Self {
                resolver: Err(format!("there is no name server to ask: {why}")),
                search: Vec::new(),
                ndots: 1,
                hosts: read_hosts(hosts),
            },
        }
    }

    /// Asks these servers and nobody else.
    pub(super) fn of(addresses: &[SocketAddr]) -> Self {
        let servers = addresses.iter().map(|address| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.into())
        });
        let mut options = ResolverOpts::default();
        // Whoever is named by address and port is near.
        (options.timeout, options.attempts) = (Duration::from_secs(1), 1);
        Self::build(&ResolverConfig::from_name_servers(servers.collect()), options, b"")
    }

    fn build(config: &ResolverConfig, mut options: ResolverOpts, hosts: &[u8]) -> Self {
        let mut search = config.search().to_vec();
        if search.is_empty() {
            search.extend(config.domain().cloned());
        }
        search.truncate(MAX_SEARCH);
        let ndots = options.ndots;
        // Search domains, the hosts file and the cache are ours: what is trouble and what is an
        // answer would be lost between them.
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        options.timeout = options.timeout.min(MAX_PATIENCE);
        options.attempts = options.attempts.min(MAX_ATTEMPTS);
        let servers = ResolverConfig::from_name_servers(config.name_servers().to_vec());
        let mut builder = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|error| error.to_string());
        Self { resolver, search, ndots, hosts: read_hosts(hosts) }
    }

    /// The addresses of a name, and how long they hold.
    pub(super) async fn resolve(&self, name: &str, family: IpFamily) -> (Found, Duration) {
        let Ok(parsed) = Name::from_str_relaxed(name).and_then(|parsed| parsed.append_domain(&Name::root())) else {
            return (Err(Fault::NoSuchName("it is no valid name".into())), Duration::ZERO);
        };
        let known = self.in_hosts(&parsed, family);
        if !known.is_empty() {
            return (Ok(known.into()), HOSTS_TTL);
        }
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(why) => return (Err(Fault::Trouble(why.as_str().into())), Duration::ZERO),
        };
        let mut nothing = no_address(family);
        let mut refused = None;
        for candidate in self.candidates(&parsed, name.ends_with('.')) {
            match ask(resolver, &candidate, family).await {
                Half::Addresses(addresses, ttl) => return (Ok(addresses.into()), ttl),
                Half::Nothing(why) => nothing = why,
                // A search domain whose servers refuse says nothing about the names that follow.
                Half::Trouble { why, answered: true } => refused = Some(why),
                // No answer at all: the next name could be another service than the one that is meant.
                Half::Trouble { why, answered: false } => return (Err(Fault::Trouble(why.into())), Duration::ZERO),
            }
        }
        let fault = refused.map_or_else(|| Fault::NoSuchName(nothing.into()), |why| Fault::Trouble(why.into()));
        (Err(fault), Duration::ZERO)
    }

    fn in_hosts(&self, name: &Name, family: IpFamily) -> Vec<IpAddr> {
        let of = |kind| {
            let lookup = self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
            let answers = lookup.as_ref().map_or(&[][..], |lookup| lookup.answers());
            answers.iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
        };
        match family {
            IpFamily::Any => mixed(of(RecordType::A), of(RecordType::AAAA)),
            IpFamily::Ipv4 => mixed(of(RecordType::A), Vec::new()),
            IpFamily::Ipv6 => mixed(of(RecordType::AAAA), Vec::new()),
        }
    }

    /// The names to ask for, in order: as resolv.conf(5) describes `search` and `ndots`.
    fn candidates(&self, name: &Name, rooted: bool) -> Vec<Name> {
        let mut names = vec![name.clone()];
        if rooted {
            return names;
        }
        let mut relative = name.clone();
        relative.set_fqdn(false);
        let found = self.search.iter().filter_map(|domain| relative.clone().append_domain(domain).ok());
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let place = if dots >= self.ndots { names.len() } else { 0 };
        names.splice(place..place, found);
        names
    }
}

fn read_hosts(text: &[u8]) -> Hosts {
    let mut hosts = Hosts::default();
    // It reads from memory, and skips what it does not understand.
    if let Err(error) = hosts.read_hosts_conf(text) {
        tracing::debug!(%error, "The hosts file is not text; what stands before is used.");
    }
    hosts
}

/// Both families taken in turn, so that a round that tries few addresses tries both; cut at the limit.
fn mixed(first: Vec<IpAddr>, second: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    while all.len() < MAX_ADDRESSES {
        let before = all.len();
        all.extend(first.next());
        all.extend(second.next());
        if all.len() == before {
            break;
        }
    }
    all.truncate(MAX_ADDRESSES);
    all
}

async fn ask(resolver: &TokioResolver, name: &Name, family: IpFamily) -> Half {
    match family {
        IpFamily::Ipv4 => half(resolver, name, RecordType::A).await,
        IpFamily::Ipv6 => half(resolver, name, RecordType::AAAA).await,
        IpFamily::Any => both(half(resolver, name, RecordType::A), half(resolver, name, RecordType::AAAA)).await,
    }
}

/// Both families: what one of them has is enough, and nothing counts only where both have nothing.
async fn both(v4: impl Future<Output = Half>, v6: impl Future<Output = Half>) -> Half {
    let (v4, v6) = (std::pin::pin!(v4), std::pin::pin!(v6));
    let (v4, v6) = match select(v4, v6).await {
        Either::Left((v4, rest)) => {
            let settled = matches!(v4, Half::Addresses(..) | Half::Nothing(NO_NAME));
            let v6 = follow(settled, rest).await;
            (v4, v6)
        }
        // Some servers deny the whole name where they should deny its IPv6 address.
        Either::Right((v6, rest)) => {
            let v4 = follow(matches!(v6, Half::Addresses(..)), rest).await;
            (v4, v6)
        }
    };
    match (v4, v6) {
        (Half::Addresses(v4, one), Half::Addresses(v6, other)) => Half::Addresses(mixed(v4, v6), one.min(other)),
        (Half::Addresses(found, ttl), Half::Nothing(_)) | (Half::Nothing(_), Half::Addresses(found, ttl)) => {
            Half::Addresses(found, ttl)
        }
        (Half::Addresses(found, ttl), Half::Trouble { .. }) | (Half::Trouble { .. }, Half::Addresses(found, ttl)) => {
            Half::Addresses(found, ttl.min(INCOMPLETE_TTL))
        }
        (Half::Nothing(NO_NAME), _) => Half::Nothing(NO_NAME),
        (trouble @ Half::Trouble { .. }, _) | (_, trouble @ Half::Trouble { .. }) => trouble,
        (Half::Nothing(_), Half::Nothing(_)) => Half::Nothing(no_address(IpFamily::Any)),
    }
}

/// The other family, with little patience where the first has settled the matter.
async fn follow(settled: bool, second: impl Future<Output = Half>) -> Half {
    if !settled {
        return second.await;
    }
    let late = || Half::Trouble { why: "no answer in time".to_owned(), answered: false };
    timeout(GRACE, second).await.unwrap_or_else(|_| late())
}

/// What is said of a name that does not exist.
const NO_NAME: &str = "there is no such name";

async fn half(resolver: &TokioResolver, name: &Name, kind: RecordType) -> Half {
    let family = if kind == RecordType::A { IpFamily::Ipv4 } else { IpFamily::Ipv6 };
    match resolver.lookup(name.clone(), kind).await {
        Ok(found) => {
            let addresses = found.answers().iter().filter_map(|record| record.data.ip_addr());
            let addresses: Vec<IpAddr> = addresses.take(MAX_ADDRESSES).collect();
            let ttl = found.valid_until().saturating_duration_since(std::time::Instant::now());
            if addresses.is_empty() { Half::Nothing(no_address(family)) } else { Half::Addresses(addresses, ttl) }
        }
        Err(error) => failed(&error, family),
    }
}

/// Tells an answer from trouble.
fn failed(error: &NetError, family: IpFamily) -> Half {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(found)) if found.response_code == ResponseCode::NXDomain => {
            Half::Nothing(NO_NAME)
        }
        NetError::Dns(DnsError::NoRecordsFound(_)) => Half::Nothing(no_address(family)),
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Half::Trouble { why: format!("the name server answered {code}"), answered: true }
        }
        NetError::Timeout => Half::Trouble { why: "no name server answered in time".to_owned(), answered: false },
        NetError::NoConnections => Half::Trouble { why: "no name server can be reached".to_owned(), answered: false },
        other => Half::Trouble { why: other.to_string(), answered: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::short("api", &["api.shop.svc.cluster.local.", "api.svc.cluster.local.", "api."])]
    #[case::dotted("api.shop", &["api.shop.shop.svc.cluster.local.", "api.shop.svc.cluster.local.", "api.shop."])]
    #[case::long("a.b.c", &["a.b.c.", "a.b.c.shop.svc.cluster.local.", "a.b.c.svc.cluster.local."])]
    #[case::rooted("api.shop.", &["api.shop."])]
    fn names_are_searched_as_resolv_conf_says(#[case] name: &str, #[case] expected: &[&str]) {
        let text = "nameserver 127.0.0.1\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:2\n";
        let servers = Servers::read(Ok(text.into()), b"");
        let mut parsed = Name::from_ascii(name).unwrap();
        parsed.set_fqdn(true);
        let names: Vec<String> = servers.candidates(&parsed, name.ends_with('.')).iter().map(Name::to_ascii).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_machine_without_name_servers_says_so() {
        for text in [Err("gone".to_owned()), Ok(Vec::new()), Ok(b"search shop\n".to_vec())] {
            assert!(Servers::read(text, b"").resolver.is_err());
        }
    }

    #[test]
    fn both_families_are_mixed_and_cut() {
        let v4 = |n: u8| IpAddr::from([192, 0, 2, n]);
        let v6 = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
        assert_eq!(mixed(vec![v4(1)], vec![v6(1), v6(2), v6(3)]), [v4(1), v6(1), v6(2), v6(3)]);
        let many = mixed((0..200).map(v4).collect(), (0..200).map(v6).collect());
        assert_eq!(many.len(), MAX_ADDRESSES);
    }
}
