//! The facts as scripts see them, and the functions that look things up in them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rhai::{Array, Dynamic, Engine, Map};
use serde_json::{Value, json};

use super::complaint::{Answer, complain, did_you_mean};
use super::convert::{Allowance, to_json, to_script};
use super::error::ScriptError;
use super::facts::{Facts, ProbeFact};
use super::filter::{filter, labels_of, scope_of, text_of};
use super::history::PastChange;
use super::time::{self, Time};
use crate::model::{Labels, PastRun, glob_matches};

/// The most items of a list that a script gets: it is for naming, counting is done here.
const MAX_LISTED: usize = 200;
/// The most look-ups of one evaluation that are recorded.
const MAX_LOOKED_UP: usize = 20;
/// The most names that are recorded of one look-up.
const MAX_NAMED: usize = 5;

thread_local! {
    /// What the rule on this thread has looked up.
    static LOOKED_UP: RefCell<Vec<Value>> = const { RefCell::new(Vec::new()) };
}

/// The type of `facts`: its properties are the facts, its functions look things up in them.
#[derive(Clone)]
pub(super) struct Given {
    facts: Arc<Facts>,
    zone: TimeZone,
    change: Dynamic,
    batch: Dynamic,
    window: Dynamic,
    parameters: Dynamic,
}

impl Given {
    /// Prepares `facts` for one evaluation.
    pub(super) fn new(facts: Arc<Facts>, zone: TimeZone, parameters: &Value) -> Result<Self, ScriptError> {
        let mut allowance = Allowance::full();
        let mut change = serde_json::to_value(&facts.change).unwrap_or_default();
        if let Some(fields) = change.as_object_mut() {
            fields.entry("cluster").or_insert(Value::Null);
            fields.entry("labels").or_insert(json!({}));
        }
        let batch = serde_json::to_value(facts.batch).unwrap_or_default();
        let change = to_script(&change, &mut allowance)?;
        let batch = to_script(&batch, &mut allowance)?;
        let window = Self::window(&facts, &zone);
        let parameters = to_script(parameters, &mut allowance)?;
        Ok(Self { facts, zone, change, batch, window, parameters })
    }

    fn window(facts: &Facts, zone: &TimeZone) -> Dynamic {
        let Some(window) = &facts.window else {
            return Dynamic::UNIT;
        };
        let text = |text: &Option<String>| text.as_deref().map_or(Dynamic::UNIT, Into::into);
        let time = |at: Option<Timestamp>| at.map_or(Dynamic::UNIT, |at| Dynamic::from(Time::new(at, zone.clone())));
        let entries = [
            ("allowed", window.allowed.into()),
            ("rule", text(&window.rule)),
            ("type", text(&window.kind)),
            ("reason", window.reason.as_str().into()),
            ("until", time(window.until)),
            ("nextOpening", time(window.next_opening)),
        ];
        Dynamic::from_map(entries.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// The facts, where the past is known.
    fn known(&self) -> Answer<&Facts> {
        if self.facts.runs.is_some() { Ok(&self.facts) } else { Err(complain("the past runs are not known yet")) }
    }

    fn time(&self, at: Timestamp) -> Time {
        Time::new(at, self.zone.clone())
    }

    /// A past change as a script sees it.
    fn change(&self, change: &PastChange<'_>, at: Option<Timestamp>) -> Dynamic {
        let Some(run) = change.latest() else {
            return Dynamic::UNIT;
        };
        let mut map = self.run_map(run);
        let time = |at: Option<Timestamp>| at.map_or(Dynamic::UNIT, |at| Dynamic::from(self.time(at)));
        map.insert("began".into(), time(change.began));
        map.insert("at".into(), time(at.or(change.began)));
        Dynamic::from_map(map)
    }

    fn run_map(&self, run: &PastRun) -> Map {
        let labels: Map =
            run.change.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
        let entries: [(&str, Dynamic); 13] = [
            ("id", run.change.id.as_str().into()),
            ("target", run.change.target.as_str().into()),
            ("revision", run.change.revision.as_str().into()),
            ("action", run.change.action.as_str().into()),
            ("actor", run.change.actor.as_str().into()),
            ("cluster", run.change.cluster.as_deref().map_or(Dynamic::UNIT, Into::into)),
            ("labels", Dynamic::from_map(labels)),
            ("namespace", run.namespace.as_str().into()),
            ("gate", run.gate.as_str().into()),
            ("point", run.point.as_str().into()),
            ("batch", Dynamic::from_int(i64::from(run.batch.index))),
            ("verdict", run.verdict.as_str().into()),
            ("at", Dynamic::from(self.time(run.decided_at.unwrap_or(run.created_at)))),
        ];
        entries.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    /// The latest changes of `changes`, which come oldest first.
    fn list<'a>(&self, changes: impl ExactSizeIterator<Item = (Option<Timestamp>, PastChange<'a>)>) -> Array {
        let older = changes.len().saturating_sub(MAX_LISTED);
        changes.skip(older).map(|(at, change)| self.change(&change, at)).collect()
    }

    fn probes(&self, options: &Map) -> Answer<Vec<&ProbeFact>> {
        let mut namespace = None;
        let mut name = None;
        let mut labels = Labels::new();
        let mut state = None;
        for (option, value) in options {
            match option.as_str() {
                "namespace" => namespace = Some(text_of(option, value)?),
                "name" => name = Some(text_of(option, value)?),
                "labels" => labels = labels_of(value)?,
                "state" => state = Some(text_of(option, value)?),
                other => {
                    let near = did_you_mean(other, ["namespace", "name", "labels", "state"]);
                    let known = "namespace, name, labels, state";
                    return Err(complain(format!("there is no filter `{other}`: the filters are {known}{near}")));
                }
            }
        }
        let fits =
            |pattern: &Option<String>, value: &str| pattern.as_ref().is_none_or(|pattern| glob_matches(pattern, value));
        Ok(self
            .facts
            .probes
            .as_ref()
            .ok_or_else(|| complain("the probes are not known yet"))?
            .iter()
            .filter(|probe| fits(&namespace, &probe.namespace) && fits(&name, &probe.name))
            .filter(|probe| labels.iter().all(|(key, value)| probe.labels.get(key) == Some(value)))
            .filter(|probe| state.as_ref().is_none_or(|state| probe.state.as_str() == state))
            .collect())
    }

    fn probe(&self, probe: &ProbeFact) -> Dynamic {
        let labels: Map =
            probe.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
        let entries: [(&str, Dynamic); 5] = [
            ("namespace", probe.namespace.as_str().into()),
            ("name", probe.name.as_str().into()),
            ("labels", Dynamic::from_map(labels)),
            ("state", probe.state.as_str().into()),
            ("since", probe.since.map_or(Dynamic::UNIT, |at| Dynamic::from(self.time(at)))),
        ];
        Dynamic::from_map(entries.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// Records one look-up with its answer.
fn looked_up(function: &str, options: &Map, answer: &Value) {
    LOOKED_UP.with_borrow_mut(|list| {
        if list.len() < MAX_LOOKED_UP {
            let options: BTreeMap<&str, Value> = options
                .iter()
                .map(|(name, value)| (name.as_str(), to_json(value).unwrap_or_else(|_| value.to_string().into())))
                .collect();
            list.push(json!({"function": function, "filter": options, "answer": answer}));
        }
    });
}

/// What was looked up on this thread.
pub(super) fn take_looked_up() -> Vec<Value> {
    LOOKED_UP.take()
}

fn named<'a>(changes: impl Iterator<Item = &'a PastChange<'a>> + Clone) -> Value {
    let names: Vec<&str> =
        changes.clone().filter_map(|change| Some(change.latest()?.change.id.as_str())).take(MAX_NAMED).collect();
    json!({"count": changes.count(), "changes": names})
}

/// Makes the facts and their functions known to scripts.
pub(super) fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Given>("Facts")
        .register_get("change", |given: &mut Given| given.change.clone())
        .register_get("batch", |given: &mut Given| given.batch.clone())
        .register_get("point", |given: &mut Given| given.facts.point.as_str().to_owned())
        .register_get("namespace", |given: &mut Given| given.facts.namespace.clone())
        .register_get("gate", |given: &mut Given| given.facts.gate.clone())
        .register_get("underWay", |given: &mut Given| given.facts.under_way())
        .register_get("now", |given: &mut Given| given.time(given.facts.now))
        .register_get("window", |given: &mut Given| given.window.clone())
        .register_get("parameters", |given: &mut Given| given.parameters.clone());
    engine
        .register_fn("now_in", |given: &mut Given, zone: &str| -> Answer<Time> {
            Ok(Time::new(given.facts.now, time::zone(zone).map_err(complain)?))
        })
        .register_fn("label", |given: &mut Given, key: &str| -> Dynamic {
            given.facts.change.labels.get(key).map_or(Dynamic::UNIT, |value| value.as_str().into())
        })
        .register_fn("label", |given: &mut Given, key: &str, default: Dynamic| -> Dynamic {
            given.facts.change.labels.get(key).map_or(default, |value| value.as_str().into())
        })
        .register_fn("initiator", |given: &mut Given| -> Answer<String> { Ok(given.known()?.initiator().to_owned()) })
        .register_fn("scope_of", |given: &mut Given, dimensions: Array| scope_of(&given.facts, &dimensions))
        .register_fn("lasting", |seconds: i64| time::lasting(jiff::SignedDuration::from_secs(seconds)));
    register_counting(engine);
    register_probes(engine);
}

fn register_counting(engine: &mut Engine) {
    let count = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
    engine
        .register_fn("count_changes", move |given: &mut Given, options: Map| -> Answer<i64> {
            let changes = given.known()?.changes_begun(&filter(given.facts.now, &options, &[])?);
            looked_up("count_changes", &options, &named(changes.iter()));
            Ok(count(changes.len()))
        })
        .register_fn("changes", |given: &mut Given, options: Map| -> Answer<Array> {
            let changes = given.known()?.changes_begun(&filter(given.facts.now, &options, &[])?);
            looked_up("changes", &options, &named(changes.iter()));
            Ok(given.list(changes.into_iter().map(|change| (None, change))))
        })
        .register_fn("in_flight", |given: &mut Given, options: Map| -> Answer<Array> {
            let changes = given.known()?.changes_in_flight(&filter(given.facts.now, &options, &[])?);
            looked_up("in_flight", &options, &named(changes.iter()));
            Ok(given.list(changes.into_iter().map(|change| (None, change))))
        })
        .register_fn("blocked_changes", |given: &mut Given, options: Map| -> Answer<Array> {
            let changes = given.known()?.changes_blocked(&filter(given.facts.now, &options, &[])?);
            looked_up("blocked_changes", &options, &named(changes.iter().map(|(_, change)| change)));
            Ok(given.list(changes.into_iter().map(|(at, change)| (Some(at), change))))
        })
        .register_fn("count_verdicts", move |given: &mut Given, options: Map| -> Answer<i64> {
            let runs = given.known()?.verdicts(&filter(given.facts.now, &options, &[])?);
            looked_up("count_verdicts", &options, &json!({"count": runs.len()}));
            Ok(count(runs.len()))
        })
        .register_fn("verdicts", |given: &mut Given, options: Map| -> Answer<Array> {
            let runs = given.known()?.verdicts(&filter(given.facts.now, &options, &[])?);
            looked_up("verdicts", &options, &json!({"count": runs.len()}));
            Ok(runs.into_iter().take(MAX_LISTED).map(|run| Dynamic::from_map(given.run_map(run))).collect())
        })
        .register_fn("passed_elsewhere", |given: &mut Given, options: Map| -> Answer<Dynamic> {
            let wanted = filter(given.facts.now, &options, &["superseded"])?;
            let superseded = options.get("superseded").is_some_and(|value| value.as_bool() == Ok(true));
            let at = given.known()?.passed_elsewhere(&wanted, superseded);
            looked_up("passed_elsewhere", &options, &json!(at));
            Ok(at.map_or(Dynamic::UNIT, |at| Dynamic::from(given.time(at))))
        });
}

fn register_probes(engine: &mut Engine) {
    engine
        .register_fn("probes", |given: &mut Given, options: Map| -> Answer<Array> {
            let probes = given.probes(&options)?;
            looked_up("probes", &options, &json!({"count": probes.len()}));
            Ok(probes.into_iter().take(MAX_LISTED).map(|probe| given.probe(probe)).collect())
        })
        .register_fn("count_probes", |given: &mut Given, options: Map| -> Answer<i64> {
            let probes = given.probes(&options)?;
            looked_up("count_probes", &options, &json!({"count": probes.len()}));
            Ok(i64::try_from(probes.len()).unwrap_or(i64::MAX))
        });
}
