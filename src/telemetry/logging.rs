//! Logs: full sentences with fields, to stderr, as text or JSON.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// What is not logged unless the filter names it: the client of the cluster complains about each call that
/// fails, every second while an API server is away. Whoever made the call says so once, and for what.
const QUIET: &str = "kube_client=off,kube_runtime=off";

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// For programs: one JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("the log filter `{filter}` cannot be read: {why}; write it like `info` or `warn,probegate=debug`")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        why: ParseError,
    },
    /// Somebody has done it before.
    #[error("logging is set up already: {0}")]
    Already(#[from] TryInitError),
}

/// Sends the logs of the whole process to stderr. `filter` says what is logged, such as `info` or
/// `warn,probegate=debug`.
///
/// # Errors
/// [`LogError`], before anything was changed.
pub fn init_logging(format: LogFormat, filter: &str) -> Result<(), LogError> {
    subscriber(format, filter, io::stderr, io::stderr().is_terminal())?.try_init().map_err(LogError::from)
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
    terminal: bool,
) -> Result<impl Subscriber + Send + Sync + 'static, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let all = format!("{QUIET},{filter}");
    let filter = EnvFilter::try_new(all).map_err(|why| LogError::Filter { filter: filter.to_owned(), why })?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        // On a terminal the library decides, because it knows NO_COLOR.
        LogFormat::Text if terminal => fmt::layer().with_writer(writer).boxed(),
        LogFormat::Text => fmt::layer().with_ansi(false).with_writer(writer).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    };
    Ok(tracing_subscriber::registry().with(lines.with_filter(filter)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use rstest::rstest;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(format, filter, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("A detail.");
            tracing::info!(runs = 3, "Old records were removed.");
            tracing::error!(target: "kube_client::client::builder", "failed");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_has_the_sentence_and_its_fields_without_colour() {
        let text = logged(LogFormat::Text, "info");
        assert!(text.ends_with("Old records were removed. runs=3\n"), "{text:?}");
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn json_is_one_object_per_line_with_the_fields_at_the_top() {
        let text = logged(LogFormat::Json, "debug");
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["message"], "Old records were removed.");
        assert_eq!(lines[1]["runs"], 3);
        assert_eq!(lines[1]["level"], "INFO");
    }

    #[rstest]
    #[case("off", 0)]
    #[case("warn,probegate=debug", 2)]
    #[case("probegate::telemetry=info", 1)]
    #[case("info", 1)]
    #[case("info,kube_client=error", 2)]
    fn the_filter_decides_by_level_and_module(#[case] filter: &str, #[case] lines: usize) {
        assert_eq!(logged(LogFormat::Text, filter).lines().count(), lines);
    }

    #[test]
    fn a_filter_that_is_none_is_an_error_that_shows_one() {
        let error = init_logging(LogFormat::Text, "probegate=loud").unwrap_err().to_string();
        assert!(error.starts_with("the log filter `probegate=loud` cannot be read: "), "{error}");
        assert!(error.ends_with("write it like `info` or `warn,probegate=debug`"), "{error}");
    }
}
