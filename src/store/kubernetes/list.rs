//! Lists: from the index, or with labels from the API server.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::KubernetesStore;
use super::bodies;
use super::errors;
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
        // In small steps: a page of large runs ends early, and the rest is not fetched for nothing.
        let (mut items, mut bytes) = (Vec::new(), 0);
        let last = found.last().map(|(place, _)| place.mark()).filter(|_| more);
        let mut ended = None;
        for step in found.chunks(subscribe::FETCHES * 2) {
            if bytes > MAX_PAGE_BYTES {
                ended = Some(step.first().map(|_| ()));
                break;
            }
            let keys = step.iter().map(|(place, _)| place.key().clone()).collect();
            let objects = subscribe::fetch(&hub, &self.calls, keys).await?;
            bytes += objects.iter().map(|object| object.body.to_string().len()).sum::<usize>();
            // As it is now: what has left the query since is not among it.
            let ours =
                objects.into_iter().filter(|object| Facts::of(&object.body).match_query(query, &object.namespace));
            items.extend(ours);
        }
        let next = match ended {
            Some(_) => items.last().map(place_of).map(|place| place.mark()),
            None => last,
        };
        Ok(Page { items, next })
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
        let limit = limit_of(query);
        // The newest so many and one more; whatever is older is let go at once.
        let mut newest: BTreeMap<Place, (Object, usize)> = BTreeMap::new();
        for place in places {
            let mut next = None;
            loop {
                let page = self.calls.page(kind, place.as_deref(), &selector, kind.page, next.as_deref()).await;
                let page = page.map_err(|error| errors::unavailable(&format!("listing {}", kind.kind), &error))?;
                for mut object in page.items.into_iter().filter_map(|body| bodies::object(kind, body)) {
                    let at = place_of(&object);
                    if after.as_ref().is_some_and(|after| at <= *after)
                        || !Facts::of(&object.body).match_query(query, &object.namespace)
                    {
                        continue;
                    }
                    if kind.brief && query.brief {
                        bodies::brief(&mut object.body);
                    }
                    let bytes = object.body.to_string().len();
                    newest.insert(at, (object, bytes));
                    if newest.len() > limit + 1 {
                        newest.pop_last();
                    }
                }
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        self.note_answered();
        let more = newest.len() > limit;
        if more {
            newest.pop_last();
        }
        let last = newest.last_key_value().map(|(place, _)| place.mark()).filter(|_| more);
        Ok(cut(newest.into_iter().map(|(place, (object, bytes))| (place, object, bytes)), last))
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
