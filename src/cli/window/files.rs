//! Windows from files, ready to be asked.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::{Gate, GateRun, Override, Probe, ReleaseWindow, Resource};
use crate::calendars;
use crate::config::{self, Sourced};
use crate::outbound::{Outbound, Secrets};
use crate::windows::{Compiled, WindowError};

/// Kinds that have no part in what windows say.
const OTHER_KINDS: [&str; 3] = [Gate::KIND, Probe::KIND, GateRun::KIND];

/// What the files hold.
pub(super) struct Files {
    pub(super) windows: Vec<Arc<Compiled>>,
    pub(super) overrides: Vec<Arc<Override>>,
}

/// Loads windows with their calendars, and overrides.
///
/// # Errors
/// Anything wrong with a window: leaving one out could open what it shuts. What is wrong with other
/// kinds has no part in the answer.
pub(super) async fn load(paths: &[PathBuf], now: Timestamp) -> anyhow::Result<Files> {
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
    Ok(Files { windows: compiled, overrides })
}

/// `windows.yaml:12:9: ReleaseWindow default/a: spec.schedule.cron[0].expression: …`.
fn said(place: Option<&Sourced>, error: &WindowError) -> String {
    let Some(sourced) = place else { return error.to_string() };
    let field = error.field.replace('[', ".").replace(']', "");
    let at = sourced.place(&field.split('.').collect::<Vec<_>>());
    format!("{}:{}:{}: {}: {error}", sourced.file, at.line, at.column, sourced.title())
}
