//! `probegate override`: audited exceptions.

use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::Serialize;

use super::backend::{Backend, BackendArgs, Here, Place};
use super::output::{Cell, Page, Render, Table, Tone, ago, instant};
use super::{Exit, Global};
use crate::api::{
    ANNOTATION_REVOKE, Effect, Gate, Override, OverrideSpec, OverrideState, OverrideStatus, ReleaseWindow, Revocation,
    Wish, name_of, namespace_of,
};
use crate::clock::{Clock, SystemClock};
use crate::model::Period;
use crate::server::{OverrideList, OverrideRequest};
use crate::store::{Query, StoreExt};

/// Overrides that are read at once.
const PAGE: usize = 200;
/// How often the operator's hand is looked for, and how long: a failover is over by then.
const LOOK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a name that is taken is tried again with the next number.
const MAX_TRIES: u32 = 100;

const EXAMPLES: &str = "\
Examples:
  probegate override create --server https://probegate.example --gate shop/checkout --change c-17 \\
    --check latency --effect pass --reason 'known slow start' --ticket OPS-2 --expires 4h
  probegate override list --server https://probegate.example
  probegate override revoke shop/checkout-c-17 --reason 'fixed' --server https://probegate.example
  probegate override create --kubernetes -n shop --gate checkout --change c-17 --reason 'known slow start'";

/// What the command takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an exception for one change: who, why, for what, until when.
    Create(Create),
    /// List exceptions, newest first.
    List(List),
    /// Take an exception back; the record stays.
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
#[group(id = "for", required = true, multiple = false, args = ["gate", "window"])]
struct Create {
    /// The gate that it is for, as NAMESPACE/NAME or NAME.
    #[arg(long, value_name = "GATE")]
    gate: Option<String>,
    /// The window or freeze that it is for, as NAMESPACE/NAME or NAME.
    #[arg(long, value_name = "WINDOW")]
    window: Option<String>,
    /// The change that it is for.
    #[arg(long, value_name = "ID")]
    change: String,
    /// The check that it is for [default: the whole verdict].
    #[arg(long, value_name = "CHECK", requires = "gate")]
    check: Option<String>,
    /// What it does.
    #[arg(long, value_enum, default_value_t = EffectWord::Pass)]
    effect: EffectWord,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Where it was decided.
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,
    /// When it ends: a length of time from now, or an instant.
    #[arg(long, value_name = "TIME", default_value = "4h")]
    expires: String,
    #[command(flatten)]
    backend: BackendArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EffectWord {
    /// It counts as passed.
    Pass,
    /// It counts as failed.
    Block,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only for this change.
    #[arg(long, value_name = "ID")]
    change: Option<String>,
    /// Those that are over, too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    backend: BackendArgs,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// The override, as NAMESPACE/NAME or NAME.
    name: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    backend: BackendArgs,
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let now = SystemClock::new().now();
    let (items, alone) = match args.command {
        Command::Create(create) => {
            let backend = create.backend.clone().about(create.about());
            (vec![backend.with(async |backend| create.make(backend, now).await).await?], true)
        }
        Command::List(list) => (list.backend.clone().with(async |backend| list.read(backend, now).await).await?, false),
        Command::Revoke(revoke) => {
            let backend = revoke.backend.clone().about(Some(&revoke.name));
            (vec![backend.with(async |backend| revoke.take(backend, now).await).await?], true)
        }
    };
    global.printer().print(&Overrides { items, alone, now })?;
    Ok(Exit::Pass)
}

/// An instant from a length of time from now, or from itself.
fn expiry(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let expires = match (text.parse::<Timestamp>(), text.parse::<Period>()) {
        (Ok(instant), _) => instant,
        (_, Ok(period)) => now.checked_add(period.exact()).context("--expires lies beyond the calendar")?,
        _ => bail!(
            "--expires `{text}` is neither a length of time such as 4h nor an instant such as 2026-11-21T18:00:00Z"
        ),
    };
    anyhow::ensure!(expires > now, "--expires {} lies in the past", instant(expires));
    Ok(expires)
}

impl Create {
    /// The gate or window, as it was named.
    fn about(&self) -> Option<&str> {
        self.gate.as_deref().or(self.window.as_deref())
    }

    fn spec(&self, actor: String, now: Timestamp) -> anyhow::Result<OverrideSpec> {
        let name = |text: &Option<String>| {
            text.as_deref().map(|text| text.split_once('/').map_or(text, |(_, name)| name).to_owned())
        };
        Ok(OverrideSpec {
            gate: name(&self.gate),
            window: name(&self.window),
            change: self.change.clone(),
            check: self.check.clone(),
            effect: match self.effect {
                EffectWord::Pass => Effect::Pass,
                EffectWord::Block => Effect::Block,
            },
            actor,
            reason: self.reason.clone(),
            ticket: self.ticket.clone(),
            expires: expiry(&self.expires, now)?,
        })
    }

    async fn make(&self, backend: &Backend, now: Timestamp) -> anyhow::Result<Override> {
        anyhow::ensure!(!self.reason.trim().is_empty(), "--reason is empty: say why, for the record");
        let full = |text: &Option<String>| {
            let (namespace, name) = backend.full_name(text.as_deref()?);
            Some(format!("{namespace}/{name}"))
        };
        match &backend.place {
            Place::Remote(client) => {
                let spec = self.spec(String::new(), now)?;
                let request = OverrideRequest {
                    gate: full(&self.gate),
                    window: full(&self.window),
                    change: spec.change,
                    check: spec.check,
                    effect: spec.effect,
                    reason: spec.reason,
                    ticket: spec.ticket,
                    expires: spec.expires,
                };
                Ok(client.post(&["v1", "overrides"], &serde_json::to_value(&request)?).await?)
            }
            Place::Here(here) => {
                let (namespace, name) = backend.full_name(self.about().unwrap_or_default());
                if let Some(cluster) = here.cluster() {
                    cluster.require("create", "overrides", namespace, "probegate-approver").await?;
                }
                let spec = self.spec(here.user().await.unwrap_or_default(), now)?;
                let known = match &self.gate {
                    Some(_) => here.store().get_as::<Gate>(namespace, name).await?.is_some(),
                    None => here.store().get_as::<ReleaseWindow>(namespace, name).await?.is_some(),
                };
                anyhow::ensure!(known, "there is no gate or window {namespace}/{name}");
                keep(here.store(), namespace, name, spec).await
            }
        }
    }
}

/// Stores an override under a name of its own.
async fn keep(
    store: &std::sync::Arc<dyn crate::store::Store>,
    namespace: &str,
    about: &str,
    spec: OverrideSpec,
) -> anyhow::Result<Override> {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let base: String = format!("{about}-{}", spec.change).chars().map(fit).take(200).collect();
    for number in 1..=MAX_TRIES {
        let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let mut made = Override::new(&name, spec.clone());
        made.metadata.namespace = Some(namespace.to_owned());
        match store.create_as(&made).await {
            Err(crate::store::StoreError::Exists { .. }) => {}
            created => return Ok(created?),
        }
    }
    bail!("there are {MAX_TRIES} overrides named {base} already: revoke some, or wait until they are forgotten")
}

impl List {
    async fn read(&self, backend: &Backend, now: Timestamp) -> anyhow::Result<Vec<Override>> {
        let mut items: Vec<Override> = Vec::new();
        match &backend.place {
            Place::Remote(client) => {
                let mut after: Option<String> = None;
                loop {
                    let mut query = vec![("limit", PAGE.to_string())];
                    query.extend(after.take().map(|after| ("after", after)));
                    let page: OverrideList = client.get(&["v1", "overrides"], &query).await?;
                    items.extend(page.items);
                    match page.next {
                        Some(next) => after = Some(next),
                        None => break,
                    }
                }
            }
            Place::Here(here) => {
                let namespace = backend.only().map(str::to_owned);
                items = here.store().list_all_as(Query { namespace, limit: PAGE, ..Query::default() }).await?;
            }
        }
        items.retain(|item| {
            backend.shows(namespace_of(item))
                && (self.all || item.in_force(now))
                && self.change.as_ref().is_none_or(|change| *change == item.spec.change)
        });
        Ok(items)
    }
}

impl Revoke {
    async fn take(&self, backend: &Backend, now: Timestamp) -> anyhow::Result<Override> {
        let (namespace, name) = backend.full_name(&self.name);
        let here = match &backend.place {
            Place::Remote(client) => {
                let query = [("reason", self.reason.clone())];
                return Ok(client.delete(&["v1", "overrides", namespace, name], &query).await?);
            }
            Place::Here(here) => here,
        };
        let mut found = find(here, namespace, name).await?;
        if found.status.as_ref().is_some_and(|status| status.revoked.is_some()) {
            // Revoking twice is revoking once: who did it first stays on record.
            return Ok(found);
        }
        let actor = here.user().await.unwrap_or_default();
        if let Some(cluster) = here.cluster() {
            cluster.require("update", "overrides", namespace, "probegate-approver").await?;
            // Its status is the operator's to write.
            let wish = Wish { actor, reason: self.reason.clone() };
            let write = |item: &mut Override| wish.write_first(item, ANNOTATION_REVOKE);
            here.store().amend(namespace, name, write).await?;
            return revoked(here, namespace, name).await;
        }
        let status = found.status.get_or_insert_with(OverrideStatus::default);
        status.revoked = Some(Revocation { actor, reason: self.reason.clone(), at: now });
        status.state = Some(OverrideState::Revoked);
        Ok(here.store().put_status_as(&found).await?)
    }
}

async fn find(here: &Here, namespace: &str, name: &str) -> anyhow::Result<Override> {
    let found = here.store().get_as::<Override>(namespace, name).await?;
    found.with_context(|| {
        format!("there is no override {namespace}/{name}; `probegate override list` shows which there are")
    })
}

/// Waits until the operator has revoked it.
async fn revoked(here: &Here, namespace: &str, name: &str) -> anyhow::Result<Override> {
    let clock = SystemClock::new();
    loop {
        let found = find(here, namespace, name).await?;
        if found.status.as_ref().is_some_and(|status| status.revoked.is_some()) {
            return Ok(found);
        }
        if clock.elapsed() > PATIENCE {
            let why = match here.cluster() {
                Some(cluster) => cluster.leaderless().await,
                None => None,
            };
            let why = why.unwrap_or_else(|| "the operator has not answered yet".to_owned());
            bail!("the wish is written on override {namespace}/{name}, and it is still in force: {why}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Overrides: a list, or one that was just made or taken back.
struct Overrides {
    items: Vec<Override>,
    alone: bool,
    now: Timestamp,
}

impl Serialize for Overrides {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.alone, self.items.first()) {
            (true, Some(item)) => item.serialize(serializer),
            _ => serde_json::json!({"items": self.items}).serialize(serializer),
        }
    }
}

impl Render for Overrides {
    fn page(&self, page: &mut Page) {
        if self.items.is_empty() {
            page.line("There are no such overrides.");
            return;
        }
        let mut table = Table::new(["override", "for", "change", "effect", "state", "expires", "by", "reason"]);
        for item in &self.items {
            let spec = &item.spec;
            let about = match (&spec.gate, &spec.window, &spec.check) {
                (Some(gate), _, Some(check)) => format!("check {check} of gate {gate}"),
                (Some(gate), ..) => format!("gate {gate}"),
                (None, Some(window), _) => format!("window {window}"),
                (None, None, _) => String::new(),
            };
            let revoked = item.status.as_ref().is_some_and(|status| status.revoked.is_some());
            let (state, tone) = match (item.in_force(self.now), revoked) {
                (true, _) => ("in force", Tone::Warn),
                (false, true) => ("revoked", Tone::Dim),
                (false, false) => ("expired", Tone::Dim),
            };
            let ticket = spec.ticket.as_ref().map(|ticket| format!(" ({ticket})")).unwrap_or_default();
            table.row([
                format!("{}/{}", namespace_of(item), name_of(item)).into(),
                about.into(),
                spec.change.as_str().into(),
                if spec.effect == Effect::Pass { "pass" } else { "block" }.into(),
                Cell::toned(state, tone),
                ago(spec.expires, self.now).into(),
                spec.actor.as_str().into(),
                format!("{}{ticket}", spec.reason).into(),
            ]);
        }
        page.table(&table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("4h", "2026-11-21T16:00:00Z")]
    #[case("2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z")]
    fn an_expiry_is_a_length_or_an_instant(#[case] text: &str, #[case] at: &str) {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        assert_eq!(expiry(text, now).unwrap(), at.parse().unwrap());
    }

    #[rstest]
    #[case("soon", "neither a length of time")]
    #[case("2026-11-20T00:00:00Z", "lies in the past")]
    #[case("0s", "lies in the past")]
    fn an_expiry_that_makes_no_sense_is_refused(#[case] text: &str, #[case] why: &str) {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let error = expiry(text, now).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
