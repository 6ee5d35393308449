//! Windows from files or from a cluster, ready to be asked.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::From;
use crate::api::{Gate, GateRun, Override, Probe, ReleaseWindow, Resource, name_of, namespace_of};
use crate::app::{Terminal, Within};
use crate::calendars;
use crate::config::{self, Sourced};
use crate::outbound::{Outbound, Secrets};
use crate::store::{Query, StoreExt};
use crate::windows::{Compiled, WindowError};

/// Kinds that have no part in what windows say.
const OTHER_KINDS: [&str; 3] = [Gate::KIND, Probe::KIND, GateRun::KIND];

/// Resources that are read at once.
const PAGE: usize = 500;

/// What the files or the cluster hold.
pub(super) struct Files {
    pub(super) windows: Vec<Arc<Compiled>>,
    pub(super) overrides: Vec<Arc<Override>>,
    /// Of a cluster: the namespace of its context.
    pub(super) namespace: Option<String>,
}

/// Loads windows with their calendars, and overrides.
///
/// # Errors
/// Anything wrong with a window: leaving one out could open what it shuts.
pub(super) async fn load(from: &From, now: Timestamp) -> anyhow::Result<Files> {
    let in_cluster = from.cluster.is_meant();
    anyhow::ensure!(from.files.is_empty() || !in_cluster, "files are here, and --kubernetes is a cluster: say one");
    if !from.files.is_empty() {
        return of_files(&from.files, now).await;
    }
    anyhow::ensure!(
        in_cluster || crate::cli::is_plugin(),
        "say where: -f PATH for files with resources, or --kubernetes for a cluster"
    );
    let terminal = Terminal::open(from.cluster.clone().whereabouts(Within::All)).await?;
    let read = of_cluster(&terminal, now).await;
    let namespace = terminal.namespace().to_owned();
    terminal.stop().await;
    match read {
        Ok(files) => Ok(files),
        // Who may not look everywhere looks where they may.
        Err(error) => {
            let narrow = Terminal::open(from.cluster.clone().whereabouts(Within::Context)).await?;
            let read = of_cluster(&narrow, now).await;
            narrow.stop().await;
            let files = read.map_err(|_| error)?;
            tracing::warn!(
                namespace,
                "You may read the windows of one namespace only; those of others may bind the same targets."
            );
            Ok(files)
        }
    }
}

/// The windows and overrides that the user may see.
async fn of_cluster(terminal: &Terminal, now: Timestamp) -> anyhow::Result<Files> {
    terminal.readable(ReleaseWindow::KIND).await?;
    terminal.readable(Override::KIND).await?;
    let every = || Query { limit: PAGE, ..Query::default() };
    let mut windows = terminal.store().list_all_as::<ReleaseWindow>(every()).await?;
    for window in &mut windows {
        // Where a file stood that it came from is of no use here.
        window.metadata.annotations = None;
    }
    windows.sort_by(|a, b| (namespace_of(a), name_of(a)).cmp(&(namespace_of(b), name_of(b))));
    let bare: Vec<&ReleaseWindow> = windows.iter().collect();
    let outbound = Outbound::new(Secrets::default());
    let compiled = calendars::load(&bare, Some(&outbound), now).await.map_err(|(index, errors)| {
        let title =
            bare.get(index).map(|window| format!("ReleaseWindow {}/{}", namespace_of(*window), name_of(*window)));
        let title = title.unwrap_or_default();
        anyhow::anyhow!(errors.iter().map(|error| format!("{title}: {error}")).collect::<Vec<_>>().join("\n"))
    })?;
    let overrides = terminal.store().list_all_as::<Override>(every()).await?.into_iter().map(Arc::new).collect();
    Ok(Files { windows: compiled, overrides, namespace: Some(terminal.namespace().to_owned()) })
}

/// The windows and overrides of files. What is wrong with other kinds has no part in the answer.
async fn of_files(paths: &[PathBuf], now: Timestamp) -> anyhow::Result<Files> {
    let loaded = config::load(paths)?;
    let errors: Vec<_> = loaded
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error())
        .filter(|diagnostic| !OTHER_KINDS.iter().any(|kind| diagnostic.resource.starts_with(&format!("{kind} "))))
        .collect();
    if !errors.is_empty() {
        let mut out = std::io::stderr().lock();
        for error in &errors {
            // Where standard error is gone there is nobody left to tell.
            let _ = writeln!(out, "{error}");
        }
        anyhow::bail!("{} of what stands in the files cannot be used: see above", errors.len());
    }
    let windows: Vec<(&Sourced, &ReleaseWindow)> =
        loaded.resources.iter().filter_map(|sourced| Some((sourced, sourced.resource.as_window()?))).collect();
    let bare: Vec<&ReleaseWindow> = windows.iter().map(|(_, window)| *window).collect();
    let outbound = Outbound::new(Secrets::default());
    let compiled = calendars::load(&bare, Some(&outbound), now).await.map_err(|(index, errors)| {
        let place = windows.get(index).map(|(sourced, _)| *sourced);
        anyhow::anyhow!(errors.iter().map(|error| said(place, error)).collect::<Vec<_>>().join("\n"))
    })?;
    let overrides = loaded.overrides().cloned().map(Arc::new).collect();
    Ok(Files { windows: compiled, overrides, namespace: None })
}

/// `windows.yaml:12:9: ReleaseWindow default/a: spec.schedule.cron[0].expression: …`.
fn said(place: Option<&Sourced>, error: &WindowError) -> String {
    let Some(sourced) = place else { return error.to_string() };
    let field = error.field.replace('[', ".").replace(']', "");
    let at = sourced.place(&field.split('.').collect::<Vec<_>>());
    format!("{}:{}:{}: {}: {error}", sourced.file, at.line, at.column, sourced.title())
}
