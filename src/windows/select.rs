//! Which changes a window binds.

use super::compile::Compiled;
use super::decide::Query;
use crate::api::{WindowSelector, WindowType};
use crate::model::{Action, glob_matches};

/// Why a window does not bind what is asked about; `None` where it does.
pub(super) fn why_not(window: &Compiled, query: &Query) -> Option<String> {
    let spec = &window.spec;
    if query.action == Action::Rollback && spec.kind == WindowType::Allow {
        return Some("a rollback is held by freezes alone".to_owned());
    }
    let bound =
        if spec.actions.is_empty() { query.action == Action::Release } else { spec.actions.contains(&query.action) };
    if !bound {
        return Some(format!("it does not bind the action {}", query.action));
    }
    if !spec.invokers.is_empty() && !spec.invokers.contains(&query.invoker) {
        return Some(format!("it does not bind the invoker {}", query.invoker));
    }
    spec.selector.as_ref().and_then(|selector| unselected(selector, query))
}

fn unselected(selector: &WindowSelector, query: &Query) -> Option<String> {
    let names = [
        ("cluster", &selector.clusters, &query.cluster),
        ("namespace", &selector.namespaces, &query.namespace),
        ("target", &selector.targets, &query.target),
    ];
    for (what, patterns, name) in names {
        let name = name.as_deref().unwrap_or("");
        if !patterns.is_empty() && !patterns.iter().any(|pattern| glob_matches(pattern, name)) {
            return Some(format!("the {what} `{name}` fits none of {}", patterns.join(", ")));
        }
    }
    if let Some(label) = selector.match_labels.iter().find(|(key, value)| query.labels.get(*key) != Some(value)) {
        return Some(format!("the label {} is not {}", label.0, label.1));
    }
    let expression = selector.match_expressions.iter().find(|expression| !expression.matches(&query.labels))?;
    Some(format!(
        "the label {} does not meet {:?} {}",
        expression.key,
        expression.operator,
        expression.values.join(", ")
    ))
}
