//! `probegate rule test`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::{Origin, read_text};
use crate::cli::output::{Case, CaseResult, Cell, Page, Place, Render, Suite, Table, Tone};
use crate::cli::{Exit, Global};
use crate::rules::{Library, Rule, builtin_examples, examples_path, read_examples};

/// What the verb takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directories with rules, or single rules (`rules/mine.rhai`). None: the ready-made rules.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// One example and what became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    rule: String,
    file: String,
    line: u64,
    example: String,
    passed: bool,
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Results {
    examples: Vec<Tested>,
}

pub(super) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let mut results = Results { examples: Vec::new() };
    if args.paths.is_empty() {
        for rule in Library::builtin().rules() {
            let found = builtin_examples(rule.path());
            results.add(rule, found.map(|(path, text)| (path.to_owned(), text.to_owned())));
        }
    }
    for path in &args.paths {
        add_path(&mut results, path)?;
    }
    let exit = if results.examples.iter().all(|tested| tested.passed) { Exit::Pass } else { Exit::Block };
    global.printer().print(&results)?;
    Ok(exit)
}

fn add_path(results: &mut Results, path: &Path) -> anyhow::Result<()> {
    // A single rule is compiled with everything beside it, because it may import that.
    let (dir, only) = if path.is_dir() {
        (path.to_owned(), None)
    } else {
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = if parent.file_name().is_some_and(|name| name == "rules") {
            parent.parent().unwrap_or(Path::new(""))
        } else {
            parent
        };
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        (dir.to_owned(), Some(path.file_name().unwrap_or_default().to_string_lossy().into_owned()))
    };
    let library = Origin { dir: Some(dir.clone()) }.library()?;
    let base = if dir.file_name().is_some_and(|name| name == "rules") && !dir.join("rules").is_dir() {
        dir.parent().map(Path::to_owned).unwrap_or_default()
    } else {
        dir
    };
    let mut seen = 0;
    for rule in library.rules().filter(|rule| !rule.is_builtin()) {
        if only.as_ref().is_some_and(|only| rule.path().rsplit('/').next() != Some(only)) {
            continue;
        }
        seen += 1;
        let examples = base.join(examples_path(rule.path()));
        let found =
            if examples.is_file() { Some((examples.display().to_string(), read_text(&examples)?)) } else { None };
        results.add(rule, found);
    }
    anyhow::ensure!(seen > 0, "there is no rule in {}", path.display());
    Ok(())
}

impl Results {
    fn add(&mut self, rule: &Arc<Rule>, examples: Option<(String, String)>) {
        let path = rule.path();
        let Some((file, text)) = examples else {
            let message = format!("there are no examples: {} does not exist", examples_path(path));
            self.push(path, path.to_owned(), 1, "has examples", Err(message));
            return;
        };
        match read_examples(&text) {
            Err(error) => self.push(path, file, 1, "examples can be read", Err(error)),
            Ok(examples) => {
                for example in examples {
                    let result = example.run(rule).map(|_| String::new());
                    self.push(path, file.clone(), line_of(&text, &example.name), &example.name, result);
                }
            }
        }
    }

    fn push(&mut self, rule: &str, file: String, line: u64, example: &str, result: Result<String, String>) {
        self.examples.push(Tested {
            rule: rule.to_owned(),
            file,
            line,
            example: example.to_owned(),
            passed: result.is_ok(),
            message: result.unwrap_or_else(|error| error),
        });
    }
}

/// The line that an example begins on: the one with its name.
fn line_of(text: &str, name: &str) -> u64 {
    let line = text.lines().position(|line| line.contains("name:") && line.contains(name));
    line.and_then(|line| u64::try_from(line).ok()).map_or(1, |line| line + 1)
}

impl Render for Results {
    fn page(&self, page: &mut Page) {
        let mut table = Table::new(["RULE", "EXAMPLE", "RESULT"]);
        for tested in &self.examples {
            let (word, tone) = if tested.passed { ("pass", Tone::Good) } else { ("fail", Tone::Bad) };
            table.row([tested.rule.clone().into(), tested.example.clone().into(), Cell::toned(word, tone)]);
        }
        page.table(&table);
        for tested in self.examples.iter().filter(|tested| !tested.passed) {
            page.line(format!("{}:{}: {}: {}", tested.file, tested.line, tested.example, tested.message));
        }
        let failed = self.examples.iter().filter(|tested| !tested.passed).count();
        page.line(format!("{} examples, {failed} failed", self.examples.len()));
    }

    fn suite(&self) -> Option<Suite> {
        let case = |tested: &Tested| Case {
            name: format!("{}: {}", tested.rule, tested.example),
            result: if tested.passed { CaseResult::Passed } else { CaseResult::Failed },
            message: tested.message.clone(),
            place: Some(Place { file: tested.file.clone(), line: tested.line, column: 1 }),
        };
        Some(Suite { name: "rules".to_owned(), cases: self.examples.iter().map(case).collect() })
    }
}
