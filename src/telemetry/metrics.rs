//! The registry that every component adds its metrics to, and its text.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process::Process;

/// All metrics of the program. Components are registered at the start; from then on it is only read.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Metrics {
    /// The content type of [`Self::encode`].
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// A registry with the metrics of the process and of the build.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let build = Info::new(Build { version: env!("CARGO_PKG_VERSION") });
        registry.register("probegate_build", "The running version", build);
        registry.register_collector(Box::new(Process::new()));
        Self { registry }
    }

    /// Where components add their own, each under a name that begins with `probegate_`.
    pub const fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// The registry itself, once everything has been added: for whoever writes the text.
    #[must_use]
    pub fn into_registry(self) -> Registry {
        self.registry
    }

    /// Everything as `OpenMetrics` text.
    ///
    /// # Errors
    /// When a metric cannot be written as text, which a registered one always can.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_text_has_the_build_the_process_and_what_was_registered() {
        let mut metrics = Metrics::new();
        let counter: Counter = Counter::default();
        metrics.registry().register("probegate_answers", "Answers", counter.clone());
        counter.inc_by(7);

        let text = metrics.encode().unwrap();

        assert!(
            text.contains(concat!("probegate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n")),
            "{text}"
        );
        assert!(text.contains("probegate_answers_total 7\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        for name in [
            "process_start_time_seconds",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_threads",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect(name);
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{name} {value}");
        }
    }
}
