//! One expression over named values: what a webhook's answer must be, what a probe expects.

use std::sync::LazyLock;

use rhai::{AST, Dynamic, Engine, Scope};
use serde_json::{Map, Value};

use super::convert::{Allowance, to_json, to_script, type_name};
use super::error::{ScriptError, ScriptErrorKind, bounded};
use super::sandbox;

/// The longest text of an expression: longer ones are programs, and programs are rules.
pub const MAX_EXPRESSION_BYTES: usize = 4_096;

static ENGINE: LazyLock<Engine> = LazyLock::new(sandbox::engine);

/// A Rhai expression without statements, compiled once: `body.ok == true`,
/// `status in [200, 204]`, `body.items.all(|item| item.healthy)`.
///
/// A property that a map does not have is `()`: equal to nothing but `()`, so that a missing
/// answer fails an expectation instead of ending it in an error. A property of `()` is an error.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    ast: AST,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// The text is too long or no expression; the error has line and column.
    pub fn compile(text: &str) -> Result<Self, ScriptError> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(ScriptError::new(
                ScriptErrorKind::Syntax,
                format!("the expression has {} bytes; {MAX_EXPRESSION_BYTES} are allowed", text.len()),
            ));
        }
        let ast =
            sandbox::guarded(|| ENGINE.compile_expression(text).map_err(|error| ScriptError::from_parse(&error)))??;
        Ok(Self { text: text.to_owned(), ast })
    }

    /// The text that it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Evaluates it over `vars`, each of which is a variable. Takes a fraction of a millisecond,
    /// and never longer than 50.
    ///
    /// # Errors
    /// The input is too large, the expression fails or meets a limit, or its value is no JSON.
    pub fn eval(&self, vars: &Map<String, Value>) -> Result<Value, ScriptError> {
        self.with_value(vars, |value| {
            to_json(value).map_err(|what| ScriptError::new(ScriptErrorKind::Result, format!("it gave {what}")))
        })
    }

    /// Evaluates it over `vars` to a yes or a no.
    ///
    /// # Errors
    /// As [`Self::eval`], and when it gives anything but a boolean: the error says what.
    pub fn holds(&self, vars: &Map<String, Value>) -> Result<bool, ScriptError> {
        self.with_value(vars, |value| {
            value.as_bool().map_err(|_| {
                let found = bounded(&value.to_string(), 60);
                let shown = if value.is_unit() { String::new() } else { format!(" (`{found}`)") };
                ScriptError::new(
                    ScriptErrorKind::Result,
                    format!("it gave {}{shown}, not true or false", type_name(value)),
                )
            })
        })
    }

    fn with_value<T: Send>(
        &self,
        vars: &Map<String, Value>,
        read: impl FnOnce(&Dynamic) -> Result<T, ScriptError> + Send,
    ) -> Result<T, ScriptError> {
        sandbox::guarded(|| {
            let mut allowance = Allowance::full();
            let mut scope = Scope::new();
            for (name, value) in vars {
                scope.push_constant_dynamic(name.as_str(), to_script(value, &mut allowance)?);
            }
            let value: Dynamic =
                ENGINE.eval_ast_with_scope(&mut scope, &self.ast).map_err(|error| ScriptError::from_eval(&error))?;
            read(&value)
        })?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn vars() -> Map<String, Value> {
        let vars = json!({
            "status": 200,
            "body": {"ok": true, "count": 3, "ratio": 0.25, "items": [{"up": true}, {"up": false}], "none": null},
            "x": 1,
        });
        vars.as_object().unwrap().clone()
    }

    #[rstest]
    #[case("body.ok == true", true)]
    #[case("body.ok", true)]
    #[case("status in [200, 204]", true)]
    #[case("status >= 200 && status < 300", true)]
    #[case("body.items.all(|item| item.up)", false)]
    #[case("body.items.some(|item| item.up)", true)]
    #[case("body.items.len() == 2", true)]
    #[case("body.count > 2.5", true)]
    #[case("body.absent == true", false)]
    #[case("body.absent == ()", true)]
    #[case("body.none == ()", true)]
    #[case("\"ok\" in body", true)]
    #[case("if status == 200 { body.ok } else { false }", true)]
    fn an_expectation_holds_or_not(#[case] text: &str, #[case] holds: bool) {
        assert_eq!(Expression::compile(text).unwrap().holds(&vars()), Ok(holds), "{text}");
    }

    #[rstest]
    #[case("body.count", "it gave a whole number (`3`), not true or false")]
    #[case("body.absent", "it gave nothing, not true or false")]
    #[case("body.absent.deep == 1", "line 1, column 13")]
    #[case("bodi.ok", "there is no variable `bodi`")]
    #[case("body.ok.frobnicate()", "there is no function frobnicate")]
    #[case("1 / 0 == 1", "Division by zero")]
    fn what_is_no_answer_is_an_error_that_says_what_it_got(#[case] text: &str, #[case] message: &str) {
        let error = Expression::compile(text).unwrap().holds(&vars()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }

    #[rstest]
    #[case("body.ok ==", "line 1, column 11")]
    #[case("body.ok = true", "line 1, column 9")]
    #[case("let x = 1; x == 1", "line 1, column 1")]
    #[case("loop {}", "line 1, column 1")]
    #[case("eval(\"1\")", "eval")]
    #[case("import \"x\" as x", "line 1, column 1")]
    #[case("", "not a script")]
    fn what_is_no_expression_does_not_compile(#[case] text: &str, #[case] message: &str) {
        let error = Expression::compile(text).unwrap_err();
        assert_eq!(error.kind, ScriptErrorKind::Syntax);
        assert!(error.to_string().contains(message), "{error}");
    }

    #[test]
    fn values_come_back_as_json() {
        let eval = |text: &str| Expression::compile(text).unwrap().eval(&vars()).unwrap();
        assert_eq!(eval("body"), vars()["body"]);
        assert_eq!(eval("body.ratio * 2"), json!(0.5));
        assert_eq!(eval("body.items.map(|item| item.up)"), json!([true, false]));
    }

    #[test]
    fn an_input_beyond_the_limit_is_an_error() {
        let huge = json!({"list": vec![1; 1_000_000]}).as_object().unwrap().clone();
        let error = Expression::compile("true").unwrap().holds(&huge).unwrap_err();
        assert_eq!(error.kind, ScriptErrorKind::Input);
    }

    #[test]
    fn a_long_chain_is_refused_or_evaluated_and_never_aborts() {
        for operator in ["+", "&&", "==", "??"] {
            let chain = vec!["x"; 4_096 / (operator.len() + 1)].join(operator);
            if let Ok(expression) = Expression::compile(&chain) {
                let _ = expression.eval(&vars());
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_compiler_panic(text in "[a-z0-9 .|(){}\\[\\]#\"'`$+*/<>=!&?,;:-]{0,120}") {
            if let Ok(expression) = Expression::compile(&text) {
                let error = expression.eval(&vars()).err();
                prop_assert!(error.is_none_or(|error| error.kind != ScriptErrorKind::Internal));
            }
        }
    }
}
