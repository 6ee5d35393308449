//! Who asks, and what they may do.
//!
//! A caller shows a bearer token (`Authorization: Bearer …`, or `/t/TOKEN/…` in front of the path
//! for callers that cannot set headers) or signs the body. Both are looked up in one file of
//! hashes and keys that is read again when it changes; a broken file keeps the last good one.
//! A token in the path ends up in other programs' logs, so it is good for reading and asking only.
//! In a cluster its own tokens are good as well, in the header alone: a [`Reviewer`] knows them.

mod file;
mod loopback;
mod reload;
mod review;
mod signature;
mod token;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;

pub use file::{AccessError, Scope};
pub use loopback::require_loopback;
pub use review::{Identity, Reviewer, Wish};
pub use signature::{HEADER_KEY, HEADER_SIGNATURE, Signed, sign};
pub use token::{NewToken, hash_of, new_token};

use file::{Entry, Table};
use governor::{DefaultKeyedRateLimiter, Quota};
use review::Reviewed;
use signature::Seen;

use super::limits::{FAILED_AUTH_BURST, FAILED_AUTH_RATE, MAX_ADDRESSES};
use super::problem::{Kind, Problem};
use crate::clock::Clock;
use crate::model::glob_matches;

/// The subject of callers where no token is asked for.
pub const ANONYMOUS: &str = "anonymous";

/// Who may do what. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` without a reviewer: everyone may do everything, on loopback alone (see
    /// [`require_loopback`]).
    file: Option<PathBuf>,
    reviewer: Option<Arc<dyn Reviewer>>,
    table: ArcSwap<Table>,
    /// What is wrong with the file as it is now.
    trouble: ArcSwap<Option<String>>,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
}

/// How a caller has shown who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nothing was asked for.
    Nothing,
    /// A token in a header.
    Header,
    /// A token in the path.
    Path,
    /// A signature over the body.
    Signature,
}

/// Somebody who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    who: Who,
    shown: Shown,
}

#[derive(Debug, Clone)]
enum Who {
    /// Nobody was asked.
    Anybody,
    /// Somebody out of the file.
    Entry(Arc<Entry>),
    /// Somebody whom the cluster knows.
    Reviewed(Reviewed),
}

/// What a request shows of its caller, without its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The token in the header.
    pub bearer: Option<&'a str>,
    /// The token in the path.
    pub path_token: Option<&'a str>,
    /// The name of the key, and the signature.
    pub signature: Option<(&'a str, &'a str)>,
}

/// Why somebody is not let in; the words are the values of a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// Nothing was shown.
    #[error("missing")]
    Missing,
    /// No such token or key.
    #[error("unknown")]
    Unknown,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// The signature does not fit.
    #[error("signature")]
    Signature,
    /// The signature's time is too far from ours.
    #[error("time")]
    Time,
    /// The signature was used before.
    #[error("replay")]
    Replay,
    /// Known, but without the scope or the gate.
    #[error("scope")]
    Scope,
    /// Too many requests of this caller, or failures of this address.
    #[error("rate")]
    Rate,
    /// The cluster cannot be asked who it is.
    #[error("away")]
    Away,
}

impl Refusal {
    /// The problem that is answered.
    #[must_use]
    pub fn problem(self) -> Problem {
        let unauthenticated = |detail: &str| Problem::new(Kind::Unauthenticated, detail);
        match self {
            Self::Missing => unauthenticated(
                "a token is needed: `Authorization: Bearer TOKEN`, /t/TOKEN in front of the path, or a signed body",
            ),
            Self::Unknown => unauthenticated("no such token or key"),
            Self::Expired => unauthenticated("the token or key has expired"),
            Self::Signature => {
                unauthenticated("the signature does not fit: `t=UNIX,v1=HEX`, HMAC-SHA256 over `t.METHOD.PATH.BODY`")
            }
            Self::Time => unauthenticated("the signature's time is too far from this server's clock"),
            Self::Replay => unauthenticated("this signature was used before: sign every write anew"),
            Self::Scope => Problem::new(Kind::Forbidden, "the token does not allow that"),
            Self::Away => Problem::new(Kind::Unavailable, "the cluster cannot be asked whose token that is"),
            Self::Rate => Problem::new(Kind::Rate, "too many requests: slow down"),
        }
    }
}

impl Access {
    /// Everyone may do everything. Only for listeners that [`require_loopback`] lets pass.
    #[must_use]
    pub fn open(clock: Arc<dyn Clock>) -> Self {
        Self::with(None, None, Table::default(), clock)
    }

    /// Reads the file of tokens and keys.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong: at the start that is the end.
    pub fn load(file: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, AccessError> {
        let table = Table::read(&file)?;
        Ok(Self::with(Some(file), None, table, clock))
    }

    /// The same with or without a file, in a cluster whose own tokens are good as well.
    ///
    /// # Errors
    /// As [`Access::load`].
    pub fn reviewed(
        file: Option<PathBuf>,
        reviewer: Arc<dyn Reviewer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AccessError> {
        let table = file.as_deref().map(Table::read).transpose()?.unwrap_or_default();
        Ok(Self::with(file, Some(reviewer), table, clock))
    }

    fn with(file: Option<PathBuf>, reviewer: Option<Arc<dyn Reviewer>>, table: Table, clock: Arc<dyn Clock>) -> Self {
        let rate = std::num::NonZeroU32::new(FAILED_AUTH_RATE).unwrap_or(std::num::NonZeroU32::MIN);
        let burst = std::num::NonZeroU32::new(FAILED_AUTH_BURST).unwrap_or(std::num::NonZeroU32::MIN);
        let inner = Inner {
            file,
            reviewer,
            table: ArcSwap::from_pointee(table),
            trouble: ArcSwap::from_pointee(None),
            clock,
            seen: Mutex::new(Seen::default()),
            failures: DefaultKeyedRateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.file.is_none() && self.inner.reviewer.is_none()
    }

    /// What is wrong with the file as it is now; the last good one counts meanwhile.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.inner.trouble.load().as_ref().clone()
    }

    /// Who asks, as far as the head of the request tells. A signature has to be checked with
    /// [`Access::check_signature`] once the body is there.
    ///
    /// # Errors
    /// The reason.
    pub fn identify(&self, shown: Credentials<'_>) -> Result<Caller, Refusal> {
        if self.is_open() {
            return Ok(Caller { who: Who::Anybody, shown: Shown::Nothing });
        }
        let table = self.inner.table.load();
        let (entry, how) = match (shown.bearer, shown.path_token, shown.signature) {
            (Some(token), _, _) => (table.token(token), Shown::Header),
            (None, Some(token), _) => (table.token(token), Shown::Path),
            (None, None, Some((key, _))) => (table.key(key), Shown::Signature),
            (None, None, None) => return Err(Refusal::Missing),
        };
        let entry = entry.ok_or(Refusal::Unknown)?;
        // Only entries that end read the clock.
        if entry.expires.is_some_and(|expires| self.inner.clock.now() >= expires) {
            return Err(Refusal::Expired);
        }
        if !entry.let_through() {
            return Err(Refusal::Rate);
        }
        Ok(Caller { who: Who::Entry(entry), shown: how })
    }

    /// The same, and whoever the file does not know is looked up in the cluster. What the caller may
    /// read is looked up for all namespaces, else for those that it asks for.
    ///
    /// # Errors
    /// The reason.
    pub async fn admit(&self, shown: Credentials<'_>, namespaces: &[String]) -> Result<Caller, Refusal> {
        let by_file = self.identify(shown);
        let (Err(Refusal::Unknown), Some(reviewer), Some(token)) = (&by_file, &self.inner.reviewer, shown.bearer)
        else {
            return by_file;
        };
        let away = |error: String| {
            tracing::warn!(error, "The cluster cannot be asked about a caller.");
            Refusal::Away
        };
        let identity = reviewer.who(token).await.map_err(away)?.ok_or(Refusal::Unknown)?;
        let known = Reviewed::new(identity, Arc::clone(reviewer), namespaces).await.map_err(away)?;
        Ok(Caller { who: Who::Reviewed(known), shown: Shown::Header })
    }

    /// Whether one more failed authentication of `address` still gets its reason told.
    #[must_use]
    pub fn may_fail(&self, address: IpAddr) -> bool {
        if self.inner.failures.len() > MAX_ADDRESSES {
            self.inner.failures.retain_recent();
        }
        self.inner.failures.check_key(&address).is_ok()
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
}

impl Caller {
    /// Its entry in the file.
    fn entry(&self) -> Option<&Arc<Entry>> {
        if let Who::Entry(entry) = &self.who { Some(entry) } else { None }
    }

    /// Who it is, for records.
    #[must_use]
    pub fn subject(&self) -> &str {
        match &self.who {
            Who::Anybody => ANONYMOUS,
            Who::Entry(entry) => &entry.subject,
            Who::Reviewed(reviewed) => &reviewed.identity.name,
        }
    }

    /// How it has shown that.
    #[must_use]
    pub const fn shown(&self) -> Shown {
        self.shown
    }

    /// Whether it may do `scope` at all. Of whom the cluster knows only [`Caller::require_on`] can tell.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        let entry = match &self.who {
            Who::Anybody => return true,
            Who::Reviewed(_) => return scope != Scope::Admin,
            Who::Entry(entry) => entry,
        };
        let carried = self.shown != Shown::Path || matches!(scope, Scope::Read | Scope::Check);
        carried && (entry.scopes.contains(&scope) || entry.scopes.contains(&Scope::Admin))
    }

    /// Whether it may do something with a gate or window of this name.
    #[must_use]
    pub fn sees(&self, namespace: &str, name: &str) -> bool {
        let entry = match &self.who {
            Who::Anybody => return true,
            Who::Reviewed(reviewed) => return reviewed.sees(namespace),
            Who::Entry(entry) => entry,
        };
        if entry.gates.is_empty() {
            return true;
        }
        let full = format!("{namespace}/{name}");
        entry.gates.iter().any(|pattern| glob_matches(pattern, &full))
    }

    /// # Errors
    /// It may not do `scope`.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        let path_token = self.shown == Shown::Path && !matches!(scope, Scope::Read | Scope::Check);
        let why = if path_token { "; a token in the path is good for read and check only" } else { "" };
        Err(Problem::new(Kind::Forbidden, format!("`{}` does not have the scope `{scope}`{why}", self.subject())))
    }

    /// # Errors
    /// It may not do `scope` with that gate, window or probe.
    pub async fn require_on(&self, scope: Scope, namespace: &str, name: &str) -> Result<(), Problem> {
        self.require(scope)?;
        if let Who::Reviewed(reviewed) = &self.who {
            return reviewed.require_on(scope, namespace, name).await;
        }
        if self.sees(namespace, name) {
            return Ok(());
        }
        let detail = format!("`{}` may not reach {namespace}/{name}: its token names other gates", self.subject());
        Err(Problem::new(Kind::Forbidden, detail))
    }
}
