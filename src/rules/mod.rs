//! Rules and expressions: policy in Rhai, compiled once and evaluated in a sandbox.
//!
//! Pure: text and values go in, decisions come out. Nothing here reads a file, the wall clock or
//! the network, and no script can.

mod convert;
mod error;
mod expression;
mod sandbox;

pub use error::{ScriptError, ScriptErrorKind};
pub use expression::{Expression, MAX_EXPRESSION_BYTES};
pub use sandbox::{
    EVALUATION_BUDGET, MAX_ARRAY, MAX_CALL_LEVELS, MAX_EXPRESSION_DEPTH, MAX_MAP, MAX_OPERATIONS, MAX_STRING_BYTES,
};
