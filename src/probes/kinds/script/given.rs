//! What a script is given: its target, its parameters, its secrets, and what it may reach.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use rhai::{Dynamic, Map};
use secrecy::{ExposeSecret, SecretString};

use super::fault::{Answer, Fault};
use super::hosts::{Hosts, Target};
use super::run::current;
use crate::api::{ProbeTls, ScriptProbe};
use crate::clock::Clock;
use crate::outbound::{Outbound, Secrets};
use crate::probes::result::{Failure, Reason};
use crate::probes::{SpecError, Tools};
use crate::rules::{Allowance, did_you_mean, to_script};

/// The most parameters, and the most secrets; the schema says so too.
const MAX_PARAMETERS: usize = 64;
const MAX_SECRETS: usize = 16;

/// What is the same for every run of a probe.
pub(super) struct Given {
    pub(super) target: Option<Target>,
    pub(super) hosts: Hosts,
    pub(super) parameters: BTreeMap<String, Dynamic>,
    /// The files of the secrets, by name.
    secrets: BTreeMap<String, String>,
    pub(super) tls: Option<ProbeTls>,
    pub(super) outbound: Outbound,
    clock: std::sync::Arc<dyn Clock>,
}

/// The handle of `parameters` in a script.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters;

/// The handle of `secrets` in a script.
#[derive(Debug, Clone, Copy)]
pub(super) struct SecretValues;

impl Given {
    /// Reads a spec.
    pub(super) fn compile(spec: &ScriptProbe, tools: &Tools) -> Result<Self, SpecError> {
        let guard = tools.outbound.guard();
        let target = spec.target.as_deref().map(|text| Target::parse(text, guard)).transpose()?;
        let hosts = Hosts::compile(spec, target.as_ref(), guard)?;
        if spec.parameters.len() > MAX_PARAMETERS {
            return Err(SpecError::new("script.parameters", format!("there are more than {MAX_PARAMETERS}")));
        }
        if spec.secrets.len() > MAX_SECRETS {
            return Err(SpecError::new("script.secrets", format!("there are more than {MAX_SECRETS}")));
        }
        let mut allowance = Allowance::full();
        let parameters = spec.parameters.iter().map(|(name, value)| {
            let value = to_script(value, &mut allowance);
            let value =
                value.map_err(|error| SpecError::new(format!("script.parameters.{name}"), error.to_string()))?;
            Ok((name.clone(), value))
        });
        let parameters = parameters.collect::<Result<_, SpecError>>()?;
        for (name, file) in &spec.secrets {
            Secrets::check_path(file)
                .map_err(|error| SpecError::new(format!("script.secrets.{name}"), error.to_string()))?;
        }
        // What is wrong with the options shows with any name.
        let name = target.as_ref().map_or("localhost", |target| target.host.as_str());
        crate::probes::wire::Secure::compile("script.tls", spec.tls.as_ref(), name, &[], &tools.outbound)?;
        Ok(Self {
            target,
            hosts,
            parameters,
            secrets: spec.secrets.clone(),
            tls: spec.tls.clone(),
            outbound: tools.outbound.clone(),
            clock: std::sync::Arc::clone(&tools.clock),
        })
    }

    /// The secrets as they are now.
    pub(super) async fn read_secrets(&self) -> Result<Vec<(String, SecretString)>, Failure> {
        let mut read = Vec::with_capacity(self.secrets.len());
        for (name, file) in &self.secrets {
            let secret = self.outbound.secrets().text(file).await;
            read.push((name.clone(), secret.map_err(|error| Failure::new(Reason::Secret, error.to_string()))?));
        }
        Ok(read)
    }

    /// What time it is, for cookies.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A parameter that must be there.
pub(super) fn parameter(_: &mut Parameters, name: &str) -> Answer<Dynamic> {
    let run = current()?;
    let found = run.given.parameters.get(name).cloned();
    found.ok_or_else(|| unknown("parameter", name, run.given.parameters.keys().map(String::as_str)))
}

/// A parameter, or something else where it is not given.
pub(super) fn parameter_or(_: &mut Parameters, name: &str, other: Dynamic) -> Answer<Dynamic> {
    Ok(current()?.given.parameters.get(name).cloned().unwrap_or(other))
}

/// Whether a parameter is given.
pub(super) fn is_parameter(_: &mut Parameters, name: &str) -> Answer<bool> {
    Ok(current()?.given.parameters.contains_key(name))
}

/// All parameters.
pub(super) fn all_parameters(_: &mut Parameters) -> Answer<Map> {
    let run = current()?;
    Ok(run.given.parameters.iter().map(|(name, value)| (name.as_str().into(), value.clone())).collect())
}

/// A secret that must be there.
pub(super) fn secret(_: &mut SecretValues, name: &str) -> Answer<String> {
    let run = current()?;
    let found = run.secrets.iter().find(|(other, _)| other == name);
    let found = found.map(|(_, secret)| secret.expose_secret().to_owned());
    found.ok_or_else(|| unknown("secret", name, run.secrets.iter().map(|(name, _)| name.as_str())))
}

#[expect(clippy::unnecessary_box_returns, reason = "the script engine's errors are boxed")]
fn unknown<'a>(what: &str, name: &str, all: impl Iterator<Item = &'a str>) -> Box<rhai::EvalAltResult> {
    Fault::of_script(format!("there is no {what} `{name}`{}", did_you_mean(name, all))).thrown()
}

/// A secret as it may come back: as it is, as it stands in a form, a URL, in JSON, and in Base64.
pub(super) fn notations(secret: &SecretString) -> Vec<SecretString> {
    let plain = secret.expose_secret();
    let form: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
    let json = serde_json::Value::from(plain).to_string();
    let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default();
    let mut path = url::Url::parse("http://host/").ok();
    let path = path.as_mut().map(|url| {
        url.set_path(plain);
        url.path().trim_start_matches('/').to_owned()
    });
    let part = form.replace('+', "%20");
    let mut all =
        vec![plain.to_owned(), form, part, path.unwrap_or_default(), json.to_owned(), BASE64_STANDARD.encode(plain)];
    all.sort();
    all.dedup();
    all.retain(|text| !text.is_empty());
    // What is longer is hidden first: one notation may stand in another.
    all.sort_by_key(|text| std::cmp::Reverse(text.len()));
    all.into_iter().map(SecretString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::hide;

    #[test]
    fn a_secret_is_hidden_in_every_notation() {
        let hidden = notations(&"a b&\"c\"".into());
        for text in [
            "x a b&\"c\" y",
            "x a+b%26%22c%22 y",
            "x a%20b%26%22c%22 y",
            "x a%20b&%22c%22 y",
            "x a b&\\\"c\\\" y",
            "x YSBiJiJjIg== y",
        ] {
            assert_eq!(&*hide(text.as_bytes(), &hidden), b"x [hidden] y", "{text}");
        }
    }
}
