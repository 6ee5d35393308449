//! Text for people: lines and tables, with colours where there are any.

use comfy_table::{ContentArrangement, presets};

use crate::model::{Outcome, ProbeState, Verdict};

/// What a colour says. Nothing is said by a colour alone: the word stands there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look, or not decided.
    Warn,
    /// Failed.
    Bad,
    /// Of less interest.
    Dim,
    /// A heading.
    Strong,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Dim => "2",
            Self::Strong => "1",
        }
    }
}

impl From<Verdict> for Tone {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Good,
            Verdict::Block => Self::Bad,
            Verdict::Wait => Self::Warn,
        }
    }
}

impl From<Outcome> for Tone {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Self::Good,
            Outcome::Fail => Self::Bad,
            Outcome::Unknown | Outcome::Pending => Self::Warn,
        }
    }
}

impl From<ProbeState> for Tone {
    fn from(state: ProbeState) -> Self {
        match state {
            ProbeState::Up => Self::Good,
            ProbeState::Down => Self::Bad,
            ProbeState::Degraded | ProbeState::Unknown => Self::Warn,
        }
    }
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A word in its colour.
    pub(in crate::cli) fn toned(text: impl std::fmt::Display, tone: impl Into<Tone>) -> Self {
        Self { text: text.to_string(), tone: Some(tone.into()) }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), tone: None }
    }
}

/// A table: headings in capitals, columns that share the width of the terminal.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table of names and values.
    pub(in crate::cli) fn plain() -> Self {
        Self { header: vec![String::new(); 2], rows: Vec::new() }
    }

    /// An empty table.
    pub(in crate::cli) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { header: header.map(str::to_uppercase).into(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(in crate::cli) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    fn render(&self, colour: bool, width: Option<u16>) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if colour {
            table.enforce_styling();
        }
        let heading = |text: &String| {
            let cell = comfy_table::Cell::new(text);
            if colour { cell.add_attribute(comfy_table::Attribute::Bold) } else { cell }
        };
        // A list of names and values has no headings.
        if self.header.iter().any(|text| !text.is_empty()) {
            table.set_header(self.header.iter().map(heading).collect::<Vec<_>>());
        }
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| cell_of(cell, colour)).collect::<Vec<_>>());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect()
    }
}

fn cell_of(cell: &Cell, colour: bool) -> comfy_table::Cell {
    let shown = comfy_table::Cell::new(&cell.text);
    match cell.tone.filter(|_| colour) {
        Some(Tone::Good) => shown.fg(comfy_table::Color::Green),
        Some(Tone::Warn) => shown.fg(comfy_table::Color::Yellow),
        Some(Tone::Bad) => shown.fg(comfy_table::Color::Red),
        Some(Tone::Dim) => shown.add_attribute(comfy_table::Attribute::Dim),
        Some(Tone::Strong) => shown.add_attribute(comfy_table::Attribute::Bold),
        None => shown,
    }
}

/// What a person gets to read.
#[derive(Debug)]
pub(in crate::cli) struct Page {
    text: String,
    colour: bool,
    width: Option<u16>,
}

impl Page {
    /// An empty page; without a width lines are as long as they are.
    pub(in crate::cli) fn new(colour: bool, width: Option<u16>) -> Self {
        Self { text: String::new(), colour, width }
    }

    /// Adds a line.
    pub(in crate::cli) fn line(&mut self, text: impl AsRef<str>) {
        self.text.push_str(text.as_ref());
        self.text.push('\n');
    }

    /// Adds an empty line.
    pub(in crate::cli) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Adds a table; one without rows is not shown.
    pub(in crate::cli) fn table(&mut self, table: &Table) {
        if !table.rows.is_empty() {
            self.text.push_str(&table.render(self.colour, self.width));
        }
    }

    /// `text` in its colour, to be put into a line.
    pub(in crate::cli) fn paint(&self, text: impl std::fmt::Display, tone: impl Into<Tone>) -> String {
        let text = text.to_string();
        if self.colour { format!("\u{1b}[{}m{text}\u{1b}[0m", tone.into().code()) } else { text }
    }

    /// All that was added.
    pub(in crate::cli) fn into_text(self) -> String {
        self.text
    }
}

/// The width of the terminal that standard output is.
pub(super) fn terminal_width() -> Option<u16> {
    comfy_table::Table::new().width()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(["check", "outcome", "summary"]);
        table.row(["window".into(), Cell::toned(Outcome::Pass, Outcome::Pass), "business-hours is open".into()]);
        table.row([
            "errors".into(),
            Cell::toned(Outcome::Fail, Outcome::Fail),
            "5 of 100 requests failed, 1 is allowed, for the last two minutes".into(),
        ]);
        table
    }

    fn shown(colour: bool, width: Option<u16>) -> String {
        let mut page = Page::new(colour, width);
        page.table(&sample());
        page.into_text()
    }

    #[test]
    fn a_table_fits_its_width_and_loses_no_word() {
        let text = shown(false, Some(50));
        insta::assert_snapshot!(text);
        assert!(text.lines().all(|line| line.chars().count() <= 50), "{text}");
    }

    #[test]
    fn a_table_in_a_pipe_has_one_line_for_each_row_and_no_escape() {
        let text = shown(false, None);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn colours_are_there_when_they_are_asked_for() {
        assert!(shown(true, Some(50)).contains('\u{1b}'));
        assert_eq!(Page::new(true, None).paint("block", Verdict::Block), "\u{1b}[31mblock\u{1b}[0m");
        assert_eq!(Page::new(false, None).paint("block", Verdict::Block), "block");
    }
}
