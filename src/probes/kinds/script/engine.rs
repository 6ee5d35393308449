//! The language of probe scripts: that of rules, with other limits, and with functions that reach
//! the network of the run.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Duration;

use rhai::{AST, Dynamic, Engine, EvalContext, FnPtr, NativeCallContext, Scope};
use serde_json::Value;

use super::fault::{Answer, Fault};
use super::given::{self, Parameters, SecretValues};
use super::run::{current, is_over};
use super::web::Http;
use super::wires::{Dns, Tcp};
use crate::model::Period;
use crate::probes::result::{Phase, Reason};
use crate::rules::{Allowance, STACK_BYTES, language, to_json, to_script};

/// The most operations of one run, and of each block of clean-up: ten times those of a rule, which
/// is well below a second.
pub(super) const MAX_OPERATIONS: u64 = 1_000_000;
/// The most bytes of text in one value: a whole body fits.
pub(super) const MAX_TEXT: usize = 256 * 1024;
/// The most variables at one time: with the depth of calls and the size of a text they limit the
/// memory of a run to some hundred megabytes at the very worst.
const MAX_VARIABLES: usize = 64;
/// How many looks at variables pass, on average, between two in which one is weighed. What is put
/// into a map by its key, the engine does not weigh with it.
const WEIGH_EVERY: u64 = 16;
/// How many operations pass between two looks at the clock.
const CLOCK_EVERY: u64 = 64;
/// The names that every script knows.
const NAMES: [&str; 7] = ["http", "tcp", "dns", "json", "target", "parameters", "secrets"];

/// The one engine of all scripts; what belongs to a run is found by its thread.
pub(super) static ENGINE: LazyLock<Engine> = LazyLock::new(engine);

thread_local! {
    /// What decides which looks at variables are taken: a row of numbers without a rhythm, since the
    /// looks of a loop have one.
    static ROW: Cell<u64> = const { Cell::new(1) };
}

/// The handle of `json` in a script.
#[derive(Debug, Clone, Copy)]
struct Json;

/// Compiles a script. Nothing of it runs.
///
/// # Errors
/// It is none, or names a variable that there is not; with line and column.
pub(super) fn compile(text: &str) -> Result<AST, String> {
    on_a_stack(|| {
        let mut known = Scope::new();
        for name in NAMES {
            known.push(name, ());
        }
        ENGINE.compile_with_scope(&known, text).map_err(|error| {
            let position = error.position();
            match (position.line(), position.position()) {
                (Some(line), Some(column)) => format!("line {line}, column {column}: {}", error.err_type()),
                (Some(line), None) => format!("line {line}: {}", error.err_type()),
                _ => error.err_type().to_string(),
            }
        })
    })?
}

/// Works on a thread with a stack that is large enough for whatever the limits allow.
fn on_a_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("compile script".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread to compile on: {error}"))?
            .join()
            .map_err(|_| "the compiler panicked".to_owned())
    })
}

fn engine() -> Engine {
    let mut engine = language();
    engine.set_max_operations(MAX_OPERATIONS).set_max_string_size(MAX_TEXT).set_max_variables(MAX_VARIABLES);
    engine.set_strict_variables(true);
    engine.on_progress(|operations| (operations % CLOCK_EVERY == 0 && is_over()).then_some(Dynamic::UNIT));
    engine.on_print(log);
    engine.on_debug(|text, _, _| log(text));
    names(&mut engine);
    flow(&mut engine);
    values(&mut engine);
    super::web::register(&mut engine);
    super::wires::register(&mut engine);
    engine
}

/// Makes the names known everywhere, in functions and closures too.
fn names(engine: &mut Engine) {
    #[expect(deprecated, reason = "it is not deprecated but may change, says its documentation")]
    engine.on_var(|name, index, context| {
        weigh(name, &context)?;
        // A variable of the script's own, a function's argument for example, goes first.
        if index > 0 || !NAMES.contains(&name) || context.scope().contains(name) {
            return Ok(None);
        }
        Ok(Some(match name {
            "http" => Dynamic::from(Http),
            "tcp" => Dynamic::from(Tcp),
            "dns" => Dynamic::from(Dns),
            "json" => Dynamic::from(Json),
            "parameters" => Dynamic::from(Parameters),
            "secrets" => Dynamic::from(SecretValues),
            _ => current()?.given.target.as_ref().map_or(Dynamic::UNIT, |target| target.text.clone().into()),
        }))
    });
    engine.register_type_with_name::<Parameters>("parameters");
    engine.register_indexer_get(given::parameter);
    engine.register_fn("or", given::parameter_or);
    engine.register_fn("contains", given::is_parameter);
    engine.register_fn("all", given::all_parameters);
    engine.register_type_with_name::<SecretValues>("secrets");
    engine.register_indexer_get(given::secret);
}

/// Holds a variable to the limits on sizes, now and then.
fn weigh(name: &str, context: &EvalContext<'_, '_, '_, '_, '_, '_>) -> Answer<()> {
    // Knuth's linear congruential generator; its high digits are the better ones.
    let next = ROW.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ROW.set(next);
    if !(next >> 32).is_multiple_of(WEIGH_EVERY) {
        return Ok(());
    }
    match context.scope().get(name) {
        Some(value) if !value.is_locked() => context.engine().ensure_data_size_within_limits(value),
        _ => Ok(()),
    }
}

/// Steps, assertions, clean-up, and what else makes a flow.
fn flow(engine: &mut Engine) {
    engine.register_fn("step", |context: NativeCallContext<'_>, name: &str, block: FnPtr| -> Answer<Dynamic> {
        let run = current()?;
        let number = run.begin_step(name)?;
        run.end_step(number, block.call_within_context(&context, ()))
    });
    engine.register_fn("cleanup", |block: FnPtr| -> Answer<()> { current()?.keep(block) });
    engine.register_fn("assert", |holds: bool, message: &str| -> Answer<()> { assert(holds, message) });
    engine.register_fn("assert", |holds: bool| -> Answer<()> { assert(holds, "an assertion does not hold") });
    engine.register_fn("log", |value: Dynamic| log(&text_of(&value)));
    engine.register_fn("hide", |value: Dynamic| -> Answer<Dynamic> {
        current()?.hide(&text_of(&value));
        Ok(value)
    });
    engine.register_fn("sleep", |period: &str| -> Answer<()> {
        current()?.sleep(duration("sleep", period)?);
        Ok(())
    });
    engine.register_type_with_name::<Fault>("failure");
    engine.register_get("reason", |fault: &mut Fault| fault.reason.as_str().to_owned());
    engine.register_get("phase", |fault: &mut Fault| {
        fault.phase.map(Phase::as_str).map_or(Dynamic::UNIT, |phase| phase.to_owned().into())
    });
    engine.register_get("message", |fault: &mut Fault| fault.message.clone());
    engine.register_get("step", |fault: &mut Fault| fault.step.clone().map_or(Dynamic::UNIT, Dynamic::from));
    engine.register_get("line", |fault: &mut Fault| {
        fault.line.and_then(|line| i64::try_from(line).ok()).map_or(Dynamic::UNIT, Dynamic::from)
    });
    engine.register_fn("to_string", |fault: &mut Fault| fault.sentence());
}

/// JSON, random values, and texts for URLs.
fn values(engine: &mut Engine) {
    engine.register_type_with_name::<Json>("json");
    engine.register_fn("parse", |_: &mut Json, text: &str| -> Answer<Dynamic> { parsed(text, "the text") });
    engine.register_fn("stringify", |_: &mut Json, value: Dynamic| -> Answer<String> {
        let value = to_json(&value).map_err(|what| Fault::of_script(format!("JSON has no {what}")).thrown())?;
        Ok(value.to_string())
    });
    engine.register_fn("random_id", || -> Answer<String> { Ok(format!("{:016x}", random()?)) });
    engine.register_fn("random_int", |least: i64, most: i64| -> Answer<i64> {
        let span =
            most.checked_sub(least).and_then(|span| u64::try_from(span).ok()).and_then(|span| span.checked_add(1));
        let span =
            span.ok_or_else(|| Fault::of_script(format!("there is no number from {least} to {most}")).thrown())?;
        // The remainder is below the span, which fits between the two.
        Ok(least.saturating_add(i64::try_from(random()? % span).unwrap_or_default()))
    });
    engine.register_fn("url_encode", |text: &str| -> String {
        url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
    });
}

fn assert(holds: bool, message: &str) -> Answer<()> {
    if holds { Ok(()) } else { Err(Fault::new(Reason::Assert, message).thrown()) }
}

fn log(line: &str) {
    if let Ok(run) = current() {
        run.log(line);
    }
}

/// A value as a line shows it: a text as it is, everything else as JSON.
pub(super) fn text_of(value: &Dynamic) -> String {
    if let Ok(text) = value.as_immutable_string_ref() {
        return text.to_string();
    }
    to_json(value).map_or_else(|_| value.to_string(), |json| json.to_string())
}

/// JSON as a value; `what` is what is read.
pub(super) fn parsed(text: &str, what: &str) -> Answer<Dynamic> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Fault::new(Reason::Json, format!("{what} is no JSON: {error}")).thrown())?;
    to_script(&value, &mut Allowance::full())
        .map_err(|error| Fault::new(Reason::Size, format!("{what} is too much for a script: {error}")).thrown())
}

/// A duration such as `500ms`.
pub(super) fn duration(what: &str, text: &str) -> Answer<Duration> {
    let period: Period = text.parse().map_err(|error| {
        Fault::of_script(format!("{what}: `{text}` is no duration such as 500ms: {error}")).thrown()
    })?;
    Ok(period.to_std())
}

fn random() -> Answer<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Fault::new(Reason::Exhausted, format!("no random numbers: {error}")).thrown())?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("let x = 1;\nlet y = x + z;", "line 2, column 13", "Undefined variable: z")]
    #[case("fn f() { tokn }", "line 1, column 10", "Undefined variable: tokn")]
    #[case("step(\"a\", || { htpp.get(\"/\") });", "line 1, column 16", "Undefined variable: htpp")]
    #[case("let x = ;", "line 1, column 9", "")]
    #[case("eval(\"1\")", "line 1", "eval")]
    #[case("import \"x\" as x;", "line 1", "")]
    fn what_does_not_compile_is_told_with_its_line(#[case] text: &str, #[case] place: &str, #[case] what: &str) {
        let error = match compile(text) {
            Err(error) => error,
            // Imports are refused when they are made: there is nowhere to import from.
            Ok(_) if text.starts_with("import") => return,
            Ok(_) => panic!("{text} compiles"),
        };
        assert!(error.starts_with(place) && error.contains(what), "{error}");
    }

    #[rstest]
    #[case("let token = step(\"a\", || http.get(\"/\"));")]
    #[case(
        "fn login(user) { http.post(target + \"/login\", #{user: user, key: secrets.key}) } login(parameters.user);"
    )]
    #[case("cleanup(|| { http.delete(\"/\") }); assert(1 == 1, \"x\");")]
    fn every_name_is_known_in_functions_and_blocks(#[case] text: &str) {
        compile(text).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_makes_the_compiler_panic(text in "[a-z0-9 .|(){}\\[\\]#\"'`$+*/<>=!&?,;:-]{0,120}") {
            if let Err(error) = compile(&text) {
                prop_assert!(!error.contains("panicked"), "{}", error);
            }
        }
    }
}
