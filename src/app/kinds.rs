//! The kinds of checks, over what they look at.

use std::sync::Arc;

use url::Url;

use super::rulebook::RuleBook;
use crate::api::Override;
use crate::calendars::WindowBook;
use crate::checks::Table;
use crate::checks::metric::MetricKind;
use crate::checks::probes::ProbesKind;
use crate::checks::rule::{RuleKind, Sources};
use crate::checks::webhook::WebhookKind;
use crate::checks::window::WindowKind;
use crate::outbound::Outbound;
use crate::probes::Board;
use crate::store::{Cache, Ledger};

/// What the kinds stand on.
pub(super) struct Under<'a> {
    pub(super) windows: &'a WindowBook,
    pub(super) ledger: &'a Ledger,
    pub(super) overrides: &'a Cache<Override>,
    pub(super) rules: &'a RuleBook,
    pub(super) board: &'a Board,
    pub(super) outbound: Outbound,
    pub(super) prometheus: Option<Url>,
}

/// Every kind.
pub(super) fn table(under: Under<'_>) -> Table {
    let by_window = WindowKind::new(under.windows.clone(), under.ledger.clone(), under.overrides.clone());
    let by_rule = RuleKind::new(Sources {
        library: under.rules.library(),
        ledger: under.ledger.clone(),
        windows: Some(Arc::new(by_window.clone())),
        probes: Some(Arc::new(under.board.clone())),
    });
    Table::default()
        .with(by_window)
        .with(by_rule)
        .with(ProbesKind::new(under.board.clone()))
        .with(WebhookKind::new(under.outbound.clone()))
        .with(MetricKind::new(under.outbound, under.prometheus))
}
