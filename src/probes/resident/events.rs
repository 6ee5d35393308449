//! Turns of states, for whoever follows them.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::ProbeState;
use crate::probes::aggregate::Why;

/// A probe has turned.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it was.
    pub from: ProbeState,
    /// What it is.
    pub to: ProbeState,
    /// Since when.
    pub at: Timestamp,
    /// Why, in one line.
    pub reason: String,
    /// What the state comes from.
    #[serde(skip)]
    pub why: Why,
}
