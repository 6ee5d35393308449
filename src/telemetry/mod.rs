//! What the program tells of itself: logs and metrics.

mod logging;
mod metrics;
mod process;

pub use logging::{LogError, LogFormat, init_logging};
pub use metrics::Metrics;
