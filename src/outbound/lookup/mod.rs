//! Names to addresses, with the guard in between.

mod names;
mod servers;
mod system;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;

use super::guard::{Guard, Refused};
use crate::api::IpFamily;

pub use system::SystemLookup;

/// The most addresses of one name that are used; a name with more is cut, not refused.
const MAX_ADDRESSES: usize = 64;

/// Why a name has no address for us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The resolver answered: there is no such name, or it has no address.
    #[error("the name {name} does not resolve: {why}")]
    NoSuchName {
        /// The name.
        name: String,
        /// The resolver's words.
        why: String,
    },
    /// The resolver did not answer, or answered that it cannot tell now. That says nothing about
    /// the name.
    #[error("the resolver is in trouble with {name}: {why}")]
    Trouble {
        /// The name.
        name: String,
        /// The resolver's words.
        why: String,
    },
    /// The name resolves, to where no connection may go.
    #[error("{name}: {refused}")]
    Refused {
        /// The name.
        name: String,
        /// What is refused.
        refused: Refused,
    },
}

/// A resolver.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// Every address of `name`.
    ///
    /// # Errors
    /// [`LookupError::NoSuchName`], [`LookupError::Trouble`].
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError>;

    /// Every address of `name` that is of `family`. A resolver that can ask for one family alone
    /// does so; by default the others are left out.
    ///
    /// # Errors
    /// As [`Lookup::lookup`].
    async fn lookup_in(&self, name: &str, family: IpFamily) -> Result<Vec<IpAddr>, LookupError> {
        let mut addresses = self.lookup(name).await?;
        addresses.retain(|address| is_of(*address, family));
        Ok(addresses)
    }
}

/// Whether an address is of a family.
const fn is_of(address: IpAddr, family: IpFamily) -> bool {
    match family {
        IpFamily::Any => true,
        IpFamily::Ipv4 => address.is_ipv4(),
        IpFamily::Ipv6 => address.is_ipv6(),
    }
}

/// A resolver behind the guard: forbidden addresses never come out of it, so that a name that
/// changes its address between two questions (DNS rebinding) gains nothing.
#[derive(Clone)]
pub struct GuardedLookup {
    lookup: Arc<dyn Lookup>,
    guard: Guard,
}

impl GuardedLookup {
    /// Puts `guard` behind `lookup`.
    #[must_use]
    pub fn new(lookup: Arc<dyn Lookup>, guard: Guard) -> Self {
        Self { lookup, guard }
    }

    /// The guard.
    #[must_use]
    pub const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The allowed addresses of `host`: a name, or an address itself.
    ///
    /// # Errors
    /// Any of [`LookupError`]; refused only where no allowed address is left.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.resolve_in(host, IpFamily::Any).await
    }

    /// The allowed addresses of `host` that are of `family`.
    ///
    /// # Errors
    /// As [`GuardedLookup::resolve`].
    pub async fn resolve_in(&self, host: &str, family: IpFamily) -> Result<Vec<IpAddr>, LookupError> {
        let refused = |refused| LookupError::Refused { name: host.to_owned(), refused };
        let none = || LookupError::NoSuchName { name: host.to_owned(), why: no_address(family).to_owned() };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            self.guard.check_address(address).map_err(refused)?;
            return if is_of(address, family) { Ok(vec![address]) } else { Err(none()) };
        }
        self.guard.check_name(host).map_err(refused)?;
        let addresses = self.lookup.lookup_in(host, family).await?;
        let mut last = None;
        let allowed: Vec<IpAddr> = addresses
            .into_iter()
            .filter(|address| match self.guard.check_address(*address) {
                Ok(()) => true,
                Err(error) => {
                    last = Some(error);
                    false
                }
            })
            .take(MAX_ADDRESSES)
            .collect();
        match (allowed.is_empty(), last) {
            (false, _) => Ok(allowed),
            (true, Some(error)) => Err(refused(error)),
            (true, None) => Err(none()),
        }
    }
}

/// What a name has not.
const fn no_address(family: IpFamily) -> &'static str {
    match family {
        IpFamily::Any => "it has no address",
        IpFamily::Ipv4 => "it has no IPv4 address",
        IpFamily::Ipv6 => "it has no IPv6 address",
    }
}

impl reqwest::dns::Resolve for GuardedLookup {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = Self::resolve(&this, name.as_str()).await?;
            // Port 0 stands for the URL's own port.
            let sockets = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<IpAddr>);

    #[async_trait]
    impl Lookup for Fixed {
        async fn lookup(&self, _: &str) -> Result<Vec<IpAddr>, LookupError> {
            Ok(self.0.clone())
        }
    }

    fn guarded(addresses: &[&str]) -> GuardedLookup {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        GuardedLookup::new(Arc::new(Fixed(addresses)), Guard::new())
    }

    #[tokio::test]
    async fn only_allowed_addresses_come_out() {
        let addresses = guarded(&["169.254.169.254", "10.0.0.1", "fe80::1"]).resolve("shop").await.unwrap();
        assert_eq!(addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_with_forbidden_addresses_alone_is_refused() {
        let error = guarded(&["169.254.169.254"]).resolve("evil.example").await.unwrap_err();
        assert!(matches!(error, LookupError::Refused { .. }), "{error}");
        assert!(error.to_string().starts_with("evil.example: 169.254.169.254 is a link-local"), "{error}");
    }

    #[tokio::test]
    async fn a_name_without_addresses_does_not_resolve() {
        assert!(matches!(guarded(&[]).resolve("shop").await, Err(LookupError::NoSuchName { .. })));
    }

    #[tokio::test]
    async fn an_address_in_place_of_a_name_is_judged_too() {
        assert!(guarded(&[]).resolve("[fe80::1]").await.is_err());
        assert_eq!(guarded(&[]).resolve("[::1]").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn a_family_alone_leaves_out_the_other() {
        let both = guarded(&["10.0.0.1", "fd12::1"]);
        let found = async |family| both.resolve_in("shop", family).await.unwrap();
        assert_eq!(found(IpFamily::Ipv6).await, ["fd12::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(found(IpFamily::Ipv4).await, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        let error = both.resolve_in("127.0.0.1", IpFamily::Ipv6).await.unwrap_err();
        assert_eq!(error.to_string(), "the name 127.0.0.1 does not resolve: it has no IPv6 address");
    }
}
