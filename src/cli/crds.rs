//! `probegate crds`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::output::{Output, Printer};
use super::{Exit, Global};
use crate::api::KINDS;
use crate::api::fields;
use crate::api::schema::{self, KindSchema};
use crate::api::schema_files;
use crate::config::nearest;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this kind, such as `Gate`.
    #[arg(long)]
    kind: Option<String>,
    /// JSON Schemas for editors instead of custom resource definitions.
    #[arg(long)]
    schemas: bool,
    /// A table of the fields, in Markdown, instead of custom resource definitions.
    #[arg(long, conflicts_with = "schemas")]
    fields: bool,
    /// Write every definition to DIR/crds and every schema to DIR/schemas.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kind", "schemas", "fields"])]
    write: Option<PathBuf>,
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    if let Some(dir) = &args.write {
        let written = write(dir)?;
        Printer::write(&(written.join("\n") + "\n"))?;
        return Ok(Exit::Pass);
    }
    let kinds = chosen(args.kind.as_deref())?;
    let text = match (args.fields, args.schemas) {
        (true, _) => kinds.iter().map(fields::markdown).collect::<Vec<_>>().join("\n"),
        (false, true) => schemas(&kinds)?,
        (false, false) => definitions(&kinds, global.output)?,
    };
    Printer::write(&text)?;
    Ok(Exit::Pass)
}

/// The kinds that the user means; `gate`, `gates` and `Gate` are one.
fn chosen(kind: Option<&str>) -> anyhow::Result<Vec<KindSchema>> {
    let mut kinds = schema::kinds();
    let Some(wanted) = kind else { return Ok(kinds) };
    let lower = wanted.to_lowercase();
    kinds.retain(|kind| kind.kind.to_lowercase() == lower || kind.plural == lower);
    if kinds.is_empty() {
        let hint = nearest(wanted, KINDS).map(|kind| format!("; did you mean {kind}?")).unwrap_or_default();
        anyhow::bail!("there is no kind `{wanted}`: the kinds are {}{hint}", KINDS.join(", "));
    }
    Ok(kinds)
}

fn definitions(kinds: &[KindSchema], output: Output) -> anyhow::Result<String> {
    if output == Output::Json {
        let items = kinds.iter().map(schema_files::definition).collect::<Result<Vec<Value>, _>>()?;
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        return Ok(serde_json::to_string_pretty(&list)? + "\n");
    }
    let documents = kinds.iter().map(schema_files::definition_yaml).collect::<Result<Vec<String>, _>>()?;
    Ok(format!("---\n{}", documents.join("---\n")))
}

/// One kind's schema as it is; several by their kind.
fn schemas(kinds: &[KindSchema]) -> anyhow::Result<String> {
    let value = match kinds {
        [one] => schema_files::editor(one),
        several => several.iter().map(|kind| (kind.kind.to_owned(), schema_files::editor(kind))).collect(),
    };
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn write(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut written = Vec::new();
    for file in schema_files::files()? {
        let path = dir.join(&file.path);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).with_context(|| format!("while making {}", parent.display()))?;
        fs::write(&path, file.text).with_context(|| format!("while writing {}", path.display()))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}
