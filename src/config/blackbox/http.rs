//! The prober `http`.

use super::section::Section;
use super::tls;
use crate::api::{
    BasicAuth, BearerAuth, ClientCredentials, HttpAuth, HttpBody, HttpExpect, HttpHeader, HttpProbe, HttpProxy,
    HttpRedirects, HttpSize, HttpVersion, TlsVersion, WebhookHeader,
};

/// So many redirects the exporter follows.
const MAX_REDIRECTS: u32 = 10;
/// Methods that a probe has.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The prober `http`.
pub(super) fn probe(module: &str, section: &Section<'_>) -> HttpProbe {
    let mut http = HttpProbe {
        method: method(section),
        headers: headers(module, section),
        body: section.text("body").filter(|body| !body.is_empty()),
        redirects: redirects(section),
        // Over TLS the exporter speaks whatever the server prefers.
        version: section.flag("enable_http2").unwrap_or(true).then_some(HttpVersion::Any),
        family: tls::family(section),
        tls: tls::options(module, section),
        ..HttpProbe::default()
    };
    section.lost("body_file", "a probe holds its body itself: put the file's text under `body`");
    section.lost("enable_http3", "a probe speaks HTTP/1.1 and HTTP/2");
    auth(module, section, &mut http);
    proxy(section, &mut http);
    let mut expect = HttpExpect { status: statuses(section), version: versions(section), ..HttpExpect::default() };
    bodies(section, &mut expect);
    expect.headers = header_rules(section);
    compression(section, &mut http, &mut expect);
    if let Some(limit) = section.text("body_size_limit").filter(|limit| !limit.is_empty()) {
        match size(&limit) {
            Some(0) => {}
            Some(max) => expect.size = Some(HttpSize { min: None, max: Some(max) }),
            None => section.error("body_size_limit", "type", "a size such as `10MB` is needed here"),
        }
    }
    if section.flag("fail_if_not_ssl") == Some(true) {
        // No version of TLS is too old for this; without TLS there is none.
        expect.tls_version = Some(TlsVersion::V1_2);
    }
    if section.flag("fail_if_ssl") == Some(true) {
        section.warn("fail_if_ssl", "no-counterpart", "a probe cannot ask for an answer without TLS");
    }
    http.expect = (expect != HttpExpect::default()).then_some(expect);
    http
}

fn method(section: &Section<'_>) -> Option<String> {
    let method = section.text("method").filter(|method| !method.is_empty())?.to_uppercase();
    if METHODS.contains(&method.as_str()) {
        return (method != "GET").then_some(method);
    }
    section.wrong("method", "word", format!("a probe has no method `{method}`"), METHODS);
    None
}

fn plain(name: &str, value: String) -> WebhookHeader {
    WebhookHeader { name: name.to_owned(), value: Some(value), ..WebhookHeader::default() }
}

fn from_file(name: &str, file: String, prefix: Option<String>) -> WebhookHeader {
    WebhookHeader { name: name.to_owned(), secret_file: Some(file), prefix, value: None }
}

fn headers(module: &str, section: &Section<'_>) -> Vec<WebhookHeader> {
    let mut headers: Vec<WebhookHeader> =
        section.pairs("headers").into_iter().map(|(name, value)| plain(&name, value)).collect();
    let Some(more) = section.section("http_headers") else { return headers };
    let names: Vec<String> = section.entries("http_headers").into_iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let Some(inner) = more.section(&name) else { continue };
        // Of several values the exporter sends the last one alone.
        let mut last = inner.texts("values").pop().map(|value| plain(&name, value));
        if inner.get("secrets").is_some() {
            let file = tls::secret(&inner, "secrets", &format!("{module}-{name}"));
            last = Some(from_file(&name, file, None));
        }
        if let Some(file) = inner.texts("files").pop() {
            let file = file.trim_start_matches('/').to_owned();
            let message = format!("the file is looked for below the secrets directory (--secrets), as `{file}`");
            inner.warn("files", "secret-file", message);
            last = Some(from_file(&name, file, None));
        }
        headers.extend(last);
        inner.end();
    }
    headers
}

fn redirects(section: &Section<'_>) -> Option<HttpRedirects> {
    let old = section.flag("no_follow_redirects").map(|not| !not);
    let follow = old.or(section.flag("follow_redirects")).unwrap_or(true);
    follow.then_some(HttpRedirects { max: MAX_REDIRECTS, allow_downgrade: true })
}

fn statuses(section: &Section<'_>) -> Vec<u16> {
    let numbers = section.numbers("valid_status_codes");
    let status = |number: u64| u16::try_from(number).ok().filter(|status| (100..=599).contains(status));
    let statuses: Vec<u16> = numbers.iter().filter_map(|number| status(*number)).collect();
    if statuses.len() < numbers.len() {
        section.error("valid_status_codes", "range", "a status goes from 100 to 599");
    }
    statuses
}

fn versions(section: &Section<'_>) -> Option<HttpVersion> {
    const KEY: &str = "valid_http_versions";
    let (mut one, mut two, mut other) = (false, false, false);
    for version in section.texts(KEY) {
        match version.as_str() {
            "HTTP/1.1" => one = true,
            "HTTP/2.0" | "HTTP/2" => two = true,
            _ => other = true,
        }
    }
    if other {
        section.warn(KEY, "no-counterpart", "a probe speaks HTTP/1.1 and HTTP/2: others never come about");
    }
    match (one, two) {
        (true, false) => Some(HttpVersion::Http1),
        (false, true) => Some(HttpVersion::Http2),
        _ => None,
    }
}

/// What the body must look like. A probe has one expression that must match, and one that must not.
fn bodies(section: &Section<'_>, expect: &mut HttpExpect) {
    const NEEDED: &str = "fail_if_body_not_matches_regexp";
    let mut body = HttpBody::default();
    let banned = section.texts("fail_if_body_matches_regexp");
    body.not_matches = match banned.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(many.iter().map(|regex| format!("(?:{regex})")).collect::<Vec<_>>().join("|")),
    };
    let (mut texts, mut lost) = (Vec::new(), false);
    for regex in section.texts(NEEDED) {
        if regex_syntax_free(&regex) {
            texts.push(regex);
        } else if body.matches.is_none() {
            body.matches = Some(regex);
        } else {
            lost = true;
        }
    }
    let mut texts = texts.into_iter();
    body.contains = texts.next();
    let rest: Vec<String> = texts.map(|text| format!("body.contains({})", serde_json::json!(text))).collect();
    expect.rule = (!rest.is_empty()).then(|| rest.join(" && "));
    if lost {
        let message = "a probe has one expression for the body, and any number of plain texts: the first expression \
                       is carried over";
        section.warn(NEEDED, "no-counterpart", message);
    }
    for key in ["fail_if_body_json_matches_cel", "fail_if_body_json_not_matches_cel"] {
        let message =
            "a probe speaks no CEL: say it in Rhai under `expect.rule`, where the body's JSON is called `json`";
        section.lost(key, message);
    }
    expect.body = (body != HttpBody::default()).then_some(body);
}

/// Whether an expression is a plain text.
fn regex_syntax_free(regex: &str) -> bool {
    !regex.is_empty() && !regex.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'])
}

fn header_rules(section: &Section<'_>) -> Vec<HttpHeader> {
    let mut rules = Vec::new();
    for (key, absent) in [("fail_if_header_matches", true), ("fail_if_header_not_matches", false)] {
        for inner in section.sections(key) {
            let (name, matches) = (inner.text("header"), inner.text("regexp").filter(|regex| !regex.is_empty()));
            let allow_missing = inner.flag("allow_missing").unwrap_or(false);
            inner.end();
            let (Some(name), Some(matches)) = (name.filter(|name| !name.is_empty()), matches) else {
                inner.error_here("missing-field", "`header` and `regexp` are needed");
                continue;
            };
            let rule = HttpHeader { name: name.clone(), matches: Some(matches), absent, ..HttpHeader::default() };
            match (absent, allow_missing) {
                (true, true) | (false, false) => rules.push(rule),
                // It must be there, and must not be so.
                (true, false) => rules.extend([HttpHeader { name, ..HttpHeader::default() }, rule]),
                (false, true) => {
                    let message = "a probe cannot ask for a header that may be missing: left out";
                    inner.warn("allow_missing", "no-counterpart", message);
                }
            }
        }
    }
    rules
}

fn compression(section: &Section<'_>, http: &mut HttpProbe, expect: &mut HttpExpect) {
    let Some(algorithm) = section.text("compression").map(|name| name.to_lowercase()) else { return };
    match algorithm.as_str() {
        "" | "identity" => {}
        "gzip" | "br" | "deflate" => {
            http.compression = true;
            // The exporter fails where the answer is not compressed in this very way.
            let matches = Some(format!("(?i)^{algorithm}$"));
            let name = "Content-Encoding".to_owned();
            expect.headers.push(HttpHeader { name, matches, ..HttpHeader::default() });
        }
        other => {
            let message = format!("there is no compression `{other}`");
            section.wrong("compression", "word", message, ["gzip", "br", "deflate", "identity"]);
        }
    }
}

fn auth(module: &str, section: &Section<'_>, http: &mut HttpProbe) {
    let mut auth = HttpAuth::default();
    if let Some(inner) = section.section("basic_auth") {
        let file = credential(module, &inner, "password");
        inner.lost("username_file", "a probe holds the user's name itself, under `auth.basic.username`");
        inner.lost("username_ref", "a probe holds the user's name itself, under `auth.basic.username`");
        match (inner.text("username").filter(|name| !name.is_empty()), file) {
            (Some(username), Some(password_file)) => auth.basic = Some(BasicAuth { username, password_file }),
            (None, _) => inner.warn("username", "no-counterpart", "without a user nothing is shown"),
            (_, None) => inner.warn("password", "no-counterpart", "without a password nothing is shown"),
        }
        inner.end();
    }
    if let Some(inner) = section.section("authorization") {
        let kind = inner.text("type").filter(|kind| !kind.is_empty()).unwrap_or_else(|| "Bearer".to_owned());
        match credential(module, &inner, "credentials") {
            Some(token_file) if kind.eq_ignore_ascii_case("bearer") => auth.bearer = Some(BearerAuth { token_file }),
            Some(file) => http.headers.push(from_file("Authorization", file, Some(format!("{kind} ")))),
            None => inner.error_here("missing-field", "`credentials` or `credentials_file` is needed"),
        }
        inner.end();
    }
    if let Some(token_file) = credential(module, section, "bearer_token") {
        auth.bearer = Some(BearerAuth { token_file });
    }
    if let Some(inner) = section.section("oauth2") {
        auth.oauth2 = oauth2(module, &inner);
        inner.end();
    }
    let given = [auth.basic.is_some(), auth.bearer.is_some(), auth.oauth2.is_some()];
    if given.iter().filter(|given| **given).count() > 1 {
        section.error_here("contradiction", "at most one of basic_auth, authorization, bearer_token and oauth2");
    }
    http.auth = (auth != HttpAuth::default()).then_some(auth);
}

/// The file of a secret that stands in the module, in a file, or somewhere else.
fn credential(module: &str, section: &Section<'_>, key: &str) -> Option<String> {
    section.lost(&format!("{key}_ref"), "a probe takes it from a file below the secrets directory");
    if section.text(key).is_some_and(|secret| !secret.is_empty()) {
        return Some(tls::secret(section, key, &format!("{module}-{}", key.replace('_', "-"))));
    }
    tls::file(section, &format!("{key}_file"))
}

fn oauth2(module: &str, section: &Section<'_>) -> Option<ClientCredentials> {
    for key in [
        "client_certificate_key_id",
        "client_certificate_key",
        "client_certificate_key_file",
        "client_certificate_key_ref",
        "signature_algorithm",
        "iss",
        "claims",
    ] {
        section.lost(key, "a probe shows a client secret, and signs no assertions");
    }
    for key in ["proxy_url", "no_proxy", "proxy_from_environment", "proxy_connect_header"] {
        section.lost(key, "a probe asks for its token directly");
    }
    if section.text("grant_type").is_some_and(|grant| grant != "client_credentials" && !grant.is_empty()) {
        section.warn("grant_type", "no-counterpart", "a probe knows the grant client_credentials alone");
    }
    let mut parameters: std::collections::BTreeMap<String, String> =
        section.pairs("endpoint_params").into_iter().collect();
    if let Some(audience) = section.text("audience") {
        parameters.insert("audience".to_owned(), audience);
    }
    let secret = credential(module, section, "client_secret");
    let tls = tls::options(module, section);
    let scopes = section.texts("scopes");
    let (Some(client_id), Some(token_url), Some(client_secret_file)) =
        (section.text("client_id"), section.text("token_url"), secret)
    else {
        section.error_here("missing-field", "`client_id`, `token_url` and a client secret are needed");
        return None;
    };
    Some(ClientCredentials { token_url, client_id, client_secret_file, scopes, parameters, tls })
}

fn proxy(section: &Section<'_>, http: &mut HttpProbe) {
    section.lost("no_proxy", "a probe asks through its proxy always");
    section.lost("proxy_connect_header", "a probe sends a proxy no headers of its own; `proxy.auth` shows a user");
    section.lost("skip_resolve_phase_with_proxy", "behind a proxy a probe resolves the proxy's name alone");
    if section.flag("proxy_from_environment") == Some(true) {
        section.warn("proxy_from_environment", "no-counterpart", "a probe reads no environment: name the proxy");
    }
    let Some(url) = section.text("proxy_url").filter(|url| !url.is_empty()) else { return };
    if url.contains('@') {
        // Not repeated: it may hold a password.
        section.warn("proxy_url", "no-counterpart", "it holds a user: name the proxy without, and the user in `auth`");
        return;
    }
    if !url.starts_with("http://") {
        section.warn("proxy_url", "no-counterpart", "a probe speaks to proxies over http:// alone");
        return;
    }
    http.proxy = Some(HttpProxy { url, auth: None });
}

/// A size such as `10MB`, in bytes; the units are powers of 1,024 with and without an `i`.
fn size(text: &str) -> Option<u32> {
    const UNITS: [(&str, u64); 7] =
        [("KiB", 10), ("MiB", 20), ("GiB", 30), ("KB", 10), ("MB", 20), ("GB", 30), ("B", 0)];
    let (number, shift) =
        UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
    let number: u64 = number.trim().parse().ok()?;
    u32::try_from(number.checked_shl(u32::try_from(shift).ok()?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0", Some(0))]
    #[case("100", Some(100))]
    #[case("10MB", Some(10 << 20))]
    #[case("2KiB", Some(2_048))]
    #[case("5GB", None)]
    #[case("ten", None)]
    fn sizes_are_powers_of_1024(#[case] text: &str, #[case] bytes: Option<u32>) {
        assert_eq!(size(text), bytes);
    }
}
