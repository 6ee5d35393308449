//! `probegate rule`: try rules out before they hold anything up.

mod eval;
mod list;
mod test;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::{Exit, Global};
use crate::config::NO_RULES_IN;
use crate::rules::{Library, MAX_RULE_BYTES, MAX_RULE_FILES};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run the examples of rules: all of a directory, or the ready-made ones.
    Test(test::Args),
    /// List the rules with their parameters.
    List(list::ListArgs),
    /// Show one rule: what it does, its parameters, its text.
    Show(list::ShowArgs),
    /// Let a rule decide on given facts.
    Eval(eval::Args),
}

/// Where rules are read from.
#[derive(Debug, Clone, Default, clap::Args)]
struct Origin {
    /// The configuration directory; its `rules/*.rhai` join the ready-made ones.
    #[arg(short = 'f', long = "files", value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.verb {
        Verb::Test(args) => test::run(&args, global),
        Verb::List(args) => list::list(&args, global),
        Verb::Show(args) => list::show(&args, global),
        Verb::Eval(args) => eval::run(&args, global),
    }
}

impl Origin {
    /// The rules of the directory and the ready-made ones.
    fn library(&self) -> anyhow::Result<Arc<Library>> {
        match &self.dir {
            None => Ok(Library::builtin()),
            Some(dir) => Ok(Arc::new(Library::compile(rhai_files(dir)?).context("the rules do not compile")?)),
        }
    }
}

/// Every `.rhai` file below `dir/rules` (below `dir` itself where it has no such folder), by its
/// path from `dir`; scripts of probes and load tests are none.
fn rhai_files(dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let inner = dir.join("rules");
    let (root, prefix) = match (inner.is_dir(), dir.file_name().is_some_and(|name| name == "rules")) {
        (true, _) => (inner, "rules/"),
        (false, true) => (dir.to_owned(), "rules/"),
        (false, false) => (dir.to_owned(), ""),
    };
    let mut files = Vec::new();
    let mut folders = vec![(root, prefix.to_owned())];
    while let Some((folder, prefix)) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("while reading {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("while reading {}", folder.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() && NO_RULES_IN.contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() {
                folders.push((entry.path(), format!("{prefix}{name}/")));
            } else if name.strip_suffix(".rhai").is_some() {
                anyhow::ensure!(files.len() < MAX_RULE_FILES, "there are more than {MAX_RULE_FILES} rule files");
                files.push((format!("{prefix}{name}"), read_text(&entry.path())?));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A text file of a rule's size or a little more: examples may be longer than their rule.
fn read_text(path: &Path) -> anyhow::Result<String> {
    let most = MAX_RULE_BYTES as u64 * 16;
    let size = std::fs::metadata(path).with_context(|| format!("while reading {}", path.display()))?.len();
    anyhow::ensure!(size <= most, "{} has {size} bytes; {most} are allowed", path.display());
    std::fs::read_to_string(path).with_context(|| format!("while reading {}", path.display()))
}
