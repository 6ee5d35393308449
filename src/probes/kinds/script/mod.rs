//! The kind `script`: a flow of several steps in Rhai. probes/SCRIPTS.md says what it can use.
//!
//! A run has a thread of its own, with the stack that the sandbox needs; whatever waits for the
//! network waits there, on the runtime of the round. What belongs to a run is found by its thread.

mod cookies;
mod engine;
mod fault;
mod given;
mod hosts;
mod request;
mod run;
mod source;
mod web;
mod wires;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use self::given::Given;
use self::run::{Job, Report};
use self::source::Source;
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{ProbeSpec, ScriptProbe};
use crate::probes::result::{Failure, Phase, Reason};
use crate::probes::trace::Trace;
use crate::rules::STACK_BYTES;

/// The most scripts that run at one time: each has a thread, and values of some megabytes at worst.
const MAX_RUNNING: usize = 16;
/// The part of the timeout that is kept for telling how it ended, and the most of it: a script that
/// is cut off tells nothing.
const RESERVE: u32 = 20;
const MAX_RESERVE: Duration = Duration::from_millis(50);

static RUNNING: std::sync::LazyLock<Arc<Semaphore>> =
    std::sync::LazyLock::new(|| Arc::new(Semaphore::new(MAX_RUNNING)));

struct Script {
    source: Arc<Source>,
    given: Arc<Given>,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.script.as_ref().map(|script| {
        let script = Arc::new(prepare(script, tools)?);
        let host = script.given.target.as_ref().map(|target| target.host.clone()).unwrap_or_default();
        let prober: Prober = Arc::new(move |trace| {
            let script = Arc::clone(&script);
            Box::pin(async move { script.round(trace).await })
        });
        Ok(Ready { prober, host })
    })
}

fn prepare(spec: &ScriptProbe, tools: &Tools) -> Result<Script, SpecError> {
    let given = Arc::new(Given::compile(spec, tools)?);
    let source = Arc::new(Source::compile(spec, tools.root.as_deref())?);
    Ok(Script { source, given })
}

impl Script {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        trace.enter(Phase::Processing);
        let end = trace.deadline() - (trace.remaining() / RESERVE).min(MAX_RESERVE);
        let secrets = self.given.read_secrets().await?;
        let busy = || Failure::new(Reason::Exhausted, format!("{MAX_RUNNING} other scripts were running all the time"));
        let permit = timeout_at(end, Arc::clone(&RUNNING).acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or_else(busy)?;
        let cancel = CancellationToken::new();
        // Who is dropped here does not wait any more: the script ends, and cleans up behind itself.
        let _given_up = cancel.clone().drop_guard();
        let (source, given) = (Arc::clone(&self.source), Arc::clone(&self.given));
        let told = start(permit, move |handle| {
            let (ast, note) = source.current();
            (run::run(Job { given, ast, secrets, handle, cancel, end }), note)
        })?;
        let (report, note) =
            told.await.map_err(|_| Failure::new(Reason::Script, "the interpreter panicked".to_owned()))?;
        if let Some(note) = note {
            trace.log(note);
        }
        tell(trace, report)
    }
}

/// Works on a thread of its own, which keeps `permit` as long as it runs.
fn start<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce(Handle) -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Failure> {
    let (tell, told) = oneshot::channel();
    let handle = Handle::current();
    let thread = std::thread::Builder::new().name("probe script".to_owned()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        // Where nobody listens any more, there is nothing to tell.
        let _ = tell.send(work(handle));
        drop(permit);
    });
    started.map_err(|error| Failure::new(Reason::Exhausted, format!("no thread to run the script on: {error}")))?;
    Ok(told)
}

/// Puts what a run has come to into the round.
fn tell(trace: &mut Trace, report: Report) -> Result<(), Failure> {
    for (at, line) in report.log {
        trace.log_at(at, line);
    }
    if !report.steps.is_empty() {
        trace.fact("steps", report.steps);
    }
    let phase = report.result.as_ref().err().and_then(|fault| fault.phase);
    trace.absorb(&report.durations, phase);
    if let Err(fault) = report.result {
        if let Some(step) = &fault.step {
            trace.fact("step", step.as_str());
        }
        return Err(Failure::new(fault.reason, fault.sentence()));
    }
    match report.cleanup {
        None => Ok(()),
        Some(fault) => Err(Failure::new(fault.reason, format!("the clean-up failed: {}", fault.sentence())).degraded()),
    }
}
