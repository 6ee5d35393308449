//! What the API server has written down: every write, by whom, when. It is the API server that
//! counts here, and not the operator.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::cluster::{Cluster, OPERATOR};

/// One write of the operator.
#[derive(Debug, Clone)]
pub struct Write {
    pub at: Timestamp,
    pub verb: String,
    /// The plural, and the subresource.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
}

/// The operator's writes, read as they come.
pub struct Audit {
    path: PathBuf,
    position: u64,
    pub writes: Vec<Write>,
}

impl Audit {
    /// Begins with what is written from now on.
    pub fn from_now(cluster: &Cluster) -> Self {
        let path = cluster.audit();
        let position = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, position, writes: Vec::new() }
    }

    /// Reads what has come since; how many writes these were, leases left out.
    pub fn read(&mut self) -> anyhow::Result<usize> {
        let before = self.others().count();
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.position))?;
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        loop {
            line.clear();
            let length = reader.read_line(&mut line)?;
            // The last line may not be whole yet.
            if length == 0 || !line.ends_with('\n') {
                break;
            }
            self.position += u64::try_from(length)?;
            self.writes.extend(write(&line));
        }
        Ok(self.others().count() - before)
    }

    /// All writes but those of leases and of what only asks (token and access reviews).
    pub fn others(&self) -> impl Iterator<Item = &Write> {
        self.writes.iter().filter(|write| write.resource != "leases" && !write.resource.ends_with("reviews"))
    }

    /// How many of each kind.
    pub fn table(&self) -> BTreeMap<String, usize> {
        let mut table = BTreeMap::new();
        for write in &self.writes {
            *table.entry(format!("{} {}", write.verb, write.resource)).or_default() += 1;
        }
        table
    }

    /// The most writes in any one second, leases among them.
    pub fn busiest(&self) -> usize {
        let mut times: Vec<Timestamp> = self.writes.iter().map(|write| write.at).collect();
        times.sort_unstable();
        let second = SignedDuration::from_secs(1);
        let within =
            |(from, at): (usize, &Timestamp)| times.iter().skip(from).take_while(|time| **time < *at + second).count();
        times.iter().enumerate().map(within).max().unwrap_or(0)
    }
}

/// What changes something; the API server writes down what only reads as well.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

fn write(line: &str) -> Option<Write> {
    if !line.contains(OPERATOR) {
        return None;
    }
    let event: Value = serde_json::from_str(line).ok()?;
    let writes = event["verb"].as_str().is_some_and(|verb| WRITES.contains(&verb));
    if !writes || event["user"]["username"] != OPERATOR {
        return None;
    }
    let object = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sub = object["subresource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
    Some(Write {
        at: event["requestReceivedTimestamp"].as_str()?.parse().ok()?,
        verb: text(&event["verb"]),
        resource: format!("{}{sub}", text(&object["resource"])),
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or(0),
    })
}
