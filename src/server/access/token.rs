//! New tokens.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::Scope;
use super::file::{TokenEntry, print_hash};
use super::signature::to_hex;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// What a token begins with: people and secret scanners know it by that.
const TOKEN_PREFIX: &str = "pgt_";

/// What a new token is for.
#[derive(Debug, Clone, Default)]
pub struct NewToken {
    /// Its name in the file.
    pub name: String,
    /// Who it stands for.
    pub subject: Option<String>,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// Patterns of `namespace/name`; none: every gate.
    pub gates: Vec<String>,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// A token that could not be made: the system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRandom;

impl fmt::Display for NoRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random bytes for a token")
    }
}

impl std::error::Error for NoRandom {}

/// The hash of a token as it stands in the file.
#[must_use]
pub fn hash_of(token: &str) -> String {
    print_hash(&Sha256::digest(token.as_bytes()))
}

/// Makes a token, and the entry for the file as YAML. The token is nowhere else.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_token(new: NewToken) -> Result<(SecretString, String), NoRandom> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| NoRandom)?;
    let token = format!("{TOKEN_PREFIX}{}", to_hex(&bytes));
    let entry = TokenEntry {
        name: new.name,
        subject: new.subject,
        hash: hash_of(&token),
        scopes: new.scopes,
        gates: new.gates,
        expires: new.expires,
        rate: None,
    };
    let yaml = serde_saphyr::to_string(&[entry]).map_err(|_| NoRandom)?;
    Ok((token.into(), yaml))
}
