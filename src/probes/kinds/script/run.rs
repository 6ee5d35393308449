//! One run of a script: its time, its steps, its clean-up, and what it has seen.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rhai::{AST, Dynamic, EvalAltResult, FnPtr, Scope};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::cookies::Jar;
use super::engine::{ENGINE, MAX_OPERATIONS};
use super::fault::{Answer, Fault, innermost};
use super::given::Given;
use crate::outbound::hide;
use crate::probes::result::{Durations, Failure, Phase, Reason};
use crate::probes::trace::Trace;
use crate::rules::ScriptError;

/// The part of the timeout that is kept for clean-up, once there is something to clean up: a
/// quarter, so that the steps keep most of it and a few calls still fit.
const CLEANUP_SHARE: u32 = 4;
/// The most steps of one run: as many as a table can show.
const MAX_STEPS: usize = 64;
/// The longest name of a step.
const MAX_STEP_NAME: usize = 80;
/// The most blocks of clean-up of one run.
const MAX_CLEANUPS: usize = 32;
/// The most calls of the network of one run: a flow has a dozen, a load test is another thing.
const MAX_CALLS: u32 = 200;
/// The most lines of the log of one run; a round keeps no more.
const MAX_LOG: usize = 64;

thread_local! {
    /// The run of this thread.
    static RUN: RefCell<Option<Rc<Run>>> = const { RefCell::new(None) };
}

/// What is needed to make a run.
pub(super) struct Job {
    pub(super) given: Arc<Given>,
    pub(super) ast: Arc<AST>,
    pub(super) secrets: Vec<(String, SecretString)>,
    pub(super) handle: Handle,
    pub(super) cancel: CancellationToken,
    /// When everything must be over, clean-up included.
    pub(super) end: Instant,
}

/// What a run has come to.
pub(super) struct Report {
    pub(super) result: Result<(), Fault>,
    /// What first went wrong while cleaning up.
    pub(super) cleanup: Option<Fault>,
    pub(super) steps: Vec<Value>,
    pub(super) log: Vec<(Instant, String)>,
    pub(super) durations: Durations,
}

/// The run of a thread.
pub(super) struct Run {
    pub(super) given: Arc<Given>,
    pub(super) secrets: Vec<(String, SecretString)>,
    pub(super) cookies: RefCell<Jar>,
    handle: Handle,
    cancel: CancellationToken,
    start: Instant,
    end: Instant,
    cleaning: Cell<bool>,
    cleanups: RefCell<Vec<FnPtr>>,
    steps: RefCell<Vec<Step>>,
    /// The step in which the script was stopped, where it was.
    stopped_in: RefCell<Option<String>>,
    log: RefCell<Vec<(Instant, String)>>,
    hidden: RefCell<Vec<SecretString>>,
    durations: RefCell<Durations>,
    waited: Cell<Duration>,
    calls: Cell<u32>,
}

struct Step {
    name: String,
    start: Instant,
    took: Option<Duration>,
    ok: bool,
}

/// The run of this thread.
pub(super) fn current() -> Answer<Rc<Run>> {
    RUN.with_borrow(Clone::clone).ok_or_else(|| Fault::of_script("there is no run").thrown())
}

/// Whether the run of this thread must stop.
pub(super) fn is_over() -> bool {
    RUN.with_borrow(|run| run.as_ref().is_some_and(|run| run.is_over()))
}

/// Runs a script to its end on this thread, clean-up included.
pub(super) fn run(job: Job) -> Report {
    let ast = job.ast;
    let hidden = job.secrets.iter().flat_map(|(_, secret)| super::given::notations(secret)).collect();
    let run = Rc::new(Run {
        given: job.given,
        secrets: job.secrets,
        cookies: RefCell::default(),
        handle: job.handle,
        cancel: job.cancel,
        start: Instant::now(),
        end: job.end,
        cleaning: Cell::new(false),
        cleanups: RefCell::default(),
        steps: RefCell::default(),
        stopped_in: RefCell::default(),
        log: RefCell::default(),
        hidden: RefCell::new(hidden),
        durations: RefCell::default(),
        waited: Cell::default(),
        calls: Cell::default(),
    });
    RUN.set(Some(Rc::clone(&run)));
    let ended = ENGINE.run_ast_with_scope(&mut Scope::new(), &ast);
    let result = ended.map_err(|error| run.judge(&error));
    if let (Err(fault), false) = (&result, run.cleanups.borrow().is_empty()) {
        run.log(&format!("{}; now to the clean-up", fault.sentence()));
    }
    let cleanup = run.clean_up(&ast);
    RUN.set(None);
    run.report(result, cleanup)
}

impl Run {
    /// When what is under way must end: once there is something to clean up, before the end.
    fn until(&self) -> Instant {
        if self.cleaning.get() || self.cleanups.borrow().is_empty() {
            return self.end;
        }
        self.end - (self.end - self.start) / CLEANUP_SHARE
    }

    fn is_over(&self) -> bool {
        let given_up = !self.cleaning.get() && self.cancel.is_cancelled();
        given_up || Instant::now() >= self.until()
    }

    /// Waits for the network on the runtime, within the time that is left; `what` stands in front of
    /// whatever goes wrong.
    pub(super) fn call<T>(
        &self,
        what: &str,
        limit: Option<Duration>,
        work: impl AsyncFnOnce(&mut Trace) -> Result<T, Failure>,
    ) -> Answer<T> {
        if self.calls.replace(self.calls.get() + 1) >= MAX_CALLS {
            return Err(Fault::of_script(format!("{what}: a run makes at most {MAX_CALLS} calls")).thrown());
        }
        let start = Instant::now();
        let until = limit.and_then(|limit| start.checked_add(limit)).map_or(self.until(), |at| at.min(self.until()));
        let mut trace = Trace::begin(until.saturating_duration_since(start));
        let ended = self.handle.block_on(async {
            tokio::select! {
                biased;
                () = self.given_up() => None,
                ended = timeout_at(until, work(&mut trace)) => ended.ok(),
            }
        });
        self.waited.set(self.waited.get() + start.elapsed());
        let (value, ended) = match ended {
            Some(Ok(value)) => (Some(value), Some(Ok(()))),
            Some(Err(failure)) => (None, Some(Err(failure))),
            None => (None, None),
        };
        let seen = trace.finish(ended);
        for phase in Phase::ALL {
            if let Some(duration) = seen.durations.get(*phase) {
                self.durations.borrow_mut().add(*phase, duration);
            }
        }
        value.ok_or_else(|| {
            let failure = Failure::new(seen.reason.unwrap_or(Reason::Protocol), format!("{what}: {}", seen.message));
            Fault::of_call(failure, seen.phase).thrown()
        })
    }

    /// Ends when nobody waits for the run any more; clean-up is made all the same.
    async fn given_up(&self) {
        if self.cleaning.get() {
            std::future::pending::<()>().await;
        }
        self.cancel.cancelled().await;
    }

    /// Lets time pass.
    pub(super) fn sleep(&self, duration: Duration) {
        let until = Instant::now().checked_add(duration).map_or(self.until(), |at| at.min(self.until()));
        self.handle.block_on(async {
            tokio::select! {
                () = self.given_up() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        });
    }

    /// Notes a line, without any secret.
    pub(super) fn log(&self, line: &str) {
        let mut log = self.log.borrow_mut();
        if log.len() < MAX_LOG {
            log.push((Instant::now(), self.hidden_in(line)));
        }
    }

    /// Never shows a value from now on.
    pub(super) fn hide(&self, value: &str) {
        let mut hidden = self.hidden.borrow_mut();
        if hidden.len() < MAX_CALLS as usize {
            hidden.extend(super::given::notations(&value.into()));
        }
    }

    fn hidden_in(&self, text: &str) -> String {
        String::from_utf8_lossy(&hide(text.as_bytes(), &self.hidden.borrow())).into_owned()
    }

    /// Begins a step and gives its number.
    pub(super) fn begin_step(&self, name: &str) -> Answer<usize> {
        let mut steps = self.steps.borrow_mut();
        if steps.len() >= MAX_STEPS {
            return Err(Fault::of_script(format!("a run has at most {MAX_STEPS} steps")).thrown());
        }
        let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_STEP_NAME).collect();
        steps.push(Step { name: self.hidden_in(&name), start: Instant::now(), took: None, ok: false });
        Ok(steps.len() - 1)
    }

    /// Ends a step: an error gets its name, unless an inner step has given it one.
    pub(super) fn end_step(&self, number: usize, ended: Answer<Dynamic>) -> Answer<Dynamic> {
        let mut steps = self.steps.borrow_mut();
        let Some(step) = steps.get_mut(number) else { return ended };
        step.took = Some(step.start.elapsed());
        step.ok = ended.is_ok();
        ended.map_err(|error| {
            if let Some(fault) = Fault::read(&error) {
                return Fault { step: fault.step.or_else(|| Some(step.name.clone())), ..fault }.thrown();
            }
            // Nobody may catch it: it stays as it is.
            self.stopped_in.borrow_mut().get_or_insert_with(|| step.name.clone());
            error
        })
    }

    /// Keeps a block for the end.
    pub(super) fn keep(&self, block: FnPtr) -> Answer<()> {
        let mut blocks = self.cleanups.borrow_mut();
        if blocks.len() >= MAX_CLEANUPS {
            return Err(Fault::of_script(format!("a run has at most {MAX_CLEANUPS} blocks of clean-up")).thrown());
        }
        blocks.push(block);
        Ok(())
    }

    /// What the error that ended the script says.
    fn judge(&self, error: &EvalAltResult) -> Fault {
        if let Some(fault) = Fault::read(error) {
            return fault;
        }
        let (cause, position) = innermost(error);
        let took = self.start.elapsed();
        let millis = took.as_millis();
        let (reason, message) = match cause {
            // Whose fault it is that the time ran out: of who waited longer, the target or the script.
            EvalAltResult::ErrorTerminated(..) if self.waited.get() * 2 >= took => (
                Reason::Timeout,
                format!("the script did not end within {millis} ms, most of which it waited for answers"),
            ),
            EvalAltResult::ErrorTerminated(..) => {
                (Reason::Script, format!("it computed for most of the {millis} ms that it has, and did not end"))
            }
            EvalAltResult::ErrorTooManyOperations(_) => {
                (Reason::Script, format!("it makes more than {MAX_OPERATIONS} operations"))
            }
            EvalAltResult::ErrorDataTooLarge(what, _) => {
                (Reason::Script, format!("{what} is beyond the limit on sizes"))
            }
            _ => (Reason::Script, ScriptError::from_eval(error).why),
        };
        let step = self.stopped_in.borrow_mut().take();
        Fault { step, line: position.line(), ..Fault::new(reason, message) }
    }

    /// Runs every block of clean-up, the last one first, and tells what first went wrong.
    fn clean_up(&self, ast: &AST) -> Option<Fault> {
        self.cleaning.set(true);
        // A run that has used up its calls can still take back what it has made.
        self.calls.set(0);
        let mut failed = None;
        loop {
            let Some(block) = self.cleanups.borrow_mut().pop() else { return failed };
            let ended = block.call::<Dynamic>(&ENGINE, ast, ());
            self.stopped_in.take();
            if let Err(error) = ended {
                let fault = self.judge(&error);
                self.log(&format!("the clean-up failed: {}", fault.sentence()));
                failed.get_or_insert(fault);
            }
        }
    }

    fn report(&self, result: Result<(), Fault>, cleanup: Option<Fault>) -> Report {
        let hidden = |fault: Fault| Fault { message: self.hidden_in(&fault.message), ..fault };
        let steps = self.steps.take();
        let steps = steps.iter().map(|step| {
            let seconds = step.took.unwrap_or_else(|| step.start.elapsed()).as_secs_f64();
            json!({"name": step.name, "seconds": seconds, "ok": step.ok})
        });
        Report {
            result: result.map_err(hidden),
            cleanup: cleanup.map(hidden),
            steps: steps.collect(),
            log: self.log.take(),
            durations: *self.durations.borrow(),
        }
    }
}
