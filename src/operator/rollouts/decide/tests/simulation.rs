//! A model of the engine, an operator that crashes, people who do as they like: seeded, so that
//! what was found once is found again.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{Cluster, Dice, STEPS};
use crate::api::{ANNOTATION_RELEASE, ANNOTATION_VERDICT};
use crate::model::{OnBlock, Point, Verdict};
use crate::operator::rollouts::adapter::{Adapter, annotate};
use crate::operator::rollouts::decide::{Action, Answers, Ask, GateView, Next, Told, View, decide};
use crate::operator::rollouts::kruise::Kruise;
use crate::operator::rollouts::record::{How, Record};

/// The gates: a run for each question, that decides when it likes.
#[derive(Default)]
struct Gates {
    runs: BTreeMap<Ask, Verdict>,
    newest: String,
    generous: bool,
}

impl Gates {
    fn ask(&mut self, ask: &Ask, dice: &mut Dice) -> Told {
        if self.newest != ask.revision {
            self.newest.clone_from(&ask.revision);
            for (other, verdict) in &mut self.runs {
                if other.revision != ask.revision {
                    *verdict = Verdict::Wait;
                }
            }
        }
        let verdict = self.runs.entry(ask.clone()).or_insert(Verdict::Wait);
        *verdict = match (*verdict, dice.roll(12)) {
            (_, roll) if self.generous || roll < 3 && ask.point == Point::Post => Verdict::Pass,
            // The block's pass is an override; a pass before a batch may expire.
            (Verdict::Wait | Verdict::Block, 0..=3) => Verdict::Pass,
            (Verdict::Wait, 7) => Verdict::Block,
            (Verdict::Pass, 0) if ask.point == Point::Pre => Verdict::Wait,
            (verdict, _) => verdict,
        };
        Told { verdict: *verdict, reason: "so".into(), run: Some(format!("n/{ask:?}")), final_word: true }
    }
}

struct World {
    dice: Dice,
    cluster: Cluster,
    past: Vec<Value>,
    gates: Gates,
    /// What was let out with a pass, recorded as bypassed, or taken over.
    covered: Vec<(String, u32)>,
    /// What was found of what went out.
    checked: usize,
    uncovered: Vec<(u32, u32)>,
    bypasses: usize,
    approvals: usize,
    /// Nobody does anything between two writes.
    calm: bool,
    /// What happened, for whoever reads a failure.
    log: Vec<String>,
}

fn revision(number: u32) -> String {
    let cluster = Cluster { template: number, ..Cluster::new(&mut Dice(0)) };
    let seen = Kruise.observe(&cluster.rollout(), Some(&cluster.deployment()), &[]);
    seen.workload.unwrap().revision
}

impl World {
    fn new(seed: u64, calm: bool) -> Self {
        let mut dice = Dice(seed);
        Self {
            cluster: Cluster::new(&mut dice),
            dice,
            past: Vec::new(),
            gates: Gates::default(),
            covered: Vec::new(),
            checked: 0,
            uncovered: Vec::new(),
            bypasses: 0,
            approvals: 0,
            calm,
            log: Vec::new(),
        }
    }

    fn event(&mut self) {
        match self.dice.roll(24) {
            0 => {
                let new = u32::try_from(self.dice.roll(6)).unwrap();
                self.settle_books();
                // What nobody has looked at before it was replaced cannot be told.
                self.uncovered.clear();
                self.cluster.change(new);
            }
            1 => self.cluster.person(&mut self.dice),
            2..16 => self.cluster.turn(&mut self.dice),
            _ => {}
        }
        self.past.push(self.cluster.rollout());
        self.note("engine or people");
    }

    fn note(&mut self, what: &str) {
        let c = &self.cluster;
        self.log.push(format!(
            "{what}: {} {} step {} {} of {} (template {}, stable {}), paused {} by {}, out {:?}",
            c.phase,
            c.reason,
            c.index,
            c.state,
            c.releasing,
            c.template,
            c.stable,
            c.paused,
            c.paused_by,
            c.out.last()
        ));
    }

    /// Takes what went out from what was covered.
    fn settle_books(&mut self) {
        for (number, batch) in self.cluster.out.iter().skip(self.checked) {
            if *number == self.cluster.stable_known {
                continue; // A rollback in the engine's own way.
            }
            let name = revision(*number);
            match self.covered.iter().position(|one| *one == (name.clone(), *batch)) {
                Some(index) => {
                    self.covered.swap_remove(index);
                }
                // A first batch that begins again stands on the pass that it began with.
                None if *batch == 1 && self.cluster.record().is_some_and(|r| r.revision == name && r.batch == 1) => {}
                None => self.uncovered.push((*number, *batch)),
            }
        }
        self.checked = self.cluster.out.len();
    }

    fn assert_passes(&self, record: &Record, batch: u32) {
        let mut needed = vec![];
        if batch > 1 {
            needed.push((batch - 1, Point::Post));
        }
        if batch <= STEPS {
            needed.push((batch, Point::Pre));
        }
        for (batch, point) in needed {
            let ask = Ask {
                gate: "g".into(),
                change: record.change.clone(),
                revision: record.revision.clone(),
                batch,
                point,
                rollback: false,
            };
            assert_eq!(self.gates.runs.get(&ask), Some(&Verdict::Pass), "{ask:?} of {record:?}");
        }
    }

    /// One look of the operator, which may end in the middle.
    fn operate(&mut self, crash: bool, stale: bool) {
        let gates = [GateView {
            name: "g".into(),
            missing: false,
            pre: true,
            post: true,
            windows: false,
            on_block: OnBlock::Hold,
        }];
        let mut writes = if crash { self.dice.roll(3) } else { 20 };
        let mut rollout = self.cluster.rollout();
        if stale && self.past.len() > 3 {
            let back = usize::try_from(self.dice.roll(3)).unwrap() + 1;
            rollout = self.past[self.past.len() - back].clone();
        }
        loop {
            let seen = Kruise.observe(&rollout, Some(&self.cluster.deployment()), &Cluster::sets());
            let mut answers = Answers::new();
            let action = loop {
                let view = View { seen: &seen, gates: &gates, answers: &answers, hand: None };
                match decide(&view) {
                    Next::Ask(asks) => {
                        for ask in asks {
                            let told = self.gates.ask(&ask, &mut self.dice);
                            assert!(answers.insert(ask, told).is_none(), "a question is asked once");
                        }
                    }
                    Next::Do(action) => break action,
                    Next::Rest { tell, .. } => {
                        if let Some(tell) = tell.filter(|tell| Some(&tell.text) != seen.told.as_ref()) {
                            self.cluster.patch(&annotate(&rollout, &[(ANNOTATION_VERDICT, tell.text)]));
                        }
                        return;
                    }
                }
            };
            if !self.calm && !stale && self.dice.roll(8) == 0 {
                self.event();
            }
            if writes == 0 || !self.perform(&action, &rollout) {
                return;
            }
            writes -= 1;
            rollout = self.cluster.rollout();
        }
    }

    fn perform(&mut self, action: &Action, rollout: &Value) -> bool {
        let note = |record: &Record| annotate(rollout, &[(ANNOTATION_RELEASE, record.write())]);
        let before = Kruise.observe(rollout, None, &[]).record;
        let write = match action {
            Action::Hold => Kruise.hold(rollout),
            Action::Approve => Kruise.approve(rollout).expect("an approval is made only where a step waits"),
            Action::Release(record, tell) => {
                let texts = [(ANNOTATION_RELEASE, record.write()), (ANNOTATION_VERDICT, tell.text.clone())];
                Kruise.release(rollout, &texts)
            }
            Action::Resume(record) => {
                let texts = record.iter().map(|record| (ANNOTATION_RELEASE, record.write())).collect::<Vec<_>>();
                Kruise.release(rollout, &texts)
            }
            Action::Note(record) | Action::Adopt(record) => note(record),
            Action::Bypass(bypass) => note(&bypass.record),
            Action::RollBack(_) => unreachable!("the gate holds"),
        };
        let done = self.cluster.patch(&write);
        self.note(&format!("{action:?} {done}"));
        if !done {
            return false;
        }
        match action {
            Action::Release(record, _) => {
                self.assert_passes(record, record.batch);
                self.approvals += 1;
                let new = (record.revision.clone(), record.batch);
                self.covered.retain(|one| *one != new);
                self.covered.push(new);
            }
            Action::Bypass(bypass) => {
                self.bypasses += 1;
                assert!(How::ALL.contains(&bypass.how));
                self.forgive(&bypass.record.revision, bypass.batch);
            }
            Action::Adopt(record) => {
                assert_eq!(before, None, "only what was never seen is taken over");
                self.forgive(&record.revision, record.batch);
            }
            Action::Note(record) if record.open && before.as_ref().is_some_and(|old| old.change == record.change) => {
                // It went out by another hand while every question had passed.
                self.forgive(&record.revision, record.batch);
            }
            _ => {}
        }
        true
    }

    fn forgive(&mut self, name: &str, batch: u32) {
        self.settle_books();
        let before = self.uncovered.len();
        self.uncovered.retain(|(number, out)| revision(*number) != name || *out > batch);
        // What is about to go out by that hand is covered too.
        self.covered.retain(|one| *one != (name.to_owned(), batch));
        if self.uncovered.len() == before {
            self.covered.push((name.to_owned(), batch));
        }
    }
}

fn play(seed: u64) -> (usize, usize) {
    let mut world = World::new(seed, false);
    for _ in 0..300 {
        world.event();
        let (crash, stale, away) = (world.dice.roll(6) == 0, world.dice.roll(6) == 0, world.dice.roll(4) == 0);
        if !away {
            world.operate(crash, stale);
        }
    }
    quiet(&mut world, seed);
    (world.approvals, world.bypasses)
}

/// Everybody else goes home, and the gates pass: the release ends, and nothing is left untold.
fn quiet(world: &mut World, seed: u64) {
    (world.gates.generous, world.calm) = (true, true);
    for _ in 0..200 {
        world.cluster.turn(&mut world.dice);
        world.past.push(world.cluster.rollout());
        world.operate(false, false);
    }
    world.settle_books();
    let cluster = &world.cluster;
    let log = world.log.join("\n");
    assert_eq!(cluster.phase, "Healthy", "seed {seed}: {}\n{log}", cluster.rollout());
    assert_eq!(cluster.stable, cluster.template, "seed {seed}: the release is lost: {}", cluster.rollout());
    assert!(cluster.paused, "seed {seed}: it rests paused");
    assert!(world.uncovered.is_empty(), "seed {seed}: went out without a pass, untold: {:?}\n{log}", world.uncovered);
}

#[test]
fn nothing_goes_out_without_a_pass_or_a_record_whatever_happens() {
    let (mut approvals, mut bypasses) = (0, 0);
    for seed in 0..80 {
        let (more, without) = play(seed);
        approvals += more;
        bypasses += without;
    }
    assert!(approvals > 100 && bypasses > 10, "{approvals} approvals and {bypasses} bypasses were played");
}

#[test]
fn a_rollback_is_never_held() {
    for seed in 0..60 {
        let mut world = World::new(seed, true);
        world.operate(false, false);
        world.cluster.change(1);
        for _ in 0..world.dice.roll(40) {
            world.cluster.turn(&mut world.dice);
            world.operate(false, false);
        }
        if world.cluster.stable == 1 || world.cluster.reason == "Finalising" {
            continue; // It is over.
        }
        world.cluster.change(0);
        let asked = world.gates.runs.len();
        for _ in 0..30 {
            world.operate(false, false);
            world.cluster.turn(&mut world.dice);
        }
        let log = world.log.join("\n");
        assert_eq!((world.cluster.phase, world.cluster.stable), ("Healthy", 0), "seed {seed}\n{log}");
        assert_eq!(world.gates.runs.len(), asked, "seed {seed}: nobody is asked about a rollback");
    }
}
