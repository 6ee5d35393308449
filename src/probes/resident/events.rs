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
    /// Whether it is the first state that is known of it: then `from` is unknown, and says nothing.
    #[serde(skip)]
    pub first: bool,
    /// What an earlier process knew it as last, where this is the first state that is known.
    #[serde(skip)]
    pub earlier: Option<ProbeState>,
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
