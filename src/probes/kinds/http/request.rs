//! Requests: what a spec says, and what is sent to one place.

use std::borrow::Cow;

use hyper::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::unpack::ACCEPTED;
use crate::api::WebhookHeader;
use crate::outbound::{Secrets, USER_AGENT};
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};

/// Methods of which the body's length is told even where there is none.
const WITH_BODY: [&str; 3] = ["POST", "PUT", "PATCH"];
/// Headers that say how a message is framed: they are ours.
const FRAMING: [&str; 6] = ["content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive"];
/// Headers that are meant for one server alone, even where they stand in the spec in plain.
const PERSONAL: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// What to send, wherever it goes.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    pub(super) method: String,
    /// In place of the URL's host and port.
    pub(super) host: Option<String>,
    headers: Vec<Header>,
    pub(super) body: Vec<u8>,
    /// Whether compressed answers are asked for.
    compression: bool,
}

#[derive(Debug, Clone)]
struct Header {
    name: String,
    prefix: String,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Plain(String),
    /// A file below the secrets directory, read at every round.
    Secret(String),
}

/// The parts of a spec that make a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) method: Option<&'a str>,
    pub(super) headers: &'a [WebhookHeader],
    pub(super) body: Option<&'a str>,
    pub(super) compression: bool,
}

/// The secrets of one round.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// The values of the headers that have a secret, in their order.
    headers: Vec<SecretString>,
    /// What asks for us.
    pub(super) authorization: Option<SecretString>,
    /// What asks the proxy for us.
    pub(super) proxy: Option<SecretString>,
    /// Everything that must not be shown.
    pub(super) hidden: Vec<SecretString>,
}

impl Credentials {
    /// Keeps a secret from being shown, in every notation that an answer may repeat it in.
    pub(super) fn hide(&mut self, secret: &str) {
        let json = serde_json::Value::from(secret).to_string();
        let json = json.trim_matches('"').to_owned();
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for variant in [secret.to_owned(), json, encoded] {
            if !self.hidden.iter().any(|known| known.expose_secret() == variant) {
                self.hidden.push(variant.into());
            }
        }
    }
}

/// What is sent to one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The method; after a redirect it may be another than the spec's.
    pub(super) method: &'a str,
    /// Whether the body goes with it.
    pub(super) with_body: bool,
    /// The target of the request line: a path, or, for a proxy, a whole URL.
    pub(super) target: &'a str,
    /// Host and port of the URL.
    pub(super) authority: &'a str,
    /// Whether it is the place that the spec names: only there secrets go.
    pub(super) trusted: bool,
    /// Whether a proxy takes it: then its credentials go with it.
    pub(super) proxied: bool,
}

impl Outline {
    /// Reads the parts; `field` is where they stand in the spec.
    ///
    /// # Errors
    /// A method, a header or a path that is none.
    pub(super) fn compile(field: &str, parts: Parts<'_>) -> Result<Self, SpecError> {
        let method = parts.method.unwrap_or("GET");
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            let why = format!("`{method}` is no method such as GET or POST");
            return Err(SpecError::new(format!("{field}.method"), why));
        }
        let mut host = None;
        let mut headers = Vec::with_capacity(parts.headers.len());
        for (index, spec) in parts.headers.iter().enumerate() {
            let field = format!("{field}.headers[{index}]");
            let header = header(&field, spec)?;
            if !header.name.eq_ignore_ascii_case("host") {
                headers.push(header);
                continue;
            }
            let Value::Plain(value) = header.value else {
                return Err(SpecError::new(format!("{field}.secretFile"), "the host cannot be a secret"));
            };
            if host.replace(format!("{}{value}", header.prefix)).is_some() {
                return Err(SpecError::new(format!("{field}.name"), "there is another `Host` before it"));
            }
        }
        Ok(Self {
            method: method.to_owned(),
            host,
            headers,
            body: parts.body.unwrap_or_default().as_bytes().to_vec(),
            compression: parts.compression,
        })
    }

    /// Whether no secret is in it.
    pub(super) fn is_plain(&self) -> bool {
        self.headers.iter().all(|header| matches!(header.value, Value::Plain(_)))
    }

    /// Whether a header is given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name))
    }

    /// Reads the secrets of the headers.
    ///
    /// # Errors
    /// A file is in trouble, or holds what is no header.
    pub(super) async fn secrets(&self, secrets: &Secrets, credentials: &mut Credentials) -> Result<(), Failure> {
        for header in &self.headers {
            let Value::Secret(file) = &header.value else { continue };
            let secret = secret(secrets, file).await?;
            credentials.hide(secret.expose_secret());
            let value = format!("{}{}", header.prefix, secret.expose_secret());
            if HeaderValue::from_str(&value).is_err() {
                let message = format!("secret file `{file}` holds what cannot stand in header `{}`", header.name);
                return Err(Failure::new(Reason::Secret, message));
            }
            credentials.headers.push(value.into());
        }
        Ok(())
    }

    /// The host that is asked for.
    pub(super) fn host<'a>(&'a self, call: &Call<'a>) -> &'a str {
        self.host.as_deref().filter(|_| call.trusted).unwrap_or(call.authority)
    }

    /// The headers of a call, but for the host and what concerns one connection.
    pub(super) fn fields<'a>(
        &'a self,
        call: &Call<'_>,
        credentials: &'a Credentials,
    ) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let trusted = call.trusted;
        let mut secret = credentials.headers.iter();
        let own = self.headers.iter().filter_map(move |header| {
            let value = match &header.value {
                Value::Plain(value) if header.prefix.is_empty() => Cow::Borrowed(value.as_str()),
                Value::Plain(value) => Cow::Owned(format!("{}{value}", header.prefix)),
                Value::Secret(_) => Cow::Borrowed(secret.next()?.expose_secret()),
            };
            let personal = PERSONAL.iter().any(|name| header.name.eq_ignore_ascii_case(name));
            let kept = trusted || (matches!(header.value, Value::Plain(_)) && !personal);
            kept.then_some((header.name.as_str(), value))
        });
        let usual = [("User-Agent", USER_AGENT), ("Accept", "*/*"), ("Accept-Encoding", ACCEPTED)];
        let usual =
            usual.into_iter().filter(|(name, _)| !self.has(name) && (self.compression || *name != "Accept-Encoding"));
        let authorization = credentials.authorization.as_ref().filter(|_| call.trusted);
        let proxy = credentials.proxy.as_ref().filter(|_| call.proxied);
        let length = (call.with_body && (!self.body.is_empty() || WITH_BODY.contains(&call.method)))
            .then(|| ("Content-Length", Cow::Owned(self.body.len().to_string())));
        usual
            .map(|(name, value)| (name, Cow::Borrowed(value)))
            .chain(own)
            .chain(authorization.map(|value| ("Authorization", Cow::Borrowed(value.expose_secret()))))
            .chain(proxy.map(|value| ("Proxy-Authorization", Cow::Borrowed(value.expose_secret()))))
            .chain(length)
    }

    /// A call as HTTP/1.1 sends it.
    pub(super) fn bytes(&self, call: &Call<'_>, credentials: &Credentials) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + self.body.len());
        for part in [call.method, " ", call.target, " HTTP/1.1\r\nHost: ", self.host(call), "\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        for (name, value) in self.fields(call, credentials) {
            for part in [name, ": ", &value, "\r\n"] {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        if !self.has("connection") {
            // The server closes first, and keeps the port in its books and not in ours.
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if call.with_body {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// Reads a secret.
///
/// # Errors
/// The file is in trouble, which is ours.
pub(super) async fn secret(secrets: &Secrets, file: &str) -> Result<SecretString, Failure> {
    secrets.text(file).await.map_err(|error| Failure::new(Reason::Secret, error.to_string()))
}

fn header(field: &str, spec: &WebhookHeader) -> Result<Header, SpecError> {
    let wrong = |part: &str, why: &str| SpecError::new(format!("{field}.{part}"), why);
    let name = spec.name.as_str();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(wrong("name", &format!("`{name}` is no header's name")));
    }
    if FRAMING.iter().any(|other| name.eq_ignore_ascii_case(other)) {
        return Err(wrong("name", &format!("`{name}` says how the message is framed: it follows from the body")));
    }
    let prefix = spec.prefix.clone().unwrap_or_default();
    if HeaderValue::from_str(&prefix).is_err() {
        return Err(wrong("prefix", "it has control characters"));
    }
    let value = match (&spec.value, &spec.secret_file) {
        (Some(value), None) if HeaderValue::from_str(value).is_err() => {
            return Err(wrong("value", "it has control characters"));
        }
        (Some(value), None) => Value::Plain(value.clone()),
        (None, Some(file)) => {
            Secrets::check_path(file).map_err(|error| wrong("secretFile", &error.to_string()))?;
            Value::Secret(file.clone())
        }
        _ => return Err(SpecError::new(field, "exactly one of value and secretFile")),
    };
    Ok(Header { name: name.to_owned(), prefix, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn plain(name: &str, value: &str) -> WebhookHeader {
        WebhookHeader { name: name.to_owned(), value: Some(value.to_owned()), ..WebhookHeader::default() }
    }

    fn outline(method: Option<&str>, headers: &[WebhookHeader], body: Option<&str>) -> Result<Outline, SpecError> {
        Outline::compile("http", Parts { method, headers, body, compression: true })
    }

    fn call(method: &str, trusted: bool) -> Call<'_> {
        Call { method, with_body: true, target: "/a?b", authority: "shop:81", trusted, proxied: false }
    }

    #[test]
    fn a_request_is_one_text() {
        let outline = outline(Some("POST"), &[plain("X-A", "1")], Some("hello")).unwrap();
        let bytes = outline.bytes(&call("POST", true), &Credentials::default());
        let agent = format!("User-Agent: {USER_AGENT}");
        let lines = [
            "POST /a?b HTTP/1.1",
            "Host: shop:81",
            &agent,
            "Accept: */*",
            "Accept-Encoding: gzip, deflate, br",
            "X-A: 1",
            "Content-Length: 5",
            "Connection: close",
            "",
            "hello",
        ];
        assert_eq!(String::from_utf8(bytes).unwrap(), lines.join("\r\n"));
    }

    #[test]
    fn what_the_spec_gives_replaces_the_usual() {
        let headers = [plain("host", "other"), plain("user-agent", "me"), plain("Connection", "keep-alive")];
        let text = outline(None, &headers, None).unwrap().bytes(&call("GET", true), &Credentials::default());
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("GET /a?b HTTP/1.1\r\nHost: other\r\n"), "{text}");
        assert!(text.contains("\r\nuser-agent: me\r\n") && !text.contains(USER_AGENT), "{text}");
        assert!(text.contains("\r\nConnection: keep-alive\r\n") && !text.contains("close"), "{text}");
        assert!(!text.contains("Content-Length"), "{text}");
    }

    #[test]
    fn elsewhere_goes_nothing_that_is_meant_for_one_place() {
        let headers = [plain("Host", "other"), plain("COOKIE", "a=b"), plain("Authorization", "x"), plain("X-A", "1")];
        let credentials = Credentials { authorization: Some("Bearer t".into()), ..Credentials::default() };
        let outline = outline(None, &headers, None).unwrap();
        let text = String::from_utf8(outline.bytes(&call("GET", false), &credentials)).unwrap();
        assert!(text.contains("Host: shop:81\r\n") && text.contains("X-A: 1\r\n"), "{text}");
        assert!(!text.contains("COOKIE") && !text.to_lowercase().contains("authorization"), "{text}");
    }

    #[rstest]
    #[case(Some("get"), plain("a", "b"), "http.method")]
    #[case(None, plain("a b", "b"), "http.headers[0].name")]
    #[case(None, plain("Content-Length", "5"), "http.headers[0].name")]
    #[case(None, plain("a", "b\r\nc: d"), "http.headers[0].value")]
    #[case(None, WebhookHeader { prefix: Some("\n".to_owned()), ..plain("a", "b") }, "http.headers[0].prefix")]
    #[case(None, WebhookHeader { secret_file: Some("x".to_owned()), ..plain("a", "b") }, "http.headers[0]")]
    #[case(
        None,
        WebhookHeader { value: None, secret_file: Some("../x".to_owned()), ..plain("a", "") },
        "http.headers[0].secretFile"
    )]
    fn a_broken_part_is_named(#[case] method: Option<&str>, #[case] header: WebhookHeader, #[case] field: &str) {
        assert_eq!(outline(method, &[header], None).unwrap_err().field, field);
    }

    #[test]
    fn a_secret_is_hidden_in_every_notation() {
        let mut credentials = Credentials::default();
        credentials.hide("a\"b c");
        let hidden: Vec<_> = credentials.hidden.iter().map(|secret| secret.expose_secret().to_owned()).collect();
        assert_eq!(hidden, ["a\"b c", "a\\\"b c", "a%22b+c"]);
    }
}
