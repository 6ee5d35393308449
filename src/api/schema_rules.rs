//! Rules about free fields, in the words that an API server has for them.
//!
//! CEL cannot see a field without a type, and an API server refuses a definition with a rule that
//! names one. What such a rule says about presence a schema can say as well.

use serde_json::{Map, Value, json};

/// The key of the rules in a schema.
const RULES: &str = "x-kubernetes-validations";

/// Turns the rules of one node that name a free field into `anyOf` or `not`.
pub(super) fn for_server(node: &mut Map<String, Value>) {
    let free = free_fields(node);
    let Some(Value::Array(rules)) = node.get_mut(RULES) else { return };
    let about_free = |rule: &Value| {
        let text = rule.get("rule").and_then(Value::as_str).unwrap_or_default();
        free.iter().any(|field| text.contains(&format!("self.{field}")))
    };
    let (translated, kept): (Vec<Value>, Vec<Value>) = std::mem::take(rules).into_iter().partition(about_free);
    if kept.is_empty() {
        node.remove(RULES);
    } else {
        node.insert(RULES.to_owned(), Value::Array(kept));
    }
    for rule in translated {
        let text = rule.get("rule").and_then(Value::as_str).unwrap_or_default();
        if let Some((keyword, value)) = presence(text) {
            node.insert(keyword.to_owned(), value);
        }
    }
}

fn free_fields(node: &Map<String, Value>) -> Vec<String> {
    let fields = node.get("properties").and_then(Value::as_object).into_iter().flatten();
    fields.filter(|(_, schema)| schema.get("type").is_none()).map(|(name, _)| name.clone()).collect()
}

/// `has(self.a) || has(self.b)` and `!(has(self.a) && has(self.b))`; `None` for anything else.
fn presence(rule: &str) -> Option<(&'static str, Value)> {
    if let Some(both) = rule.strip_prefix("!(").and_then(|rest| rest.strip_suffix(')')) {
        let fields: Option<Vec<&str>> = both.split(" && ").map(present).collect();
        return Some(("not", json!({"required": fields?})));
    }
    let fields: Option<Vec<&str>> = rule.split(" || ").map(present).collect();
    Some(("anyOf", fields?.into_iter().map(|field| json!({"required": [field]})).collect()))
}

fn present(term: &str) -> Option<&str> {
    let field = term.strip_prefix("has(self.")?.strip_suffix(')')?;
    field.chars().all(|c| c.is_ascii_alphanumeric()).then_some(field)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("has(self.max) || has(self.min)", Some(("anyOf", json!([{"required": ["max"]}, {"required": ["min"]}]))))]
    #[case("!(has(self.equals) && has(self.matches))", Some(("not", json!({"required": ["equals", "matches"]}))))]
    #[case("self.max > self.min", None)]
    fn presence_is_what_a_schema_can_say(#[case] rule: &str, #[case] expected: Option<(&'static str, Value)>) {
        assert_eq!(presence(rule), expected);
    }

    #[test]
    fn only_rules_about_free_fields_are_turned() {
        let mut node = json!({
            "properties": {"max": {"x-kubernetes-preserve-unknown-fields": true}, "name": {"type": "string"}},
            RULES: [{"rule": "has(self.max) || has(self.name)"}, {"rule": "self.name != ''"}]
        });
        for_server(node.as_object_mut().unwrap());
        assert_eq!(node[RULES], json!([{"rule": "self.name != ''"}]));
        assert_eq!(node["anyOf"], json!([{"required": ["max"]}, {"required": ["name"]}]));
    }
}
