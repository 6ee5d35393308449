//! Printing results: one way for all verbs.
//!
//! A verb makes a value that implements [`Render`] and hands it to the [`Printer`], which knows the
//! format, the colours and the terminal. Results go to standard output; progress and errors go to
//! standard error, so that a pipe gets the result alone.

mod github;
mod junit;
mod page;
mod progress;
mod times;

use std::io::{IsTerminal, Write};

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

pub(in crate::cli) use page::{Cell, Page, Table, Tone};
pub(in crate::cli) use progress::Progress;
pub(in crate::cli) use times::{ago, instant, lasting};

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: fits the terminal.
    Table,
    /// For programs.
    Json,
    /// For programs and files.
    Yaml,
    /// For CI systems that show test results.
    Junit,
    /// Workflow commands of GitHub Actions: annotations on lines.
    Github,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A result that every format can show.
///
/// Its JSON is what [`Serialize`] makes of it: field for field what the documents promise.
pub(in crate::cli) trait Render: Serialize {
    /// For people.
    fn page(&self, page: &mut Page);

    /// As test cases, for `junit` and `github`. `None`: the verb has none.
    fn suite(&self) -> Option<Suite> {
        None
    }
}

/// Test cases of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Suite {
    /// What was looked at.
    pub(in crate::cli) name: String,
    /// The cases.
    pub(in crate::cli) cases: Vec<Case>,
}

/// One test case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Case {
    /// What it is about.
    pub(in crate::cli) name: String,
    /// What became of it.
    pub(in crate::cli) result: CaseResult,
    /// One line for a person.
    pub(in crate::cli) message: String,
    /// Where it is, where it is somewhere.
    pub(in crate::cli) place: Option<Place>,
}

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum CaseResult {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// Worth a word, and no failure.
    Warned,
    /// Nothing can be said yet.
    Skipped,
}

/// A place in a file, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Place {
    /// The file.
    pub(in crate::cli) file: String,
    /// The line.
    pub(in crate::cli) line: u64,
    /// The column.
    pub(in crate::cli) column: u64,
}

/// Prints results in the chosen format.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Printer {
    format: Output,
    colour: bool,
    terminal: bool,
}

impl Printer {
    /// A printer for `format`; `no_color` is whether the variable of that name is set.
    pub(in crate::cli) fn new(format: Output, colour: Colour, no_color: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = match colour {
            Colour::Auto => terminal && !no_color,
            Colour::Always => true,
            Colour::Never => false,
        };
        Self { format, colour, terminal }
    }

    /// Whether the result is meant for a person.
    pub(in crate::cli) fn for_people(self) -> bool {
        self.format == Output::Table
    }

    /// An empty page with this printer's colours and width.
    pub(in crate::cli) fn page(self) -> Page {
        Page::new(self.colour, if self.terminal { page::terminal_width() } else { None })
    }

    /// Prints a result.
    pub(in crate::cli) fn print(self, result: &impl Render) -> anyhow::Result<()> {
        let text = match self.format {
            Output::Table => {
                let mut page = self.page();
                result.page(&mut page);
                page.into_text()
            }
            Output::Json => json(result)?,
            Output::Yaml => serde_saphyr::to_string(result).context("while writing the result as YAML")?,
            Output::Junit => junit::document(&suite_of(result, "junit")?),
            Output::Github => github::commands(&suite_of(result, "github")?),
        };
        Self::write(&text)
    }

    /// Writes text to standard output. A reader that has gone away is no error: it has seen enough.
    pub(in crate::cli) fn write(text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(error).context("while writing to standard output")
            }
            _ => Ok(()),
        }
    }
}

fn json(result: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(result).context("while writing the result as JSON")?;
    text.push('\n');
    Ok(text)
}

fn suite_of(result: &impl Render, format: &str) -> anyhow::Result<Suite> {
    result.suite().with_context(|| {
        format!(
            "this command has no result in the form of test cases, which `-o {format}` shows; use table, json or yaml"
        )
    })
}
