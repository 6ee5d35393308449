//! The three changes: what a rollout does, asking the gate before and after every batch.

use std::time::Duration;

use serde_json::Value;

use super::report::{Event, Evidence, Step};
use super::service::{Faults, Shop};
use crate::client::{Client, ClientError};
use crate::model::{Action, Batch, Change, Invoker, Labels, Point, Question, Verdict};

/// The batches of every change.
const BATCHES: [Batch; 3] = [
    Batch { index: 1, total: 3, percent: 10 },
    Batch { index: 2, total: 3, percent: 50 },
    Batch { index: 3, total: 3, percent: 100 },
];
/// How long one question waits for its verdict: longer than any soak and time-out of the files.
const PATIENCE: Duration = Duration::from_secs(20);

/// The revision that runs when the demo begins.
pub(super) const STABLE: &str = "v41";

/// The revision that the good release brings, and the bad one is rolled back to.
const BEFORE_BAD: &str = "v42";

/// Hears of every event.
type Tell<'a> = dyn FnMut(Event) + Send + 'a;

/// One change and how the story needs it to end.
#[derive(Clone, Copy)]
struct Plot {
    title: &'static str,
    detail: &'static str,
    id: &'static str,
    target: &'static str,
    revision: &'static str,
    faults: Faults,
    /// Where it ends otherwise than with a pass, and how.
    stops_at: Option<(u32, Point, Verdict)>,
}

const PLOTS: [Plot; 3] = [
    Plot {
        title: "A good release of checkout",
        detail: "revision v42 is sound: it should pass all three batches",
        id: "demo-1",
        target: "checkout",
        revision: BEFORE_BAD,
        faults: Faults { error_every: 0, delay_ms: 0 },
        stops_at: None,
    },
    Plot {
        title: "A bad release of checkout",
        detail: "revision v43 fails every third order and answers slowly: it should be blocked at its first batch",
        id: "demo-2",
        target: "checkout",
        revision: "v43",
        faults: Faults { error_every: 3, delay_ms: 120 },
        stops_at: Some((1, Point::Post, Verdict::Block)),
    },
    Plot {
        title: "A release of payments in a freeze",
        detail: "payments is frozen for an audit: the release should be told to wait, and until when",
        id: "demo-3",
        target: "payments",
        revision: "v7",
        faults: Faults { error_every: 0, delay_ms: 0 },
        stops_at: Some((1, Point::Pre, Verdict::Wait)),
    },
];

/// Everything that the story needs.
pub(super) struct Cast {
    pub(super) client: Client,
    pub(super) canary: Shop,
}

/// Plays all three changes; hands every event to `tell` as it happens.
///
/// # Errors
/// The server cannot be asked.
pub(super) async fn play(cast: &Cast, tell: &mut Tell<'_>) -> Result<Vec<Step>, ClientError> {
    let mut steps = Vec::new();
    for plot in &PLOTS {
        tell(Event::Change { title: plot.title.to_owned(), detail: plot.detail.to_owned() });
        release(cast, plot, &mut steps, tell).await?;
    }
    Ok(steps)
}

/// What a rollout controller does: pre, the batch, post, and on; stops where the gate does not say
/// pass, and rolls back where something was changed already.
async fn release(cast: &Cast, plot: &Plot, steps: &mut Vec<Step>, tell: &mut Tell<'_>) -> Result<(), ClientError> {
    for batch in BATCHES {
        for point in [Point::Pre, Point::Post] {
            if point == Point::Post {
                cast.canary.deploy(plot.revision, plot.faults);
                let now = format!("{}% of {} run {}", batch.percent, plot.target, plot.revision);
                tell(Event::Told(format!("batch {} of {} is made: {now}", batch.index, batch.total)));
            }
            let step = ask(cast, plot, Action::Release, batch, point).await?;
            let verdict = step.verdict;
            tell(Event::Asked(Box::new(step.clone())));
            steps.push(step);
            match (verdict, point) {
                (Verdict::Pass, _) => {}
                (_, Point::Pre) => return Ok(()),
                (_, Point::Post) => return roll_back(cast, plot, steps, tell).await,
            }
        }
    }
    tell(Event::Told(format!("{} runs everywhere", plot.revision)));
    Ok(())
}

/// Takes everything back at once: a rollback is asked about as well, and is free.
async fn roll_back(cast: &Cast, plot: &Plot, steps: &mut Vec<Step>, tell: &mut Tell<'_>) -> Result<(), ClientError> {
    let back = Plot { revision: BEFORE_BAD, ..*plot };
    let step = ask(cast, &back, Action::Rollback, Batch::default(), Point::Pre).await?;
    let free = step.verdict == Verdict::Pass;
    tell(Event::Asked(Box::new(step.clone())));
    steps.push(step);
    if free {
        cast.canary.deploy(BEFORE_BAD, Faults::default());
        tell(Event::Told(format!("the batch is taken back: everything runs {BEFORE_BAD} again")));
    }
    Ok(())
}

async fn ask(cast: &Cast, plot: &Plot, action: Action, batch: Batch, point: Point) -> Result<Step, ClientError> {
    let question = Question {
        namespace: "demo".to_owned(),
        gate: "shop".to_owned(),
        change: Change {
            id: plot.id.to_owned(),
            target: plot.target.to_owned(),
            revision: plot.revision.to_owned(),
            action,
            actor: "demo".to_owned(),
            invoker: Invoker::Automation,
            cluster: None,
            labels: Labels::new(),
        },
        batch,
        point,
    };
    let expected = match plot.stops_at {
        Some((index, at, verdict)) if (index, at, action) == (batch.index, point, Action::Release) => verdict,
        _ => Verdict::Pass,
    };
    let started = tokio::time::Instant::now();
    // What is expected to wait is not waited for.
    let patience = if expected == Verdict::Wait { Duration::from_secs(1) } else { PATIENCE };
    let answer = cast.client.check(&question, patience).await?;
    let mut evidence = Evidence::of(&answer);
    if answer.verdict == Verdict::Block {
        fill_in(&cast.client, &answer.id, &mut evidence).await?;
    }
    Ok(Step {
        change: plot.id.to_owned(),
        target: plot.target.to_owned(),
        revision: plot.revision.to_owned(),
        action,
        batch,
        point,
        verdict: answer.verdict,
        expected,
        reason: answer.reason,
        until: answer.until,
        run: answer.id,
        took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        evidence,
    })
}

/// Adds what the checks saw, from the run's record.
async fn fill_in(client: &Client, run: &str, evidence: &mut [Evidence]) -> Result<(), ClientError> {
    let mut path = vec!["v1", "runs"];
    path.extend(run.split('/'));
    let record: Value = client.get(&path, &[]).await?;
    let checks = record.pointer("/status/checks").and_then(Value::as_array);
    for check in checks.into_iter().flatten() {
        let name = check.get("name").and_then(Value::as_str);
        if let Some(mine) = evidence.iter_mut().find(|mine| Some(mine.check.as_str()) == name) {
            mine.saw = check.get("evidence").cloned();
        }
    }
    Ok(())
}
