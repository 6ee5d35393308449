//! The sandbox: what a script can do, and how much of it.
//!
//! An engine without modules from disk, without `eval`, `sleep`, `exit`, timestamps and reflection,
//! with every limit that there is. Evaluations run on a thread of their own: its stack is large
//! enough for whatever the limits allow, so that no script can end the process, and a panic inside
//! the interpreter is an error like any other.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{Array, Dynamic, Engine, EvalAltResult, Position};

use super::error::{ScriptError, ScriptErrorKind, bounded};

/// The most operations of one evaluation. It ends a loop at the same place on every machine, and
/// a slow machine makes so many within [`EVALUATION_BUDGET`].
pub const MAX_OPERATIONS: u64 = 100_000;
/// The longest that one evaluation may run: with the time to stop it, an answer stands within 50 ms.
pub const EVALUATION_BUDGET: Duration = Duration::from_millis(40);
/// The longest that one file may take to be loaded: its operations are limited as well, and a start
/// on a busy machine must not lose a rule.
pub(super) const LOAD_BUDGET: Duration = Duration::from_secs(2);
/// The deepest nesting of calls: a policy has no use for recursion beyond it.
pub const MAX_CALL_LEVELS: usize = 24;
/// The deepest nesting of an expression.
pub const MAX_EXPRESSION_DEPTH: usize = 48;
/// The most bytes of text in one value.
pub const MAX_STRING_BYTES: usize = 65_536;
/// The most elements of lists in one value, nested ones included.
pub const MAX_ARRAY: usize = 10_000;
/// The most entries of maps in one value, nested ones included.
pub const MAX_MAP: usize = 10_000;
/// The most variables at one time.
pub(super) const MAX_VARIABLES: usize = 256;
/// The most functions of one script, closures included.
pub(super) const MAX_FUNCTIONS: usize = 128;
/// The most modules that one script imports, directly and indirectly.
pub(super) const MAX_MODULES: usize = 16;

/// The stack of an evaluation. Values may be nested [`MAX_ARRAY`] + [`MAX_MAP`] deep and are
/// dropped, compared and printed by recursion; memory is only taken for what is touched.
pub const STACK_BYTES: usize = 256 * 1024 * 1024;
/// How many operations pass between two looks at the clock.
const CLOCK_EVERY: u64 = 16;
/// The most lines of a script's log that are kept, and the longest line.
const MAX_LOG_LINES: usize = 20;
const MAX_LOG_LINE: usize = 200;

thread_local! {
    /// When the evaluation on this thread must be over.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// What the script on this thread has printed.
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The harmless parts of the language with all limits on sizes and depths: what scripts of every
/// kind stand on. How long they may run is for their own kind to say.
#[must_use]
pub fn language() -> Engine {
    let mut engine = Engine::new_raw();
    ArithmeticPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BasicStringPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    BasicMapPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    BasicFnPackage::new().register_into_engine(&mut engine);
    engine.register_fn("pad", pad);

    engine
        .set_max_call_levels(MAX_CALL_LEVELS)
        .set_max_expr_depths(MAX_EXPRESSION_DEPTH, MAX_EXPRESSION_DEPTH)
        .set_max_string_size(MAX_STRING_BYTES)
        .set_max_array_size(MAX_ARRAY)
        .set_max_map_size(MAX_MAP)
        .set_max_variables(MAX_VARIABLES)
        .set_max_functions(MAX_FUNCTIONS)
        .set_max_modules(0)
        .disable_symbol("eval");
    engine
}

/// The language of rules and expressions, with the limits on their time.
pub(super) fn engine() -> Engine {
    let mut engine = language();
    engine.set_max_operations(MAX_OPERATIONS);
    engine.on_progress(|operations| (operations % CLOCK_EVERY == 0 && late()).then_some(Dynamic::UNIT));
    engine.on_print(log);
    engine.on_debug(|text, _, _| log(text));
    engine
}

/// Fills a list up to a length, in place of the package's own, which reserves any length before it
/// looks at the limit. Only with what is small: a list in every place would be beyond all limits.
fn pad(list: &mut Array, length: i64, item: Dynamic) -> Result<(), Box<EvalAltResult>> {
    let length = usize::try_from(length).unwrap_or(0);
    if length > MAX_ARRAY || item.is_array() || item.is_map() || item.is_blob() {
        return Err(EvalAltResult::ErrorDataTooLarge("the padded list".to_owned(), Position::NONE).into());
    }
    if length > list.len() {
        list.resize(length, item);
    }
    Ok(())
}

/// Whether the time of this thread's evaluation is up.
pub(super) fn late() -> bool {
    DEADLINE.get().is_some_and(|deadline| Instant::now() >= deadline)
}

fn log(line: &str) {
    LOG.with_borrow_mut(|lines| {
        if lines.len() < MAX_LOG_LINES {
            lines.push(bounded(line, MAX_LOG_LINE));
        }
    });
}

/// What the evaluation on this thread has printed so far.
pub(super) fn take_log() -> Vec<String> {
    LOG.take()
}

/// Runs `work` in the sandbox's thread, with its stack and the deadline of an evaluation, and waits
/// for it.
///
/// # Errors
/// The thread cannot be had, or the interpreter panicked.
pub(super) fn guarded<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, ScriptError> {
    guarded_for(EVALUATION_BUDGET, work)
}

/// [`guarded`] with another deadline.
pub(super) fn guarded_for<T: Send>(budget: Duration, work: impl FnOnce() -> T + Send) -> Result<T, ScriptError> {
    let internal = |why: String| ScriptError::new(ScriptErrorKind::Internal, why);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("script".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                DEADLINE.set(Instant::now().checked_add(budget));
                work()
            })
            .map_err(|error| internal(format!("no thread to evaluate on: {error}")))?
            .join()
            .map_err(|_| internal("the interpreter panicked".to_owned()))
    })
}
