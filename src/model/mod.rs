//! The words of the product as types: pure values without input, output or a clock.
//!
//! Everything else stands on this module and it stands on nothing of ours.

mod change;
mod decimal;
mod past;
mod period;
mod report;
mod selector;
mod words;

pub use change::{Batch, Change, Question, QuestionKey, Subject};
pub use decimal::{Decimal, DecimalError};
pub use past::PastRun;
pub use period::{Period, PeriodError};
pub use report::{Evidence, Report};
pub use selector::{Expression, Labels, Operator, SelectorError, glob_matches};
pub use words::{Action, Invoker, Mode, OnBlock, OnUnknown, Outcome, Point, ProbeState, Running, UnknownWord, Verdict};
