//! The kind `script`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tls::ProbeTls;

/// A Rhai script with several steps: log in, create, read, delete.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.file) != has(self.source)", "message": "exactly one of file and source"}
]))]
pub struct ScriptProbe {
    /// The script's file, below the directory of the resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub file: Option<String>,
    /// The script itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub source: Option<String>,
    /// Where the script may connect to: `host`, `host:port` or `*.domain`, beside `target`. Everything
    /// else is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 300)))]
    pub hosts: Vec<String>,
    /// What the script knows as `target`: a URL, `host` or `host:port`. Each of `targets` takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2_048))]
    pub target: Option<String>,
    /// Values that the script knows as `parameters`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), schema_with = "crate::api::gate::free_map")]
    pub parameters: BTreeMap<String, Value>,
    /// Files below the secrets directory that the script knows as `secrets`, by name; a line end at
    /// the end is cut off.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), inner(length(min = 1, max = 253)))]
    pub secrets: BTreeMap<String, String>,
    /// Options for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProbeTls>,
}
