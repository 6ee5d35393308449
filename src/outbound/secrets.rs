//! Secrets from files below one directory, or from the Secrets of the namespace that refers to them.
//!
//! A reference is one text in both homes: `NAME/KEY` is the file `KEY` in the directory `NAME`, as a
//! mounted Secret is, and in a cluster it is the key of that Secret itself.

use std::borrow::Cow;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use tokio::io::AsyncReadExt;

/// The largest secret: the longest tokens in use (OIDC with many groups) stay below it.
pub const MAX_SECRET: usize = 16 * 1024;
/// The largest file of certificates or keys: a whole system's bundle has about 220 KiB.
pub const MAX_PEM: usize = 512 * 1024;

/// Why a secret cannot be read. Never tells what stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no directory to read from.
    #[error("secret file `{0}`: the program was started without a secrets directory (--secrets)")]
    NoDirectory(String),
    /// The path leads out of the directory.
    #[error("secret file `{0}`: it must be a relative path that stays below the secrets directory")]
    Outside(String),
    /// It cannot be read.
    #[error("secret file `{path}`: {why}")]
    Unreadable {
        /// The path below the directory.
        path: String,
        /// Why.
        why: String,
    },
    /// It is too large.
    #[error("secret file `{path}` is larger than {limit} bytes")]
    TooLarge {
        /// The path below the directory.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// It is empty.
    #[error("secret file `{0}` is empty")]
    Empty(String),
    /// It is not UTF-8.
    #[error("secret file `{0}` is not UTF-8 text")]
    NotText(String),
    /// In a cluster it names no key of a Secret.
    #[error("secret `{0}`: in a cluster it is NAME/KEY, a key of a Secret in the namespace that refers to it")]
    NoReference(String),
    /// The namespace has not granted it.
    #[error("Secret {namespace}/{name} is not granted: {how}")]
    NotGranted {
        /// The namespace.
        namespace: String,
        /// The Secret.
        name: String,
        /// What would grant it.
        how: String,
    },
    /// It is not there.
    #[error("Secret {namespace}/{name} does not exist")]
    NoSecret {
        /// The namespace.
        namespace: String,
        /// The Secret.
        name: String,
    },
    /// It has no such key.
    #[error("Secret {namespace}/{name} has no key `{key}`")]
    NoKey {
        /// The namespace.
        namespace: String,
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// The cluster does not tell.
    #[error("Secret {namespace}/{name} cannot be read: {why}")]
    Away {
        /// The namespace.
        namespace: String,
        /// The Secret.
        name: String,
        /// Why.
        why: String,
    },
}

/// How a probe's trouble with a secret begins to be told where it was not granted.
const NOT_GRANTED: &str = " is not granted: ";

impl SecretError {
    /// Whether a sentence tells that a Secret was not granted.
    #[must_use]
    pub fn tells_not_granted(sentence: &str) -> bool {
        sentence.starts_with("Secret ") && sentence.contains(NOT_GRANTED)
    }
}

/// Reads the Secrets of namespaces.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// The value of a key, as it is or was a moment ago.
    ///
    /// # Errors
    /// Any of [`SecretError`].
    async fn read(&self, namespace: &str, name: &str, key: &str) -> Result<SecretBox<Vec<u8>>, SecretError>;
}

/// Where secrets come from.
#[derive(Clone, Default)]
enum Source {
    #[default]
    Nowhere,
    Directory(PathBuf),
    /// The Secrets of a namespace; of none before it is known who refers.
    Cluster(Arc<dyn Vault>, Option<Arc<str>>),
}

/// Reads secrets anew at every use: a rotated one counts at once in a directory, and in a cluster as
/// soon as its vault looks again.
#[derive(Clone, Default)]
pub struct Secrets {
    source: Source,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Source::Nowhere => f.write_str("Secrets of nowhere"),
            Source::Directory(path) => write!(f, "Secrets below {}", path.display()),
            Source::Cluster(_, namespace) => write!(f, "Secrets of namespace {namespace:?}"),
        }
    }
}

impl Secrets {
    /// Secrets below `directory`; without one every read is refused with a hint.
    #[must_use]
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { source: directory.map_or(Source::Nowhere, Source::Directory) }
    }

    /// The Secrets of a cluster, each for its own namespace alone: [`Self::of`] says whose.
    #[must_use]
    pub fn in_cluster(vault: Arc<dyn Vault>) -> Self {
        Self { source: Source::Cluster(vault, None) }
    }

    /// The secrets that a resource of `namespace` may refer to.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Self {
        match &self.source {
            Source::Cluster(vault, _) => {
                Self { source: Source::Cluster(Arc::clone(vault), Some(Arc::from(namespace))) }
            }
            _ => self.clone(),
        }
    }

    /// Whether each namespace has its own.
    #[must_use]
    pub const fn are_of_namespaces(&self) -> bool {
        matches!(self.source, Source::Cluster(..))
    }

    /// Whether `path` could be a secret's: relative, and without `..`.
    ///
    /// # Errors
    /// [`SecretError::Outside`].
    pub fn check_path(path: &str) -> Result<(), SecretError> {
        let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if path.is_empty() || path.contains('\0') || !plain {
            return Err(SecretError::Outside(path.to_owned()));
        }
        Ok(())
    }

    /// The text of a file, without the line end at its end.
    ///
    /// # Errors
    /// Any of [`SecretError`].
    pub async fn text(&self, path: &str) -> Result<SecretString, SecretError> {
        let bytes = self.read(path, MAX_SECRET).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotText(path.to_owned()))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(SecretError::Empty(path.to_owned()));
        }
        Ok(SecretString::from(text))
    }

    /// A file of certificates or keys.
    ///
    /// # Errors
    /// Any of [`SecretError`].
    pub async fn pem(&self, path: &str) -> Result<SecretBox<Vec<u8>>, SecretError> {
        Ok(SecretBox::new(Box::new(self.read(path, MAX_PEM).await?)))
    }

    async fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, SecretError> {
        Self::check_path(path)?;
        match &self.source {
            Source::Nowhere => Err(SecretError::NoDirectory(path.to_owned())),
            Source::Directory(directory) => Self::read_file(directory, path, limit).await,
            Source::Cluster(vault, namespace) => {
                let wrong = || SecretError::NoReference(path.to_owned());
                let (name, key) =
                    path.split_once('/').filter(|(name, key)| !name.is_empty() && is_key(key)).ok_or_else(wrong)?;
                let namespace = namespace.as_deref().ok_or_else(wrong)?;
                let value = vault.read(namespace, name, key).await?;
                if value.expose_secret().len() > limit {
                    return Err(SecretError::TooLarge { path: path.to_owned(), limit });
                }
                Ok(value.expose_secret().clone())
            }
        }
    }

    async fn read_file(directory: &Path, path: &str, limit: usize) -> Result<Vec<u8>, SecretError> {
        let unreadable = |error: io::Error| SecretError::Unreadable { path: path.to_owned(), why: error.to_string() };
        // Mounted secrets are links to links below the directory: they are followed, and the end
        // of the way must still be below it.
        let root = tokio::fs::canonicalize(directory).await.map_err(unreadable)?;
        let real = tokio::fs::canonicalize(root.join(path)).await.map_err(unreadable)?;
        if !real.starts_with(&root) {
            return Err(SecretError::Outside(path.to_owned()));
        }
        // Opening a pipe would wait for its writer.
        if !tokio::fs::metadata(&real).await.map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::other("it is not a file")));
        }
        let file = tokio::fs::File::open(&real).await.map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
        if bytes.len() > limit {
            return Err(SecretError::TooLarge { path: path.to_owned(), limit });
        }
        Ok(bytes)
    }
}

/// Whether a text can be the key of a Secret.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// What stands in place of a secret.
const HIDDEN: &[u8] = b"[hidden]";

/// `bytes` without any of the secrets: an answer may repeat what was sent.
#[must_use]
pub fn hide<'a>(bytes: &'a [u8], secrets: &[SecretString]) -> Cow<'a, [u8]> {
    let mut bytes = Cow::Borrowed(bytes);
    for secret in secrets.iter().map(|secret| secret.expose_secret().as_bytes()).filter(|secret| !secret.is_empty()) {
        let mut rest: &[u8] = &bytes;
        let mut out = Vec::new();
        while let Some(place) = rest.windows(secret.len()).position(|window| window == secret) {
            let (before, from) = rest.split_at(place);
            out.extend_from_slice(before);
            out.extend_from_slice(HIDDEN);
            rest = from.split_at(secret.len()).1;
        }
        if !out.is_empty() {
            out.extend_from_slice(rest);
            bytes = Cow::Owned(out);
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
