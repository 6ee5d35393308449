//! Texts with a syntax of their own: URLs, headers, scripts, templates.

use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use super::spot::Spot;
use crate::api::WebhookHeader;
use crate::config::diagnostic::{Diagnostic, shorten};
use crate::rules::Expression;

/// What is wrong with an http or https URL.
pub(super) fn url(spot: &Spot<'_>, text: &str) -> Option<Diagnostic> {
    let error = |why: String| Some(spot.error("url", format!("`{}` {why}", shorten(text))).with_found(text));
    match Url::parse(text) {
        Err(parse) => {
            let found = error(format!("is no URL: {parse}"));
            let with_scheme = format!("https://{text}");
            let repaired = !text.contains("://") && Url::parse(&with_scheme).is_ok_and(|url| url.host().is_some());
            found.map(|found| found.with_suggestion(repaired.then_some(with_scheme)))
        }
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            error(format!("has the scheme `{}`: http and https are spoken here", url.scheme()))
        }
        Ok(url) if url.host_str().is_none_or(str::is_empty) => error("has no host".to_owned()),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            // Not repeated: it may hold a password.
            Some(spot.error("url", "the URL holds a user or a password: put it into a header with `secretFile`"))
        }
        Ok(_) => None,
    }
}

/// What is wrong with an expression.
pub(super) fn expression(spot: &Spot<'_>, text: &str) -> Option<Diagnostic> {
    let error = Expression::compile(text).err()?;
    Some(spot.error("expression", format!("`{}` does not compile: {error}", shorten(text))).with_found(text))
}

/// What is wrong with a list of headers.
pub(super) fn headers(spot: &Spot<'_>, headers: &[WebhookHeader]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        let spot = spot.item(index);
        if HeaderName::from_bytes(header.name.as_bytes()).is_err() {
            let message =
                format!("`{}` is no name of a header: letters, digits and dashes are allowed", shorten(&header.name));
            found.push(spot.field("name").error("header", message).with_found(&header.name));
        }
        for (field, text) in [("value", &header.value), ("prefix", &header.prefix)] {
            if text.as_deref().is_some_and(|text| HeaderValue::from_str(text).is_err()) {
                found.push(spot.field(field).error("header", "a header's value is one line of visible characters"));
            }
        }
        found.extend(header.secret_file.as_deref().and_then(|path| secret_path(&spot.field("secretFile"), path)));
    }
    found
}

/// What is wrong with a path below the secrets directory.
pub(super) fn secret_path(spot: &Spot<'_>, path: &str) -> Option<Diagnostic> {
    use std::path::{Component, Path};
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let message = format!("`{}` must be a relative path that stays below the secrets directory", shorten(path));
    (!inside).then(|| spot.error("secret-file", message).with_found(path))
}
