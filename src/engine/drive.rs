//! Drives one run: feeds its machine, executes what it asks for, and writes what it decides.

use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::commit::Committed;
use super::executor::{compile, execute};
use super::metrics::ExecutionLabels;
use super::open::{OpenRun, Order, Snapshot};
use super::record::id_of;
use super::service::{Engine, Inner};
use crate::api::GateRun;
use crate::checks::{Check, Context};
use crate::gate::{Effect, Event, Machine, Moment, Plan, Resume, Standing};
use crate::model::{Question, Report};
use std::time::Duration;

/// Orders that wait for a run; the first one ends it.
const MAX_ORDERS: usize = 8;
/// The least time between two records of a run that is still open: a record is an fsync.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The longest time between two: what a restart may forget of time spent measuring.
const SAVE_AT_LEAST_EVERY: Duration = Duration::from_secs(30);
/// How long a driver sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(30);

/// What a task of a run has to say.
enum Told {
    Reported(usize, u32, Report),
    Woken(usize),
}

/// One run that goes on.
pub(super) struct Drive {
    pub(super) inner: Arc<Inner>,
    pub(super) engine: Engine,
    pub(super) run: GateRun,
    pub(super) question: Question,
    pub(super) attempt: u32,
    pub(super) machine: Machine,
    pub(super) standing: Option<Standing>,
    pub(super) latest: watch::Sender<Snapshot>,
    checks: Vec<Arc<dyn Check>>,
    orders: mpsc::Receiver<Order>,
    tasks: JoinSet<Told>,
    in_flight: Vec<Option<AbortHandle>>,
    saved_at: Option<Duration>,
    unsaved: bool,
    /// Whether the last attempt to write failed: told once for as long as it lasts.
    pub(super) unwritten: bool,
}

impl Engine {
    /// The plan of a run: as it was recorded, else from its gate as it is now.
    pub(super) fn plan(&self, run: &GateRun, question: &Question) -> (Plan, Vec<Arc<dyn Check>>) {
        let recorded = run.status.as_ref().and_then(|status| status.plan.clone());
        let recorded: Option<Plan> = recorded.and_then(|plan| serde_json::from_value(plan).ok());
        let mut plan = recorded.unwrap_or_else(|| {
            let gate = self.inner.parts.gates.get(&question.namespace, &question.gate);
            match gate {
                Some(gate) => Plan::resolve(&gate, question.point, question.change.action),
                None => no_gate_plan(question),
            }
        });
        let checks = compile(&mut plan, &self.inner.parts.table, &question.namespace);
        (plan, checks)
    }

    pub(super) async fn start(&self, run: GateRun, question: Question, standing: Option<Standing>) -> Arc<OpenRun> {
        let number = run.status.as_ref().map_or(1, |status| status.attempt);
        self.start_as(run, question, standing, number).await
    }

    /// Starts the task that drives `run`. The caller holds the question's lock.
    pub(super) async fn start_as(
        &self,
        run: GateRun,
        question: Question,
        standing: Option<Standing>,
        attempt: u32,
    ) -> Arc<OpenRun> {
        if !self.inner.parts.lead.now() {
            return self.look_on(&run, &question);
        }
        let key = question.key();
        if let Some(open) = self.inner.open.get(key) {
            return open;
        }
        let (plan, checks) = self.plan(&run, &question);
        let (now, bare) = (self.inner.moment(), run.status.is_none());
        let started_at = run.status.as_ref().and_then(|status| status.started_at).unwrap_or(now.wall);
        let machine = Machine::new(plan, standing.clone(), &Resume { started_at, status: run.status.clone() }, now);
        let status = Arc::new(machine.status(now, attempt, run.status.as_ref()));
        let (latest, receiver) =
            watch::channel(Snapshot { status, retry_after: machine.retry_after(now), committed: false });
        let (sender, orders) = mpsc::channel(MAX_ORDERS);
        let open = Arc::new(OpenRun { id: id_of(&run), since: Instant::now(), orders: sender, latest: receiver });
        self.inner.open.insert(key, Arc::clone(&open));
        self.inner.metrics.open.set(i64::try_from(self.inner.open.len()).unwrap_or(i64::MAX));
        let drive = Drive {
            inner: Arc::clone(&self.inner),
            engine: self.clone(),
            in_flight: checks.iter().map(|_| None).collect(),
            run,
            question,
            attempt,
            machine,
            standing,
            latest,
            checks,
            orders,
            tasks: JoinSet::new(),
            saved_at: None,
            // Whoever has left it for us looks on until there is a status.
            unsaved: bare,
            unwritten: false,
        };
        let id = open.id.clone();
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            // A panic in a driver must not leave a question that is never answered again: the run
            // is let go, stays open in the store, and the next question takes it up.
            if std::panic::AssertUnwindSafe(drive.run()).catch_unwind().await.is_err() {
                tracing::error!(id, "The driver of a run has crashed; the run stays open and is taken up again.");
            }
            engine.inner.open.remove(key, &id);
            engine.inner.metrics.open.set(i64::try_from(engine.inner.open.len()).unwrap_or(i64::MAX));
        });
        open
    }
}

impl Drive {
    async fn run(mut self) {
        let mut overrides = self.inner.parts.overrides.changes();
        overrides.mark_unchanged();
        self.watch_checks();
        let mut event = Some(Event::Overrides(self.engine.overrides_on(&self.question)));
        let (mut started, mut heard) = (false, 0);
        loop {
            let now = self.inner.moment();
            if let Some(event) = event.take() {
                let effects = self.machine.step(now, event);
                if self.perform(effects, now) && self.commit_or_resume().await {
                    return;
                }
            }
            if !started {
                started = true;
                event = Some(Event::Started);
                continue;
            }
            // What has answered meanwhile is heard first: the record is made once for all of it, but
            // not later than after every check has spoken.
            if heard < self.checks.len()
                && let Some(told) = self.tasks.try_join_next()
            {
                heard += 1;
                event = Some(self.told(told));
                continue;
            }
            heard = 0;
            self.publish(now);
            self.save_if_due(now).await;
            let longest = if self.unsaved { SAVE_EVERY } else { IDLE };
            let sleep = self.machine.wake_after(now).unwrap_or(IDLE).min(longest);
            event = Some(tokio::select! {
                biased;
                () = self.inner.stop.cancelled() => return self.let_go().await,
                Some(order) = self.orders.recv() => match order {
                    Order::Cancel { actor, reason } => Event::Cancelled { actor, reason },
                    Order::Supersede { revision, change } => Event::Superseded { revision, change },
                },
                Ok(()) = overrides.changed() => Event::Overrides(self.engine.overrides_on(&self.question)),
                Some(told) = self.tasks.join_next() => self.told(told),
                () = tokio::time::sleep(sleep) => Event::Tick,
            });
        }
    }

    /// Performs effects; whether the verdict has to be written.
    fn perform(&mut self, effects: Vec<Effect>, now: Moment) -> bool {
        let mut decide = false;
        for effect in effects {
            match effect {
                Effect::Execute { check, execution } => self.execute(check, execution, now),
                Effect::Abandon { check } => {
                    if let Some(handle) = self.in_flight.get_mut(check).and_then(Option::take) {
                        handle.abort();
                    }
                }
                Effect::Save => self.unsaved = true,
                Effect::Decide => decide = true,
            }
        }
        decide
    }

    fn execute(&mut self, index: usize, execution: u32, now: Moment) {
        let (Some(check), Some(planned)) = (self.checks.get(index), self.machine.plan().checks.get(index)) else {
            return;
        };
        let context = Context {
            question: self.question.clone(),
            run: self.run.metadata.name.clone().unwrap_or_default(),
            started_at: self.latest.borrow().status.started_at.unwrap_or(now.wall),
            now: now.wall,
            timeout: planned.timeout.to_std(),
            execution,
            carry: self.machine.carry(index),
        };
        let (check, permits, metrics) =
            (Arc::clone(check), Arc::clone(&self.inner.permits), self.inner.metrics.clone());
        let kind = planned.kind.clone();
        let handle = self.tasks.spawn(async move {
            let begun = tokio::time::Instant::now();
            let report = execute(check, context, permits).await;
            metrics.executing.observe(begun.elapsed().as_secs_f64());
            metrics.executions.get_or_create(&ExecutionLabels { kind, outcome: report.outcome.to_string() }).inc();
            Told::Reported(index, execution, report)
        });
        if let Some(place) = self.in_flight.get_mut(index) {
            *place = Some(handle);
        }
    }

    /// Begins to listen for checks whose answer may change before its time.
    fn watch_checks(&mut self) {
        for index in 0..self.checks.len() {
            self.watch_check(index);
        }
    }

    fn watch_check(&mut self, index: usize) {
        let Some(check) = self.checks.get(index).map(Arc::clone) else { return };
        self.tasks.spawn(async move {
            check.changed().await;
            Told::Woken(index)
        });
    }

    fn told(&mut self, told: Result<Told, tokio::task::JoinError>) -> Event {
        match told {
            Ok(Told::Reported(check, execution, report)) => {
                if let Some(place) = self.in_flight.get_mut(check) {
                    *place = None;
                }
                Event::Reported { check, execution, report }
            }
            Ok(Told::Woken(check)) => {
                self.watch_check(check);
                Event::Woken { check }
            }
            // An aborted execution: nobody wants its answer.
            Err(_) => Event::Tick,
        }
    }

    fn publish(&self, now: Moment) {
        let old = self.latest.borrow().status.clone();
        let status = Arc::new(self.machine.status(now, self.attempt, Some(&old)));
        self.latest.send_replace(Snapshot { status, retry_after: self.machine.retry_after(now), committed: false });
    }

    async fn save_if_due(&mut self, now: Moment) {
        let since = self.saved_at.map(|at| now.mono.saturating_sub(at));
        let due = match since {
            None => {
                self.saved_at = Some(now.mono);
                false
            }
            Some(since) => (self.unsaved && since >= SAVE_EVERY) || since >= SAVE_AT_LEAST_EVERY,
        };
        if due {
            self.save(now).await;
        }
    }

    async fn save(&mut self, now: Moment) {
        self.saved_at = Some(now.mono);
        self.unsaved = false;
        let status = self.latest.borrow().status.clone();
        let before = self.unwritten;
        if let Err(error) = self.write(&status).await
            && !before
        {
            tracing::warn!(%error, run = self.run.metadata.name, "The record of an open run cannot be written; it goes on.");
        }
    }

    /// The program ends: what is known is kept, and the run stays open.
    async fn let_go(mut self) {
        let now = self.inner.moment();
        if self.unsaved {
            self.publish(now);
            self.save(now).await;
        }
    }

    /// Writes the verdict; whether the run is over. When the store stays away for long, the verdict
    /// is let go and the run judged anew: old evidence must not become a verdict.
    async fn commit_or_resume(&mut self) -> bool {
        let open = self.latest.borrow().status.clone();
        match self.commit().await {
            Committed::Done => true,
            Committed::TooLate => {
                let now = self.inner.moment();
                let resume =
                    Resume { started_at: open.started_at.unwrap_or(now.wall), status: Some(open.as_ref().clone()) };
                self.machine = Machine::new(self.machine.plan().clone(), self.standing.clone(), &resume, now);
                let mut effects = self.machine.step(now, Event::Overrides(self.engine.overrides_on(&self.question)));
                effects.extend(self.machine.step(now, Event::Started));
                self.perform(effects, now);
                false
            }
        }
    }
}

/// A gate that is gone: its runs can only be unknown.
fn no_gate_plan(question: &Question) -> Plan {
    let missing = crate::api::Check { name: "gate-exists".to_owned(), ..crate::api::Check::default() };
    let mut gate = crate::api::Gate::new(
        &question.gate,
        crate::api::GateSpec {
            target: crate::api::Target { workload_ref: None, names: None, selector: None },
            pre: None,
            post: None,
            history: None,
        },
    );
    gate.spec.pre = Some(crate::api::PreChecks { checks: vec![missing.clone()], ..crate::api::PreChecks::default() });
    gate.spec.post = Some(crate::api::PostChecks { checks: vec![missing], ..crate::api::PostChecks::default() });
    Plan::resolve(&gate, question.point, question.change.action)
}
