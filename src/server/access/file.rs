//! The file of tokens and keys.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::super::limits::{DEFAULT_RATE, MAX_TOKENS_FILE};

/// The shortest signing key: half of the hash's length is the least that RFC 2104 thinks of.
const MIN_KEY_BYTES: usize = 16;
/// What a token's hash begins with.
const HASH_PREFIX: &str = "sha256:";

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at runs, windows, overrides and events.
    Read,
    /// Ask a gate, also through the hooks, and cancel runs.
    Check,
    /// Run probes, also through `/probe`.
    Run,
    /// Make and revoke overrides.
    Override,
    /// Everything.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Check => "check",
            Self::Run => "run",
            Self::Override => "override",
            Self::Admin => "admin",
        })
    }
}

/// Why the file of tokens cannot be used, or is missing where it is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It cannot be read.
    #[error("while reading {file}: {why}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// It is no YAML of the right shape.
    #[error("{file}: {why}")]
    Parse {
        /// The file.
        file: PathBuf,
        /// Line, field and what is allowed.
        why: String,
    },
    /// One entry is wrong.
    #[error("{file}: {entry}: {why}")]
    Entry {
        /// The file.
        file: PathBuf,
        /// Such as `tokens[2] (ci)`.
        entry: String,
        /// What was found and what is allowed.
        why: String,
    },
    /// Nobody would be asked for a token on an address that others can reach.
    #[error(
        "{address} can be reached from other machines, and without --tokens everyone there could ask and override: \
         give a file of tokens with --tokens FILE (`probegate token new` makes entries), or listen on 127.0.0.1 with --listen"
    )]
    Exposed {
        /// The listener's address.
        address: std::net::SocketAddr,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    tokens: Vec<TokenEntry>,
    #[serde(default)]
    keys: Vec<KeyEntry>,
}

/// One token as it stands in the file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TokenEntry {
    /// Its own name, for the file's readers.
    pub(super) name: String,
    /// Who it stands for, in records. Absent: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
    /// `sha256:` and 64 hexadecimal digits.
    pub(super) hash: String,
    pub(super) scopes: BTreeSet<Scope>,
    /// Patterns of `namespace/name`. Absent: every gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gates: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Timestamp>,
    /// Requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyEntry {
    name: String,
    #[serde(default)]
    subject: Option<String>,
    /// The file with the key, beside this one.
    secret_file: String,
    scopes: BTreeSet<Scope>,
    #[serde(default)]
    gates: Vec<String>,
    #[serde(default)]
    expires: Option<Timestamp>,
    #[serde(default)]
    rate: Option<NonZeroU32>,
}

/// One caller that is let in.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subject: String,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) gates: Vec<String>,
    pub(super) expires: Option<Timestamp>,
    hash: [u8; 32],
    pub(super) key: Option<SecretSlice<u8>>,
    rate: DefaultDirectRateLimiter,
}

impl Entry {
    /// Whether its rate allows one more request.
    pub(super) fn let_through(&self) -> bool {
        self.rate.check().is_ok()
    }
}

/// Every caller that is let in.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By hash: whoever can steer where a look-up leads can invert SHA-256.
    tokens: HashMap<[u8; 32], Arc<Entry>>,
    keys: HashMap<String, Arc<Entry>>,
    /// Over everything that was read: tells whether it has changed.
    pub(super) digest: [u8; 32],
}

impl Table {
    /// Reads the file and the keys beside it.
    pub(super) fn read(file: &Path) -> Result<Self, AccessError> {
        let text = read_text(file)?;
        let parsed: File = serde_saphyr::from_str(&text)
            .map_err(|error| AccessError::Parse { file: file.to_owned(), why: error.to_string() })?;
        let mut table = Self::default();
        let mut digest = Sha256::new();
        digest.update(text.as_bytes());
        for (index, token) in parsed.tokens.into_iter().enumerate() {
            let wrong = wrong(file, "tokens", index, &token.name);
            let hash = parse_hash(&token.hash).ok_or_else(|| {
                wrong(format!("hash: it is `{HASH_PREFIX}` and 64 hexadecimal digits: `probegate token new` prints it"))
            })?;
            let subject = token.subject.unwrap_or_else(|| token.name.clone());
            let entry = entry(subject, token.scopes, token.gates, token.expires, token.rate).map_err(&wrong)?;
            if table.tokens.insert(hash, Arc::new(Entry { hash, ..entry })).is_some() {
                return Err(wrong("hash: another token has the same".to_owned()));
            }
        }
        for (index, key) in parsed.keys.into_iter().enumerate() {
            let wrong = wrong(file, "keys", index, &key.name);
            let secret = read_key(file, &key.secret_file).map_err(&wrong)?;
            digest.update(secret.expose_secret());
            let subject = key.subject.unwrap_or_else(|| key.name.clone());
            let entry = entry(subject, key.scopes, key.gates, key.expires, key.rate).map_err(&wrong)?;
            if table.keys.insert(key.name, Arc::new(Entry { key: Some(secret), ..entry })).is_some() {
                return Err(wrong("name: another key has the same".to_owned()));
            }
        }
        table.digest = digest.finalize().into();
        Ok(table)
    }

    /// The entry of a token, compared in constant time.
    pub(super) fn token(&self, token: &str) -> Option<Arc<Entry>> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let entry = self.tokens.get(&hash)?;
        bool::from(entry.hash.ct_eq(&hash)).then(|| Arc::clone(entry))
    }

    /// The entry of a key, by its name.
    pub(super) fn key(&self, name: &str) -> Option<Arc<Entry>> {
        self.keys.get(name).cloned()
    }

    /// How many tokens and keys there are.
    pub(super) fn len(&self) -> usize {
        self.tokens.len() + self.keys.len()
    }
}

fn read_text(file: &Path) -> Result<String, AccessError> {
    let error = |why: String| AccessError::Read { file: file.to_owned(), why };
    let size = std::fs::metadata(file).map_err(|why| error(why.to_string()))?.len();
    if size > MAX_TOKENS_FILE {
        return Err(error(format!("it has {size} bytes; {MAX_TOKENS_FILE} are allowed")));
    }
    std::fs::read_to_string(file).map_err(|why| error(why.to_string()))
}

/// Makes errors that name an entry.
fn wrong(file: &Path, list: &str, index: usize, name: &str) -> impl Fn(String) -> AccessError + use<> {
    let (file, entry) = (file.to_owned(), format!("{list}[{index}] ({name})"));
    move |why| AccessError::Entry { file: file.clone(), entry: entry.clone(), why }
}

fn entry(
    subject: String,
    scopes: BTreeSet<Scope>,
    gates: Vec<String>,
    expires: Option<Timestamp>,
    rate: Option<NonZeroU32>,
) -> Result<Entry, String> {
    if subject.is_empty() {
        return Err("name: it is empty".to_owned());
    }
    if scopes.is_empty() {
        return Err("scopes: at least one of read, check, run, override and admin".to_owned());
    }
    if let Some(gate) = gates.iter().find(|gate| !gate.contains('/')) {
        return Err(format!("gates: `{gate}` is no pattern of namespace/name, such as `shop/*`"));
    }
    let rate = rate.or(NonZeroU32::new(DEFAULT_RATE)).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
    let rate = DefaultDirectRateLimiter::direct(quota);
    Ok(Entry { subject, scopes, gates, expires, hash: [0; 32], key: None, rate })
}

fn read_key(file: &Path, name: &str) -> Result<SecretSlice<u8>, String> {
    let path = file.parent().unwrap_or_else(|| Path::new(".")).join(name);
    let read = std::fs::read(&path).map_err(|why| format!("secretFile: while reading {}: {why}", path.display()))?;
    let key: Vec<u8> = read.trim_ascii_end().to_vec();
    if key.len() < MIN_KEY_BYTES || read.len() as u64 > MAX_TOKENS_FILE {
        return Err(format!("secretFile: the key has {} bytes; at least {MIN_KEY_BYTES} are needed", key.len()));
    }
    Ok(key.into())
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix(HASH_PREFIX)?;
    super::signature::from_hex(digits)?.try_into().ok()
}

/// A token's hash as it stands in the file.
pub(super) fn print_hash(hash: &[u8]) -> String {
    format!("{HASH_PREFIX}{}", super::signature::to_hex(hash))
}
