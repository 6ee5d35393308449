//! A field of a loaded resource, and what is said about it.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::config::diagnostic::{Diagnostic, Position};
use crate::config::document::Sourced;

/// One step from a field to one below it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(Cow<'static, str>),
    Item(usize),
}

/// A field of a resource.
#[derive(Debug, Clone)]
pub(super) struct Spot<'a> {
    sourced: &'a Sourced,
    steps: Vec<Step>,
}

impl<'a> Spot<'a> {
    /// The `spec` of a resource.
    pub(super) fn spec(sourced: &'a Sourced) -> Self {
        Self { sourced, steps: vec![Step::Field("spec".into())] }
    }

    /// The field below.
    pub(super) fn field(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.below(Step::Field(name.into()))
    }

    /// The item of the list.
    pub(super) fn item(&self, index: usize) -> Self {
        self.below(Step::Item(index))
    }

    fn below(&self, step: Step) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        Self { sourced: self.sourced, steps }
    }

    /// The resource that it is a field of.
    pub(super) const fn sourced(&self) -> &'a Sourced {
        self.sourced
    }

    /// The field of a resource at a path such as `spec.schedule.cron[0].expression`.
    pub(super) fn at(sourced: &'a Sourced, path: &str) -> Self {
        let parts = path.split(['.', '[', ']']).filter(|part| !part.is_empty());
        let step = |part: &str| part.parse().map_or_else(|_| Step::Field(part.to_owned().into()), Step::Item);
        Self { sourced, steps: parts.map(step).collect() }
    }

    fn keys(&self) -> Vec<String> {
        let key = |step: &Step| match step {
            Step::Field(name) => name.to_string(),
            Step::Item(index) => index.to_string(),
        };
        self.steps.iter().map(key).collect()
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Field(name) if path.is_empty() => write!(path, "{name}"),
                Step::Field(name) => write!(path, ".{name}"),
                Step::Item(index) => write!(path, "[{index}]"),
            };
        }
        path
    }

    fn place(&self) -> Position {
        let keys = self.keys();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.sourced.place(&keys)
    }

    /// An error about it.
    pub(super) fn error(&self, rule: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(rule, &self.sourced.file, self.place(), message)
            .with_path(self.path())
            .with_resource(self.sourced.title())
    }

    /// A warning about it.
    pub(super) fn warning(&self, rule: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(rule, &self.sourced.file, self.place(), message)
            .with_path(self.path())
            .with_resource(self.sourced.title())
    }
}
