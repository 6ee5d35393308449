//! Names to addresses, with the guard in between.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;

use super::guard::{Guard, Refused};

/// The most addresses of one name that are tried; a name with more is cut, not refused.
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
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        match tokio::net::lookup_host((name, 0)).await {
            Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
            Err(error) => {
                let why = error.to_string();
                // getaddrinfo tells EAI_NONAME and EAI_NODATA from trouble, and std hands on only
                // its text. Whatever is not known to be an answer counts as trouble.
                let answered = ["Name or service not known", "No address associated", "Name does not resolve"];
                let name = name.to_owned();
                if answered.iter().any(|text| why.contains(text)) {
                    Err(LookupError::NoSuchName { name, why })
                } else {
                    Err(LookupError::Trouble { name, why })
                }
            }
        }
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
        let refused = |refused| LookupError::Refused { name: host.to_owned(), refused };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            self.guard.check_address(address).map_err(refused)?;
            return Ok(vec![address]);
        }
        self.guard.check_name(host).map_err(refused)?;
        let addresses = self.lookup.lookup(host).await?;
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
            (true, None) => Err(LookupError::NoSuchName { name: host.to_owned(), why: "it has no address".to_owned() }),
        }
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
    async fn the_systems_resolver_knows_localhost() {
        assert!(!SystemLookup.lookup("localhost").await.unwrap().is_empty());
    }
}
