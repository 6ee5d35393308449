//! What is remembered of a release between two looks at it: an annotation on the rollout, so that
//! whoever leads next knows as much as whoever led before.

use serde::{Deserialize, Serialize};

/// How far one release was let out. Written together with what lets it out, in one patch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// The change's id, the same for all of its batches.
    pub change: String,
    /// The revision that it brings.
    pub revision: String,
    /// The plan that it follows.
    pub plan: String,
    /// The last batch that was let out; one more than there are once the end was.
    pub batch: u32,
    /// The share of the workload that was let out.
    pub percent: u8,
    /// The release goes on.
    pub open: bool,
    /// The release that this one came in between of: it goes on where it was when its revision
    /// comes back before this one has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Record>>,
    /// What the engine called the revision that its words were about when this one was let out, where
    /// that was another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
}

impl Record {
    /// Reads the annotation. What somebody wrote there by hand and makes no sense is none.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|record: &Self| !record.change.is_empty())
    }

    /// The annotation's text.
    #[must_use]
    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The same release, over.
    #[must_use]
    pub fn closed(&self) -> Self {
        Self { open: false, before: None, ..self.clone() }
    }
}

/// How a batch went out without a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// Somebody gave the word, or took the pause away.
    Approval,
    /// The step went on by itself after its time.
    Duration,
    /// The last step of 100 %, where the engine never stops.
    LastStep,
    /// The rollout was disabled in mid-release.
    Disabled,
    /// The rollout was deleted in mid-release.
    Deleted,
    /// A step was edited in mid-release.
    EditedStep,
    /// Somebody made the engine skip batches.
    Jump,
    /// Another revision came and began before it could be held.
    NewRevision,
}

impl How {
    /// Every way.
    pub const ALL: [Self; 8] = [
        Self::Approval,
        Self::Duration,
        Self::LastStep,
        Self::Disabled,
        Self::Deleted,
        Self::EditedStep,
        Self::Jump,
        Self::NewRevision,
    ];

    /// The word in the run's status and in the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Duration => "duration",
            Self::LastStep => "lastStep",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
            Self::EditedStep => "editedStep",
            Self::Jump => "jump",
            Self::NewRevision => "newRevision",
        }
    }

    /// The same for people.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Approval => "approved by hand",
            Self::Duration => "its step's pause ended by itself",
            Self::LastStep => "the engine never stops after a last step of 100%",
            Self::Disabled => "the rollout was disabled",
            Self::Deleted => "the rollout was deleted",
            Self::EditedStep => "a step was edited",
            Self::Jump => "batches were skipped",
            Self::NewRevision => "another revision began before it could be held",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_reads_back() {
        let record = Record {
            change: "checkout-1f-7".into(),
            revision: "1f".into(),
            plan: "p".into(),
            batch: 2,
            percent: 40,
            open: true,
            before: None,
            over: None,
        };
        assert_eq!(Record::read(&record.write()), Some(record));
    }

    proptest! {
        #[test]
        fn nonsense_is_no_record_and_no_panic(text in "\\PC{0,200}") {
            let _ = Record::read(&text);
        }
    }
}
