//! From the API server's words to the store's.

use super::kinds::Known;
use crate::cluster::ApiError;
use crate::store::StoreError;

/// The home is in trouble.
pub(super) fn unavailable(doing: &str, error: &ApiError) -> StoreError {
    StoreError::Unavailable { doing: doing.to_owned(), why: error.why() }
}

/// What has become of an operation on one object.
pub(super) fn of_object(doing: &str, kind: &Known, namespace: &str, name: &str, error: &ApiError) -> StoreError {
    let (kind, namespace, name) = (kind.kind, namespace.to_owned(), name.to_owned());
    match error {
        ApiError::NotFound { .. } => StoreError::NotFound { kind, namespace, name },
        ApiError::Exists { .. } => StoreError::Exists { kind, namespace, name },
        ApiError::Conflict { .. } => StoreError::Conflict { kind, namespace, name },
        ApiError::Invalid { message, .. } => StoreError::Invalid(format!("{kind} {namespace}/{name}: {message}")),
        ApiError::NoNamespace { .. } => {
            StoreError::Invalid(format!("{kind} {namespace}/{name}: there is no namespace {namespace}"))
        }
        ApiError::NoKind { .. }
        | ApiError::Forbidden { .. }
        | ApiError::Unauthorized { .. }
        | ApiError::Gone { .. }
        | ApiError::TooMany { .. }
        | ApiError::Unavailable { .. } => unavailable(&format!("{doing} {kind} {namespace}/{name}"), error),
    }
}
