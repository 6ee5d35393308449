//! Rule files and the checks that name them.

use super::Judge;
use super::spot::Spot;
use crate::api::Check;
use crate::config::diagnostic::{Diagnostic, Position};
use crate::rules::{Library, ScriptError};

impl Judge<'_> {
    /// Every rule file compiles, whether a gate uses it or not.
    pub(super) fn scripts(&mut self) {
        match Library::compile(self.loaded.scripts.clone()) {
            Ok(library) => self.library = Some(library),
            Err(errors) => {
                for error in &errors.errors {
                    let found = self.script(error);
                    self.report(found);
                }
            }
        }
    }

    fn script(&self, error: &ScriptError) -> Diagnostic {
        let path = error.path.as_deref().unwrap_or("rules");
        let file = self.loaded.script_files.get(path).map_or(path, String::as_str);
        let at = Position { line: error.line.unwrap_or(1), column: error.column.unwrap_or(1) };
        Diagnostic::error("script", file, at, error.why.clone())
    }

    /// The rule that a check names, and the parameters that it gives.
    pub(super) fn rule(&mut self, check_spot: &Spot<'_>, path: &str, check: &Check) {
        let spot = check_spot.field("rule");
        // Where a rule file is broken, that has been said: the rest would only be its echo.
        let Some(library) = &self.library else { return };
        match library.rule(path) {
            Ok(rule) => {
                let errors = rule.bind(&check.parameters.clone().unwrap_or_default()).err().unwrap_or_default();
                for error in errors {
                    let spot = check_spot.field("parameters").field(error.name.clone());
                    self.report(spot.error("parameter", format!("rule `{path}`: {}", error.why)));
                }
            }
            Err(_) if !self.whole || self.file_is_there(spot.sourced(), path) => {}
            Err(_) => {
                let there: Vec<&str> = library.rules().map(|rule| rule.path()).collect();
                let error = spot.error("dangling", format!("there is no rule `{path}`")).with_nearest(path, there);
                self.report(error);
            }
        }
    }
}
