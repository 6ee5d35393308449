//! Modules of Prometheus' `blackbox_exporter` as probes.
//!
//! The file is read as strictly as that program reads it (its CONFIGURATION.md of version 0.28 is the
//! source), with a place for every word. What a probe cannot say is a warning at its line; nothing is
//! left out in silence.

mod exchange;
mod http;
mod network;
mod section;
mod tls;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{Diagnostic, Position};
use super::document::decode;
use super::tree::{MAX_FILE_BYTES, Node, parse_foreign};
use crate::api::{ANNOTATION_MODULE, Probe, ProbeSpec, Resource};
use crate::model::Period;
use section::Section;

/// The probers, each with the section that it reads.
const PROBERS: [&str; 6] = ["http", "tcp", "dns", "icmp", "grpc", "unix"];
/// The longest name of a resource.
const MAX_NAME: usize = 253;
/// The interval of a probe that names none: a timeout must be shorter.
const DEFAULT_INTERVAL_MS: u32 = 10_000;

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imported {
    /// The probes: one for each module that could be read. They make no rounds by themselves.
    pub probes: Vec<Probe>,
    /// What is wrong, and what a probe cannot say, by line.
    pub notes: Vec<Diagnostic>,
}

/// Turns the modules of a file into probes of `namespace`.
#[must_use]
pub fn import(file: &str, bytes: &[u8], namespace: Option<&str>) -> Imported {
    let failed = |error: Diagnostic| Imported { probes: Vec::new(), notes: vec![error] };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("it is larger than {MAX_FILE_BYTES} bytes");
        return failed(Diagnostic::error("unreadable", file, Position::START, message));
    }
    let text = match decode(file, bytes) {
        Ok(text) => text,
        Err(error) => return failed(*error),
    };
    let (documents, error) = parse_foreign(file, text);
    if let Some(error) = error {
        return failed(error);
    }
    let [document] = documents.as_slice() else {
        let message = format!("one document is needed, and there are {}", documents.len());
        return failed(Diagnostic::error("documents", file, Position::START, message));
    };
    let notes = RefCell::new(Vec::new());
    let probes = modules(file, document, namespace, &notes);
    let mut notes = notes.into_inner();
    notes.sort();
    Imported { probes, notes }
}

fn modules(file: &str, document: &Node, namespace: Option<&str>, notes: &RefCell<Vec<Diagnostic>>) -> Vec<Probe> {
    let Some(top) = Section::top(file, document, notes) else { return Vec::new() };
    let mut probes = Vec::new();
    let mut names = BTreeSet::new();
    for (name, node) in top.entries("modules") {
        let Some(section) = top.below(&format!("modules.{name}"), node) else { continue };
        let before = errors(notes);
        let spec = spec(name, &section);
        section.end();
        // A module with an error would ask for something else than it means.
        if let (Some(spec), true) = (spec, errors(notes) == before) {
            probes.push(probe(name, namespace, spec, &mut names));
        }
    }
    if top.get("modules").is_none() {
        top.error_here("missing-field", "`modules` is missing: it holds the modules by name");
    }
    top.end();
    probes
}

fn errors(notes: &RefCell<Vec<Diagnostic>>) -> usize {
    notes.borrow().iter().filter(|note| note.is_error()).count()
}

fn probe(module: &str, namespace: Option<&str>, spec: ProbeSpec, names: &mut BTreeSet<String>) -> Probe {
    let mut probe = Probe::new(&name_for(module, names), spec);
    let meta = probe.meta_mut();
    meta.namespace = namespace.map(str::to_owned);
    meta.annotations = Some(BTreeMap::from([(ANNOTATION_MODULE.to_owned(), module.to_owned())]));
    probe
}

/// A name that a resource may have, and no other has.
fn name_for(module: &str, names: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let plain: String = module.chars().map(plain).take(MAX_NAME - 8).collect();
    let base = plain.trim_matches('-');
    let base = if base.is_empty() { "module" } else { base };
    let numbered = (2..).map(|number: u32| format!("{base}-{number}"));
    let mut candidates = std::iter::once(base.to_owned()).chain(numbered);
    let name = candidates.find(|name| !names.contains(name)).unwrap_or_default();
    names.insert(name.clone());
    name
}

/// The spec of a module, as far as it can be read.
fn spec(module: &str, section: &Section<'_>) -> Option<ProbeSpec> {
    let mut spec = ProbeSpec { suspend: true, ..ProbeSpec::default() };
    if let Some(millis) = section.duration("timeout").filter(|millis| *millis > 0) {
        spec.timeout = Some(Period::from_millis(millis));
        if millis >= DEFAULT_INTERVAL_MS {
            spec.interval = Some(Period::from_millis(millis.saturating_mul(2)));
        }
    }
    let prober = section.text("prober");
    let Some(prober) = prober.as_deref().filter(|prober| PROBERS.contains(prober)) else {
        let message = match &prober {
            Some(other) => format!("there is no prober `{other}`"),
            None => "`prober` is missing".to_owned(),
        };
        section.wrong("prober", "prober", message, PROBERS);
        return None;
    };
    for other in PROBERS.into_iter().filter(|other| *other != prober) {
        if section.get(other).is_some() {
            section.warn(other, "no-effect", format!("the prober `{prober}` does not read it"));
        }
    }
    let inner = section.section(prober);
    let inner = inner.unwrap_or_else(|| section.empty(prober));
    match prober {
        "http" => spec.http = Some(http::probe(module, &inner).into()),
        "tcp" => spec.tcp = Some(exchange::tcp(module, &inner).into()),
        "unix" => spec.unix = Some(exchange::unix(&inner).into()),
        "dns" => spec.dns = Some(network::dns(module, &inner)?.into()),
        "icmp" => spec.icmp = Some(network::icmp(&inner).into()),
        _ => spec.grpc = Some(network::grpc(module, &inner).into()),
    }
    inner.end();
    Some(spec)
}
