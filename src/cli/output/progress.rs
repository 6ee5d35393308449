//! Progress of long work: a moving line on a terminal, plain lines elsewhere, nothing when quiet.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the moving line moves.
const TICK: Duration = Duration::from_millis(120);

/// Tells on standard error what is being done.
#[derive(Debug)]
pub(in crate::cli) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last: String,
}

impl Progress {
    /// Begins without a word.
    pub(in crate::cli) fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, quiet, last: String::new() }
    }

    /// Says what is being done now; the same words again are not printed twice.
    pub(in crate::cli) fn say(&mut self, text: &str) {
        if self.quiet || self.last == text {
            return;
        }
        text.clone_into(&mut self.last);
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            // Nobody reads it any more: no reason to stop.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    /// Takes the moving line away, so that the result stands alone.
    pub(in crate::cli) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.quiet = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
