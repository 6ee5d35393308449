//! What can be wrong with a script, said for the person who wrote it.

use std::fmt;

use rhai::{EvalAltResult, ParseError, Position};

use super::complaint::Complaint;
use super::convert::{to_json, type_name};
use super::sandbox::{
    EVALUATION_BUDGET, MAX_ARRAY, MAX_CALL_LEVELS, MAX_MAP, MAX_MODULES, MAX_OPERATIONS, MAX_STRING_BYTES,
    MAX_VARIABLES,
};

/// The longest reason that is kept: what a script throws is its own choice, a record's size is not.
const MAX_WHY: usize = 300;

/// The kind of trouble a script is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScriptErrorKind {
    /// The text is no script.
    Syntax,
    /// The script does what cannot be done: an unknown name, a wrong type, a division by zero.
    Runtime,
    /// The script threw.
    Thrown,
    /// The script met a limit of the sandbox: operations, depth, size.
    Limit,
    /// The script's time ran out: it is slow, or the machine is busy.
    Time,
    /// The script ended with a value that is not one of those expected.
    Result,
    /// What was handed to the script cannot be: too large, the wrong parameters.
    Input,
    /// The sandbox itself is in trouble.
    Internal,
}

/// Why a script has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// The kind of trouble.
    pub kind: ScriptErrorKind,
    /// What was found, and what is allowed.
    pub why: String,
    /// The file, where the script comes from one.
    pub path: Option<String>,
    /// The line in the script, from 1.
    pub line: Option<usize>,
    /// The column in the line, from 1.
    pub column: Option<usize>,
}

impl std::error::Error for ScriptError {}

impl fmt::Display for ScriptError {
    /// `path:line:column: why`, without what is not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, self.line) {
            (Some(path), Some(line)) => {
                write!(f, "{path}:{line}:")?;
                if let Some(column) = self.column {
                    write!(f, "{column}:")?;
                }
                f.write_str(" ")?;
            }
            (Some(path), None) => write!(f, "{path}: ")?,
            (None, Some(line)) => match self.column {
                Some(column) => write!(f, "line {line}, column {column}: ")?,
                None => write!(f, "line {line}: ")?,
            },
            (None, None) => {}
        }
        f.write_str(&self.why)
    }
}

impl ScriptError {
    /// An error without a place.
    pub(super) fn new(kind: ScriptErrorKind, why: impl Into<String>) -> Self {
        Self { kind, why: bounded(&why.into(), MAX_WHY), path: None, line: None, column: None }
    }

    /// The same error in the file `path`, unless a file is named already.
    pub(super) fn in_file(mut self, path: &str) -> Self {
        if self.path.is_none() {
            self.path = Some(path.to_owned());
        }
        self
    }

    pub(super) fn at(mut self, position: Position) -> Self {
        self.line = position.line();
        self.column = position.position();
        self
    }

    pub(super) fn from_parse(error: &ParseError) -> Self {
        Self::new(ScriptErrorKind::Syntax, format!("not a script: {}", error.err_type())).at(error.position())
    }

    /// The innermost cause, at the innermost place that is known.
    #[must_use]
    pub fn from_eval(error: &EvalAltResult) -> Self {
        let (mut cause, mut position, mut path) = (error, error.position(), None);
        while let EvalAltResult::ErrorInFunctionCall(_, source, inner, _)
        | EvalAltResult::ErrorInModule(source, inner, _) = cause
        {
            if !inner.position().is_none() {
                position = inner.position();
            }
            if !source.is_empty() {
                path = Some(source.clone());
            }
            cause = inner;
        }
        let (kind, why) = describe(cause);
        Self { path, ..Self::new(kind, why).at(position) }
    }
}

/// The words for a cause: limits are told with their size.
fn describe(cause: &EvalAltResult) -> (ScriptErrorKind, String) {
    use EvalAltResult as E;
    let limit = |why: String| (ScriptErrorKind::Limit, why);
    match cause {
        E::ErrorTooManyOperations(_) => limit(format!("it ran longer than {MAX_OPERATIONS} operations")),
        E::ErrorTerminated(..) => {
            (ScriptErrorKind::Time, format!("it ran longer than {} ms", EVALUATION_BUDGET.as_millis()))
        }
        E::ErrorStackOverflow(_) => limit(format!("its functions call each other more than {MAX_CALL_LEVELS} deep")),
        E::ErrorTooManyVariables(_) => limit(format!("it has more than {MAX_VARIABLES} variables")),
        E::ErrorTooManyModules(_) => limit(format!("it imports more than {MAX_MODULES} modules")),
        E::ErrorDataTooLarge(what, _) => limit(format!(
            "{what} is beyond the limit ({MAX_STRING_BYTES} bytes in texts, {MAX_ARRAY} in lists, {MAX_MAP} in maps)"
        )),
        E::ErrorRuntime(value, _) if value.is::<Complaint>() => {
            let why = value.read_lock::<Complaint>().map(|complaint| complaint.0.clone());
            (ScriptErrorKind::Runtime, why.unwrap_or_default())
        }
        E::ErrorRuntime(value, _) => {
            let text = match value.as_immutable_string_ref() {
                Ok(text) => Ok(format!(": {}", text.as_str())),
                Err(_) if value.is_unit() => Err(type_name(value)),
                Err(_) => to_json(value).map(|json| format!(": {json}")),
            };
            (ScriptErrorKind::Thrown, format!("it threw{}", text.unwrap_or_else(|what| format!(" {what}"))))
        }
        E::ErrorParsing(kind, _) => (ScriptErrorKind::Syntax, format!("not a script: {kind}")),
        E::ErrorFunctionNotFound(signature, _) => {
            (ScriptErrorKind::Runtime, format!("there is no function {signature} here"))
        }
        E::ErrorModuleNotFound(path, _) => (
            ScriptErrorKind::Runtime,
            format!("there is no module `{path}`: only files of the rule library can be imported"),
        ),
        E::ErrorPropertyNotFound(name, _) => (ScriptErrorKind::Runtime, format!("there is no property `{name}`")),
        E::ErrorVariableNotFound(name, _) => (ScriptErrorKind::Runtime, format!("there is no variable `{name}`")),
        other => (ScriptErrorKind::Runtime, without_place(&other.to_string())),
    }
}

/// Rhai ends its messages with the place, which stands in fields of its own here.
fn without_place(message: &str) -> String {
    message.split_once(" (line ").map_or(message, |(head, _)| head).to_owned()
}

/// At most `max` characters on one line.
pub(super) fn bounded(text: &str, max: usize) -> String {
    let mut short: String = text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        short.push('…');
    }
    short
}
