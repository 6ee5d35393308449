//! Secrets from files below one directory.

use std::borrow::Cow;
use std::io;
use std::path::{Component, Path, PathBuf};

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
}

/// Reads secrets below one directory, anew at every use: a rotated secret counts at once.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    directory: Option<PathBuf>,
}

impl Secrets {
    /// Secrets below `directory`; without one every read is refused with a hint.
    #[must_use]
    pub const fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
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
        let directory = self.directory.as_ref().ok_or_else(|| SecretError::NoDirectory(path.to_owned()))?;
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
mod tests {
    use super::*;
    use rstest::rstest;

    fn secrets() -> (tempfile::TempDir, Secrets) {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("secrets");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/token"), "s3cret\r\n").unwrap();
        std::fs::write(root.join("empty"), "\n").unwrap();
        std::fs::write(root.join("binary"), [0xff, 0xfe]).unwrap();
        std::fs::write(root.join("large"), vec![b'x'; MAX_SECRET + 1]).unwrap();
        std::fs::write(base.path().join("outside"), "not yours").unwrap();
        std::os::unix::fs::symlink("../outside", root.join("escape")).unwrap();
        std::os::unix::fs::symlink("a", root.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", root.join("mounted")).unwrap();
        (base, Secrets::new(Some(root)))
    }

    #[rstest]
    #[case("a/token")]
    #[case("./a/token")]
    #[case("mounted")]
    #[tokio::test]
    async fn a_secret_comes_without_its_line_end(#[case] path: &str) {
        let (_base, secrets) = secrets();
        assert_eq!(secrets.text(path).await.unwrap().expose_secret(), "s3cret");
    }

    #[rstest]
    #[case("../outside")]
    #[case("a/../../outside")]
    #[case("/etc/passwd")]
    #[case("escape")]
    #[case("")]
    #[case("a\0b")]
    #[tokio::test]
    async fn a_path_that_leads_out_is_refused(#[case] path: &str) {
        let (_base, secrets) = secrets();
        assert_eq!(secrets.text(path).await.unwrap_err(), SecretError::Outside(path.to_owned()));
    }

    #[rstest]
    #[case("missing", "No such file")]
    #[case("a", "not a file")]
    #[case("empty", "is empty")]
    #[case("binary", "not UTF-8")]
    #[case("large", "larger than 16384 bytes")]
    #[tokio::test]
    async fn a_useless_file_is_named_with_the_reason(#[case] path: &str, #[case] why: &str) {
        let (_base, secrets) = secrets();
        let message = secrets.text(path).await.unwrap_err().to_string();
        assert!(message.contains(path) && message.contains(why), "{message}");
    }

    #[tokio::test]
    async fn a_rotated_secret_counts_at_once() {
        let (base, secrets) = secrets();
        let _ = secrets.text("a/token").await.unwrap();
        std::fs::write(base.path().join("secrets/a/token"), "new").unwrap();
        assert_eq!(secrets.text("a/token").await.unwrap().expose_secret(), "new");
    }

    #[tokio::test]
    async fn without_a_directory_the_option_is_named() {
        let message = Secrets::default().text("token").await.unwrap_err().to_string();
        assert!(message.contains("--secrets"), "{message}");
    }

    #[test]
    fn a_secret_that_is_repeated_is_hidden() {
        let secrets = ["s3cret".into(), "other".into(), "".into()];
        assert_eq!(&*hide(b"s3cret, other, s3cret!", &secrets), b"[hidden], [hidden], [hidden]!");
        assert_eq!(&*hide(b"nothing", &secrets), b"nothing");
    }
}
