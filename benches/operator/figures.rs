//! The table that is printed at the end.

use std::time::Duration;

use super::process::load_average;

/// Figures beside what is wanted.
#[derive(Default)]
pub struct Figures {
    rows: Vec<(String, String, String)>,
}

impl Figures {
    /// Adds a line, and prints it at once: the rest may take long.
    pub fn add(&mut self, what: &str, measured: String, wanted: &str) {
        println!(
            "  {what}: {measured}{}",
            if wanted.is_empty() { String::new() } else { format!(" (wanted {wanted})") }
        );
        self.rows.push((what.to_owned(), measured, wanted.to_owned()));
    }

    /// Adds a line whose figure is missed unless `holds`.
    pub fn judge(&mut self, what: &str, measured: String, wanted: &str, holds: bool) {
        let wanted = if holds { wanted.to_owned() } else { format!("{wanted}: missed") };
        self.add(what, measured, &wanted);
    }

    /// Prints all of them.
    pub fn print(&self) {
        println!("\n| what | measured | wanted |\n| --- | --- | --- |");
        for (what, measured, wanted) in &self.rows {
            println!("| {what} | {measured} | {wanted} |");
        }
        println!("\nload average {}", load_average());
    }
}

/// Times of one kind.
#[derive(Debug, Default, Clone)]
pub struct Times(pub Vec<Duration>);

impl Times {
    /// The smallest of which so large a share is not larger.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub fn max(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    /// Least, median, most.
    pub fn spread(&self) -> String {
        let least = self.0.iter().min().copied().unwrap_or_default();
        format!("{}, {}, {} of {}", told(least), told(self.quantile(0.5)), told(self.max()), self.0.len())
    }
}

/// A time for people.
pub fn told(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}
