//! Headers and metadata to send: some from the spec, some from secret files.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::api::WebhookHeader;
use crate::outbound::Secrets;
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};

/// Headers to send with every round.
#[derive(Debug, Default)]
pub(in crate::probes) struct Headers(Vec<Header>);

#[derive(Debug)]
struct Header {
    name: HeaderName,
    prefix: String,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Plain(HeaderValue),
    /// A file below the secrets directory, read at every round.
    Secret(String),
}

impl Headers {
    /// Reads the headers of a spec; `field` is where they stand in it.
    ///
    /// # Errors
    /// A name that is none, a value with control characters, not exactly one of value and file.
    pub(in crate::probes) fn compile(field: &str, spec: &[WebhookHeader]) -> Result<Self, SpecError> {
        let headers = spec.iter().enumerate().map(|(index, header)| one(&format!("{field}[{index}]"), header));
        headers.collect::<Result<_, _>>().map(Self)
    }

    /// The names in the order of the spec, each with the field that it stands in.
    pub(in crate::probes) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|header| &header.name)
    }

    /// The headers, with the secrets read now, and those secrets: what comes back must not show them.
    ///
    /// # Errors
    /// A secret file of ours is in trouble.
    pub(in crate::probes) async fn read(&self, secrets: &Secrets) -> Result<(HeaderMap, Vec<SecretString>), Failure> {
        let own = |why: String| Failure::new(Reason::Secret, why);
        let mut headers = HeaderMap::with_capacity(self.0.len());
        let mut hidden = Vec::new();
        for header in &self.0 {
            let value = match &header.value {
                Value::Plain(value) => value.clone(),
                Value::Secret(file) => {
                    let secret = secrets.text(file).await.map_err(|error| own(error.to_string()))?;
                    let text = format!("{}{}", header.prefix, secret.expose_secret());
                    let mut value = HeaderValue::from_str(&text).map_err(|_| {
                        own(format!(
                            "secret file `{file}`: header `{}` cannot hold it: it has control characters",
                            header.name
                        ))
                    })?;
                    value.set_sensitive(true);
                    hidden.push(secret);
                    value
                }
            };
            headers.append(header.name.clone(), value);
        }
        Ok((headers, hidden))
    }
}

fn one(field: &str, spec: &WebhookHeader) -> Result<Header, SpecError> {
    let wrong = |part: &str, why: String| SpecError::new(format!("{field}.{part}"), why);
    let name: HeaderName =
        spec.name.parse().map_err(|_| wrong("name", format!("`{}` is no header's name", spec.name)))?;
    let prefix = spec.prefix.clone().unwrap_or_default();
    if HeaderValue::from_str(&prefix).is_err() {
        return Err(wrong("prefix", format!("header `{name}`: the prefix has control characters")));
    }
    let value = match (&spec.value, &spec.secret_file) {
        (Some(value), None) => Value::Plain(
            HeaderValue::from_str(&format!("{prefix}{value}"))
                .map_err(|_| wrong("value", format!("header `{name}`: the value has control characters")))?,
        ),
        (None, Some(file)) => {
            Secrets::check_path(file).map_err(|error| wrong("secretFile", error.to_string()))?;
            Value::Secret(file.clone())
        }
        _ => return Err(SpecError::new(field, format!("header `{name}`: exactly one of value and secretFile"))),
    };
    Ok(Header { name, prefix, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value as Json, json};

    fn compiled(spec: Json) -> Result<Headers, SpecError> {
        Headers::compile("http.headers", &serde_json::from_value::<Vec<WebhookHeader>>(spec).unwrap())
    }

    #[rstest]
    #[case(json!([{"name": "A", "value": "x"}, {"name": "B C", "value": "x"}]), "http.headers[1].name")]
    #[case(json!([{"name": "A", "value": "x\ny"}]), "http.headers[0].value")]
    #[case(json!([{"name": "A", "value": "x", "secretFile": "y"}]), "http.headers[0]")]
    #[case(json!([{"name": "A"}]), "http.headers[0]")]
    #[case(json!([{"name": "A", "secretFile": "../y"}]), "http.headers[0].secretFile")]
    #[case(json!([{"name": "A", "secretFile": "y", "prefix": "\r"}]), "http.headers[0].prefix")]
    fn what_is_no_header_is_refused_by_its_field(#[case] spec: Json, #[case] field: &str) {
        assert_eq!(compiled(spec).unwrap_err().field, field);
    }

    #[tokio::test]
    async fn a_secret_is_read_at_every_round_and_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(Some(directory.path().to_owned()));
        let headers = compiled(json!([
            {"name": "X-A", "value": "b", "prefix": "a"},
            {"name": "Authorization", "secretFile": "token", "prefix": "Bearer "}
        ]));
        let headers = headers.unwrap();
        assert_eq!(headers.read(&secrets).await.unwrap_err().reason, Reason::Secret);
        for token in ["one", "two"] {
            std::fs::write(directory.path().join("token"), format!("{token}\n")).unwrap();
            let (map, hidden) = headers.read(&secrets).await.unwrap();
            assert_eq!(
                (&map["x-a"], &map["authorization"]),
                (&"ab".parse().unwrap(), &format!("Bearer {token}").parse().unwrap())
            );
            assert_eq!(hidden.iter().map(ExposeSecret::expose_secret).collect::<Vec<_>>(), [token]);
        }
        std::fs::write(directory.path().join("token"), "a\nb").unwrap();
        let failure = headers.read(&secrets).await.unwrap_err();
        assert!(failure.reason == Reason::Secret && !failure.message.contains("a\nb"), "{failure:?}");
    }
}
