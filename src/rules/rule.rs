//! One rule: a compiled script with its parameters, and its decision on facts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use rhai::{AST, Dynamic, Engine, Scope};
use serde_json::{Map, Value};

use super::convert::{to_json, type_name};
use super::decision::{Decided, Decision};
use super::error::{ScriptError, ScriptErrorKind, bounded};
use super::facts::Facts;
use super::given::{self, Given};
use super::imports;
use super::parameters::{self, Parameter, ParameterError};
use super::{sandbox, time};

/// The parameter that says in which zone `facts.now` is looked at, where a rule declares it.
const ZONE_PARAMETER: &str = "timeZone";

/// A compiled rule.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) path: String,
    pub(super) hash: String,
    pub(super) description: String,
    pub(super) text: String,
    pub(super) parameters: BTreeMap<String, Parameter>,
    pub(super) builtin: bool,
    pub(super) imports: Arc<BTreeSet<String>>,
    pub(super) ast: AST,
    pub(super) engine: Arc<Engine>,
}

/// A rule with the values of all its parameters.
#[derive(Debug, Clone)]
pub struct BoundRule {
    rule: Arc<Rule>,
    parameters: Map<String, Value>,
    zone: TimeZone,
}

impl Rule {
    /// Where it stands in its library, such as `rules/weekend.rhai`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its version: twelve hexadecimal digits of the SHA-256 over it and everything it imports.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What it is for: the comment that it begins with.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its parameters by name.
    #[must_use]
    pub const fn parameters(&self) -> &BTreeMap<String, Parameter> {
        &self.parameters
    }

    /// Whether it came with the program.
    #[must_use]
    pub const fn is_builtin(&self) -> bool {
        self.builtin
    }

    /// The files that it imports, directly and indirectly.
    pub fn imports(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().map(String::as_str)
    }

    /// Gives the rule its parameters.
    ///
    /// # Errors
    /// Every parameter that is not declared, of another type, or missing.
    pub fn bind(self: &Arc<Self>, given: &BTreeMap<String, Value>) -> Result<BoundRule, Vec<ParameterError>> {
        let parameters = parameters::bound(&self.parameters, given)?;
        let zone = match parameters.get(ZONE_PARAMETER).and_then(Value::as_str) {
            Some(name) => {
                time::zone(name).map_err(|why| vec![ParameterError { name: ZONE_PARAMETER.to_owned(), why }])?
            }
            None => TimeZone::UTC,
        };
        Ok(BoundRule { rule: Arc::clone(self), parameters, zone })
    }
}

impl BoundRule {
    /// The rule.
    #[must_use]
    pub const fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }

    /// The values of all parameters, defaults included.
    #[must_use]
    pub const fn parameters(&self) -> &Map<String, Value> {
        &self.parameters
    }

    /// Decides. Whatever the script does, there is an answer within 50 ms; a script that loops,
    /// recurses, allocates, throws or returns something else has decided `unknown`, with the reason.
    ///
    /// It blocks its thread for that long: in an asynchronous place call it where blocking is
    /// allowed.
    #[must_use]
    pub fn decide(&self, facts: Arc<Facts>) -> Decided {
        let now = facts.now;
        let evaluated = sandbox::guarded(|| {
            let result = self.call(facts);
            // Errors are told here, on the sandbox's stack: what was thrown may be nested deeply.
            (result, given::take_looked_up(), sandbox::take_log())
        });
        let (result, looked_up, mut log) = match evaluated {
            Ok(evaluated) => evaluated,
            Err(error) => (Err(error), Vec::new(), Vec::new()),
        };
        match result {
            Ok(Decision::Wait { why, until: Some(until) }) if until <= now => {
                log.push(format!("until {until} is not after {now}, and is left out"));
                Decided { decision: Decision::Wait { why, until: None }, error: None, looked_up, log }
            }
            Ok(decision) => Decided { decision, error: None, looked_up, log },
            Err(error) => Decided { looked_up, log, ..Decided::failed(error.in_file(&self.rule.path)) },
        }
    }

    fn call(&self, facts: Arc<Facts>) -> Result<Decision, ScriptError> {
        let given = Given::new(facts, self.zone.clone(), &Value::Object(self.parameters.clone()))?;
        imports::allow(Arc::clone(&self.rule.imports));
        let value: Dynamic = self
            .rule
            .engine
            .call_fn(&mut Scope::new(), &self.rule.ast, "decide", (Dynamic::from(given),))
            .map_err(|error| ScriptError::from_eval(&error))?;
        if let Some(decision) = value.read_lock::<Decision>() {
            return Ok(decision.clone());
        }
        let found = to_json(&value).map(|json| format!(" (`{}`)", bounded(&json.to_string(), 60))).unwrap_or_default();
        let found = if value.is_unit() { String::new() } else { found };
        Err(ScriptError::new(
            ScriptErrorKind::Result,
            format!(
                "decide returned {}{found}; it returns pass(), block(\"why\"), wait(\"why\", until) or unknown(\"why\")",
                type_name(&value)
            ),
        ))
    }
}
