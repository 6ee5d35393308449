//! `probegate window explain`.

use std::io::{BufRead, BufReader, Read};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::files::{Files, load};
use super::{From, Subject, instant, now};
use crate::api::WindowType;
use crate::cli::output::{Output, Page, Printer, Render, Tone};
use crate::cli::{Exit, Global};
use crate::windows::{Decision, State, decide};

/// The longest line with an instant: anything longer is none.
const MAX_LINE: u64 = 4_096;

/// What `explain` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    subject: Subject,
    /// The instant, such as `2026-12-24T11:00:00Z`; `-` reads instants from standard input, one on
    /// each line, and answers each on its line. Absent: now.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    at: Option<String>,
}

/// One answer, in the form that is promised.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    allowed: bool,
    rule: Option<String>,
    #[serde(rename = "type")]
    kind: Option<WindowType>,
    reason: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    next_opening: Option<Timestamp>,
}

impl Answer {
    fn of(decision: &Decision) -> Self {
        Self {
            allowed: decision.allowed(),
            rule: decision.rule_name().map(str::to_owned),
            kind: decision.rule_type(),
            reason: decision.reason.clone(),
            since: decision.since,
            until: decision.until,
            next_opening: decision.next_opening,
        }
    }
}

/// A decision at an instant, for people and programs.
#[derive(Debug, Serialize)]
struct Explained {
    #[serde(flatten)]
    answer: Answer,
    #[serde(skip)]
    decision: Decision,
    #[serde(skip)]
    at: Timestamp,
}

impl Render for Explained {
    fn page(&self, page: &mut Page) {
        let (word, tone) = word(self.decision.state);
        page.line(format!("{}: {}", page.paint(word, tone), self.decision.reason));
        let say = |at: Timestamp| match &self.decision.rule {
            Some(rule) => format!("{} ({at})", rule.say(at, self.at)),
            None => at.to_string(),
        };
        let rows = [
            ("since", self.decision.since),
            ("until", self.decision.until),
            ("next opening", self.decision.next_opening),
        ];
        for (name, at) in rows {
            if let Some(at) = at {
                page.line(format!("  {name:13}{}", say(at)));
            }
        }
        if !self.decision.windows.is_empty() {
            page.gap();
            let mut table = crate::cli::output::Table::new(["window", "type", "state", "why"]);
            for window in &self.decision.windows {
                table.row([
                    format!("{}/{}", window.namespace, window.name).into(),
                    super::list::type_word(window.kind).into(),
                    super::list::state_word(window.state, window.kind).into(),
                    (&window.why).into(),
                ]);
            }
            page.table(&table);
        }
    }
}

/// The word for a state, and its colour.
pub(super) const fn word(state: State) -> (&'static str, Tone) {
    match state {
        State::Allowed => ("allowed", Tone::Good),
        State::Shut => ("shut", Tone::Bad),
        State::Unknown => ("unknown, so not allowed", Tone::Warn),
    }
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let files = load(&args.from, now()).await?;
    let subject = args.subject.within(files.namespace.as_ref());
    if args.at.as_deref() == Some("-") {
        return each_line(&files, &subject, global);
    }
    let at = match &args.at {
        Some(text) => instant(text).map_err(|why| anyhow::anyhow!("--at: {why}"))?,
        None => now(),
    };
    let decision = decide(&files.windows, &subject.query(at), &[], &files.overrides);
    let exit = exit_of(&decision);
    global.printer().print(&Explained { answer: Answer::of(&decision), decision, at })?;
    Ok(exit)
}

fn exit_of(decision: &Decision) -> Exit {
    match (decision.allowed(), decision.next_opening) {
        (true, _) => Exit::Pass,
        (false, Some(_)) => Exit::Wait,
        (false, None) => Exit::Block,
    }
}

/// Answers line by line, each as soon as it was read.
fn each_line(files: &Files, subject: &Subject, global: &Global) -> anyhow::Result<Exit> {
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut exit = Exit::Pass;
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read =
            input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line).context("while reading standard input")?;
        if read == 0 {
            break;
        }
        let whole = line.ends_with(b"\n");
        let parsed = if !whole && read as u64 > MAX_LINE {
            input.skip_until(b'\n').context("while reading standard input")?;
            Err(format!("it is longer than {MAX_LINE} bytes"))
        } else {
            std::str::from_utf8(&line).map_err(|_| "it is not UTF-8".to_owned()).and_then(instant)
        };
        let answer = match parsed {
            Ok(at) => Ok((at, decide(&files.windows, &subject.query(at), &[], &files.overrides))),
            Err(why) => {
                exit = Exit::Error;
                Err(format!("line {number}: {why}"))
            }
        };
        Printer::write(&shown(&answer, global)?)?;
    }
    Ok(exit)
}

fn shown(answer: &Result<(Timestamp, Decision), String>, global: &Global) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Wrong<'a> {
        error: &'a str,
    }
    let text = match (global.output, answer) {
        (Output::Table, Ok((at, decision))) => format!("{at} {}: {}", word(decision.state).0, decision.reason),
        (Output::Table, Err(error)) => format!("error: {error}"),
        (_, Ok((_, decision))) => serde_json::to_string(&Answer::of(decision))?,
        (_, Err(error)) => serde_json::to_string(&Wrong { error })?,
    };
    Ok(format!("{text}\n"))
}
