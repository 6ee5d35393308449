//! What headers and texts must be.

use hyper::header::HeaderName;
use regex::bytes::Regex;

use super::Seen;
use crate::api::{HttpBody, HttpHeader};
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};
use crate::probes::wire::expression;

/// What a header must be.
#[derive(Debug)]
pub(super) struct HeaderRule {
    name: String,
    equals: Option<String>,
    matches: Option<Regex>,
    absent: bool,
}

impl HeaderRule {
    pub(super) fn compile(field: &str, specs: &[HttpHeader]) -> Result<Vec<Self>, SpecError> {
        let one = |(index, spec): (usize, &HttpHeader)| {
            let field = format!("{field}.headers[{index}]");
            if HeaderName::from_bytes(spec.name.as_bytes()).is_err() {
                return Err(SpecError::new(format!("{field}.name"), format!("`{}` is no header's name", spec.name)));
            }
            Ok(Self {
                name: spec.name.clone(),
                equals: spec.equals.clone(),
                matches: expression(&format!("{field}.matches"), spec.matches.as_deref())?,
                absent: spec.absent,
            })
        };
        specs.iter().enumerate().map(one).collect()
    }

    pub(super) fn judge(&self, seen: &Seen<'_>) -> Result<(), Failure> {
        let is_so = |value: &&[u8]| {
            self.equals.as_ref().is_none_or(|equals| value.trim_ascii() == equals.as_bytes())
                && self.matches.as_ref().is_none_or(|regex| regex.is_match(value))
        };
        let mut values = seen.answer.headers.all(&self.name);
        let fitting = values.find(is_so);
        if fitting.is_some() != self.absent {
            return Ok(());
        }
        let name = &self.name;
        let message = match (fitting, seen.answer.headers.all(name).next()) {
            (Some(value), _) => {
                let value = seen.shown(value);
                format!("header `{name}` is {value}, which must not be")
            }
            (None, None) => format!("header `{name}` is not there{}", self.wanted(" where it must be", ", where ")),
            (None, Some(value)) => {
                let value = seen.shown(value);
                let more = seen.answer.headers.all(name).count() - 1;
                let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
                format!("header `{name}` is {value}{more}{}", self.wanted("", ", where "))
            }
        };
        Err(Failure::new(Reason::Header, message))
    }

    /// What is expected, in words.
    fn wanted(&self, nothing: &str, lead: &str) -> String {
        match (&self.equals, &self.matches) {
            (None, None) => nothing.to_owned(),
            (Some(equals), None) => format!("{lead}{equals:?} is expected"),
            (None, Some(regex)) => format!("{lead}a match of `{regex}` is expected"),
            (Some(equals), Some(regex)) => format!("{lead}{equals:?} and a match of `{regex}` are expected"),
        }
    }
}

/// What a body must look like.
#[derive(Debug, Default)]
pub(super) struct Content {
    contains: Option<String>,
    matches: Option<Regex>,
    excludes: Option<String>,
    not_matches: Option<Regex>,
}

impl Content {
    pub(super) fn compile(field: &str, spec: Option<&HttpBody>) -> Result<Self, SpecError> {
        let Some(spec) = spec else { return Ok(Self::default()) };
        Ok(Self {
            contains: spec.contains.clone(),
            matches: expression(&format!("{field}.body.matches"), spec.matches.as_deref())?,
            excludes: spec.excludes.clone(),
            not_matches: expression(&format!("{field}.body.notMatches"), spec.not_matches.as_deref())?,
        })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.contains.is_none() && self.matches.is_none() && self.excludes.is_none() && self.not_matches.is_none()
    }

    pub(super) fn judge(&self, seen: &Seen<'_>) -> Result<(), Failure> {
        let body = seen.answer.body.as_slice();
        let wrong = |message: String| Err(Failure::new(Reason::Body, message));
        if let Some(text) = self.contains.as_ref().filter(|text| !stands(body, text.as_bytes())) {
            return wrong(format!("the body does not contain {text:?}: {}", seen.body()));
        }
        if let Some(regex) = self.matches.as_ref().filter(|regex| !regex.is_match(body)) {
            return wrong(format!("the body does not match `{regex}`: {}", seen.body()));
        }
        if let Some(text) = self.excludes.as_ref().filter(|text| stands(body, text.as_bytes())) {
            return wrong(format!("the body contains {text:?}, which must not be"));
        }
        if let Some((regex, found)) = self.not_matches.as_ref().and_then(|regex| Some((regex, regex.find(body)?))) {
            let found = seen.shown(found.as_bytes());
            return wrong(format!("the body matches `{regex}` with {found}, which must not be"));
        }
        Ok(())
    }
}

/// Whether `needle` stands in `body`.
fn stands(body: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let mut rest = body;
    while let Some(place) = rest.iter().position(|byte| byte == first) {
        rest = rest.get(place..).unwrap_or_default();
        if rest.starts_with(needle) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}
