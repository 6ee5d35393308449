//! From a question to its run: the one in memory, the one that goes on, the one in the store, or a
//! new attempt.

use std::sync::Arc;
use std::time::Duration;

use super::answer;
use super::ask::{Answer, AskError};
use super::attempt::{AttemptState, PAUSE, active, final_block, state_of};
use super::open::{OpenRun, Order};
use super::record::{id_of, question_of, run_name};
use super::service::{Engine, Remembered, labelled_key};
use crate::api::{
    Condition, ConditionStatus, Gate, GateRun, LABEL_QUESTION, LABEL_REVISION, LABEL_SUBJECT, Voided, condition_types,
    name_of, namespace_of, set_condition,
};
use crate::gate::{ActiveOverride, Standing};
use crate::model::{Labels, Question, QuestionKey};
use crate::store::{Query, StoreError, StoreExt};

/// How many attempts at one question are looked at: the latest is among the newest few.
const MAX_ATTEMPTS_READ: usize = 10;
/// How many runs of one revision are looked at for a final block: batches times attempts.
const MAX_REVISION_RUNS: usize = 1_000;
/// How many runs of a target one new revision makes void: older ones were made void before.
const MAX_VOIDED: usize = 1_000;
/// The longest text of an identifying part, as the schema of `Change` has it.
const MAX_TEXT: usize = 253;
/// How similar a gate's name must be to be suggested (Jaro-Winkler, 0 to 1).
const SIMILAR: f64 = 0.8;

/// Where a question's answer is.
pub(super) enum Found {
    Open(Arc<OpenRun>),
    Answer(Answer),
}

/// What an attempt at a question is good for.
pub(super) enum Judged {
    /// It is going on.
    Open(Box<GateRun>),
    /// It answers the question.
    Answer(Answer),
    /// It had this number, and the next one is due.
    Over(u32),
}

impl Engine {
    /// The question as it is judged: with our cluster, if it makes sense, and if its gate is there
    /// and selects its target.
    pub(super) fn admitted(&self, mut question: Question) -> Result<Question, AskError> {
        let parts = &self.inner.parts;
        let texts = [
            ("gate", &question.gate),
            ("change.id", &question.change.id),
            ("change.target", &question.change.target),
            ("change.revision", &question.change.revision),
        ];
        if let Some((field, text)) = texts.into_iter().find(|(_, text)| text.is_empty() || text.len() > MAX_TEXT) {
            let found = if text.is_empty() { "it is empty".to_owned() } else { format!("it has {} bytes", text.len()) };
            return Err(AskError::Invalid(format!("{field}: {found}; 1 to {MAX_TEXT} are allowed")));
        }
        let batch = question.batch;
        if batch.index == 0 || batch.index > batch.total || batch.percent > 100 {
            return Err(AskError::Invalid(format!(
                "batch: index {} of {} at {} %; index counts from 1 to total, percent from 0 to 100",
                batch.index, batch.total, batch.percent
            )));
        }
        question.change.cluster = question.change.cluster.or_else(|| parts.cluster.clone());
        match parts.gates.get(&question.namespace, &question.gate) {
            Some(gate) => selects(&gate, &question).map(|()| question),
            // Before the first list has arrived an absence means nothing: the run's start will tell.
            None if !parts.gates.synced() => Ok(question),
            None => Err(self.no_gate(question)),
        }
    }

    fn no_gate(&self, question: Question) -> AskError {
        let wanted = format!("{}/{}", question.namespace, question.gate);
        let names = self.inner.parts.gates.all().into_iter().map(|gate| {
            let name = format!("{}/{}", namespace_of(gate.as_ref()), name_of(gate.as_ref()));
            (
                strsim::jaro_winkler(&name, &wanted).max(strsim::jaro_winkler(name_of(gate.as_ref()), &question.gate)),
                name,
            )
        });
        let nearest = names.filter(|(likeness, _)| *likeness > SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0));
        AskError::NoGate { namespace: question.namespace, gate: question.gate, nearest: nearest.map(|(_, name)| name) }
    }

    /// A decided run in memory that still answers.
    pub(super) fn remembered_answer(&self, key: QuestionKey) -> Option<Answer> {
        let inner = &self.inner;
        let remembered = inner.remembered(key)?;
        let Remembered { run, id, overrides } = remembered.as_ref();
        let now = inner.parts.clock.now();
        let unchanged = *inner.parts.overrides.changes().borrow() == *overrides;
        let spoken = if unchanged && run.status.as_ref().is_none_or(|status| status.overrides.is_empty()) {
            Vec::new()
        } else {
            self.overrides_on(&question_of(run, inner.parts.cluster.as_deref()))
        };
        let status = run.status.as_ref()?;
        match state_of(run, &spoken, now) {
            AttemptState::Answers => Some(answer::of_status(id, status, None, now)),
            AttemptState::Void(until) => Some(answer::void(id, status, until, now)),
            AttemptState::ClockBack => Some(clock_back(id.clone())),
            AttemptState::Open | AttemptState::Over => None,
        }
    }

    /// Asks the run of a question, and creates it where there is none.
    pub(super) async fn answer_of_run(
        &self,
        question: Question,
        key: QuestionKey,
        wait: Duration,
    ) -> Result<Answer, AskError> {
        let found = {
            let _guard = self.inner.lock(key).await;
            match self.inner.open.get(key) {
                Some(open) => Found::Open(open),
                None => match self.find(&question, key).await {
                    Ok(found) => found,
                    Err(error) => {
                        tracing::error!(%error, gate = question.gate, "The run of a question cannot be read or written; the answer is wait.");
                        let id = format!("{}/{}", question.namespace, run_name(&question, 1));
                        return Ok(answer::trouble(id, format!("the record cannot be read or written: {error}")));
                    }
                },
            }
        };
        match found {
            Found::Answer(answer) => Ok(answer),
            Found::Open(open) => {
                let snapshot = open.wait(wait).await;
                let now = self.inner.parts.clock.now();
                let mut answer = answer::of_status(&open.id, &snapshot.status, snapshot.retry_after, now);
                if let Some(why) = super::onlooker::unattended(&open, &snapshot) {
                    answer.reason = why;
                }
                Ok(answer)
            }
        }
    }

    async fn find(&self, question: &Question, key: QuestionKey) -> Result<Found, StoreError> {
        let Some(latest) = self.latest_attempt(question, key, None).await? else {
            return self.attempt(question, key, 1).await;
        };
        match self.judged(latest, question, key) {
            Judged::Open(run) => Box::pin(self.take_up(*run, question, key)).await,
            Judged::Answer(answer) => Ok(Found::Answer(answer)),
            Judged::Over(number) => self.attempt(question, key, number.saturating_add(1)).await,
        }
    }

    /// What an attempt is good for now.
    pub(super) fn judged(&self, run: GateRun, question: &Question, key: QuestionKey) -> Judged {
        let now = self.inner.parts.clock.now();
        let id = id_of(&run);
        match state_of(&run, &self.overrides_on(question), now) {
            AttemptState::Open => Judged::Open(Box::new(run)),
            AttemptState::Answers => {
                let answer = run.status.as_ref().map(|status| answer::of_status(&id, status, None, now));
                self.inner.remember(key, run);
                Judged::Answer(answer.unwrap_or_else(|| clock_back(id)))
            }
            AttemptState::Void(until) => {
                let answer = run.status.as_ref().map(|status| answer::void(&id, status, until, now));
                Judged::Answer(answer.unwrap_or_else(|| clock_back(id)))
            }
            AttemptState::ClockBack => Judged::Answer(clock_back(id)),
            AttemptState::Over => Judged::Over(run.status.as_ref().map_or(1, |status| status.attempt)),
        }
    }

    /// Goes on with an open attempt: drives it, or looks on while another replica does.
    async fn take_up(&self, run: GateRun, question: &Question, key: QuestionKey) -> Result<Found, StoreError> {
        if !self.inner.parts.lead.now() {
            return Ok(Found::Open(self.look_on(&run, question)));
        }
        if run.status.is_some() {
            let standing = self.standing(question).await?;
            return Ok(Found::Open(self.start(run, question.clone(), standing).await));
        }
        // Left for us by a replica that does not lead, or made by hand.
        let (namespace, name, id) = (namespace_of(&run).to_owned(), name_of(&run).to_owned(), id_of(&run));
        self.adopt_locked(run, question.clone(), key).await?;
        if let Some(open) = self.inner.open.get(key) {
            return Ok(Found::Open(open));
        }
        let taken = self.inner.parts.store.get_as::<GateRun>(&namespace, &name).await?;
        let now = self.inner.parts.clock.now();
        let status = taken.and_then(|run| run.status).filter(|status| status.decided_at.is_some());
        Ok(Found::Answer(match status {
            Some(status) => answer::of_status(&id, &status, None, now),
            None => answer::trouble(id, "the run is being taken up: ask again".to_owned()),
        }))
    }

    /// The latest attempt at a question, other than `but`.
    pub(super) async fn latest_attempt(
        &self,
        question: &Question,
        key: QuestionKey,
        but: Option<&str>,
    ) -> Result<Option<GateRun>, StoreError> {
        let labels = Labels::from([(LABEL_QUESTION.to_owned(), key.to_string())]);
        let runs = self.runs(&question.namespace, labels, MAX_ATTEMPTS_READ).await?;
        let cluster = self.inner.parts.cluster.as_deref();
        // A label is soon written by hand: only what its spec asks says what a run is about.
        let others = runs.into_iter().filter(|run| question_of(run, cluster).key() == key && but != Some(name_of(run)));
        // One without a status was made a moment ago, and nobody has taken it up yet.
        Ok(others.max_by_key(|run| run.status.as_ref().map_or(u32::MAX, |status| status.attempt)))
    }

    async fn runs(&self, namespace: &str, labels: Labels, limit: usize) -> Result<Vec<GateRun>, StoreError> {
        let query = Query { namespace: Some(namespace.to_owned()), labels, limit, ..Query::default() };
        Ok(self.inner.parts.store.list_as::<GateRun>(&query).await?.items)
    }

    /// Begins a new attempt: makes void what another revision has left, finds the block that is
    /// final for this one, and creates the run. Who does not lead leaves that to whoever does.
    async fn attempt(&self, question: &Question, key: QuestionKey, number: u32) -> Result<Found, StoreError> {
        if !self.inner.parts.lead.now() {
            return self.hand_on(question, key, number).await;
        }
        self.void_others(question).await?;
        let standing = self.standing(question).await?;
        let mut run = super::record::new_run(question, number);
        let (plan, _) = self.plan(&run, question);
        let moment = self.inner.moment();
        let resume = crate::gate::Resume { started_at: moment.wall, status: None };
        run.status =
            Some(crate::gate::Machine::new(plan, standing.clone(), &resume, moment).status(moment, number, None));
        match self.inner.parts.store.create_as(&run).await {
            Ok(run) => Ok(Found::Open(self.start(run, question.clone(), standing).await)),
            Err(StoreError::Exists { .. }) => {
                let latest = self.latest_attempt(question, key, None).await?;
                match latest.map(|run| self.judged(run, question, key)) {
                    Some(Judged::Open(run)) => Box::pin(self.take_up(*run, question, key)).await,
                    Some(Judged::Answer(answer)) => Ok(Found::Answer(answer)),
                    Some(Judged::Over(_)) | None => {
                        Err(StoreError::Invalid("a run that exists is not found: ask again".to_owned()))
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The block that is final for the question's revision.
    pub(super) async fn standing(&self, question: &Question) -> Result<Option<Standing>, StoreError> {
        let labels = Labels::from([(LABEL_REVISION.to_owned(), question.revision_key().to_string())]);
        let runs = self.runs(&question.namespace, labels, MAX_REVISION_RUNS).await?;
        let key = question.key().to_string();
        let others = runs.iter().filter(|run| labelled_key(run).as_deref() != Some(key.as_str()));
        Ok(final_block(others))
    }

    /// Makes void what other revisions of the same subject have left.
    pub(super) async fn void_others(&self, question: &Question) -> Result<(), StoreError> {
        let subject = Labels::from([(LABEL_SUBJECT.to_owned(), question.subject().key().to_string())]);
        let newest = self.runs(&question.namespace, subject.clone(), MAX_ATTEMPTS_READ).await?;
        // One without a status was left by somebody who cannot do this.
        let mut taken_up = newest.iter().filter(|run| run.status.is_some());
        let done = |run: &GateRun| run.spec.change.revision == question.change.revision;
        if newest.is_empty() || taken_up.next().is_some_and(done) {
            return Ok(());
        }
        for run in self.runs(&question.namespace, subject, MAX_VOIDED).await? {
            let done = run.status.as_ref().is_some_and(|status| status.voided.is_some());
            if !done && run.spec.change.revision != question.change.revision {
                self.void(run, question).await?;
            }
        }
        Ok(())
    }

    async fn void(&self, mut run: GateRun, question: &Question) -> Result<(), StoreError> {
        let other = question_of(&run, self.inner.parts.cluster.as_deref());
        let (revision, change) = (question.change.revision.clone(), question.change.id.clone());
        if let Some(open) = self.inner.open.get(other.key()) {
            // A full queue has an earlier order in it, which ends the run as well.
            let _ = open.orders.try_send(Order::Supersede { revision, change });
            return Ok(());
        }
        let at = self.inner.parts.clock.now();
        let Some(status) = run.status.as_mut().filter(|status| status.decided_at.is_some()) else { return Ok(()) };
        let message = format!("revision {revision} of change {change} has come");
        status.voided = Some(Voided { revision, change, at });
        let condition = Condition {
            kind: condition_types::VOID.to_owned(),
            status: ConditionStatus::True,
            observed_generation: run.metadata.generation,
            last_transition_time: at,
            reason: "NewRevision".to_owned(),
            message,
        };
        set_condition(&mut status.conditions, condition);
        match self.inner.parts.store.put_status_as(&run).await {
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Conflict { .. }) => {
                self.inner.metrics.voided.inc();
                self.inner.forget(other.key());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The overrides on a question's gate and change that are in force.
    pub(super) fn overrides_on(&self, question: &Question) -> Vec<ActiveOverride> {
        let parts = &self.inner.parts;
        let all = parts.overrides.all();
        active(&all, &question.namespace, &question.gate, &question.change.id, parts.clock.now())
    }
}

fn clock_back(id: String) -> Answer {
    let pause = PAUSE.as_secs();
    tracing::warn!(id, pause, "The clock stands before a decision that was already made; the answer is wait.");
    answer::trouble(id, "the clock stands before an instant already seen: waiting until it is right again".to_owned())
}

/// Whether a gate stands in front of the question's target.
fn selects(gate: &Gate, question: &Question) -> Result<(), AskError> {
    let target = &gate.spec.target;
    let name = &question.change.target;
    let why = if let Some(workload) = &target.workload_ref {
        (workload.name != *name).then(|| format!("it selects {} {}", workload.kind, workload.name))
    } else if let Some(names) = &target.names {
        let any = names.iter().any(|pattern| crate::model::glob_matches(pattern, name));
        (!any).then(|| format!("it selects {}", names.join(", ")))
    } else if let Some(selector) = &target.selector {
        let labels = &question.change.labels;
        (!selector.matches(labels)).then(|| format!("its selector does not match the labels {labels:?} of the change"))
    } else {
        Some("it selects nothing".to_owned())
    };
    match why {
        None => Ok(()),
        Some(why) => Err(AskError::WrongTarget {
            namespace: question.namespace.clone(),
            gate: question.gate.clone(),
            target: name.clone(),
            why,
        }),
    }
}
