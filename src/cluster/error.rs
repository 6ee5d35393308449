//! What can become of a call to the API server, by name.

use std::time::Duration;

use kube::core::Status;

use super::guard::{Throttled, TimedOut};

/// A call to the API server, in the words of its own messages.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// The resource's plural with its group, such as `gates.probegate.io`, and a subresource after
    /// `/`.
    pub resource: &'a str,
    /// The namespace; empty for all of them.
    pub namespace: &'a str,
    /// The name; empty for all of them.
    pub name: &'a str,
}

impl std::fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match (self.namespace, self.name) {
            ("", "") => write!(f, " in all namespaces"),
            ("", name) => write!(f, " {name}"),
            (namespace, "") => write!(f, " in namespace {namespace}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

/// Why a call did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// There is no such object.
    #[error("{call}: it does not exist")]
    NotFound {
        /// The call.
        call: String,
    },
    /// The namespace that something shall be created in does not exist.
    #[error("{call}: the namespace does not exist")]
    NoNamespace {
        /// The call.
        call: String,
    },
    /// The API server does not know the resource.
    #[error("{call}: the API server has no {resource}; apply its custom resource definition (deploy/crds)")]
    NoKind {
        /// The call.
        call: String,
        /// The resource.
        resource: String,
    },
    /// An object of that name exists.
    #[error("{call}: it exists already")]
    Exists {
        /// The call.
        call: String,
    },
    /// Somebody else has written since it was read, or a precondition does not hold.
    #[error("{call}: it was changed since it was read")]
    Conflict {
        /// The call.
        call: String,
    },
    /// We may not.
    #[error("not allowed to {call}: {message}")]
    Forbidden {
        /// The call.
        call: String,
        /// The verb.
        verb: &'static str,
        /// The resource.
        resource: String,
        /// The API server's message.
        message: String,
    },
    /// The API server does not know who we are.
    #[error("{call}: the API server does not accept the credentials: {message}")]
    Unauthorized {
        /// The call.
        call: String,
        /// The API server's message.
        message: String,
    },
    /// The resourceVersion or the continue token is too old: begin anew.
    #[error("{call}: what it refers to has expired")]
    Gone {
        /// The call.
        call: String,
    },
    /// The API server asks us to come back later.
    #[error("{call}: too many requests")]
    TooMany {
        /// The call.
        call: String,
        /// After this time, where it says so.
        retry_after: Option<Duration>,
    },
    /// The object is refused.
    #[error("{call}: {message}")]
    Invalid {
        /// The call.
        call: String,
        /// The API server's message.
        message: String,
    },
    /// The API server is away, too slow, or in trouble. Whether it has done what it was asked is not
    /// known.
    #[error("{call}: {why}")]
    Unavailable {
        /// The call.
        call: String,
        /// The cause.
        why: String,
    },
}

impl ApiError {
    /// Names what has become of `call`.
    #[must_use]
    pub fn of(call: Call<'_>, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(call, status),
            kube::Error::Service(error) => {
                if let Some(throttled) = error.downcast_ref::<Throttled>() {
                    return Self::TooMany { call: call.to_string(), retry_after: throttled.retry_after };
                }
                Self::Unavailable { call: call.to_string(), why: chain(error.as_ref()) }
            }
            kube::Error::SerdeError(error) => Self::Unavailable {
                call: call.to_string(),
                why: format!("the API server's answer cannot be read: {error}"),
            },
            other => Self::Unavailable { call: call.to_string(), why: chain(other) },
        }
    }

    /// Names what a status says.
    #[must_use]
    pub fn of_status(call: Call<'_>, status: &Status) -> Self {
        let (text, message) = (call.to_string(), status.message.clone());
        match (status.code, status.reason.as_str()) {
            (404, "NotFound") => {
                let of_namespace = status.details.as_ref().is_some_and(|details| details.kind == "namespaces");
                if of_namespace && !call.resource.starts_with("namespaces") {
                    return Self::NoNamespace { call: text };
                }
                if status.details.as_ref().is_some_and(|details| !details.name.is_empty()) {
                    return Self::NotFound { call: text };
                }
                Self::NoKind { call: text, resource: call.resource.to_owned() }
            }
            // A path that the API server does not know is answered by a bare text.
            (404, _) => Self::NoKind { call: text, resource: call.resource.to_owned() },
            (_, "AlreadyExists") => Self::Exists { call: text },
            (409, _) => Self::Conflict { call: text },
            (403, _) => Self::Forbidden { call: text, verb: call.verb, resource: call.resource.to_owned(), message },
            (401, _) => Self::Unauthorized { call: text, message },
            (410, _) | (_, "Expired" | "Gone") => Self::Gone { call: text },
            (429, _) => {
                let seconds = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds));
                let retry_after = seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
                Self::TooMany { call: text, retry_after }
            }
            (400 | 405 | 406 | 413 | 415 | 422, _) => Self::Invalid { call: text, message },
            // A watch that another program of the API server has not caught up with says so this way.
            (_, "") | (0, _) if message.contains("too old resource version") => Self::Gone { call: text },
            (code, _) => Self::Unavailable {
                call: text,
                why: format!(
                    "the API server says {code}: {}",
                    if message.is_empty() { &status.reason } else { &message }
                ),
            },
        }
    }

    /// The failure without the call, for a sentence that names the call already.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::NotFound { .. } => "it does not exist".to_owned(),
            Self::NoNamespace { .. } => "the namespace does not exist".to_owned(),
            Self::NoKind { resource, .. } => {
                format!("the API server has no {resource}; apply its custom resource definition (deploy/crds)")
            }
            Self::Exists { .. } => "it exists already".to_owned(),
            Self::Conflict { .. } => "it was changed since it was read".to_owned(),
            Self::Forbidden { verb, resource, message, .. } => {
                format!("not allowed to {verb} {resource}: {message}")
            }
            Self::Unauthorized { message, .. } => {
                format!("the API server does not accept the credentials: {message}")
            }
            Self::Gone { .. } => "what it refers to has expired".to_owned(),
            Self::TooMany { .. } => "too many requests".to_owned(),
            Self::Invalid { message, .. } => message.clone(),
            Self::Unavailable { why, .. } => why.clone(),
        }
    }

    /// What the server asks to wait.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::TooMany { .. } | Self::Unavailable { .. })
    }
}

/// Names the failure of a call where it is made.
pub trait Named<T> {
    /// See [`ApiError::of`].
    ///
    /// # Errors
    /// The named failure.
    fn named(self, call: Call<'_>) -> Result<T, ApiError>;
}

impl<T> Named<T> for Result<T, kube::Error> {
    fn named(self, call: Call<'_>) -> Result<T, ApiError> {
        self.map_err(|error| ApiError::of(call, &error))
    }
}

/// An error with its causes: the outer ones alone say "client error (Connect)".
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(timed_out) = error.downcast_ref::<TimedOut>() {
        return timed_out.to_string();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;
    use rstest::rstest;

    use super::*;

    const CALL: Call<'_> = Call { verb: "patch", resource: "gates.probegate.io", namespace: "shop", name: "checkout" };

    fn status(code: u16, reason: &str, kind: &str, name: &str) -> Status {
        let details = serde_json::json!({"kind": kind, "name": name});
        let details: StatusDetails = serde_json::from_value(details).unwrap();
        Status::failure("they say so", reason).with_code(code).with_details(details)
    }

    #[rstest]
    #[case(404, "NotFound", "gates", "checkout", "patch gates.probegate.io shop/checkout: it does not exist")]
    #[case(
        404,
        "NotFound",
        "namespaces",
        "shop",
        "patch gates.probegate.io shop/checkout: the namespace does not exist"
    )]
    #[case(
        404,
        "Failed to parse error data",
        "",
        "",
        "patch gates.probegate.io shop/checkout: the API server has no gates.probegate.io; apply its custom resource definition (deploy/crds)"
    )]
    #[case(409, "AlreadyExists", "gates", "checkout", "patch gates.probegate.io shop/checkout: it exists already")]
    #[case(
        409,
        "Conflict",
        "gates",
        "checkout",
        "patch gates.probegate.io shop/checkout: it was changed since it was read"
    )]
    #[case(403, "Forbidden", "gates", "checkout", "not allowed to patch gates.probegate.io shop/checkout: they say so")]
    #[case(410, "Expired", "", "", "patch gates.probegate.io shop/checkout: what it refers to has expired")]
    #[case(429, "TooManyRequests", "", "", "patch gates.probegate.io shop/checkout: too many requests")]
    #[case(422, "Invalid", "", "", "patch gates.probegate.io shop/checkout: they say so")]
    #[case(
        500,
        "InternalError",
        "",
        "",
        "patch gates.probegate.io shop/checkout: the API server says 500: they say so"
    )]
    fn a_status_gets_its_name(
        #[case] code: u16,
        #[case] reason: &str,
        #[case] kind: &str,
        #[case] name: &str,
        #[case] message: &str,
    ) {
        assert_eq!(ApiError::of_status(CALL, &status(code, reason, kind, name)).to_string(), message);
    }

    #[test]
    fn what_the_server_asks_to_wait_is_kept() {
        let mut asked = status(429, "TooManyRequests", "", "");
        asked.details.as_mut().unwrap().retry_after_seconds = 7;
        let error = ApiError::of_status(CALL, &asked);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert!(error.is_transient());
    }
}
