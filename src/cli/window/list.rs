//! `probegate window list`.

use jiff::Timestamp;
use serde::Serialize;

use super::files::load;
use super::{From, instant, now};
use crate::api::WindowType;
use crate::cli::output::{Cell, Page, Render, Table, Tone};
use crate::cli::{Exit, Global};
use crate::windows::{Compiled, Standing, WindowState};

/// What `list` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,
    /// The instant whose standing is shown. Absent: now.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Timestamp>,
}

/// One window.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    #[serde(rename = "type")]
    kind: WindowType,
    state: &'static str,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    next: Option<Timestamp>,
    reason: Option<String>,
    ticket: Option<String>,
    owner: Option<String>,
    expires: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    #[serde(skip)]
    said: (String, String),
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct List(Vec<Row>);

impl Render for List {
    fn page(&self, page: &mut Page) {
        if self.0.is_empty() {
            page.line("There are no windows: changes are allowed at any time.");
        }
        let mut table = Table::new(["window", "type", "state", "until", "next", "reason"]);
        for row in &self.0 {
            table.row([
                format!("{}/{}", row.namespace, row.name).into(),
                type_word(row.kind).into(),
                Cell::toned(row.state, tone(row.state)),
                (&row.said.0).into(),
                (&row.said.1).into(),
                row.trouble.as_ref().or(row.reason.as_ref()).map(String::as_str).unwrap_or_default().into(),
            ]);
        }
        page.table(&table);
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "open" => Tone::Good,
        "in force" => Tone::Bad,
        "unknown" => Tone::Warn,
        _ => Tone::Dim,
    }
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let at = args.at.unwrap_or_else(now);
    let files = load(&args.from, at).await?;
    global.printer().print(&List(files.windows.iter().map(|window| row(window, at)).collect()))?;
    Ok(Exit::Pass)
}

fn row(window: &Compiled, at: Timestamp) -> Row {
    let stretch = window.covering(at);
    let trouble = match &window.standing {
        Standing::Unknown(why) => Some(why.clone()),
        Standing::Known => None,
    };
    let state = match (window.exists(at), &trouble, stretch, window.kind()) {
        (false, ..) => "expired",
        (_, Some(_), ..) => "unknown",
        (_, _, Some(_), WindowType::Allow) => "open",
        (_, _, None, WindowType::Allow) => "shut",
        (_, _, Some(_), WindowType::Freeze) => "in force",
        (_, _, None, WindowType::Freeze) => "not in force",
    };
    let until = stretch.and_then(|stretch| stretch.until);
    // The next stretch begins after this one.
    let next = if stretch.is_some() && until.is_none() { None } else { window.next_start(until.unwrap_or(at)) };
    let say = |at_that: Option<Timestamp>| at_that.map(|then| window.say(then, at)).unwrap_or_default();
    Row {
        namespace: window.namespace.clone(),
        name: window.name.clone(),
        kind: window.kind(),
        state,
        since: stretch.and_then(|stretch| stretch.since),
        until,
        next,
        reason: window.spec.reason.clone(),
        ticket: window.spec.ticket.clone(),
        owner: window.spec.owner.clone(),
        expires: window.spec.expires,
        trouble,
        said: (say(until), say(next)),
    }
}

/// The word for a type.
pub(super) const fn type_word(kind: WindowType) -> &'static str {
    match kind {
        WindowType::Allow => "allow",
        WindowType::Freeze => "freeze",
    }
}

/// The word for what a window contributed.
pub(super) const fn state_word(state: WindowState, kind: WindowType) -> &'static str {
    match (state, kind) {
        (WindowState::Open, WindowType::Allow) => "open",
        (WindowState::Shut, WindowType::Allow) => "shut",
        (WindowState::Open, WindowType::Freeze) => "lets pass",
        (WindowState::Shut, WindowType::Freeze) => "holds",
        (WindowState::Unreadable, _) => "unknown",
        (WindowState::NotSelecting, _) => "does not bind",
        (WindowState::Expired, _) => "expired",
    }
}
