//! Every object of one kind as compact text, in the order of lists. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::bodies;
use crate::store::facts::Facts;
use crate::store::{Query, StoreError};

/// Namespace and name.
pub(super) type Key = (String, String);

/// One object.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) uid: String,
    pub(super) version: Option<u64>,
    /// Seconds since 1970: the API server tells no more.
    pub(super) created: i64,
    pub(super) facts: Facts,
    /// The object as JSON; of a brief kind its overview.
    pub(super) text: Arc<str>,
}

impl Entry {
    pub(super) fn of(body: &Value, text: Arc<str>) -> Self {
        let created = bodies::meta(body, "creationTimestamp").and_then(|text| text.parse().ok());
        Self {
            uid: bodies::meta(body, "uid").unwrap_or_default().to_owned(),
            version: bodies::version(body),
            created: created.map_or(0, jiff::Timestamp::as_second),
            facts: Facts::of(body),
            text,
        }
    }

    /// Whether this is a state of the same object that is not later than `other`.
    fn is_no_news_to(&self, other: &Self) -> bool {
        self.uid == other.uid && self.version.is_some() && self.version <= other.version
    }
}

/// A place in the order of lists: newest first, then by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    created: Reverse<i64>,
    key: Key,
}

impl Place {
    pub(super) fn new(created: i64, key: Key) -> Self {
        Self { created: Reverse(created), key }
    }

    /// As the mark where a page ended.
    pub(super) fn mark(&self) -> String {
        format!("{}/{}/{}", self.created.0, self.key.0, self.key.1)
    }

    /// # Errors
    /// [`StoreError::Invalid`] for a mark that none of our pages ended with.
    pub(super) fn parse(mark: &str) -> Result<Self, StoreError> {
        let place = || {
            let (created, rest) = mark.split_once('/')?;
            let (namespace, name) = rest.split_once('/')?;
            Some(Self::new(created.parse().ok()?, (namespace.to_owned(), name.to_owned())))
        };
        place().ok_or_else(|| StoreError::Invalid(format!("\"{mark}\" is not where a list of this store ended")))
    }
}

/// What has happened to one object.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) key: Key,
    pub(super) was: Option<Facts>,
    /// `None`: it is gone.
    pub(super) is: Option<Facts>,
    /// After the change, or before it where it is gone; of a brief kind the overview.
    pub(super) text: Arc<str>,
}

/// All objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<Key, Entry>,
    order: BTreeSet<Place>,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Takes over a state; `None` where it is known already, or a later one is.
    pub(super) fn apply(&mut self, key: Key, entry: Entry) -> Option<Step> {
        let old = self.entries.get(&key);
        if old.is_some_and(|old| entry.is_no_news_to(old)) {
            return None;
        }
        let was = old.map(|old| old.facts.clone());
        if let Some(old) = old {
            self.order.remove(&Place::new(old.created, key.clone()));
        }
        self.order.insert(Place::new(entry.created, key.clone()));
        let (is, text) = (Some(entry.facts.clone()), Arc::clone(&entry.text));
        self.entries.insert(key.clone(), entry);
        Some(Step { key, was, is, text })
    }

    /// Takes an object away, unless another one of the same name has come since.
    pub(super) fn remove(&mut self, key: &Key, uid: &str) -> Option<Step> {
        if self.entries.get(key).is_none_or(|entry| entry.uid != uid) {
            return None;
        }
        let old = self.entries.remove(key)?;
        self.order.remove(&Place::new(old.created, key.clone()));
        Some(Step { key: key.clone(), was: Some(old.facts), is: None, text: old.text })
    }

    /// Takes over a whole list, of one namespace or of all, and tells what is different.
    pub(super) fn replace(&mut self, namespace: Option<&str>, list: Vec<(Key, Entry)>) -> Vec<Step> {
        let listed: BTreeSet<Key> = list.iter().map(|(key, _)| key.clone()).collect();
        let of_list = |key: &Key| namespace.is_none_or(|namespace| namespace == key.0);
        let gone: Vec<(Key, String)> = self
            .entries
            .iter()
            .filter(|(key, _)| of_list(key) && !listed.contains(*key))
            .map(|(key, entry)| (key.clone(), entry.uid.clone()))
            .collect();
        let mut steps: Vec<Step> = gone.iter().filter_map(|(key, uid)| self.remove(key, uid)).collect();
        steps.extend(list.into_iter().filter_map(|(key, entry)| self.apply(key, entry)));
        steps
    }

    /// What a query asks for, after `after`, in the order of lists.
    pub(super) fn select<'i>(
        &'i self,
        query: &'i Query,
        after: Option<&Place>,
    ) -> impl Iterator<Item = (&'i Place, &'i Entry)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |after| Excluded(after.clone()));
        let entry = |place: &'i Place| self.entries.get(&place.key).map(|entry| (place, entry));
        self.order
            .range((from, Unbounded))
            .filter_map(entry)
            .filter(|(place, entry)| entry.facts.match_query(query, &place.key.0))
    }
}

impl Place {
    pub(super) const fn key(&self) -> &Key {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn entry(uid: u8, version: u64, created: i64) -> Entry {
        let body = json!({"metadata": {"uid": format!("u{uid}"), "resourceVersion": version.to_string()}});
        Entry { created, ..Entry::of(&body, Arc::from(version.to_string())) }
    }

    fn key(name: u8) -> Key {
        ("shop".to_owned(), format!("n{name}"))
    }

    fn names(index: &Index) -> Vec<String> {
        index.select(&Query::default(), None).map(|(place, _)| place.key().1.clone()).collect()
    }

    #[test]
    fn lists_are_newest_first_then_by_name() {
        let mut index = Index::default();
        for (name, created) in [(3, 10), (1, 10), (2, 20)] {
            index.apply(key(name), entry(name, 1, created));
        }
        assert_eq!(names(&index), ["n2", "n1", "n3"]);
        let after = Place::parse("10/shop/n1").unwrap();
        let rest: Vec<_> = index.select(&Query::default(), Some(&after)).map(|(place, _)| place.mark()).collect();
        assert_eq!(rest, ["10/shop/n3"]);
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut index = Index::default();
        assert!(index.apply(key(1), entry(1, 7, 0)).is_some());
        assert!(index.apply(key(1), entry(1, 7, 0)).is_none());
        assert!(index.apply(key(1), entry(1, 6, 0)).is_none());
        // Another object of the same name is news whatever its version.
        assert!(index.apply(key(1), entry(2, 5, 0)).is_some());
        assert!(index.remove(&key(1), "u1").is_none(), "the one that is there is another");
        assert!(index.remove(&key(1), "u2").is_some());
    }

    proptest! {
        #[test]
        fn the_steps_of_a_new_list_lead_from_the_old_one_to_it(
            old in proptest::collection::btree_map(0_u8..8, (0_u8..3, 1_u64..9, 0_i64..5), 0..8),
            new in proptest::collection::btree_map(0_u8..8, (0_u8..3, 9_u64..18, 0_i64..5), 0..8),
        ) {
            let list = |objects: &BTreeMap<u8, (u8, u64, i64)>| -> Vec<(Key, Entry)> {
                objects.iter().map(|(name, (uid, version, created))| (key(*name), entry(*uid, *version, *created))).collect()
            };
            let mut index = Index::default();
            index.replace(None, list(&old));
            let mut told: BTreeMap<Key, Arc<str>> =
                index.entries.iter().map(|(key, entry)| (key.clone(), Arc::clone(&entry.text))).collect();
            for step in index.replace(None, list(&new)) {
                match step.is {
                    Some(_) => drop(told.insert(step.key, step.text)),
                    None => prop_assert!(told.remove(&step.key).is_some()),
                }
            }
            let wanted: BTreeMap<Key, Arc<str>> =
                list(&new).into_iter().map(|(key, entry)| (key, entry.text)).collect();
            prop_assert_eq!(told, wanted);
            prop_assert_eq!(index.order.len(), index.entries.len());
        }
    }
}
