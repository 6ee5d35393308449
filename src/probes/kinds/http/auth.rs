//! Who asks.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::oauth::Source;
use super::request::{Credentials, secret};
use crate::api::{BasicAuth, HttpAuth};
use crate::outbound::{Outbound, Secrets};
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};
use crate::probes::trace::Trace;

/// Who asks.
pub(super) enum Auth {
    Basic(BasicAuth),
    Bearer(String),
    Token(Arc<Source>),
}

impl Auth {
    /// Reads who asks.
    ///
    /// # Errors
    /// A field that is broken, or several ways at once.
    pub(super) fn compile(spec: &HttpAuth, outbound: &Outbound) -> Result<Self, SpecError> {
        match (&spec.basic, &spec.bearer, &spec.oauth2) {
            (Some(basic), None, None) => {
                check_basic("http.auth.basic", basic)?;
                Ok(Self::Basic(basic.clone()))
            }
            (None, Some(bearer), None) => {
                check_file("http.auth.bearer.tokenFile", &bearer.token_file)?;
                Ok(Self::Bearer(bearer.token_file.clone()))
            }
            (None, None, Some(oauth)) => Source::of(oauth, outbound).map(Self::Token),
            _ => Err(SpecError::new("http.auth", "exactly one of basic, bearer and oauth2 must be set")),
        }
    }

    /// Finds what to send; `refused` is a token that was not good enough a moment ago.
    ///
    /// # Errors
    /// A secret cannot be had, which is our trouble.
    pub(super) async fn authorize(
        &self,
        trace: &mut Trace,
        secrets: &Secrets,
        credentials: &mut Credentials,
        refused: Option<&SecretString>,
    ) -> Result<Option<SecretString>, Failure> {
        let (value, token) = match self {
            Self::Basic(auth) => {
                let password = secret(secrets, &auth.password_file).await?;
                (basic(&auth.username, &password, credentials), None)
            }
            Self::Bearer(file) => {
                let token = secret(secrets, file).await?;
                (bearer(&token, credentials)?, None)
            }
            Self::Token(source) => {
                let token = source.token(trace, refused).await?;
                (bearer(&token, credentials)?, Some(token))
            }
        };
        credentials.authorization = Some(value);
        Ok(token)
    }
}

/// The header of a user and a password.
pub(super) fn basic(username: &str, password: &SecretString, credentials: &mut Credentials) -> SecretString {
    credentials.hide(password.expose_secret());
    let encoded = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
    credentials.hide(&encoded);
    format!("Basic {encoded}").into()
}

fn bearer(token: &SecretString, credentials: &mut Credentials) -> Result<SecretString, Failure> {
    credentials.hide(token.expose_secret());
    let value = format!("Bearer {}", token.expose_secret());
    if HeaderValue::from_str(&value).is_err() {
        return Err(Failure::new(Reason::Secret, "the token holds what cannot stand in a header"));
    }
    Ok(value.into())
}

/// Judges a user and the path of a password.
///
/// # Errors
/// One of them is broken.
pub(super) fn check_basic(field: &str, auth: &BasicAuth) -> Result<(), SpecError> {
    let name = &auth.username;
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        let why = format!("{name:?} is no user: it must not be empty, nor have a colon or control characters");
        return Err(SpecError::new(format!("{field}.username"), why));
    }
    check_file(&format!("{field}.passwordFile"), &auth.password_file)
}

/// Judges the path of a secret.
///
/// # Errors
/// It leads out of the directory of secrets.
pub(super) fn check_file(field: &str, path: &str) -> Result<(), SpecError> {
    Secrets::check_path(path).map_err(|error| SpecError::new(field, error.to_string()))
}
