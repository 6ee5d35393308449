//! Lists: from the index, or with labels from the API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::KubernetesStore;
use super::bodies;
use super::errors;
use super::hub::Hub;
use super::index::{Entry, Place};
use super::kinds::Known;
use super::subscribe;
use crate::store::facts::Facts;
use crate::store::limits::{self, MAX_PAGE, MAX_PAGE_BYTES};
use crate::store::{Object, Page, Query, StoreError};

const fn limit_of(query: &Query) -> usize {
    if query.limit == 0 || query.limit > MAX_PAGE { MAX_PAGE } else { query.limit }
}

impl KubernetesStore {
    pub(super) async fn list_indexed(
        &self,
        number: usize,
        kind: &'static Known,
        query: &Query,
    ) -> Result<Page<Object>, StoreError> {
        let after = query.after.as_deref().map(Place::parse).transpose()?;
        let hub = self.hub(number, kind);
        let written = self.written.get(number).map_or(0, |written| written.load(Ordering::Acquire));
        hub.current(query.namespace.as_deref(), written).await?;
        let (found, more) = hub.select(query, after.as_ref(), limit_of(query));
        if !kind.brief || query.brief {
            let last = found.last().map(|(place, _)| place.mark());
            return Ok(cut(
                found.into_iter().filter_map(|(place, text)| {
                    let bytes = text.len();
                    Some((place, subscribe::parse(&hub, &text)?, bytes))
                }),
                last.filter(|_| more),
            ));
        }
        self.fetch_page(&hub, query, &found, more).await
    }

    /// Fetches the runs of a page in small steps: a page of large runs ends early, and the rest is not
    /// fetched for nothing.
    async fn fetch_page(
        &self,
        hub: &Hub,
        query: &Query,
        found: &[(Place, Arc<str>)],
        more: bool,
    ) -> Result<Page<Object>, StoreError> {
        let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
        let mut left = found.len();
        for step in found.chunks(subscribe::FETCHES * 2) {
            if bytes > MAX_PAGE_BYTES {
                break;
            }
            let keys = step.iter().map(|(place, _)| place.key().clone()).collect();
            let objects = subscribe::fetch(hub, &self.calls, keys).await?;
            bytes += objects.iter().map(|object| object.body.to_string().len()).sum::<usize>();
            // As it is now: what has left the query since is not among it.
            let is_asked_for = |object: &Object| Facts::of(&object.body).match_query(query, &object.namespace);
            items.extend(objects.into_iter().filter(is_asked_for));
            left -= step.len();
            last = step.last().map(|(place, _)| place.mark());
        }
        Ok(Page { items, next: last.filter(|_| more || left > 0) })
    }

    pub(super) async fn list_labelled(&self, kind: &'static Known, query: &Query) -> Result<Page<Object>, StoreError> {
        let after = query.after.as_deref().map(Place::parse).transpose()?;
        // Nothing can have a label that is none.
        if query.labels.iter().any(|(key, value)| limits::check_label(key, value).is_err()) {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let labels: Vec<String> = query.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let selector = format!("{},{}", labels.join(","), self.calls.scope.label_selector());
        let places = match &query.namespace {
            Some(namespace) if !self.can_be(namespace, "any") => Vec::new(),
            Some(namespace) => vec![Some(namespace.clone())],
            None => self.calls.scope.places(),
        };
        let mut newest = Newest::new(limit_of(query), after);
        for place in places {
            let mut next = None;
            loop {
                let page = self.calls.page(kind, place.as_deref(), &selector, kind.page, next.as_deref()).await;
                let page = page.map_err(|error| errors::unavailable(&format!("listing {}", kind.kind), &error))?;
                for mut object in page.items.into_iter().filter_map(|body| bodies::object(kind, body)) {
                    if !Facts::of(&object.body).match_query(query, &object.namespace) {
                        continue;
                    }
                    if kind.brief && query.brief {
                        bodies::brief(&mut object.body);
                    }
                    let bytes = object.body.to_string().len();
                    newest.take(place_of(&object), object, bytes);
                }
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        self.note_answered();
        Ok(newest.into_page())
    }
}

/// The first page of what comes in any order: whatever cannot be on it is let go at once, so that no
/// more than a page is in memory.
struct Newest<T> {
    limit: usize,
    after: Option<Place>,
    kept: BTreeMap<Place, (T, usize)>,
    bytes: usize,
    /// The first place that is not on the page.
    beyond: Option<Place>,
}

impl<T> Newest<T> {
    const fn new(limit: usize, after: Option<Place>) -> Self {
        Self { limit, after, kept: BTreeMap::new(), bytes: 0, beyond: None }
    }

    fn take(&mut self, place: Place, item: T, bytes: usize) {
        if self.after.as_ref().is_some_and(|after| place <= *after)
            || self.beyond.as_ref().is_some_and(|beyond| place >= *beyond)
        {
            return;
        }
        self.kept.insert(place, (item, bytes));
        self.bytes += bytes;
        // As long as the page would have ended before its last one.
        while let Some((_, (_, last))) = self.kept.last_key_value() {
            if self.kept.len() <= self.limit && self.bytes - last <= MAX_PAGE_BYTES {
                break;
            }
            let Some((place, (_, bytes))) = self.kept.pop_last() else { break };
            self.bytes -= bytes;
            self.beyond = Some(place);
        }
    }

    fn into_page(self) -> Page<T> {
        let last = self.kept.last_key_value().map(|(place, _)| place.mark());
        let next = last.filter(|_| self.beyond.is_some());
        Page { items: self.kept.into_values().map(|(item, _)| item).collect(), next }
    }
}

/// A page that ends early when it is large. `next` is where it goes on when it is not.
fn cut(found: impl Iterator<Item = (Place, Object, usize)>, next: Option<String>) -> Page<Object> {
    let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
    for (place, object, size) in found {
        if bytes > MAX_PAGE_BYTES {
            return Page { items, next: last };
        }
        bytes += size;
        last = Some(place.mark());
        items.push(object);
    }
    Page { items, next }
}

fn place_of(object: &Object) -> Place {
    let entry = Entry::of(&object.body, "".into());
    Place::new(entry.created, (object.namespace.clone(), object.name.clone()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(number: i64) -> Place {
        Place::new(-number, ("shop".to_owned(), "a".to_owned()))
    }

    proptest! {
        #[test]
        fn whatever_order_they_come_in_a_page_is_the_first_of_all(
            sizes in proptest::collection::vec(0_usize..MAX_PAGE_BYTES, 0..12),
            order in Just((0..12).collect::<Vec<usize>>()).prop_shuffle(),
            limit in 1_usize..6,
        ) {
            let mut newest = Newest::new(limit, None);
            for number in order.into_iter().filter(|number| *number < sizes.len()) {
                newest.take(place(i64::try_from(number).unwrap()), number, sizes[number]);
            }
            let (mut wanted, mut bytes) = (Vec::new(), 0);
            for (number, size) in sizes.iter().enumerate() {
                if wanted.len() == limit || bytes > MAX_PAGE_BYTES {
                    break;
                }
                bytes += size;
                wanted.push(number);
            }
            let page = newest.into_page();
            let next = (wanted.len() < sizes.len()).then(|| place(i64::try_from(wanted.len()).unwrap() - 1).mark());
            prop_assert_eq!(page.items, wanted);
            prop_assert_eq!(page.next, next);
        }
    }
}
