//! `probegate window next`.

use jiff::Timestamp;
use serde::Serialize;

use super::explain::word;
use super::files::load;
use super::list::type_word;
use super::{From, Subject, instant, now};
use crate::api::WindowType;
use crate::cli::output::{Cell, Page, Render, Table};
use crate::cli::{Exit, Global};
use crate::windows::{Decision, HORIZON, outlook};

/// What `next` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    subject: Subject,
    /// The instant to begin at. Absent: now.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Timestamp>,
    /// How many changes of the answer to tell.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
}

/// From when on the answer is what.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    at: Timestamp,
    allowed: bool,
    rule: Option<String>,
    #[serde(rename = "type")]
    kind: Option<WindowType>,
    reason: String,
    #[serde(skip)]
    decision: Decision,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Outlook(Vec<Row>);

impl Render for Outlook {
    fn page(&self, page: &mut Page) {
        let mut table = Table::new(["from", "changes", "window", "type", "reason"]);
        let first = self.0.first().map_or(Timestamp::UNIX_EPOCH, |row| row.at);
        for row in &self.0 {
            let (text, tone) = word(row.decision.state);
            let at = row.decision.rule.as_ref().map_or_else(|| row.at.to_string(), |rule| rule.say(row.at, first));
            table.row([
                at.into(),
                Cell::toned(text, tone),
                row.rule.as_deref().unwrap_or("-").into(),
                row.kind.map_or("-", type_word).into(),
                (&row.reason).into(),
            ]);
        }
        page.table(&table);
    }
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let at = args.at.unwrap_or_else(now);
    let files = load(&args.from, at).await?;
    let subject = args.subject.within(files.namespace.as_ref());
    let to = at.saturating_add(HORIZON)?;
    let rows = outlook(&files.windows, &subject.query(at), &files.overrides, to, usize::from(args.count) + 1);
    let rows = rows.into_iter().map(|(at, decision)| Row {
        at,
        allowed: decision.allowed(),
        rule: decision.rule_name().map(str::to_owned),
        kind: decision.rule_type(),
        reason: decision.reason.clone(),
        decision,
    });
    global.printer().print(&Outlook(rows.collect()))?;
    Ok(Exit::Pass)
}
