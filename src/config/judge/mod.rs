//! How resources fit together, and what a schema cannot see: references that lead nowhere, times
//! that contradict each other, scripts that do not compile.

mod gates;
mod overrides;
mod probes;
mod scripts;
mod spot;
mod syntax;
mod webhooks;
mod windows;

use std::path::Path;

use jiff::Timestamp;

use super::diagnostic::Diagnostic;
use super::document::Sourced;
use super::load::Loaded;
use crate::api::AnyResource;
use crate::rules::Library;
use spot::Spot;

/// What the judgement stands on.
#[derive(Debug, Clone, Copy)]
pub struct Judgement {
    /// Now: what has expired is judged by it.
    pub now: Timestamp,
    /// Whether a reference to what is not among the loaded resources is an error. Where only a
    /// part of the resources is at hand, it is not.
    pub whole: bool,
}

/// Judges loaded resources; sorted by file and line.
#[must_use]
pub fn judge(loaded: &Loaded, judgement: Judgement) -> Vec<Diagnostic> {
    let mut judge = Judge { loaded, now: judgement.now, whole: judgement.whole, library: None, found: Vec::new() };
    judge.scripts();
    for sourced in &loaded.resources {
        let spec = Spot::spec(sourced);
        match &sourced.resource {
            AnyResource::Gate(gate) => judge.gate(&spec, gate),
            AnyResource::Probe(probe) => judge.probe(&spec, probe),
            AnyResource::ReleaseWindow(window) => judge.window(&spec, window),
            AnyResource::Override(exception) => judge.exception(&spec, exception),
            AnyResource::GateRun(run) => judge.run(&spec, run),
        }
    }
    judge.found.sort();
    judge.found
}

struct Judge<'a> {
    loaded: &'a Loaded,
    now: Timestamp,
    whole: bool,
    /// The rules; none where a rule file is broken.
    library: Option<Library>,
    found: Vec<Diagnostic>,
}

impl<'a> Judge<'a> {
    fn report(&mut self, found: Diagnostic) {
        self.found.push(found);
    }

    /// The resources of one namespace that `pick` picks.
    fn in_namespace<T: 'a>(
        &self,
        namespace: &str,
        pick: impl Fn(&'a AnyResource) -> Option<&'a T>,
    ) -> Vec<(&'a str, &'a T)> {
        let all = self.loaded.resources.iter().map(|sourced| &sourced.resource);
        all.filter(|resource| resource.namespace() == namespace)
            .filter_map(|resource| Some((resource.name(), pick(resource)?)))
            .collect()
    }

    /// The resource of that name, or the message that there is none. `None` without a message where
    /// only a part of the resources is at hand.
    fn reference<T: 'a>(
        &mut self,
        spot: &Spot<'_>,
        kind: &str,
        name: &str,
        pick: impl Fn(&'a AnyResource) -> Option<&'a T>,
    ) -> Option<&'a T> {
        let namespace = spot.sourced().resource.namespace().to_owned();
        let there = self.in_namespace(&namespace, &pick);
        if let Some((_, found)) = there.iter().find(|(other, _)| *other == name) {
            return Some(*found);
        }
        if self.whole {
            let all = self.loaded.resources.iter().map(|sourced| &sourced.resource);
            let elsewhere = all.filter(|resource| resource.name() == name && pick(resource).is_some());
            let elsewhere: Vec<&str> = elsewhere.map(AnyResource::namespace).collect();
            let hint = match elsewhere.as_slice() {
                [] => String::new(),
                [..] => format!(
                    " (there is one in namespace {}; a name is looked up in the resource's own namespace)",
                    elsewhere.join(", ")
                ),
            };
            let message = format!("there is no {kind} {namespace}/{name}{hint}");
            self.report(spot.error("dangling", message).with_nearest(name, there.iter().map(|(name, _)| *name)));
        }
        None
    }

    /// Whether a file is there, beside the resource or below the directories that were named.
    fn file_is_there(&self, sourced: &Sourced, path: &str) -> bool {
        let beside = Path::new(&sourced.file).parent().map(|parent| parent.join(path));
        beside.is_some_and(|path| path.is_file())
            || self.loaded.files.iter().any(|found| found.root.join(path).is_file())
    }
}
