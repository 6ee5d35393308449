//! Errors of our own functions: told with the place of the call, and without "it threw".

use rhai::{Dynamic, EvalAltResult, Position};

/// What one of our functions has against its arguments.
#[derive(Debug, Clone)]
pub(super) struct Complaint(pub(super) String);

/// The result of our functions inside a script.
pub(super) type Answer<T> = Result<T, Box<EvalAltResult>>;

#[expect(clippy::unnecessary_box_returns, reason = "the script engine's errors are boxed")]
/// An error that a script's call of one of our functions ends in.
pub(super) fn complain(why: impl Into<String>) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(Complaint(why.into())), Position::NONE))
}

/// The candidate that is spelled most like `found`, where one is near enough to have been meant.
pub(super) fn nearest<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = found.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .map(|(_, candidate)| candidate)
}

/// "; did you mean `x`?", or nothing.
pub fn did_you_mean<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(found, candidates).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
