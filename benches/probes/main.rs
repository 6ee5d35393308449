//! The figures of the prober, measured on the real program: `make bench-probes`.
//!
//! nginx and Redis answer on one core, one prober at a time asks on the other (`taskset`): a bare
//! client that only connects, sends, reads and closes; ours; `blackbox_exporter`; Cloudprober. Every
//! probe is a connection of its own. What is compared is processor time, user and system, for each
//! probe. Then ours has both cores: a large schedule, the time from a killed server to `down`, and a
//! soak under processor load.
//!
//! Words after `--` choose: `quick`, `seconds=10`, `soak=600`, and any of `rates`, `schedule`, `down`,
//! `soak` for only these.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a bench prints its figures, and may end where an answer has another shape"
)]

mod bare;
mod ours;
mod peers;
mod process;
mod rates;
mod resident;
mod targets;

use std::time::Duration;

use anyhow::Context;

/// What was asked for.
struct Asked {
    /// How long each rate is measured.
    seconds: Duration,
    /// How long the soak lasts.
    soak: Duration,
    /// How often a server is killed.
    kills: usize,
    /// Only these parts; all when empty.
    parts: Vec<String>,
}

impl Asked {
    fn read(words: &[String]) -> anyhow::Result<Self> {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut asked = Self { seconds: second * 12, soak: minute * 10, kills: 20, parts: Vec::new() };
        for word in words {
            match word.split_once('=') {
                Some(("seconds", count)) => asked.seconds = second * count.parse().context("seconds=")?,
                Some(("soak", count)) => asked.soak = second * count.parse().context("soak=")?,
                None if word == "quick" => {
                    (asked.seconds, asked.soak, asked.kills) = (second * 3, second * 30, 5);
                }
                None if ["rates", "schedule", "down", "soak"].contains(&word.as_str()) => {
                    asked.parts.push(word.clone());
                }
                // Cargo's own.
                None if word == "--bench" => {}
                _ => anyhow::bail!("{word} is none of quick, seconds=N, soak=N, rates, schedule, down, soak"),
            }
        }
        Ok(asked)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.first().map(String::as_str) {
        // This program again, as one of the processes that are measured or that get in the way.
        Some("bare") => return bare::main(&words[1..]),
        Some("answer") => return runtime.block_on(resident::answer(&words[1..])),
        Some("busy") => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
    let asked = Asked::read(&words)?;
    let targets = targets::Targets::start()?;
    if asked.wants("rates") {
        // Only now: whoever wants the other parts alone needs no Go.
        let programs = peers::build()?;
        runtime.block_on(rates::measure(&targets, &programs, asked.seconds))?;
    }
    drop(targets);
    if asked.wants("schedule") {
        runtime.block_on(resident::schedule(asked.seconds))?;
    }
    if asked.wants("down") {
        runtime.block_on(resident::down(asked.kills))?;
    }
    if asked.wants("soak") {
        runtime.block_on(resident::soak(asked.soak))?;
    }
    Ok(())
}
