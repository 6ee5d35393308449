//! Probes: held against the kinds that will run them, and against each other.

use std::path::{Path, PathBuf};

use super::Judge;
use super::spot::Spot;
use crate::api::{AnyResource, HttpExpect, HttpProbe, Probe, ProbeSpec};
use crate::config::load::read_limited;
use crate::model::Period;
use crate::probes::{self, MAX_TARGETS_FILE, SpecError, Tools};

impl Judge<'_> {
    pub(super) fn probe(&mut self, spec: &Spot<'_>, probe: &Probe) {
        let root = self.root_of(spec);
        let file = self.targets_file(spec, &probe.spec, &root);
        for error in probes::check(&probe.spec, &Tools::idle(Some(root)), file.as_deref()) {
            // Where only a part is at hand, a file may be elsewhere.
            if self.whole || error.field != "script.file" {
                self.report(spec_error(spec, &error));
            }
        }
        self.quorum(spec, &probe.spec);
        self.parents(spec, probe);
        self.maintenance(spec, &probe.spec);
        if let Some(http) = &probe.spec.http {
            self.http(&spec.field("http"), http, probe.spec.timeout);
        }
        let max = probe.spec.latency.as_ref().and_then(|rule| rule.max);
        if let Some(max) = max {
            self.latency(&spec.field("latency").field("max"), max, probe.spec.timeout);
        }
    }

    /// Where relative paths of a resource begin.
    fn root_of(&self, spec: &Spot<'_>) -> PathBuf {
        let file = &spec.sourced().file;
        let found = self.loaded.files.iter().find(|found| found.name == *file);
        found.map_or_else(|| PathBuf::from("."), |found| found.root.clone())
    }

    /// The text of the file of targets, where there is one that can be read.
    fn targets_file(&mut self, spec: &Spot<'_>, probe: &ProbeSpec, root: &Path) -> Option<String> {
        let file = probe.targets.as_ref()?.file.as_ref()?;
        let spot = spec.field("targets").field("file");
        let path = root.join(file);
        if !path.is_file() {
            if self.whole {
                self.report(spot.error("dangling", format!("there is no file {}", path.display())));
            }
            return None;
        }
        let read = read_limited(&path, MAX_TARGETS_FILE as u64);
        match read.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "the file is no UTF-8".to_owned())) {
            Ok(text) => Some(text),
            Err(why) => {
                self.report(spot.error("targets", why));
                None
            }
        }
    }

    fn quorum(&mut self, spec: &Spot<'_>, probe: &ProbeSpec) {
        let Some(quorum) = probe.quorum.filter(|quorum| *quorum > 1) else { return };
        let most = match &probe.targets {
            None => 1,
            // Nobody knows how many there will be.
            Some(targets) if targets.file.is_some() || targets.dns.is_some() => return,
            Some(targets) => targets.list.len(),
        };
        if usize::try_from(quorum).is_ok_and(|quorum| quorum > most) {
            let targets =
                if most == 1 { "there is one target".to_owned() } else { format!("there are {most} targets") };
            let message = format!("{targets}: {quorum} of them are never down, and all of them count instead");
            self.report(spec.field("quorum").warning("unreachable", message));
        }
    }

    /// Parents must be there, and must not stand on what stands on them.
    fn parents(&mut self, spec: &Spot<'_>, probe: &Probe) {
        let own = spec.sourced().resource.name().to_owned();
        let namespace = spec.sourced().resource.namespace().to_owned();
        let all = self.in_namespace(&namespace, AnyResource::as_probe);
        for (index, parent) in probe.spec.parents.iter().enumerate() {
            let spot = spec.field("parents").item(index);
            if let Some(way) = way_back(&all, parent, &own) {
                let message = format!("`{own}` stands on itself: {own} → {}", way.join(" → "));
                self.report(spot.error("cycle", message));
            } else {
                self.reference(&spot, "probe", parent, AnyResource::as_probe);
            }
        }
    }

    fn maintenance(&mut self, spec: &Spot<'_>, probe: &ProbeSpec) {
        let Some(maintenance) = &probe.maintenance else { return };
        let spot = spec.field("maintenance");
        for (index, name) in maintenance.names.iter().enumerate() {
            self.reference(&spot.field("names").item(index), "release window", name, AnyResource::as_window);
        }
        if maintenance.match_labels.is_empty() || !self.whole {
            return;
        }
        let selected = self.loaded.windows().any(|window| {
            let labels = window.metadata.labels.clone().unwrap_or_default();
            maintenance.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        });
        if !selected {
            let message = "it selects no release window: there is never a maintenance by it";
            self.report(spot.field("matchLabels").warning("selects-none", message));
        }
    }

    fn http(&mut self, spot: &Spot<'_>, http: &HttpProbe, timeout: Option<Period>) {
        for (field, expect) in [("expect", &http.expect), ("warn", &http.warn)] {
            let Some(expect) = expect else { continue };
            let spot = spot.field(field);
            self.body(&spot, expect, http.method.as_deref());
            if let Some(latency) = expect.latency {
                self.latency(&spot.field("latency").field("max"), latency.max, timeout);
            }
        }
    }

    fn body(&mut self, spot: &Spot<'_>, expect: &HttpExpect, method: Option<&str>) {
        let Some(body) = &expect.body else { return };
        let spot = spot.field("body");
        if body.contains.is_some() && body.contains == body.excludes {
            let message = "`contains` and `excludes` are the same text: no answer can meet both";
            self.report(spot.error("unreachable", message));
        }
        if method == Some("HEAD") && (body.contains.is_some() || body.matches.is_some()) {
            let message = "the answer to a HEAD has no body: no answer can meet this";
            self.report(spot.error("unreachable", message));
        }
    }

    fn latency(&mut self, spot: &Spot<'_>, max: Period, timeout: Option<Period>) {
        if let Some(timeout) = timeout.filter(|timeout| max.exact() >= timeout.exact() && !max.is_zero()) {
            let message =
                format!("the round ends at its timeout of {timeout}, before {max} are over: it is never slow");
            self.report(spot.warning("unreachable", message));
        }
    }
}

/// What the kind says about a field, in one line.
fn spec_error(spec: &Spot<'_>, error: &SpecError) -> crate::config::Diagnostic {
    let spot = Spot::at(spec.sourced(), &format!("spec.{}", error.field));
    // An expression's own message draws a picture of several lines; its last one says it.
    let why = error.why.lines().last().unwrap_or_default().trim();
    let why = why.strip_prefix("error: ").unwrap_or(why);
    let several = error.why.lines().count() > 1;
    let message = if several { format!("not a regular expression: {why}") } else { why.to_owned() };
    spot.error("probe", message)
}

/// The way over parents from `from` to `to`, where there is one.
fn way_back(all: &[(&str, &Probe)], from: &str, to: &str) -> Option<Vec<String>> {
    let mut seen = vec![from.to_owned()];
    let mut ways = vec![vec![from.to_owned()]];
    while let Some(way) = ways.pop() {
        let last = way.last()?;
        if last == to {
            return Some(way);
        }
        let probe = all.iter().find(|(name, _)| name == last).map(|(_, probe)| *probe);
        for parent in probe.into_iter().flat_map(|probe| &probe.spec.parents) {
            if !seen.contains(parent) {
                seen.push(parent.clone());
                ways.push(way.iter().chain([parent]).cloned().collect());
            }
        }
    }
    None
}
