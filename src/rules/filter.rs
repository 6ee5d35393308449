//! The filters that scripts give to the functions that look things up: maps, checked field by field.

use jiff::Timestamp;
use rhai::{Array, Dynamic, Map};

use super::complaint::{Answer, complain, did_you_mean};
use super::convert::type_name;
use super::facts::Facts;
use super::history::{Filter, Scope};
use super::time::{self, Time};
use crate::model::{Action, Labels, Point, UnknownWord, Verdict};

/// Reads a filter; `extra` are the options that the function has beside it.
pub(super) fn filter(now: Timestamp, options: &Map, extra: &[&str]) -> Answer<Filter> {
    let mut filter = Filter::default();
    for (name, value) in options {
        match name.as_str() {
            "within" => {
                let length = time::period(&text_of(name, value)?).map_err(complain)?;
                filter.since = now.checked_sub(length.exact()).ok();
            }
            "since" => filter.since = Some(instant_of(name, value)?),
            "scope" => filter.scope = scope(value)?,
            "actions" => filter.actions = words::<Action>(name, value)?,
            "points" => filter.points = words::<Point>(name, value)?,
            "verdict" => {
                let word = text_of(name, value)?;
                filter.verdict = Some(word.parse::<Verdict>().map_err(|error| complain(error.to_string()))?);
            }
            other if extra.contains(&other) => {}
            other => {
                let known = ["within", "since", "scope", "actions", "points", "verdict"];
                let known = known.iter().chain(extra).copied();
                let near = did_you_mean(other, known.clone());
                let known = known.collect::<Vec<_>>().join(", ");
                return Err(complain(format!("there is no filter `{other}`: the filters are {known}{near}")));
            }
        }
    }
    Ok(filter)
}

/// The scope that this change shares with others in `dimensions`.
pub(super) fn scope_of(facts: &Facts, dimensions: &Array) -> Answer<Map> {
    let change = &facts.change;
    let mut scope = Map::new();
    let mut labels = Map::new();
    for dimension in dimensions {
        let dimension = text_of("a dimension of a scope", dimension)?;
        let value = match dimension.as_str() {
            "cluster" => change.cluster.as_deref().unwrap_or(""),
            "namespace" => &facts.namespace,
            "gate" => &facts.gate,
            "target" => &change.target,
            "actor" => &change.actor,
            other => {
                let Some(label) = other.strip_prefix("label:") else {
                    return Err(complain(format!(
                        "`{other}` is no dimension of a scope: these are cluster, namespace, gate, target, actor and label:KEY"
                    )));
                };
                let value = change
                    .labels
                    .get(label)
                    .ok_or_else(|| complain(format!("the target has no label `{label}`, which the scope goes by")))?;
                labels.insert(label.into(), value.as_str().into());
                continue;
            }
        };
        scope.insert(dimension.as_str().into(), value.into());
    }
    if !labels.is_empty() {
        scope.insert("labels".into(), Dynamic::from_map(labels));
    }
    Ok(scope)
}

pub(super) fn text_of(name: &str, value: &Dynamic) -> Answer<String> {
    value
        .as_immutable_string_ref()
        .map(|text| text.as_str().to_owned())
        .map_err(|_| complain(format!("{name} is {}, not a text", type_name(value))))
}

fn instant_of(name: &str, value: &Dynamic) -> Answer<Timestamp> {
    if let Some(time) = value.read_lock::<Time>() {
        return Ok(time.0.timestamp());
    }
    let text = text_of(name, value)?;
    text.parse().map_err(|_| complain(format!("{name} is `{text}`, not an instant such as `2026-12-24T12:00:00Z`")))
}

pub(super) fn labels_of(value: &Dynamic) -> Answer<Labels> {
    let map = value.as_map_ref().map_err(|_| complain(format!("labels is {}, not a map", type_name(value))))?;
    map.iter().map(|(key, value)| Ok((key.to_string(), text_of(key, value)?))).collect()
}

fn words<T: std::str::FromStr<Err = UnknownWord>>(name: &str, value: &Dynamic) -> Answer<Vec<T>> {
    let list = value.as_array_ref().map_err(|_| complain(format!("{name} is {}, not a list", type_name(value))))?;
    list.iter().map(|word| text_of(name, word)?.parse().map_err(|error: T::Err| complain(error.to_string()))).collect()
}

fn scope(value: &Dynamic) -> Answer<Scope> {
    let map = value.as_map_ref().map_err(|_| complain(format!("scope is {}, not a map", type_name(value))))?;
    let mut scope = Scope::default();
    for (name, value) in map.iter() {
        let place = match name.as_str() {
            "cluster" => &mut scope.cluster,
            "namespace" => &mut scope.namespace,
            "gate" => &mut scope.gate,
            "target" => &mut scope.target,
            "change" => &mut scope.change,
            "revision" => &mut scope.revision,
            "actor" => &mut scope.actor,
            "labels" => {
                scope.labels = labels_of(value)?;
                continue;
            }
            other => {
                let known = ["cluster", "namespace", "gate", "target", "change", "revision", "actor", "labels"];
                let near = did_you_mean(other, known);
                return Err(complain(format!("a scope has no `{other}`: it has {}{near}", known.join(", "))));
            }
        };
        *place = Some(text_of(name, value)?);
    }
    Ok(scope)
}
