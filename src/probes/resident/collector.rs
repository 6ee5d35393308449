//! The probes one by one, for a scrape: their states, and how long their rounds took.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::board::Board;
use super::entry::Entry;
use super::record::BUCKETS;
use crate::model::ProbeState;

/// The probes that stand in the metrics one by one, by namespace and name: a scrape has to end, and
/// a Prometheus server pays for every series.
const MAX_PROBES: usize = 2_000;

/// Tells of each probe at each scrape.
pub(super) struct PerProbe {
    board: Board,
}

impl PerProbe {
    pub(super) const fn new(board: Board) -> Self {
        Self { board }
    }
}

impl fmt::Debug for PerProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerProbe")
    }
}

type Labels<'a> = [(&'static str, &'a str); 2];

fn labels(entry: &Entry) -> Labels<'_> {
    [("namespace", &entry.key.0), ("probe", &entry.key.1)]
}

impl Collector for PerProbe {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let entries = self.board.entries();
        let shown = entries.iter().take(MAX_PROBES);

        let help = "Probes one by one: 1 is up, 0.5 degraded, 0 down; absent is unknown";
        let mut states = encoder.encode_descriptor("probegate_probe_up", help, None, MetricType::Gauge)?;
        for entry in shown.clone() {
            if let Some(value) = value(entry.state()) {
                ConstGauge::new(value).encode(states.encode_family(&labels(entry))?)?;
            }
        }

        let help = "How long the rounds of each probe took that were answered";
        let mut seconds = encoder.encode_descriptor("probegate_probe_seconds", help, None, MetricType::Histogram)?;
        for entry in shown {
            histogram(seconds.encode_family(&labels(entry))?, entry)?;
        }
        Ok(())
    }
}

const fn value(state: ProbeState) -> Option<f64> {
    match state {
        ProbeState::Up => Some(1.0),
        ProbeState::Degraded => Some(0.5),
        ProbeState::Down => Some(0.0),
        ProbeState::Unknown => None,
    }
}

fn histogram(mut encoder: MetricEncoder<'_>, entry: &Entry) -> Result<(), fmt::Error> {
    let mut counts = [0_u64; BUCKETS.len()];
    let mut sum = 0.0;
    for record in entry.records() {
        let known = record.known();
        sum += known.seconds;
        for (count, own) in counts.iter_mut().zip(known.buckets) {
            *count += u64::from(own);
        }
    }
    let buckets: Vec<(f64, u64)> = BUCKETS.into_iter().zip(counts).collect();
    encoder.encode_histogram::<[(&str, &str); 0]>(sum, counts.iter().sum(), &buckets, None)
}
