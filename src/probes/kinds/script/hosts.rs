//! Where a script may connect to: pure.

use std::net::IpAddr;

use url::{Host, Url};

use crate::api::ScriptProbe;
use crate::outbound::Guard;
use crate::probes::SpecError;
use crate::probes::wire::Place;

/// What a script may reach: the host of its target, and what the spec lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// In lower case; without the `*.` where `below`.
    host: String,
    /// Whether it is every name below the host, and not the host itself.
    below: bool,
    /// Any, where none is given.
    port: Option<u16>,
}

/// What a script knows as `target`.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) text: String,
    /// Where it is a URL: what paths are resolved against.
    pub(super) url: Option<Url>,
    /// A name, or an address without brackets.
    pub(super) host: String,
}

impl Target {
    /// Reads a URL, `host` or `host:port`.
    pub(super) fn parse(text: &str, guard: &Guard) -> Result<Self, SpecError> {
        const FIELD: &str = "script.target";
        let wrong = |why: String| SpecError::new(FIELD, why);
        let (url, host) = if text.contains("://") {
            let url: Url = text.parse().map_err(|error| wrong(format!("`{text}` is no URL: {error}")))?;
            guard.check_url(&url).map_err(|refused| wrong(refused.to_string()))?;
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            (Some(url), host)
        } else {
            // Any port will do: it is the script that connects.
            (None, Place::parse(FIELD, text, None, Some(1))?.host)
        };
        check(&host, guard).map_err(wrong)?;
        Ok(Self { text: text.to_owned(), url, host: plain(&host) })
    }
}

impl Hosts {
    /// Reads the list of a spec.
    pub(super) fn compile(spec: &ScriptProbe, target: Option<&Target>, guard: &Guard) -> Result<Self, SpecError> {
        let listed = spec.hosts.iter().enumerate().map(|(index, text)| {
            let field = format!("script.hosts[{index}]");
            let (below, rest) = text.strip_prefix("*.").map_or((false, text.as_str()), |rest| (true, rest));
            let wrong =
                |why: &str| SpecError::new(&*field, format!("`{text}` {why}: write `host`, `host:port` or `*.domain`"));
            if rest.contains('*') {
                return Err(wrong("has a star in another place than its beginning"));
            }
            let with_port = Place::parse(&field, rest, None, None).ok();
            let port = with_port.as_ref().map(|place| place.port);
            let found = with_port.map_or_else(|| Place::parse(&field, rest, None, Some(1)), Ok);
            let found = found.map_err(|_| wrong("is no host"))?;
            let place = Pattern { host: plain(&found.host), below, port };
            if below && place.host.parse::<IpAddr>().is_ok() {
                return Err(wrong("is an address, and no name is below it"));
            }
            check(&place.host, guard).map_err(|why| SpecError::new(&*field, why))?;
            Ok(place)
        });
        let mut patterns = listed.collect::<Result<Vec<_>, _>>()?;
        patterns.extend(target.map(|target| Pattern { host: target.host.clone(), below: false, port: None }));
        Ok(Self(patterns))
    }

    /// Whether a connection to `host` and `port` may be made; a look-up has no port.
    pub(super) fn allow(&self, host: &str, port: Option<u16>) -> Result<(), String> {
        let host = plain(host.trim_matches(['[', ']']));
        let allowed = self.0.iter().any(|pattern| {
            let named = if pattern.below {
                host.strip_suffix(&pattern.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            } else {
                host == pattern.host
            };
            named && (port.is_none() || pattern.port.is_none() || pattern.port == port)
        });
        if allowed {
            return Ok(());
        }
        let place = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        Err(format!("{place} is neither the target's host nor among `hosts`"))
    }
}

fn check(host: &str, guard: &Guard) -> Result<(), String> {
    let refused = match host.parse::<IpAddr>() {
        Ok(address) => guard.check_address(address),
        Err(_) => guard.check_name(host),
    };
    refused.map_err(|refused| refused.to_string())
}

/// One notation for each host.
fn plain(host: &str) -> String {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name.trim_end_matches('.').to_ascii_lowercase(),
        Ok(Host::Ipv4(address)) => address.to_string(),
        Ok(Host::Ipv6(address)) => address.to_string(),
        Err(_) => host.parse::<IpAddr>().map_or_else(|_| host.to_ascii_lowercase(), |address| address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn hosts(list: &[&str], target: Option<&str>) -> Hosts {
        let guard = Guard::new();
        let spec =
            ScriptProbe { hosts: list.iter().map(|host| (*host).to_owned()).collect(), ..ScriptProbe::default() };
        let target = target.map(|target| Target::parse(target, &guard).unwrap());
        Hosts::compile(&spec, target.as_ref(), &guard).unwrap()
    }

    #[rstest]
    #[case("shop.example", Some(443), true)]
    #[case("SHOP.example.", Some(80), true)]
    #[case("other.example", Some(443), false)]
    #[case("xshop.example", Some(443), false)]
    #[case("login.example", Some(8443), true)]
    #[case("login.example", Some(443), false)]
    #[case("login.example", None, true)]
    #[case("a.b.corp.example", Some(1), true)]
    #[case("corp.example", Some(1), false)]
    #[case("evilcorp.example", Some(1), false)]
    #[case(".corp.example", Some(1), false)]
    #[case("10.0.0.1", Some(5_432), true)]
    #[case("[::1]", Some(80), true)]
    #[case("0:0:0:0:0:0:0:1", Some(80), true)]
    fn only_the_target_and_what_is_listed_is_reached(
        #[case] host: &str,
        #[case] port: Option<u16>,
        #[case] allowed: bool,
    ) {
        let hosts =
            hosts(&["login.example:8443", "*.corp.example", "10.0.0.1", "[::1]:80"], Some("https://Shop.example/api"));
        assert_eq!(hosts.allow(host, port).is_ok(), allowed);
    }

    #[rstest]
    #[case("a*b.example")]
    #[case("*")]
    #[case("*.10.0.0.1")]
    #[case("https://shop.example")]
    #[case("169.254.169.254")]
    #[case("metadata.google.internal:80")]
    #[case("")]
    fn what_is_no_host_is_refused_by_its_field(#[case] text: &str) {
        let spec = ScriptProbe { hosts: vec!["shop".to_owned(), text.to_owned()], ..ScriptProbe::default() };
        assert_eq!(Hosts::compile(&spec, None, &Guard::new()).unwrap_err().field, "script.hosts[1]");
    }

    #[rstest]
    #[case("https://shop.example/api", "shop.example", true)]
    #[case("http://[::1]:8080", "::1", true)]
    #[case("shop.example", "shop.example", false)]
    #[case("Shop.example:6379", "shop.example", false)]
    fn a_target_is_a_url_or_a_place(#[case] text: &str, #[case] host: &str, #[case] url: bool) {
        let target = Target::parse(text, &Guard::new()).unwrap();
        assert_eq!((target.host.as_str(), target.url.is_some()), (host, url));
    }

    #[rstest]
    #[case("ftp://shop.example")]
    #[case("https://ada:secret@shop.example")]
    #[case("http://169.254.169.254/")]
    #[case("169.254.169.254")]
    #[case("a b")]
    fn what_is_no_target_is_refused(#[case] text: &str) {
        assert_eq!(Target::parse(text, &Guard::new()).unwrap_err().field, "script.target");
    }

    proptest! {
        #[test]
        fn nothing_is_reached_without_being_listed(host in "[a-z0-9.\\[\\]:*-]{0,30}", port in any::<u16>()) {
            prop_assume!(plain(host.trim_matches(['[', ']'])) != "shop.example");
            prop_assert!(hosts(&["shop.example"], None).allow(&host, Some(port)).is_err());
        }
    }
}
