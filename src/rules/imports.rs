//! Imports between the files of one library, and from nowhere else.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rhai::{AST, Engine, EvalAltResult, Module, ModuleResolver, Position, Scope};

use super::complaint::{complain, did_you_mean};

type SharedModule = Arc<Module>;

/// What the script on this thread may import.
#[derive(Debug, Default)]
struct Imports {
    /// The files that are being loaded, outermost first.
    loading: Vec<String>,
    /// What was imported so far, directly and indirectly.
    seen: BTreeSet<String>,
    /// Once loaded: what was imported then, and nothing more, so that the rule's hash covers it.
    allowed: Option<Arc<BTreeSet<String>>>,
}

thread_local! {
    static IMPORTS: RefCell<Imports> = RefCell::new(Imports::default());
}

/// Begins to load the file `path` on this thread.
pub(super) fn begin(path: &str) {
    IMPORTS.set(Imports { loading: vec![path.to_owned()], ..Imports::default() });
}

/// What was imported on this thread since [`begin`].
pub(super) fn take() -> BTreeSet<String> {
    IMPORTS.take().seen
}

/// Allows imports of `files` on this thread, and no others.
pub(super) fn allow(files: Arc<BTreeSet<String>>) {
    IMPORTS.set(Imports { allowed: Some(files), ..Imports::default() });
}

/// The files of one library, as modules.
pub(super) struct Files {
    asts: BTreeMap<String, AST>,
    /// Loaded modules, each with what it imports itself.
    modules: Mutex<BTreeMap<String, (SharedModule, BTreeSet<String>)>>,
}

impl Files {
    pub(super) fn new(asts: BTreeMap<String, AST>) -> Self {
        Self { asts, modules: Mutex::new(BTreeMap::new()) }
    }

    /// The file that `path` means in `source`: beside it, or from the root of the library.
    fn find(&self, source: Option<&str>, path: &str) -> Option<&str> {
        let name = format!("{}.rhai", path.strip_suffix(".rhai").unwrap_or(path));
        let folder = source.and_then(|source| source.rsplit_once('/')).map_or("", |(folder, _)| folder);
        [format!("{folder}/{name}"), name]
            .iter()
            .filter_map(|path| normal(path))
            .find_map(|path| self.asts.get_key_value(path.as_str()).map(|(path, _)| path.as_str()))
    }

    fn cached(&self, path: &str) -> Option<(SharedModule, BTreeSet<String>)> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn load(&self, engine: &Engine, path: &str) -> Result<SharedModule, Box<EvalAltResult>> {
        if let Some((module, imports)) = self.cached(path) {
            IMPORTS.with_borrow_mut(|state| {
                state.seen.insert(path.to_owned());
                state.seen.extend(imports);
            });
            return Ok(module);
        }
        let ast = self.asts.get(path).ok_or_else(|| complain(format!("there is no file {path}")))?;
        let outer = IMPORTS.with_borrow_mut(|state| {
            if state.loading.iter().any(|loading| loading == path) {
                return Err(complain(format!("{} imports itself: {path}", state.loading.join(" imports "))));
            }
            state.loading.push(path.to_owned());
            Ok(std::mem::take(&mut state.seen))
        })?;
        let module = Module::eval_ast_as_new(Scope::new(), ast, engine);
        let imports = IMPORTS.with_borrow_mut(|state| {
            state.loading.pop();
            let imports = std::mem::replace(&mut state.seen, outer);
            state.seen.insert(path.to_owned());
            state.seen.extend(imports.iter().cloned());
            imports
        });
        let module: SharedModule = module?.into();
        self.modules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned(), (Arc::clone(&module), imports));
        Ok(module)
    }
}

/// Resolves imports among the files of a library.
pub(super) struct Resolver(pub(super) Arc<Files>);

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<SharedModule, Box<EvalAltResult>> {
        let Some(found) = self.0.find(source, path) else {
            let near = did_you_mean(path, self.0.asts.keys().map(String::as_str));
            return Err(Box::new(EvalAltResult::ErrorModuleNotFound(format!("{path}{near}"), position)));
        };
        let allowed = IMPORTS.with_borrow(|state| state.allowed.as_ref().is_none_or(|allowed| allowed.contains(found)));
        if !allowed {
            let mut error =
                complain(format!("{found} is imported inside a function: imports stand at the top of a file"));
            error.set_position(position);
            return Err(error);
        }
        self.0.load(engine, found)
    }
}

/// `path` without `.` and `..`; nothing where it leaves the library.
pub(super) fn normal(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
