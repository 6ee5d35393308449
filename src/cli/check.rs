//! `probegate check`: asks a gate and exits with its verdict.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::backend::{Backend, BackendArgs, Place};
use super::output::{Case, CaseResult, Cell, Page, Progress, Render, Suite, Table, instant, lasting};
use super::question::QuestionArgs;
use super::{Exit, Global};
use crate::clock::{Clock, SystemClock};
use crate::engine::{Answer, Ask, CheckAnswer};
use crate::model::{Mode, Outcome, Period, Point, Question, Verdict};

/// How long one step of the waiting is: how often progress is told.
const STEP: Duration = Duration::from_secs(5);
/// How long a verdict is waited for where the user does not say. Long enough for a soak of minutes.
const DEFAULT_WAIT: &str = "10m";

const EXAMPLES: &str = "\
Examples:
  Ask the only gate of a directory, here and now:
    probegate check -f gates/ --revision v42
  Ask a server after the second of five batches, and wait for the verdict:
    probegate check --server https://probegate.example --gate shop/checkout --change c-17 \\
      --revision v42 --batch 2/5 --percent 10 --point post --wait 30m
  Ask the operator of a cluster, with your own kubeconfig and your own rights:
    probegate check --kubernetes -n shop --gate checkout --revision v42

Exit codes: 0 pass, 1 block, 2 wait, 3 wrong use or an error";

/// What the command takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    question: QuestionArgs,
    /// How long to wait for a verdict that is not there yet; 0s asks once.
    #[arg(long, value_name = "TIME", default_value = DEFAULT_WAIT)]
    wait: Period,
    #[command(flatten)]
    backend: BackendArgs,
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let (question, wait) = (args.question, args.wait.to_std());
    let backend = args.backend.about(question.gate());
    let checked = backend.with(async |backend| {
        let question = match &backend.place {
            Place::Here(here) => {
                let gates = here.gates().await?;
                let question = question.among(&gates.all(), backend.only(), here.user().await)?;
                if let Some(cluster) = here.cluster() {
                    cluster.require("create", "gateruns", &question.namespace, "probegate-caller").await?;
                }
                question
            }
            Place::Remote(_) => question.remote(backend.namespace())?,
        };
        let mut progress = Progress::new(global.quiet || !global.printer().for_people());
        let answer = ask(backend, &question, wait, &mut progress).await?;
        anyhow::Ok(Checked { answer, question })
    });
    let checked = checked.await?;
    global.printer().print(&checked)?;
    Ok(checked.answer.verdict.into())
}

/// Asks until there is a verdict, `wait` is over, or the verdict cannot come before that.
async fn ask(
    backend: &Backend,
    question: &Question,
    wait: Duration,
    progress: &mut Progress,
) -> anyhow::Result<Answer> {
    let clock = SystemClock::new();
    progress.say(&format!("asking {}/{} about {}", question.namespace, question.gate, question.change.target));
    loop {
        let begun = clock.elapsed();
        let step = wait.saturating_sub(begun).min(STEP);
        let answer = match &backend.place {
            Place::Here(here) => {
                let mut answer = here.engine().ask(question.clone(), step).await?;
                // Whoever only looks on must not be left with what the last leader said.
                if answer.verdict == Verdict::Wait
                    && let Some(cluster) = here.cluster()
                    && let Some(why) = cluster.leaderless().await
                {
                    answer.reason = format!("no operator leads: {why}; {}", answer.reason);
                }
                answer
            }
            Place::Remote(client) => client.check(question, step).await?,
        };
        let left = wait.saturating_sub(clock.elapsed());
        if answer.verdict != Verdict::Wait || left.is_zero() || hopeless(&answer, clock.now(), left) {
            return Ok(answer);
        }
        progress.say(&format!("wait: {}", answer.reason));
        // A server that waited with its answer may be asked again at once; one in trouble may not.
        if clock.elapsed().saturating_sub(begun) < step {
            let pause = answer.retry_after_seconds.map_or(STEP, Duration::from_secs);
            tokio::time::sleep(pause.min(left)).await;
        }
    }
}

/// Whether the verdict is known not to come within `left`.
fn hopeless(answer: &Answer, now: Timestamp, left: Duration) -> bool {
    let left = SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX);
    answer.until.is_some_and(|until| until.duration_since(now) > left)
}

/// An answer with its question. Its JSON is the answer, as the server gives it.
struct Checked {
    answer: Answer,
    question: Question,
}

impl Serialize for Checked {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.answer.serialize(serializer)
    }
}

impl Render for Checked {
    fn page(&self, page: &mut Page) {
        let (answer, question) = (&self.answer, &self.question);
        let verdict = page.paint(answer.verdict.as_str().to_uppercase(), answer.verdict);
        page.line(format!("{verdict}  {}", answer.reason));
        if let Some(line) = until_line(answer, question.point) {
            page.line(line);
        }
        page.gap();
        page.line(format!(
            "{} of {} to {} (change {}), {} batch {} of {} ({}%), gate {}/{}",
            question.change.action,
            question.change.target,
            question.change.revision,
            question.change.id,
            question.point,
            question.batch.index,
            question.batch.total,
            question.batch.percent,
            question.namespace,
            question.gate
        ));
        if !answer.checks.is_empty() {
            page.gap();
            page.table(&checks_table(&answer.checks));
        }
        if !answer.id.is_empty() {
            page.gap();
            page.line(page.paint(format!("run {}", answer.id), super::output::Tone::Dim));
        }
    }

    fn suite(&self) -> Option<Suite> {
        let answer = &self.answer;
        let mut cases: Vec<Case> = answer.checks.iter().map(|check| case(check, answer.verdict)).collect();
        cases.push(Case {
            name: "verdict".to_owned(),
            result: match answer.verdict {
                Verdict::Pass => CaseResult::Passed,
                Verdict::Block => CaseResult::Failed,
                Verdict::Wait => CaseResult::Skipped,
            },
            message: format!("{}: {}", answer.verdict, answer.reason),
            place: None,
        });
        let question = &self.question;
        let name = format!("{}/{} {} {}", question.namespace, question.gate, question.point, question.batch.index);
        Some(Suite { name, cases })
    }
}

/// Until when the verdict counts, or when to ask again.
fn until_line(answer: &Answer, point: Point) -> Option<String> {
    let until = answer.until.map(instant);
    let retry = answer
        .retry_after_seconds
        .map(|seconds| lasting(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))));
    match (answer.verdict, until, retry) {
        (Verdict::Pass, Some(until), _) if point == Point::Pre => Some(format!("counts until {until}")),
        (Verdict::Wait, Some(until), _) => Some(format!("until {until}")),
        (Verdict::Wait, None, Some(retry)) => Some(format!("ask again in {retry}")),
        (Verdict::Block, Some(until), _) => Some(format!("stands until {until}, then the question is judged anew")),
        _ => None,
    }
}

pub(super) fn checks_table(checks: &[CheckAnswer]) -> Table {
    let mut table = Table::new(["check", "outcome", "mode", "summary"]);
    for check in checks {
        table.row([
            check.name.as_str().into(),
            Cell::toned(check.outcome, check.outcome),
            check.mode.into(),
            check.summary.as_str().into(),
        ]);
    }
    table
}

/// A check as a test case: only what is enforced can fail a build.
fn case(check: &CheckAnswer, verdict: Verdict) -> Case {
    let result = match (check.outcome, check.mode) {
        (Outcome::Pass, _) | (_, Mode::Shadow) => CaseResult::Passed,
        (_, Mode::Advise) => CaseResult::Warned,
        (Outcome::Fail, Mode::Enforce) => CaseResult::Failed,
        (Outcome::Unknown, Mode::Enforce) if verdict == Verdict::Block => CaseResult::Failed,
        (Outcome::Unknown | Outcome::Pending, Mode::Enforce) => CaseResult::Skipped,
    };
    Case {
        name: check.name.clone(),
        result,
        message: format!("{} ({}): {}", check.outcome, check.mode, check.summary),
        place: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(answer: serde_json::Value) -> Checked {
        let change = json!({"id": "c-17", "target": "checkout", "revision": "v42", "actor": "ci"});
        Checked {
            answer: serde_json::from_value(answer).unwrap(),
            question: Question {
                namespace: "shop".into(),
                gate: "checkout".into(),
                change: serde_json::from_value(change).unwrap(),
                batch: crate::model::Batch { index: 2, total: 5, percent: 10 },
                point: Point::Post,
            },
        }
    }

    fn blocked() -> Checked {
        checked(json!({"verdict": "block", "id": "shop/checkout-1", "reason": "errors: 5 of 100 requests failed",
            "until": null, "retryAfterSeconds": null, "checks": [
                {"name": "errors", "outcome": "fail", "mode": "enforce", "summary": "5 of 100 requests failed",
                 "since": "2026-11-21T12:00:00Z"},
                {"name": "slow", "outcome": "fail", "mode": "advise", "summary": "p99 is 310 ms", "since": null},
                {"name": "load", "outcome": "pending", "mode": "enforce", "summary": "12 s of 60 s", "since": null}]}))
    }

    #[test]
    fn the_json_of_an_answer_is_what_the_server_gives() {
        let blocked = blocked();
        assert_eq!(serde_json::to_value(&blocked).unwrap(), serde_json::to_value(&blocked.answer).unwrap());
    }

    #[test]
    fn a_person_reads_the_verdict_first_then_why_then_what_was_asked() {
        let mut page = Page::new(false, Some(80));
        blocked().page(&mut page);
        insta::assert_snapshot!(page.into_text());
    }

    #[test]
    fn a_wait_says_until_when() {
        let mut page = Page::new(false, Some(80));
        checked(json!({"verdict": "wait", "id": "shop/checkout-2", "reason": "window: frozen for year-end",
            "until": "2027-01-02T08:00:00Z", "retryAfterSeconds": 600, "checks": []}))
        .page(&mut page);
        insta::assert_snapshot!(page.into_text());
    }

    #[test]
    fn only_an_enforced_check_fails_a_build() {
        let results: Vec<_> = blocked().suite().unwrap().cases.iter().map(|case| case.result).collect();
        assert_eq!(results, [CaseResult::Failed, CaseResult::Warned, CaseResult::Skipped, CaseResult::Failed]);
    }

    #[test]
    fn a_verdict_that_cannot_come_in_time_is_not_waited_for() {
        let answer = checked(json!({"verdict": "wait", "id": "a/b", "reason": "", "until": "2026-11-21T13:00:00Z",
            "retryAfterSeconds": 600, "checks": []}))
        .answer;
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        assert!(hopeless(&answer, now, Duration::from_secs(600)));
        assert!(!hopeless(&answer, now, Duration::from_secs(3_600)));
    }
}
