//! Where to connect to: host, port, and which family of addresses.

use std::fmt;
use std::net::Ipv6Addr;

use crate::api::IpFamily;
use crate::probes::SpecError;

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::probes) struct Place {
    /// A name, or an address without brackets.
    pub(in crate::probes) host: String,
    pub(in crate::probes) port: u16,
    pub(in crate::probes) family: IpFamily,
}

impl Place {
    /// Reads `host:port` or `[::1]:22`, and, where a port is known anyway, a host alone.
    ///
    /// # Errors
    /// It is neither.
    pub(in crate::probes) fn parse(
        field: &str,
        text: &str,
        family: Option<IpFamily>,
        port: Option<u16>,
    ) -> Result<Self, SpecError> {
        let example =
            if port.is_some() { "write `host`, `host:port` or `[::1]:22`" } else { "write `host:port` or `[::1]:22`" };
        let wrong = |why: &str| SpecError::new(field, format!("`{text}` {why}: {example}"));
        let (host, found) = divide(text);
        let port = match (found, port) {
            (Some(digits), _) => digits.parse().map_err(|_| wrong("has no port between 1 and 65535"))?,
            (None, Some(port)) => port,
            (None, None) => return Err(wrong("has no port")),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            _ if port == 0 => return Err(wrong("has port 0")),
            Some(v6) if v6.parse::<Ipv6Addr>().is_err() => return Err(wrong("has no IPv6 address in its brackets")),
            Some(v6) => v6,
            None if host.parse::<Ipv6Addr>().is_ok() => host,
            None if host.is_empty()
                || host.contains([':', '/', '[', ']', '@'])
                || host.contains(char::is_whitespace) =>
            {
                return Err(wrong("has no host"));
            }
            None => host,
        };
        Ok(Self { host: host.to_owned(), port, family: family.unwrap_or_default() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Host and port; an IPv6 address without brackets has no port.
fn divide(text: &str) -> (&str, Option<&str>) {
    if text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((_, rest)) if rest.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("redis.shop:6379", None, "redis.shop", 6379)]
    #[case("[::1]:22", None, "::1", 22)]
    #[case("127.0.0.1:80", None, "127.0.0.1", 80)]
    #[case("ns1.shop", Some(53), "ns1.shop", 53)]
    #[case("ns1.shop:5353", Some(53), "ns1.shop", 5353)]
    #[case("[::1]", Some(53), "::1", 53)]
    #[case("2001:db8::1", Some(53), "2001:db8::1", 53)]
    fn a_place_is_host_and_port(
        #[case] text: &str,
        #[case] default: Option<u16>,
        #[case] host: &str,
        #[case] port: u16,
    ) {
        let place = Place::parse("tcp.address", text, None, default).unwrap();
        assert_eq!((place.host.as_str(), place.port), (host, port));
    }

    #[rstest]
    #[case("redis")]
    #[case("redis:")]
    #[case(":6379")]
    #[case("redis:0")]
    #[case("redis:65536")]
    #[case("::1:22")]
    #[case("[redis]:22")]
    #[case("http://redis:80")]
    #[case("a b:80")]
    fn what_is_no_place_is_refused_with_an_example(#[case] text: &str) {
        let message = Place::parse("tcp.address", text, None, None).unwrap_err().to_string();
        assert!(message.contains("host:port") && message.contains(text), "{message}");
    }

    #[test]
    fn a_place_is_shown_as_it_is_typed() {
        let shown = |text: &str| Place::parse("tcp.address", text, None, None).unwrap().to_string();
        assert_eq!((shown("[::1]:22").as_str(), shown("redis:6379").as_str()), ("[::1]:22", "redis:6379"));
    }
}
