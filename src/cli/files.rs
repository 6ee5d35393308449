//! Files that a command names; `-` is standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::config::{Loaded, MAX_FILE_BYTES, load_with};

/// What standard input is called in messages.
const STDIN: &str = "<stdin>";

/// Loads the resources of files and directories.
pub(super) fn load(paths: &[PathBuf]) -> anyhow::Result<Loaded> {
    let (input, paths): (Vec<_>, Vec<_>) = paths.iter().cloned().partition(|path| is_input(path));
    let mut texts = Vec::new();
    if !input.is_empty() {
        texts.push((STDIN.to_owned(), stdin()?));
    }
    Ok(load_with(&paths, texts)?)
}

/// The name and the bytes of one file.
pub(super) fn read_one(path: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    if is_input(path) {
        return Ok((STDIN.to_owned(), stdin()?));
    }
    let doing = || format!("while reading {}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(doing)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(doing)?;
    ensure!(bytes.len() as u64 <= MAX_FILE_BYTES, "{} is larger than {MAX_FILE_BYTES} bytes", path.display());
    Ok((path.display().to_string(), bytes))
}

fn is_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn stdin() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).context("while reading standard input")?;
    Ok(bytes)
}
