//! The process as the kernel sees it, read from /proc at each scrape. Where there is no /proc these
//! metrics are left out.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Ticks per second in /proc: fixed at 100 in what Linux shows to programs.
const TICKS: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process {
    /// When the process began, in seconds since 1970. It never changes.
    start: Option<f64>,
}

impl Process {
    pub(super) fn new() -> Self {
        Self { start: start() }
    }
}

/// What a scrape reads.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: i64,
    /// Since the system was started, in seconds.
    started: f64,
}

impl Stat {
    /// Reads /proc/PID/stat (proc(5)): the fields after the command, which may itself hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Field n of the manual stands at n - 3 here.
        let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (number(14)? + number(15)?) / TICKS,
            threads: fields.get(20 - 3)?.parse().ok()?,
            started: number(22)? / TICKS,
        })
    }
}

fn start() -> Option<f64> {
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat.started)
}

/// `VmRSS:  1234 kB` in /proc/self/status.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1_024)
}

/// `Max open files  1024  4096  files` in /proc/self/limits: the soft limit.
fn max_fds(limits: &str) -> Option<i64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        if let Some(start) = self.start {
            gauge(
                &mut encoder,
                "process_start_time",
                "When the process began, since 1970",
                Some(&Unit::Seconds),
                start,
            )?;
        }
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) {
            let cpu = ConstCounter::new(stat.cpu_seconds);
            let help = "Processor time that was used, user and system";
            let metric = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), cpu.metric_type())?;
            cpu.encode(metric)?;
            gauge(&mut encoder, "process_threads", "Threads", None, stat.threads as f64)?;
        }
        if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().and_then(|text| resident_bytes(&text)) {
            let help = "Memory that is resident";
            gauge(&mut encoder, "process_resident_memory", help, Some(&Unit::Bytes), bytes as f64)?;
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", None, entries.count() as f64)?;
        }
        if let Some(most) = fs::read_to_string("/proc/self/limits").ok().and_then(|text| max_fds(&text)) {
            gauge(&mut encoder, "process_max_fds", "The most open file descriptors", None, most as f64)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> Result<(), std::fmt::Error> {
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
    gauge.encode(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_may_hold_brackets_and_blanks() {
        let text = "42 (pro) be (x) S 1 42 42 0 -1 4194304 1 2 3 4 150 50 5 6 20 0 7 0 12345 1000 200";
        assert_eq!(Stat::parse(text), Some(Stat { cpu_seconds: 2.0, threads: 7, started: 123.45 }));
        assert_eq!(Stat::parse("42 (x) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn sizes_and_limits_are_read_from_their_lines() {
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n"), Some(12_288));
        assert_eq!(resident_bytes("VmRSS: many"), None);
        assert_eq!(max_fds("Max open files            1024                 4096                 files\n"), Some(1_024));
        assert_eq!(max_fds("Max open files unlimited unlimited files"), None);
    }
}
