//! What is sent: the question as JSON, or a template filled with it.

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value as Item};
use serde_json::{Value, json};

use crate::checks::Context;

/// How many steps a template may take: a loop over all labels takes a few hundred.
const MAX_FUEL: u64 = 50_000;
/// The largest body that is sent.
const MAX_BODY: usize = 256 * 1024;
const NAME: &str = "body";

/// The body of a webhook.
pub(super) enum Body {
    /// The question as JSON.
    Question,
    /// A template.
    Template(Box<Environment<'static>>),
    /// Nothing.
    Nothing,
}

/// The question as the other side reads it, and as templates know it.
pub(super) fn question(context: &Context, key: &str) -> Value {
    let question = &context.question;
    json!({
        "gate": question.gate,
        "namespace": question.namespace,
        "run": context.run,
        "point": question.point,
        "change": {
            "id": question.change.id,
            "target": question.change.target,
            "revision": question.change.revision,
            "action": question.change.action,
            "actor": question.change.actor,
            "invoker": question.change.invoker,
            "cluster": question.change.cluster.as_deref().unwrap_or(""),
            "labels": question.change.labels,
        },
        "batch": question.batch,
        "execution": context.execution,
        "idempotencyKey": key,
    })
}

impl Body {
    /// Reads the body of a spec; `plain` is whether its content type is another than JSON.
    ///
    /// # Errors
    /// The template does not parse, or names what there is not.
    pub(super) fn compile(text: Option<&str>, plain: bool, sample: &Value) -> Result<Self, String> {
        let text = match text {
            None => return Ok(Self::Question),
            Some("") => return Ok(Self::Nothing),
            Some(text) => text,
        };
        let mut environment = Environment::new();
        environment.set_fuel(Some(MAX_FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        if !plain {
            environment.set_formatter(write_json);
        }
        environment.add_template_owned(NAME, text.to_owned()).map_err(|error| said(&error))?;
        let body = Self::Template(Box::new(environment));
        body.render(sample)?;
        Ok(body)
    }

    /// The body for a question; `None` where there is none.
    ///
    /// # Errors
    /// The template fails, or grows too large.
    pub(super) fn render(&self, question: &Value) -> Result<Option<String>, String> {
        let text = match self {
            Self::Nothing => return Ok(None),
            Self::Question => question.to_string(),
            Self::Template(environment) => environment
                .get_template(NAME)
                .and_then(|template| template.render(Serde(question)))
                .map_err(|error| said(&error))?,
        };
        if text.len() > MAX_BODY {
            return Err(format!("the body has {} bytes; at most {MAX_BODY} are sent", text.len()));
        }
        Ok(Some(text))
    }
}

fn said(error: &Error) -> String {
    let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    format!("the template{line}: {error}")
}

/// Writes a value into JSON: a text as the inside of a string, so that no text of a caller can end
/// it; everything else as JSON. What a filter has made safe (`tojson`) stays as it is.
fn write_json(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Item) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::WriteFailure, error.to_string());
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "a name that there is not"));
    }
    let text = match value.kind() {
        _ if value.is_safe() => value.to_string(),
        ValueKind::String => {
            let quoted = serde_json::to_string(value).map_err(|error| failed(&error))?;
            let inside = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            inside.unwrap_or_default().to_owned()
        }
        _ => serde_json::to_string(value).map_err(|error| failed(&error))?,
    };
    out.write_str(&text).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn sample(id: &str) -> Value {
        json!({"gate": "checkout", "change": {"id": id, "labels": {"a": "b"}}, "batch": {"index": 2}})
    }

    fn rendered(text: &str, plain: bool, id: &str) -> String {
        Body::compile(Some(text), plain, &sample("x")).unwrap().render(&sample(id)).unwrap().unwrap()
    }

    #[rstest]
    #[case("{\"id\": \"{{ change.id }}\"}", false, "c-1", "{\"id\": \"c-1\"}")]
    #[case("{\"id\": \"{{ change.id }}\"}", false, "a\",\"ok\":\"", "{\"id\": \"a\\\",\\\"ok\\\":\\\"\"}")]
    #[case("{\"id\": {{ change.id | tojson }}}", false, "a\"", "{\"id\": \"a\\\"\"}")]
    #[case("{{ change.labels }} {{ batch.index }}", false, "", "{\"a\":\"b\"} 2")]
    #[case("id={{ change.id }}", true, "a\"b", "id=a\"b")]
    #[case("{% for k, v in change.labels|items %}{{ k }}={{ v }}{% endfor %}", true, "", "a=b")]
    fn a_template_is_filled(#[case] text: &str, #[case] plain: bool, #[case] id: &str, #[case] expected: &str) {
        assert_eq!(rendered(text, plain, id), expected);
    }

    #[rstest]
    #[case("{{ change.id", "line 1")]
    #[case("{{ chnage.id }}", "undefined")]
    #[case("{{ change.idd }}", "")]
    #[case("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}", "fuel")]
    fn a_template_that_cannot_work_is_refused_before_it_is_used(#[case] text: &str, #[case] why: &str) {
        let error = Body::compile(Some(text), false, &sample("x")).map(|_| ()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn an_empty_body_is_none_and_an_absent_one_the_question() {
        assert_eq!(Body::compile(Some(""), false, &sample("x")).unwrap().render(&sample("x")), Ok(None));
        let body = Body::compile(None, false, &sample("x")).unwrap().render(&sample("x")).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), sample("x"));
    }

    proptest! {
        #[test]
        fn no_text_of_a_caller_leaves_its_place_in_json(id in any::<String>()) {
            let body = rendered("{\"id\": \"{{ change.id }}\", \"ok\": false}", false, &id);
            let read: Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(read, json!({"id": id, "ok": false}));
        }
    }
}
