//! The compiled set of rules: the ready-made ones and the user's.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, LazyLock};

use rhai::{AST, Dynamic, Engine, Scope};
use sha2::{Digest, Sha256};

use super::builtin::BUILTIN;
use super::complaint::did_you_mean;
use super::convert::to_json;
use super::error::{ScriptError, ScriptErrorKind};
use super::imports::{self, Files, Resolver};
use super::parameters::{self, Parameter};
use super::rule::Rule;
use super::{decision, given, sandbox, time};

/// The longest file of a library: a rule is a page, not a program.
pub const MAX_RULE_BYTES: usize = 65_536;
/// The most files of a library.
pub const MAX_RULE_FILES: usize = 1_000;
/// Files below a folder of this name are imported by rules and are none themselves.
const MODULE_FOLDER: &str = "lib";
/// How many bytes of the hash make a version.
const HASH_BYTES: usize = 6;

/// Every rule that a gate can name. Replaced as a whole on reload.
#[derive(Debug, Clone, Default)]
pub struct Library {
    rules: BTreeMap<String, Arc<Rule>>,
}

/// Why a set of files is no library: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryError {
    /// What is wrong, each with file, line and column.
    pub errors: Vec<ScriptError>,
}

impl std::error::Error for LibraryError {}

impl fmt::Display for LibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// A file of a library, before it is compiled.
#[derive(Debug, Clone)]
struct Source {
    text: String,
    builtin: bool,
}

impl Library {
    /// The ready-made rules alone.
    #[must_use]
    pub fn builtin() -> Arc<Self> {
        static LIBRARY: LazyLock<Arc<Library>> = LazyLock::new(|| {
            // A test proves that they compile; the program gates without them as well.
            Arc::new(Library::compile([]).unwrap_or_default())
        });
        Arc::clone(&LIBRARY)
    }

    /// Compiles `files` (path and text, such as `rules/mine.rhai`) together with the ready-made
    /// rules; a file with the path of a ready-made one takes its place.
    ///
    /// # Errors
    /// Everything that is wrong: the whole set counts, or nothing of it.
    pub fn compile(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, LibraryError> {
        let mut sources: BTreeMap<String, Source> = BUILTIN
            .iter()
            .map(|(path, text)| ((*path).to_owned(), Source { text: (*text).to_owned(), builtin: true }))
            .collect();
        let mut errors = Vec::new();
        for (path, text) in files {
            match imports::normal(&path) {
                Some(path) if path.strip_suffix(".rhai").is_some() => {
                    sources.insert(path, Source { text, builtin: false });
                }
                _ => errors.push(invalid("a file of a library is named like `rules/weekend.rhai`").in_file(&path)),
            }
        }
        if sources.len() > MAX_RULE_FILES {
            errors.push(invalid(&format!("there are {} rule files; {MAX_RULE_FILES} are allowed", sources.len())));
            return Err(LibraryError { errors });
        }
        let asts = parsed(&sources, &mut errors);
        let engine = Arc::new(rule_engine(Arc::new(Files::new(asts.clone()))));
        let mut rules = BTreeMap::new();
        for (path, ast) in asts {
            let loaded = load(&path, ast, &sources, &engine);
            match loaded {
                Ok(Some(rule)) => {
                    rules.insert(path, Arc::new(rule));
                }
                Ok(None) => {}
                Err(error) if errors.contains(&error) => {}
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { rules }) } else { Err(LibraryError { errors }) }
    }

    /// The rule at `path`.
    ///
    /// # Errors
    /// There is none; the text names the rule whose path is spelled most like it.
    pub fn rule(&self, path: &str) -> Result<&Arc<Rule>, String> {
        let normal = imports::normal(path).unwrap_or_default();
        self.rules.get(&normal).ok_or_else(|| {
            let near = did_you_mean(path, self.rules.keys().map(String::as_str));
            format!("there is no rule `{path}`{near}")
        })
    }

    /// All rules by path.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.values()
    }

    /// Path and hash of every rule.
    pub fn versions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules.values().map(|rule| (rule.path(), rule.hash()))
    }
}

fn invalid(why: &str) -> ScriptError {
    ScriptError::new(ScriptErrorKind::Input, why)
}

/// The engine that the rules of one library share.
fn rule_engine(files: Arc<Files>) -> Engine {
    let mut engine = sandbox::engine();
    // A misspelled property or variable must not decide anything: it is an error here, while an
    // expression over a foreign answer takes an absent property for `()`.
    engine.set_fail_on_invalid_map_property(true).set_strict_variables(true);
    engine.set_max_modules(sandbox::MAX_MODULES).set_module_resolver(Resolver(files));
    time::register(&mut engine);
    decision::register(&mut engine);
    given::register(&mut engine);
    engine
}

fn parsed(sources: &BTreeMap<String, Source>, errors: &mut Vec<ScriptError>) -> BTreeMap<String, AST> {
    let engine = rule_engine(Arc::new(Files::new(BTreeMap::new())));
    let mut asts = BTreeMap::new();
    for (path, source) in sources {
        if source.text.len() > MAX_RULE_BYTES {
            let why = format!("the file has {} bytes; {MAX_RULE_BYTES} are allowed", source.text.len());
            errors.push(invalid(&why).in_file(path));
            continue;
        }
        let compiled = sandbox::guarded(|| {
            let mut ast = engine.compile(&source.text).map_err(|error| ScriptError::from_parse(&error))?;
            ast.set_source(path.as_str());
            Ok(ast)
        });
        match compiled.and_then(|compiled| compiled) {
            Ok(ast) => {
                asts.insert(path.clone(), ast);
            }
            Err(error) => errors.push(error.in_file(path)),
        }
    }
    asts
}

/// Runs a file's top level once: its imports, and the declaration of its parameters. Nothing for a
/// file that only others import.
fn load(
    path: &str,
    ast: AST,
    sources: &BTreeMap<String, Source>,
    engine: &Arc<Engine>,
) -> Result<Option<Rule>, ScriptError> {
    let in_file = |mut error: ScriptError| {
        if error.kind == ScriptErrorKind::Time {
            error.why = format!("its top level ran longer than {} s", sandbox::LOAD_BUDGET.as_secs());
        }
        error.in_file(path)
    };
    let decides = ast.iter_functions().any(|function| function.name == "decide" && function.params.len() == 1);
    let module = path.split('/').rev().skip(1).any(|folder| folder == MODULE_FOLDER);
    if !decides && !module {
        return Err(in_file(invalid("there is no `fn decide(facts)`; a file without one stands in a folder `lib`")));
    }
    let (declared, seen) = sandbox::guarded_for(sandbox::LOAD_BUDGET, || {
        imports::begin(path);
        let mut scope = Scope::new();
        engine.run_ast_with_scope(&mut scope, &ast).map_err(|error| ScriptError::from_eval(&error))?;
        let declared = scope.get_value::<Dynamic>("PARAMETERS").map(|value| to_json(&value)).transpose();
        Ok((declared, imports::take()))
    })
    .and_then(|loaded| loaded)
    .map_err(in_file)?;
    if module {
        return Ok(None);
    }
    let declared = declared.map_err(|what| in_file(invalid(&format!("PARAMETERS holds {what}"))))?;
    let parameters: BTreeMap<String, Parameter> = match declared {
        Some(value) => parameters::declared(&value).map_err(|error| in_file(invalid(&error.to_string())))?,
        None => BTreeMap::new(),
    };
    let Some(source) = sources.get(path) else {
        return Ok(None);
    };
    let imported = seen.iter().filter_map(|path| sources.get_key_value(path));
    let hash = hash_of(std::iter::once((path, source)).chain(imported.map(|(path, source)| (path.as_str(), source))));
    Ok(Some(Rule {
        path: path.to_owned(),
        hash,
        description: description(&source.text),
        text: source.text.clone(),
        parameters,
        builtin: source.builtin,
        imports: Arc::new(seen),
        ast,
        engine: Arc::clone(engine),
    }))
}

fn hash_of<'a>(files: impl Iterator<Item = (&'a str, &'a Source)>) -> String {
    let mut hash = Sha256::new();
    for (path, source) in files {
        for part in [path, &source.text] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().iter().take(HASH_BYTES).fold(String::new(), |mut short, byte| {
        // Writing to a text cannot fail.
        let _ = write!(short, "{byte:02x}");
        short
    })
}

/// The comment that a file begins with, as one text.
fn description(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| line.starts_with("//"));
    let words = lines.flat_map(|line| line.trim_start_matches(['/', '!']).split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{builtin_examples, read_examples};

    #[test]
    fn every_ready_made_rule_does_what_its_examples_say() {
        let library = Library::compile([]).unwrap();
        let mut failures = Vec::new();
        for rule in library.rules() {
            let (path, text) =
                builtin_examples(rule.path()).unwrap_or_else(|| panic!("{} has no examples", rule.path()));
            let examples = read_examples(text).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(examples.len() > 4, "{path}");
            for example in examples {
                if let Err(error) = example.run(rule) {
                    failures.push(format!("{path}: {}: {error}", example.name));
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
