//! The closed sets of words that the product speaks in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A word outside its closed set, with the set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {what}: it is one of {allowed}")]
pub struct UnknownWord {
    /// What stood there.
    pub found: String,
    /// The kind of word that was expected, with its article.
    pub what: &'static str,
    /// Every allowed word, separated by commas.
    pub allowed: String,
}

/// Declares an enum whose variants are lower-case words: serde, schema, `Display`, `FromStr` and
/// the list of all of them come from one place.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $($(#[$vmeta:meta])* $variant:ident = $word:tt),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every word of the set, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it is written everywhere.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| UnknownWord {
                    found: text.to_owned(),
                    what: $what,
                    allowed: Self::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

words!(
    /// What a run says: may the rollout go on?
    Verdict, "a verdict", {
        /// Every enforced check passed and the soak is over.
        Pass = "pass",
        /// An enforced check failed, or nothing could be known until the timeout.
        Block = "block",
        /// Not decided yet; always with until when, or for what.
        Wait = "wait",
    }
);
words!(
    /// What one check says.
    Outcome, "an outcome", {
        /// The condition holds.
        Pass = "pass",
        /// The condition does not hold.
        Fail = "fail",
        /// No data, a broken prober, too little traffic, an error.
        Unknown = "unknown",
        /// Still measuring, or held until a known instant.
        Pending = "pending",
    }
);
words!(
    /// How much a check counts. Trust in a check grows from shadow over advise to enforce.
    #[derive(Default)]
    Mode, "a mode", {
        /// Decides the verdict.
        #[default]
        Enforce = "enforce",
        /// Is reported as a warning and never blocks.
        Advise = "advise",
        /// Runs and is recorded; is not shown as a warning.
        Shadow = "shadow",
    }
);
words!(
    /// Where the gate is asked, seen from a batch.
    Point, "a point", {
        /// Before the batch: nothing has been changed yet.
        Pre = "pre",
        /// After the batch.
        Post = "post",
    }
);
words!(
    /// What a change does to its target.
    #[derive(Default)]
    Action, "an action", {
        /// Brings a new revision.
        #[default]
        Release = "release",
        /// Goes back to an earlier revision; never held by a soak, a budget or a window, unless a
        /// freeze names rollbacks.
        Rollback = "rollback",
        /// Changes the number of replicas.
        Scale = "scale",
        /// Changes configuration alone.
        Config = "config",
    }
);
words!(
    /// Who set a change off.
    #[derive(Default)]
    Invoker, "an invoker", {
        /// A person at a terminal or a page.
        Person = "person",
        /// A controller or a pipeline.
        #[default]
        Automation = "automation",
    }
);
words!(
    /// What becomes of a run whose enforced checks are still unknown or pending at the timeout.
    #[derive(Default)]
    OnUnknown, "a policy for unknown outcomes", {
        /// The verdict is block: the default, because no data is never a pass.
        #[default]
        Block = "block",
        /// The verdict is pass: a deliberate choice of the gate's owner, and recorded as such.
        Pass = "pass",
        /// The run goes on measuring and the verdict stays wait.
        Wait = "wait",
    }
);
words!(
    /// What a shut window means for a change that is already under way.
    #[derive(Default)]
    Running, "a policy for running changes", {
        /// The change is held at its next question.
        #[default]
        Hold = "hold",
        /// The change may finish.
        Finish = "finish",
    }
);
words!(
    /// What the operator does with a rollout whose batch is blocked afterwards.
    #[derive(Default)]
    OnBlock, "a policy for blocked batches", {
        /// The rollout stays where it is until somebody decides.
        #[default]
        Hold = "hold",
        /// The workload gets its stable template back.
        Rollback = "rollback",
    }
);
words!(
    /// The state of a probe.
    ProbeState, "a probe state", {
        /// It answers as expected.
        Up = "up",
        /// It answers, outside a softer limit.
        Degraded = "degraded",
        /// It fails.
        Down = "down",
        /// Nothing is known: not probed yet, stale, or the prober itself is in trouble.
        Unknown = "unknown",
    }
);
