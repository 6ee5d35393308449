//! The parameters that a rule declares, and the values that a gate gives them.
//!
//! A rule declares them as a constant: a map of maps with `type` and `help`, and a `value` that it
//! has where the gate gives none (`default` is a word of the language's own), or `optional: true`;
//! without either the gate has to say.
//!
//! ```rhai
//! const PARAMETERS = #{
//!     max: #{ type: "int", value: 5, min: 1, help: "the most changes" },
//!     days: #{ type: "[weekday]", value: ["sat", "sun"], help: "the days without releases" },
//! };
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::complaint::did_you_mean;
use super::time;

/// The most parameters of one rule, and the most items of a list: beyond it a policy is data.
const MAX_PARAMETERS: usize = 32;
const MAX_ITEMS: usize = 1_000;

/// What one value of a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// Any number.
    Number,
    /// A text.
    Text,
    /// A length of time, such as `2h`.
    Duration,
    /// A time of day, such as `09:00`.
    Time,
    /// A date, such as `2026-12-24`.
    Date,
    /// An instant, such as `2026-12-24T12:00:00Z`.
    Instant,
    /// An IANA time zone.
    Zone,
    /// A day of the week, such as `sat`.
    Weekday,
}

impl ParameterKind {
    const ALL: [(&'static str, Self); 10] = [
        ("bool", Self::Bool),
        ("int", Self::Int),
        ("number", Self::Number),
        ("text", Self::Text),
        ("duration", Self::Duration),
        ("time", Self::Time),
        ("date", Self::Date),
        ("instant", Self::Instant),
        ("zone", Self::Zone),
        ("weekday", Self::Weekday),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// # Errors
    /// What was found, and what is allowed.
    fn check(self, value: &Value) -> Result<(), String> {
        let found = shown(value);
        let text = || value.as_str().ok_or_else(|| format!("{found} is not a text"));
        match self {
            Self::Bool if value.is_boolean() => Ok(()),
            Self::Bool => Err(format!("{found} is not true or false")),
            Self::Int if value.is_i64() => Ok(()),
            Self::Int => Err(format!("{found} is not a whole number")),
            Self::Number if value.is_number() => Ok(()),
            Self::Number => Err(format!("{found} is not a number")),
            Self::Text => text().map(drop),
            Self::Duration => time::period(text()?).map(drop),
            Self::Time => time::time_of_day(text()?).map(drop),
            Self::Date => time::date(text()?).map(drop),
            Self::Instant => text()?
                .parse::<Timestamp>()
                .map(drop)
                .map_err(|_| format!("{found} is not an instant such as `2026-12-24T12:00:00Z`")),
            Self::Zone => time::zone(text()?).map(drop),
            Self::Weekday => time::weekday(text()?).map(drop),
        }
    }
}

/// The type of a parameter: a kind, or a list of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterType {
    /// What one value is.
    pub kind: ParameterKind,
    /// Whether it is a list of them.
    pub list: bool,
}

impl FromStr for ParameterType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let word = inner.unwrap_or(text);
        ParameterKind::ALL
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, kind)| Self { kind: *kind, list: inner.is_some() })
            .ok_or_else(|| {
                let words = ParameterKind::ALL.map(|(word, _)| word);
                let near = did_you_mean(word, words);
                format!(
                    "`{text}` is not a type: it is one of {}, or a list of one such as [text]{near}",
                    words.join(", ")
                )
            })
    }
}

impl fmt::Display for ParameterType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.list { f.pad(&format!("[{}]", self.kind.word())) } else { f.pad(self.kind.word()) }
    }
}

impl Serialize for ParameterType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ParameterType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One parameter that a rule declares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// What it means, for a person.
    pub help: String,
    /// Its value where the gate gives none. Absent: the gate has to give one.
    #[serde(default, alias = "value", skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Whether it may be left out without a default: its value is `()` then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// The smallest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Every allowed value of a text. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
}

/// What is wrong with the value of a parameter, or with its declaration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parameter `{name}`: {why}")]
pub struct ParameterError {
    /// The parameter.
    pub name: String,
    /// What was found and what is allowed.
    pub why: String,
}

impl Parameter {
    fn check(&self, value: &Value) -> Result<(), String> {
        if !self.kind.list {
            return self.check_one(value);
        }
        let items = value.as_array().ok_or_else(|| format!("{} is not a list", shown(value)))?;
        if items.len() > MAX_ITEMS {
            return Err(format!("it has {} items; {MAX_ITEMS} are allowed", items.len()));
        }
        items.iter().try_for_each(|item| self.check_one(item))
    }

    fn check_one(&self, value: &Value) -> Result<(), String> {
        self.kind.kind.check(value)?;
        if let Some(number) = value.as_f64() {
            if let Some(min) = self.min.filter(|min| number < *min) {
                return Err(format!("{number} is smaller than {min}"));
            }
            if let Some(max) = self.max.filter(|max| number > *max) {
                return Err(format!("{number} is larger than {max}"));
            }
        }
        if let (Some(choices), Some(text)) = (&self.choices, value.as_str())
            && !choices.iter().any(|choice| choice == text)
        {
            let near = did_you_mean(text, choices.iter().map(String::as_str));
            return Err(format!("`{text}` is not one of {}{near}", choices.join(", ")));
        }
        Ok(())
    }
}

/// A value, short, for a message.
fn shown(value: &Value) -> String {
    format!("`{}`", super::error::bounded(&value.to_string(), 40))
}

/// Reads the declaration of a rule's parameters.
pub(super) fn declared(value: &Value) -> Result<BTreeMap<String, Parameter>, ParameterError> {
    let error = |name: &str, why: String| ParameterError { name: name.to_owned(), why };
    let map = value.as_object().ok_or_else(|| error("PARAMETERS", "it is not a map of maps".to_owned()))?;
    if map.len() > MAX_PARAMETERS {
        return Err(error("PARAMETERS", format!("{} are declared; {MAX_PARAMETERS} are allowed", map.len())));
    }
    map.iter()
        .map(|(name, entry)| {
            let parameter: Parameter =
                serde_json::from_value(entry.clone()).map_err(|cause| error(name, cause.to_string()))?;
            if let Some(default) = &parameter.default {
                parameter.check(default).map_err(|why| error(name, format!("its default: {why}")))?;
            }
            Ok((name.clone(), parameter))
        })
        .collect()
}

/// The values of all parameters: those given, checked, and the defaults of the rest.
pub(super) fn bound(
    declared: &BTreeMap<String, Parameter>,
    given: &BTreeMap<String, Value>,
) -> Result<Map<String, Value>, Vec<ParameterError>> {
    let mut errors = Vec::new();
    let mut values = Map::new();
    for (name, value) in given {
        let why = match declared.get(name) {
            Some(parameter) => match parameter.check(value) {
                Ok(()) => {
                    values.insert(name.clone(), value.clone());
                    continue;
                }
                Err(why) => why,
            },
            None if declared.is_empty() => "the rule takes no parameters".to_owned(),
            None => {
                let near = did_you_mean(name, declared.keys().map(String::as_str));
                let known = declared.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                format!("the rule has no such parameter; it has {known}{near}")
            }
        };
        errors.push(ParameterError { name: name.clone(), why });
    }
    for (name, parameter) in declared {
        match &parameter.default {
            _ if given.contains_key(name) => {}
            Some(default) => {
                values.insert(name.clone(), default.clone());
            }
            None if parameter.optional => {
                values.insert(name.clone(), Value::Null);
            }
            None => {
                let why = format!("it must be given: {} ({})", parameter.help, parameter.kind);
                errors.push(ParameterError { name: name.clone(), why });
            }
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}
