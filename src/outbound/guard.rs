//! Where requests may not go, whoever asks: pure.
//!
//! The addresses of a check are written by people who may edit gates, and those are not always the
//! people who may read the machine's cloud credentials. So link-local addresses (they are where
//! clouds serve credentials), the metadata services that live elsewhere, and addresses that no
//! single server has are refused. Loopback and private ranges are allowed: business checks and
//! metrics servers live there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Metadata services outside the link-local ranges.
const METADATA_V4: [(Ipv4Addr, &str); 3] = [
    (Ipv4Addr::new(100, 100, 100, 200), "the metadata service of Alibaba Cloud"),
    (Ipv4Addr::new(168, 63, 129, 16), "the platform service of Azure"),
    (Ipv4Addr::new(192, 0, 0, 192), "the metadata service of Oracle Cloud"),
];
const METADATA_V6: [(Ipv6Addr, &str); 3] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), "the metadata service of AWS"),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23), "the credentials service of Amazon EKS"),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), "the metadata service of Google Cloud"),
];
/// Their names. What these resolve to is refused as well; the names give a clearer message, and
/// hold where a resolver answers with an address that is not known here.
const METADATA_NAMES: [&str; 3] = ["metadata.google.internal", "metadata.goog", "instance-data.ec2.internal"];

/// Why a request may not go somewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address is forbidden.
    #[error("{address} is {what}: calls to it are refused")]
    Address {
        /// The address.
        address: IpAddr,
        /// What it is.
        what: &'static str,
    },
    /// The name is that of a metadata service.
    #[error("{0} is a cloud's metadata service: calls to it are refused")]
    Name(String),
    /// Neither http nor https.
    #[error("the scheme `{0}` is not allowed: it is http or https")]
    Scheme(String),
    /// User and password in a URL end up in logs.
    #[error("a URL must not carry a user or password: send them in a header from a secret file")]
    UserInfo,
    /// There is no host.
    #[error("a URL needs a host")]
    NoHost,
}

/// Judges URLs and addresses.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Vec<IpAddr>,
}

impl Guard {
    /// A guard that refuses link-local, metadata, multicast, broadcast and unspecified addresses.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets these very addresses through: a node-local DNS cache has a link-local one.
    #[must_use]
    pub fn allowing(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.allowed.extend(addresses);
        self
    }

    /// Whether a connection to `address` may be made.
    ///
    /// # Errors
    /// [`Refused::Address`], also where the address is another notation of a forbidden one:
    /// IPv4-mapped, IPv4-compatible, 6to4, NAT64, Teredo, ISATAP.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refused> {
        if self.allowed.contains(&address) {
            return Ok(());
        }
        let what = match address {
            IpAddr::V4(v4) => forbidden_v4(v4),
            IpAddr::V6(v6) => forbidden_v6(v6).or_else(|| embedded(v6).into_iter().flatten().find_map(forbidden_v4)),
        };
        what.map_or(Ok(()), |what| Err(Refused::Address { address, what }))
    }

    /// Whether `name` may be resolved.
    ///
    /// # Errors
    /// [`Refused::Name`].
    pub fn check_name(&self, name: &str) -> Result<(), Refused> {
        let plain = name.trim_end_matches('.');
        let listed = METADATA_NAMES.iter().any(|listed| listed.eq_ignore_ascii_case(plain));
        if listed { Err(Refused::Name(plain.to_ascii_lowercase())) } else { Ok(()) }
    }

    /// Whether `url` may be called, as far as it can be told without resolving its host; the
    /// addresses are judged when the connection is made.
    ///
    /// # Errors
    /// Any of [`Refused`].
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::UserInfo);
        }
        match url.host() {
            None => Err(Refused::NoHost),
            Some(Host::Domain(name)) => self.check_name(name),
            Some(Host::Ipv4(address)) => self.check_address(address.into()),
            Some(Host::Ipv6(address)) => self.check_address(address.into()),
        }
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    let known = METADATA_V4.iter().find(|(metadata, _)| *metadata == address).map(|(_, what)| *what);
    known.or_else(|| {
        if address.is_link_local() {
            Some("a link-local address, where clouds serve credentials")
        } else if address.is_broadcast() {
            Some("the broadcast address")
        } else if address.is_multicast() {
            Some("a multicast address")
        } else if address.octets().first() == Some(&0) {
            Some("the unspecified address")
        } else {
            None
        }
    })
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let known = METADATA_V6.iter().find(|(metadata, _)| *metadata == address).map(|(_, what)| *what);
    known.or_else(|| {
        if address.is_unicast_link_local() {
            Some("a link-local address, where clouds serve credentials")
        } else if address.is_multicast() {
            Some("a multicast address")
        } else if address.is_unspecified() {
            Some("the unspecified address")
        } else {
            None
        }
    })
}

/// The IPv4 addresses that `address` can stand for.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let pair = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // ::1 is loopback, and :: was judged before.
        [0, 0, 0, 0, 0, 0, 0, _] => [None, None],
        // In the last 32 bits: IPv4-compatible (RFC 4291 section 2.5.5.1), IPv4-mapped (2.5.5.2), its
        // translated form (RFC 2765), NAT64 with the well-known prefix (RFC 6052), ISATAP (RFC 5214);
        // and 6to4 (RFC 3056), behind its prefix.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low]
        | [0x2002, high, low, ..] => [Some(pair(high, low)), None],
        // NAT64 with the local-use prefix (RFC 8215), which may put the address behind a /48, too.
        [0x64, 0xff9b, 1, first, second, third, high, low] => {
            [Some(pair(high, low)), Some(pair(first, second.rotate_left(8) & 0xff00 | third >> 8))]
        }
        // Teredo (RFC 4380): the server, and the client with its bits turned.
        [0x2001, 0, server_high, server_low, .., high, low] => {
            [Some(pair(server_high, server_low)), Some(pair(!high, !low))]
        }
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("http://169.254.169.254/latest/meta-data")]
    #[case("http://169.254.170.2/v2/credentials")]
    #[case("http://[fe80::1]/")]
    #[case("http://[fd00:ec2::254]/")]
    #[case("http://[fd20:ce::254]/")]
    #[case("http://100.100.100.200/")]
    #[case("http://168.63.129.16/")]
    #[case("http://0.0.0.0:8080/")]
    #[case("http://0/")]
    #[case("http://[::]/")]
    #[case("http://255.255.255.255/")]
    #[case("http://224.0.0.1/")]
    #[case("http://[ff02::1]/")]
    // Other notations of the same address.
    #[case("http://2852039166/")]
    #[case("http://0xa9fea9fe/")]
    #[case("http://0251.0376.0251.0376/")]
    #[case("http://169.254.43518/")]
    #[case("http://[::ffff:169.254.169.254]/")]
    #[case("http://[::169.254.169.254]/")]
    #[case("http://[::ffff:0:169.254.169.254]/")]
    #[case("http://[64:ff9b::a9fe:a9fe]/")]
    #[case("http://[64:ff9b:1::a9fe:a9fe]/")]
    #[case("http://[64:ff9b:1:a9fe:a9:fe00::]/")]
    #[case("http://[2002:a9fe:a9fe::1]/")]
    #[case("http://[2001:0:a9fe:a9fe::1]/")]
    #[case("http://[2001::5601:5601]/")]
    #[case("http://[2001:db8::5efe:169.254.169.254]/")]
    #[case("http://metadata.google.internal/computeMetadata/v1/")]
    #[case("http://METADATA.Google.Internal./")]
    #[case("http://１６９.254.169.254/")]
    #[case("ftp://example.org/")]
    #[case("file:///etc/passwd")]
    #[case("http://user@example.org/")]
    #[case("http://user:password@example.org/")]
    #[case("unix:/run/docker.sock")]
    fn what_must_not_be_called_is_refused(#[case] url: &str) {
        let url: Url = url.parse().unwrap();
        let refused = Guard::new().check_url(&url);
        assert!(refused.is_err(), "{url}");
    }

    #[rstest]
    #[case("http://127.0.0.1:9090/")]
    #[case("http://[::1]/")]
    #[case("http://10.0.0.1/")]
    #[case("http://192.168.1.1/")]
    #[case("http://172.16.0.1/")]
    #[case("http://[fd12::1]/")]
    #[case("http://[::ffff:10.0.0.1]/")]
    #[case("https://checkout.shop.svc.cluster.local/healthz?x=1")]
    #[case("https://e2e.shop/run")]
    #[case("http://metadata.shop/")]
    fn services_inside_and_outside_the_cluster_are_allowed(#[case] url: &str) {
        assert_eq!(Guard::new().check_url(&url.parse().unwrap()), Ok(()));
    }

    #[test]
    fn an_address_that_was_named_is_let_through_alone() {
        let guard = Guard::new().allowing(["169.254.20.10".parse().unwrap()]);
        assert_eq!(guard.check_address("169.254.20.10".parse().unwrap()), Ok(()));
        assert!(guard.check_address("169.254.20.11".parse().unwrap()).is_err());
    }

    #[test]
    fn a_refusal_says_what_the_address_is() {
        let error = Guard::new().check_address("::ffff:169.254.169.254".parse().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "::ffff:169.254.169.254 is a link-local address, where clouds serve credentials: calls to it are refused"
        );
    }

    proptest! {
        #[test]
        fn a_forbidden_ipv4_address_is_forbidden_in_every_notation(low in any::<u16>(), rest in any::<u64>()) {
            let v4 = Ipv4Addr::from_bits(0xa9fe_0000 | u32::from(low));
            let bits = u128::from(v4.to_bits());
            let rest = u128::from(rest);
            let notations = [
                bits,
                0xffff_0000_0000 | bits,
                0xffff_0000_0000_0000 | bits,
                0x64_ff9b << 96 | bits,
                0x64_ff9b_0001 << 80 | bits,
                0x2002 << 112 | bits << 80 | rest,
                0x2001 << 112 | bits << 64 | rest,
                0x2001 << 112 | (rest & 0xffff_ffff) << 32 | !bits & 0xffff_ffff,
                rest << 64 | 0x5efe << 32 | bits,
                rest << 64 | 0x200_5efe << 32 | bits,
            ];
            for notation in notations {
                let v6 = Ipv6Addr::from_bits(notation);
                prop_assert!(Guard::new().check_address(v6.into()).is_err(), "{v6}");
            }
            prop_assert!(Guard::new().check_address(v4.into()).is_err());
        }

        #[test]
        fn private_addresses_are_allowed_in_every_notation(low in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(0x0a00_0000 | low & 0x00ff_ffff);
            prop_assert!(Guard::new().check_address(v4.into()).is_ok());
            prop_assert!(Guard::new().check_address(v4.to_ipv6_mapped().into()).is_ok());
        }

        #[test]
        fn no_text_makes_the_guard_panic(text in "\\PC{0,60}") {
            if let Ok(url) = text.parse::<Url>() {
                let _ = Guard::new().check_url(&url);
            }
        }
    }
}
