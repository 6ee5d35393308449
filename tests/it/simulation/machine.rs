//! The machine alone, with a driver that crashes, loses, repeats and reorders.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use probegate::api::{self, Cause, GateRunStatus};
use probegate::gate::{ActiveOverride, Effect, Event, Machine, Moment, Plan, Resume};
use probegate::model::{Action, Mode, Outcome, Point, Report, Verdict};
use serde_json::json;

use super::random::Random;

/// Seeds that every run of the tests goes through.
const SEEDS: u64 = 4_000;
/// Steps after which a simulation ends, decided or not.
const STEPS: usize = 600;

/// One accepted answer, as the world remembers it.
#[derive(Debug, Clone, Copy)]
struct Heard {
    outcome: Outcome,
    held: bool,
    began: Duration,
    life: u32,
}

struct World {
    random: Random,
    machine: Machine,
    plan: Plan,
    /// The wall clock's offset to the monotonic one.
    wall_base: Timestamp,
    mono: Duration,
    highest_wall: Timestamp,
    life: u32,
    /// Executions under way: check, execution, when it began, when it answers.
    running: Vec<(usize, u32, Duration, Duration)>,
    /// Answers already given, to be repeated.
    old: Vec<Event>,
    heard: BTreeMap<usize, Heard>,
    failures: BTreeMap<usize, u32>,
    overrides: Vec<ActiveOverride>,
    disk: Option<GateRunStatus>,
    hold_ended: Duration,
    was_held: bool,
    started_at: Timestamp,
    seed: u64,
}

fn plan(random: &mut Random) -> Plan {
    let count = 1 + random.below(4);
    let checks: Vec<_> = (0..count)
        .map(|n| {
            let mode = *random.pick(&["enforce", "enforce", "enforce", "advise", "shadow"]);
            let interval = *random.pick(&["1s", "5s", "10s"]);
            let mut check =
                json!({"name": format!("c{n}"), "mode": mode, "interval": interval, "retries": random.below(3)});
            if n == 0 && random.one_in(2) {
                check["window"] = json!({});
            } else {
                check["probes"] = json!({"names": ["x"]});
            }
            check
        })
        .collect();
    let soak = *random.pick(&["0s", "0s", "30s", "2m"]);
    let policy = *random.pick(&["block", "block", "pass", "wait"]);
    let spec = json!({
        "target": {"names": ["*"]},
        "pre": {"timeout": "1m", "onUnknown": policy, "checks": checks},
        "post": {"timeout": "3m", "onUnknown": policy, "soak": soak, "checks": checks},
    });
    let gate: api::Gate = serde_json::from_value(json!({"metadata": {"name": "g"}, "spec": spec})).unwrap();
    let point = *random.pick(&[Point::Pre, Point::Post]);
    let action = *random.pick(&[Action::Release, Action::Release, Action::Release, Action::Rollback]);
    let mut plan = Plan::resolve(&gate, point, action);
    for check in &mut plan.checks {
        check.once = random.one_in(4);
    }
    plan
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let plan = plan(&mut random);
        let wall: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let mono = Duration::from_secs(1);
        let now = Moment { wall, mono };
        let machine = Machine::new(plan.clone(), None, &Resume { started_at: wall, status: None }, now);
        let mut world = Self {
            random,
            machine,
            plan,
            wall_base: wall - SignedDuration::from_secs(1),
            mono,
            highest_wall: wall,
            life: 0,
            running: Vec::new(),
            old: Vec::new(),
            heard: BTreeMap::new(),
            failures: BTreeMap::new(),
            overrides: Vec::new(),
            disk: None,
            hold_ended: mono,
            was_held: false,
            started_at: wall,
            seed,
        };
        world.tell(Event::Started);
        world
    }

    fn wall(&self) -> Timestamp {
        self.wall_base + SignedDuration::try_from(self.mono).unwrap()
    }

    fn now(&self) -> Moment {
        Moment { wall: self.wall(), mono: self.mono }
    }

    fn tell(&mut self, event: Event) {
        self.remember(&event);
        let before = self.machine.decided();
        let effects = self.machine.step(self.now(), event);
        assert!(!before || effects.is_empty(), "seed {}: a decided machine asked for {effects:?}", self.seed);
        for effect in effects {
            match effect {
                Effect::Execute { check, execution } => {
                    let takes =
                        if self.random.one_in(8) { self.random.millis(90_000) } else { self.random.millis(2_000) };
                    self.running.push((check, execution, self.mono, self.mono + takes));
                }
                Effect::Abandon { check } => self.running.retain(|(running, ..)| *running != check),
                Effect::Save => self.disk = Some(self.machine.status(self.now(), 1, self.disk.as_ref())),
                Effect::Decide => {}
            }
        }
        self.highest_wall = self.highest_wall.max(self.wall());
        self.follow_hold();
        if !before {
            self.check_failure_blocks();
        }
    }

    /// Keeps the world's own book of what the machine must have accepted.
    fn remember(&mut self, event: &Event) {
        let Event::Reported { check, execution, report } = event else { return };
        let Some(place) = self.running.iter().position(|(c, e, ..)| c == check && e == execution) else { return };
        let (_, _, began, _) = self.running.remove(place);
        let retries = u32::from(self.plan.checks[*check].retries);
        let failures = self.failures.entry(*check).or_default();
        *failures = if report.outcome == Outcome::Fail { *failures + 1 } else { 0 };
        let outcome =
            if report.outcome == Outcome::Fail && *failures <= retries { Outcome::Pending } else { report.outcome };
        let held = outcome == Outcome::Pending && report.until.is_some() && report.outcome == Outcome::Pending;
        self.heard.insert(*check, Heard { outcome, held, began, life: self.life });
    }

    fn lifted(&self, check: usize, effect: api::Effect) -> bool {
        let name = &self.plan.checks[check].spec.name;
        let now = self.wall();
        let spoken = |check: Option<&str>| {
            let mut all = self.overrides.iter().filter(move |o| o.check.as_deref() == check && now < o.expires);
            all.clone().find(|o| o.effect == api::Effect::Block).or_else(|| all.next()).map(|o| o.effect)
        };
        spoken(Some(name)) == Some(effect)
    }

    fn enforced(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.plan.checks.len()).filter(|n| self.plan.checks[*n].mode == Mode::Enforce)
    }

    fn follow_hold(&mut self) {
        let held =
            self.enforced().any(|n| self.heard.get(&n).is_some_and(|h| h.held) && !self.lifted(n, api::Effect::Pass));
        if self.was_held && !held {
            // The look that ended the hold counts; anything begun before the hold was over does not
            // unless it began with that look or later.
            self.hold_ended = self
                .enforced()
                .filter_map(|n| self.heard.get(&n))
                .filter(|h| h.life == self.life)
                .map(|h| h.began)
                .min()
                .unwrap_or(self.mono);
        }
        self.was_held = held;
    }

    fn check_failure_blocks(&self) {
        let failed = self.enforced().any(|n| {
            self.heard.get(&n).is_some_and(|h| h.outcome == Outcome::Fail && h.life == self.life)
                && !self.lifted(n, api::Effect::Pass)
        });
        if failed {
            assert!(self.machine.decided(), "seed {}: an enforced check failed and nothing was decided", self.seed);
        }
    }

    fn report(&mut self, check: usize) -> Report {
        let window = self.plan.checks[check].kind == "window";
        match self.random.below(10) {
            0 => Report::fail("broken"),
            1 => Report::unknown("no data"),
            2 => Report::pending("measuring"),
            3 if window => {
                let length = SignedDuration::from_secs(i64::try_from(self.random.below(400)).unwrap() - 20);
                Report::held("shut", self.wall() + length)
            }
            _ => Report::pass("fine"),
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..60 => self.time_passes(),
            60..64 => {
                // A lie: an answer for an execution that nobody asked for.
                let event = Event::Reported {
                    check: usize::try_from(self.random.below(6)).unwrap(),
                    execution: 9_999,
                    report: Report::pass("lie"),
                };
                self.tell(event);
            }
            64..70 => {
                if let Some(event) = self.old.last().cloned() {
                    self.tell(event);
                }
            }
            70..74 => self.clock_jumps(),
            74..78 => self.crash(),
            78..82 => self.new_override(),
            82..86 => {
                let check = usize::try_from(self.random.below(self.plan.checks.len().max(1) as u64)).unwrap();
                self.tell(Event::Woken { check });
            }
            _ => self.tell(Event::Tick),
        }
    }

    fn time_passes(&mut self) {
        let wake = self.machine.wake_after(self.now()).unwrap_or(Duration::from_secs(30));
        let answers = self.running.iter().map(|(.., at)| at.saturating_sub(self.mono)).min().unwrap_or(wake);
        self.mono += wake.min(answers).max(Duration::from_millis(1));
        let mut due: Vec<_> = self.running.iter().filter(|(.., at)| *at <= self.mono).copied().collect();
        if self.random.one_in(2) {
            due.reverse();
        }
        for (check, execution, ..) in due {
            let report = self.report(check);
            let event = Event::Reported { check, execution, report };
            self.old.push(event.clone());
            self.tell(event);
        }
        self.tell(Event::Tick);
    }

    fn clock_jumps(&mut self) {
        let by = SignedDuration::from_secs(i64::try_from(self.random.below(7_200)).unwrap() - 3_600);
        self.wall_base += by;
        self.tell(Event::Tick);
    }

    fn new_override(&mut self) {
        let names: Vec<Option<String>> = self.plan.checks.iter().map(|c| Some(c.spec.name.clone())).collect();
        let Some(name) = names.get(usize::try_from(self.random.below(4)).unwrap()).cloned() else { return };
        let effect = if self.random.one_in(6) { api::Effect::Block } else { api::Effect::Pass };
        let expires = self.wall() + SignedDuration::from_secs(i64::try_from(self.random.below(300)).unwrap());
        self.overrides.push(ActiveOverride {
            name: format!("o{}", self.overrides.len()),
            check: name,
            effect,
            actor: "on-call".into(),
            reason: "simulated".into(),
            ticket: None,
            expires,
        });
        self.tell(Event::Overrides(self.overrides.clone()));
    }

    /// The process dies: what was not saved is lost, executions and answers too.
    fn crash(&mut self) {
        if self.machine.decided() {
            return;
        }
        self.life += 1;
        self.running.clear();
        self.failures.clear();
        self.was_held = false;
        // A new process has a monotonic clock of its own; time went on meanwhile.
        let gone = self.random.millis(100_000);
        self.wall_base += SignedDuration::try_from(gone).unwrap();
        let resume = Resume { started_at: self.started_at, status: self.disk.clone() };
        for heard in self.heard.values_mut() {
            heard.held = false;
        }
        self.hold_ended = self.mono;
        // What was seen after the last record is forgotten, by the machine and so by this book.
        let seen_at = self.disk.as_ref().and_then(|status| status.seen_at).unwrap_or(self.started_at);
        self.highest_wall = seen_at.max(self.wall());
        self.machine = Machine::new(self.plan.clone(), None, &resume, self.now());
        self.tell(Event::Overrides(self.overrides.clone()));
        self.tell(Event::Started);
    }

    fn check_verdict(&self) {
        let status = self.machine.status(self.now(), 1, None);
        let seed = self.seed;
        match status.verdict {
            Verdict::Wait => assert!(!self.machine.decided(), "seed {seed}: decided and waiting"),
            Verdict::Block => {}
            Verdict::Pass => self.check_pass(&status),
        }
    }

    fn check_pass(&self, status: &GateRunStatus) {
        let seed = self.seed;
        let decided_at = status.decided_at.unwrap();
        assert!(
            decided_at + SignedDuration::from_secs(2) >= self.highest_wall,
            "seed {seed}: passed with the clock back"
        );
        if status.cause == Some(Cause::Unknown) {
            let policy = status.plan.as_ref().unwrap()["onUnknown"] == "pass";
            assert!(policy, "seed {seed}: unknown passed without the policy");
        } else {
            for n in self.enforced().filter(|n| !self.lifted(*n, api::Effect::Pass)) {
                let heard = self.heard.get(&n).unwrap_or_else(|| panic!("seed {seed}: passed without evidence of {n}"));
                assert_eq!(heard.outcome, Outcome::Pass, "seed {seed}: passed although {n} says {heard:?}");
                if !self.plan.checks[n].once {
                    assert_eq!(heard.life, self.life, "seed {seed}: passed on evidence from before a crash");
                    assert!(heard.began >= self.hold_ended, "seed {seed}: passed on evidence from before a hold ended");
                }
            }
        }
        // A step back of the clock by up to two seconds is no trouble.
        let soak = self.plan.soak.exact() - SignedDuration::from_secs(2);
        let measured = decided_at.duration_since(self.started_at);
        assert!(measured >= soak, "seed {seed}: passed before the soak was over: {measured:#} {status:#?}");
    }
}

#[test]
fn whatever_happens_the_machine_keeps_its_invariants() {
    let (mut passes, mut blocks, mut waits) = (0, 0, 0);
    for seed in super::random::seeds(SEEDS) {
        let mut world = World::new(seed);
        let mut checked = false;
        for _ in 0..STEPS {
            if world.machine.decided() && !checked {
                world.check_verdict();
                checked = true;
            }
            let before = world.machine.decided().then(|| world.machine.status(world.now(), 1, None).verdict);
            world.step();
            if let Some(before) = before {
                let after = world.machine.status(world.now(), 1, None).verdict;
                assert_eq!(before, after, "seed {seed}: a final verdict changed");
                break;
            }
        }
        match world.machine.status(world.now(), 1, None).verdict {
            Verdict::Pass => passes += 1,
            Verdict::Block => blocks += 1,
            Verdict::Wait => waits += 1,
        }
    }
    // The simulation is worth something only while it reaches every end.
    assert!(passes > SEEDS / 10 && blocks > SEEDS / 10 && waits > 0, "{passes} passes, {blocks} blocks, {waits} waits");
}

#[test]
fn a_rollback_ends_in_a_pass_unless_its_window_holds_it() {
    for seed in super::random::seeds(SEEDS) {
        let mut world = World::new(seed);
        if !world.plan.rollback {
            continue;
        }
        // No window speaks: every answer is trouble.
        let mut left = 400;
        while !world.machine.decided() && left > 0 {
            left -= 1;
            world.mono += Duration::from_millis(500);
            for (check, execution, ..) in world.running.clone() {
                world.tell(Event::Reported { check, execution, report: Report::unknown("trouble") });
            }
            world.tell(Event::Tick);
        }
        let status = world.machine.status(world.now(), 1, None);
        assert_eq!(status.verdict, Verdict::Pass, "seed {seed}: {}", status.reason);
    }
}
