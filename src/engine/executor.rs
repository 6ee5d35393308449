//! Executes checks under a limit, each within its own time.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use tokio::sync::Semaphore;

use crate::api;
use crate::checks::{Check, CompileError, Context, Table};
use crate::gate::{Plan, PlannedCheck};
use crate::model::Report;

/// The most checks that are executed at one time over all runs: each may hold a connection and a
/// parsed answer of some megabytes.
pub(super) const MAX_EXECUTIONS: usize = 128;

/// A check that cannot be executed, with the reason.
struct Broken(CompileError);

#[async_trait::async_trait]
impl Check for Broken {
    async fn execute(&self, _: &Context) -> Report {
        Report::unknown(format!("the check cannot be executed: {}", self.0))
    }
}

/// Compiles every check of `plan`, and tells the plan what the kinds know: whether one pass is
/// enough, and the version of what decides. A check that does not compile is unknown for ever.
pub(super) fn compile(plan: &mut Plan, table: &Table, namespace: &str) -> Vec<Arc<dyn Check>> {
    let compiled = plan.checks.iter_mut().map(|planned| {
        let check = table.compile(&planned.spec, namespace).unwrap_or_else(|error| Arc::new(Broken(error)));
        planned.once = once(planned, check.as_ref());
        planned.version = check.version();
        check
    });
    compiled.collect()
}

fn once(planned: &PlannedCheck, check: &dyn Check) -> bool {
    let api::Check { interval, .. } = &planned.spec;
    interval.is_none() && check.once()
}

/// Executes once: within the time, and without letting a panic out.
pub(super) async fn execute(check: Arc<dyn Check>, context: Context, permits: Arc<Semaphore>) -> Report {
    let Ok(_permit) = permits.acquire_owned().await else {
        return Report::unknown("the engine is shutting down");
    };
    let limit = context.timeout;
    let execution = AssertUnwindSafe(check.execute(&context)).catch_unwind();
    match tokio::time::timeout(limit, execution).await {
        Ok(Ok(report)) => report,
        Ok(Err(_)) => {
            tracing::error!(run = context.run, "A check has panicked; its outcome is unknown.");
            Report::unknown("the check has crashed; this is a fault of Probegate")
        }
        Err(_) => Report::unknown(format!("no answer within {}", shown(limit))),
    }
}

fn shown(limit: Duration) -> crate::model::Period {
    crate::model::Period::from_millis(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX))
}
