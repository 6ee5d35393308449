//! The check kinds: one file each, one interface, one table.
//!
//! A kind compiles a check's spec once, and the result is executed as often as the run needs it.
//! Adding a kind is adding a file, a field in `api::Check` and a line in the table that the
//! composition root fills ([`Table`]).

pub mod metric;
pub mod probes;
pub mod rule;
pub mod webhook;
pub mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::api;
use crate::model::{Question, Report};

/// When to look again while the program is still starting and what a check stands on has not been
/// read yet.
pub(crate) const STARTING: jiff::SignedDuration = jiff::SignedDuration::from_millis(250);

/// What one execution may know.
#[derive(Debug, Clone)]
pub struct Context {
    /// What the gate is asked.
    pub question: Question,
    /// The run's name.
    pub run: String,
    /// When the run began.
    pub started_at: Timestamp,
    /// Now, as the engine has it.
    pub now: Timestamp,
    /// How long this execution may take; the engine ends it then, and the outcome is unknown.
    pub timeout: Duration,
    /// Which execution of this check this is, from 1.
    pub execution: u32,
    /// What the last execution carried over.
    pub carry: Option<Value>,
}

/// One compiled check. Executions must be safe to drop at any await: that is how they are cancelled.
#[async_trait]
pub trait Check: Send + Sync + 'static {
    /// Looks once. Trouble of our own is `unknown` with the reason, never `fail` and never a panic.
    async fn execute(&self, context: &Context) -> Report;

    /// A version of what decides beside the spec (a rule's hash), for the record.
    fn version(&self) -> Option<String> {
        None
    }

    /// Whether one pass is enough for the whole run, where the spec gives no interval: true for
    /// checks that set off work elsewhere.
    fn once(&self) -> bool {
        false
    }

    /// Wakes when the answer may have changed before its time: a window was edited, a rule
    /// reloaded. The default never wakes.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

/// Why a check cannot be compiled; said with field and value, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct CompileError {
    /// The field below the check, such as `metric.query`.
    pub field: String,
    /// What was found and what is allowed.
    pub why: String,
}

/// One kind of check.
pub trait Kind: Send + Sync + 'static {
    /// The field of `api::Check` that it stands under.
    fn name(&self) -> &'static str;

    /// Prepares a check of this kind that stands in a gate of `namespace`.
    ///
    /// # Errors
    /// What is wrong with the spec.
    fn compile(&self, check: &api::Check, namespace: &str) -> Result<Arc<dyn Check>, CompileError>;
}

/// The table of kinds.
#[derive(Clone, Default)]
pub struct Table {
    kinds: BTreeMap<&'static str, Arc<dyn Kind>>,
}

impl Table {
    /// Adds a kind.
    #[must_use]
    pub fn with(mut self, kind: impl Kind) -> Self {
        self.kinds.insert(kind.name(), Arc::new(kind));
        self
    }

    /// Prepares any check.
    ///
    /// # Errors
    /// None or several kinds are set, the kind is not in the table, or its own error.
    pub fn compile(&self, check: &api::Check, namespace: &str) -> Result<Arc<dyn Check>, CompileError> {
        let error = |why: String| CompileError { field: check.name.clone(), why };
        let kind = check
            .kind()
            .ok_or_else(|| error(format!("exactly one of {} must be set", api::Check::KINDS.join(", "))))?;
        self.kinds
            .get(kind.name())
            .ok_or_else(|| error(format!("checks of kind {} are not available here", kind.name())))?
            .compile(check, namespace)
    }
}
