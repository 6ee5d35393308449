//! Rules and expressions: policy in Rhai, compiled once and evaluated in a sandbox.
//!
//! Pure: text and values go in, decisions come out. Nothing here reads a file, the wall clock or
//! the network, and no script can.
//!
//! A rule is a file with `fn decide(facts)`, which ends in `pass()`, `block("why")`,
//! `wait("why", until)` or `unknown("why")`. rules/README.md says what it can use.

mod builtin;
mod complaint;
mod convert;
mod decision;
mod error;
mod examples;
mod expression;
mod facts;
mod filter;
mod given;
mod history;
mod imports;
mod library;
mod parameters;
mod rule;
mod sandbox;
mod time;

pub use complaint::did_you_mean;
pub use convert::{Allowance, to_json, to_script, type_name};
pub use decision::{Decided, Decision};
pub use error::{ScriptError, ScriptErrorKind};
pub use examples::{
    Example, ExampleChange, ExampleFacts, ExampleRun, Expectation, Word, builtin_examples, examples_path, read_examples,
};
pub use expression::{Expression, MAX_EXPRESSION_BYTES};
pub use facts::{Facts, ProbeFact, WindowFact};
pub use library::{Library, LibraryError, MAX_RULE_BYTES, MAX_RULE_FILES};
pub use parameters::{Parameter, ParameterError, ParameterKind, ParameterType};
pub use rule::{BoundRule, Rule};
pub use sandbox::{
    EVALUATION_BUDGET, MAX_ARRAY, MAX_CALL_LEVELS, MAX_EXPRESSION_DEPTH, MAX_MAP, MAX_OPERATIONS, MAX_STRING_BYTES,
    STACK_BYTES, language,
};
