//! Half-open lengths of time on the time line.

use jiff::Timestamp;

/// One occurrence of a schedule: `start` included, `end` not. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Occurrence {
    /// The first instant.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl Occurrence {
    /// An occurrence; `None` where it would contain nothing.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// Occurrences that overlap or touch, as one. An end that is `None` lies beyond what is searched
/// (see [`super::HORIZON`]), or does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stretch {
    /// The first instant.
    pub since: Option<Timestamp>,
    /// The first instant after it.
    pub until: Option<Timestamp>,
}

impl Stretch {
    /// All of time.
    pub const ALWAYS: Self = Self { since: None, until: None };

    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }
}

impl From<Occurrence> for Stretch {
    fn from(occurrence: Occurrence) -> Self {
        Self { since: Some(occurrence.start), until: Some(occurrence.end) }
    }
}

/// Sorts `occurrences` and makes those that overlap or touch one: the result is disjoint and in
/// order.
#[must_use]
pub fn merged(mut occurrences: Vec<Occurrence>) -> Vec<Occurrence> {
    occurrences.sort_unstable();
    let mut out: Vec<Occurrence> = Vec::with_capacity(occurrences.len());
    for occurrence in occurrences {
        match out.last_mut() {
            Some(last) if occurrence.start <= last.end => last.end = last.end.max(occurrence.end),
            _ => out.push(occurrence),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn touching_occurrences_are_one() {
        let merged = merged(vec![
            Occurrence::new(at(10), at(20)).unwrap(),
            Occurrence::new(at(0), at(10)).unwrap(),
            Occurrence::new(at(21), at(22)).unwrap(),
        ]);
        assert_eq!(merged, [Occurrence { start: at(0), end: at(20) }, Occurrence { start: at(21), end: at(22) }]);
    }

    #[test]
    fn an_occurrence_without_length_does_not_exist() {
        assert_eq!(Occurrence::new(at(5), at(5)), None);
        assert_eq!(Occurrence::new(at(5), at(4)), None);
    }

    proptest! {
        #[test]
        fn merged_occurrences_are_disjoint_in_order_and_cover_the_same(
            raw in proptest::collection::vec((0_i64..200, 1_i64..30), 0..40),
        ) {
            let occurrences: Vec<_> =
                raw.iter().filter_map(|(start, length)| Occurrence::new(at(*start), at(start + length))).collect();
            let merged = merged(occurrences.clone());
            prop_assert!(merged.windows(2).all(|pair| pair[0].end < pair[1].start));
            for second in 0..240 {
                let covered = occurrences.iter().any(|occurrence| occurrence.contains(at(second)));
                prop_assert_eq!(covered, merged.iter().any(|occurrence| occurrence.contains(at(second))));
            }
        }
    }
}
