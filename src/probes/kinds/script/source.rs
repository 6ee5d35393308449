//! The text of a script: in the spec, or in a file that is read again when it changes.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rhai::AST;

use super::engine::compile;
use crate::api::ScriptProbe;
use crate::probes::SpecError;

/// The largest script: as large as the schema lets one stand in a spec, and a file is no longer.
const MAX_SCRIPT: u64 = 64 * 1024;

/// A compiled script.
pub(super) enum Source {
    /// From the spec.
    Text(Arc<AST>),
    /// From a file.
    File(File),
}

/// A file, and what was last read of it.
pub(super) struct File {
    /// The directory that it must stay below.
    root: PathBuf,
    /// Its path below the root.
    path: PathBuf,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    /// When it was changed, and how long it was; `None` where it could not be looked at.
    mark: Option<(SystemTime, u64)>,
    ast: Arc<AST>,
    /// What is wrong with what stands there now: then the version before it stays in force.
    broken: Option<String>,
}

impl Source {
    /// Reads and compiles what a spec names.
    pub(super) fn compile(spec: &ScriptProbe, root: Option<&Path>) -> Result<Self, SpecError> {
        match (&spec.file, &spec.source) {
            (None, Some(text)) => {
                if text.len() as u64 > MAX_SCRIPT {
                    return Err(SpecError::new("script.source", format!("it has more than {MAX_SCRIPT} bytes")));
                }
                let ast = compile(text).map_err(|why| SpecError::new("script.source", why))?;
                Ok(Self::Text(Arc::new(ast)))
            }
            (Some(file), None) => {
                File::open(file, root).map(Self::File).map_err(|why| SpecError::new("script.file", why))
            }
            (found, _) => {
                let found = if found.is_some() { "both are set" } else { "none is set" };
                Err(SpecError::new("script", format!("exactly one of file and source must be set; {found}")))
            }
        }
    }

    /// The script as it is now, and what is wrong with a newer version of it.
    pub(super) fn current(&self) -> (Arc<AST>, Option<String>) {
        match self {
            Self::Text(ast) => (Arc::clone(ast), None),
            Self::File(file) => file.current(),
        }
    }
}

impl File {
    fn open(path: &str, root: Option<&Path>) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{path}`: {why}");
        let root =
            root.ok_or_else(|| wrong("there is no directory of resources here; put the script into `source`"))?;
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(path)).to_owned();
        let plain = below.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !plain || path.contains('\0') {
            return Err(wrong("it must stay below the directory of the resources"));
        }
        let (root, path) = (root.to_owned(), below);
        let mark = mark(&root.join(&path));
        let ast = read(&root, &path).and_then(|text| compile(&text));
        let ast = Arc::new(ast.map_err(|why| format!("{}: {why}", path.display()))?);
        Ok(Self { root, path, loaded: Mutex::new(Loaded { mark, ast, broken: None }) })
    }

    fn current(&self) -> (Arc<AST>, Option<String>) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let now = mark(&self.root.join(&self.path));
        if now != loaded.mark {
            loaded.mark = now;
            loaded.broken = match read(&self.root, &self.path).and_then(|text| compile(&text)) {
                Ok(ast) => {
                    loaded.ast = Arc::new(ast);
                    None
                }
                Err(why) => {
                    let file = self.path.display();
                    tracing::warn!(%file, why, "A probe's script has changed and is broken; the version before it stays in force.");
                    Some(format!("{file} has changed and is broken ({why}): the version before it is run"))
                }
            };
        }
        (Arc::clone(&loaded.ast), loaded.broken.clone())
    }
}

/// What changes with a file.
fn mark(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads a file that is below `root` wherever its links lead, and never more of it than there may be.
fn read(root: &Path, path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    let root = std::fs::canonicalize(root).map_err(unreadable)?;
    let real = std::fs::canonicalize(root.join(path)).map_err(unreadable)?;
    if !real.starts_with(&root) {
        return Err("it leads out of the directory of the resources".to_owned());
    }
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(&real).map_err(unreadable)?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let file = std::fs::File::open(&real).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_SCRIPT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_SCRIPT {
        return Err(format!("it is larger than {MAX_SCRIPT} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn opened(directory: &Path, path: &str) -> Result<Source, SpecError> {
        let spec = ScriptProbe { file: Some(path.to_owned()), ..ScriptProbe::default() };
        Source::compile(&spec, Some(directory))
    }

    #[rstest]
    #[case("../outside.rhai", "stay below")]
    #[case("a/../../outside.rhai", "stay below")]
    #[case("/etc/passwd", "stay below")]
    #[case("escape.rhai", "leads out")]
    #[case("missing.rhai", "cannot be read")]
    #[case("a", "not a file")]
    #[case("large.rhai", "larger than 65536 bytes")]
    #[case("binary.rhai", "no UTF-8")]
    #[case("broken.rhai", "line 2, column")]
    fn a_file_that_is_none_of_ours_is_refused(#[case] path: &str, #[case] why: &str) {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(base.path().join("outside.rhai"), "1").unwrap();
        std::fs::write(root.join("large.rhai"), "/".repeat(70_000)).unwrap();
        std::fs::write(root.join("binary.rhai"), [0xff]).unwrap();
        std::fs::write(root.join("broken.rhai"), "let x = 1;\nlet y = nothing;").unwrap();
        std::os::unix::fs::symlink("../outside.rhai", root.join("escape.rhai")).unwrap();
        let error = opened(&root, path).err().unwrap();
        assert_eq!(error.field, "script.file");
        assert!(error.why.contains(why), "{error}");
    }

    #[test]
    fn a_file_is_read_again_when_it_changes_and_a_broken_one_keeps_the_version_before() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("probes/a.rhai");
        std::fs::create_dir(root.path().join("probes")).unwrap();
        std::fs::write(&file, "1").unwrap();
        let source = opened(root.path(), "probes/a.rhai").unwrap();
        let (first, _) = source.current();
        assert!(Arc::ptr_eq(&first, &source.current().0), "it is compiled once");
        std::fs::write(&file, "1 + 1").unwrap();
        let (second, note) = source.current();
        assert!(!Arc::ptr_eq(&first, &second) && note.is_none());
        std::fs::write(&file, "let x = nothing;").unwrap();
        let (third, note) = source.current();
        assert!(Arc::ptr_eq(&second, &third) && note.unwrap().contains("Undefined variable: nothing"));
        std::fs::remove_file(&file).unwrap();
        assert!(Arc::ptr_eq(&second, &source.current().0));
        std::fs::write(&file, "3").unwrap();
        assert_eq!(source.current().1, None);
    }

    #[test]
    fn a_script_stands_in_one_place() {
        let both = ScriptProbe { file: Some("a".into()), source: Some("1".into()), ..ScriptProbe::default() };
        for spec in [both, ScriptProbe::default()] {
            assert_eq!(Source::compile(&spec, None).err().unwrap().field, "script");
        }
        let file = ScriptProbe { file: Some("a".into()), ..ScriptProbe::default() };
        assert!(Source::compile(&file, None).err().unwrap().why.contains("no directory of resources"));
    }
}
