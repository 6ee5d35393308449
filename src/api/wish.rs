//! What somebody wants of the operator, written on a resource as an annotation: who, and why.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::names::Resource;

/// The longest name of who wants it, as the schema of other actors has it.
const MAX_ACTOR: usize = 253;
/// The longest reason, as the schema of other reasons has it.
const MAX_REASON: usize = 512;

/// Who wants something of the operator, and why: `{"actor": "alice", "reason": "known slow start"}`.
///
/// The admission policies of `deploy/` see to it that the actor is whoever writes the annotation, and
/// that it is not changed afterwards. They look for it at the beginning of the text, so it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Who.
    pub actor: String,
    /// Why; empty where nobody said.
    #[serde(default)]
    pub reason: String,
}

impl Wish {
    /// The wish in an annotation of a resource. A text that is no wish, such as `now`, is one all the
    /// same, of whoever that names: without the policies there is nobody to refuse it.
    #[must_use]
    pub fn of<R: Resource>(resource: &R, annotation: &str) -> Option<Self> {
        let text = resource.meta().annotations.as_ref()?.get(annotation)?;
        let wish = serde_json::from_str(text).unwrap_or_else(|_| Self { actor: text.clone(), reason: String::new() });
        Some(Self { actor: cut(&wish.actor, MAX_ACTOR), reason: cut(&wish.reason, MAX_REASON) })
    }

    /// Writes it on a resource.
    pub fn write<R: Resource>(&self, resource: &mut R, annotation: &str) {
        // In this order, whatever the map makes of it: `actor` comes before `reason`.
        let text = json!({"actor": self.actor, "reason": self.reason}).to_string();
        resource.meta_mut().annotations.get_or_insert_default().insert(annotation.to_owned(), text);
    }

    /// Writes it where nobody has wished so yet, who stays on record; whether that was so.
    pub fn write_first<R: Resource>(&self, resource: &mut R, annotation: &str) -> bool {
        let first = Self::of(resource, annotation).is_none();
        if first {
            self.write(resource, annotation);
        }
        first
    }
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ANNOTATION_CANCEL, GateRun};
    use rstest::rstest;

    fn run(text: &str) -> GateRun {
        let change = json!({"id": "c", "target": "t", "revision": "r", "actor": "ci"});
        serde_json::from_value(json!({
            "metadata": {"name": "r-1", "annotations": {ANNOTATION_CANCEL: text}},
            "spec": {"gate": "g", "change": change, "batch": {"index": 1, "total": 1, "percent": 100}, "point": "pre"},
        }))
        .unwrap()
    }

    #[rstest]
    #[case::whole(r#"{"actor": "alice", "reason": "wrong image"}"#, "alice", "wrong image")]
    #[case::no_reason(r#"{"actor": "alice"}"#, "alice", "")]
    #[case::a_word("now", "now", "")]
    #[case::twice(r#"{"actor":"alice","actor":"bob"}"#, r#"{"actor":"alice","actor":"bob"}"#, "")]
    #[case::more(r#"{"actor":"alice","x":1}"#, r#"{"actor":"alice","x":1}"#, "")]
    fn a_wish_is_read_as_what_it_says_and_never_as_more(#[case] text: &str, #[case] actor: &str, #[case] reason: &str) {
        let wish = Wish::of(&run(text), ANNOTATION_CANCEL).unwrap();
        assert_eq!((wish.actor.as_str(), wish.reason.as_str()), (actor, reason));
    }

    #[test]
    fn what_is_written_begins_with_the_actor_and_reads_as_it_was() {
        let wish = Wish { actor: "system:serviceaccount:shop:ci".to_owned(), reason: "a \"quoted\" word".to_owned() };
        let mut run = run("");
        wish.write(&mut run, ANNOTATION_CANCEL);
        let text = &run.metadata.annotations.as_ref().unwrap()[ANNOTATION_CANCEL];
        assert!(text.starts_with(r#"{"actor":"system:serviceaccount:shop:ci","#), "{text}");
        assert_eq!(Wish::of(&run, ANNOTATION_CANCEL), Some(wish));
    }

    #[test]
    fn who_wishes_first_stays_on_record() {
        let wish = |actor: &str| Wish { actor: actor.to_owned(), reason: String::new() };
        let mut run = run("");
        run.metadata.annotations = None;
        assert!(wish("alice").write_first(&mut run, ANNOTATION_CANCEL));
        assert!(!wish("bob").write_first(&mut run, ANNOTATION_CANCEL));
        assert_eq!(Wish::of(&run, ANNOTATION_CANCEL), Some(wish("alice")));
    }
}
