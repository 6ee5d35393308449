//! What was: recent rounds in memory, a summary of every minute, and the archive on the disk.

mod latencies;

pub use latencies::Latencies;
