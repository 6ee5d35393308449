//! What is known of names: answers for as long as they hold, and questions under way. Pure.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::IpFamily;

/// The most names that are remembered: more than there are targets on one prober; the one that was
/// not asked for the longest leaves.
const MAX_NAMES: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
/// An answer holds at least so long, whatever its TTL: a TTL of 0 would mean a question per round.
const MIN_TTL: Duration = Duration::from_secs(1);
/// An answer holds at most so long, whatever its TTL: a service that moves is followed.
const MAX_TTL: Duration = Duration::from_secs(300);
/// How long a name stays without address, or a resolver in trouble: long enough that many probes
/// ask once, short enough that a name that comes up is seen in the next round.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The name has none.
    NoSuchName(Arc<str>),
    /// Nobody could tell.
    Trouble(Arc<str>),
}

/// What came of a question.
pub(super) type Found = Result<Arc<[IpAddr]>, Fault>;
/// Where what comes of a question will be told.
pub(super) type Coming = watch::Receiver<Option<Found>>;

/// What is known of one name and family.
#[derive(Debug, Default)]
enum Known {
    #[default]
    Nothing,
    /// Somebody has asked.
    Asked(Coming),
    /// An answer, and until when it holds.
    Found(Found, Instant),
}

/// What to do about a name.
#[derive(Debug)]
pub(super) enum Step {
    /// It is known.
    Use(Found),
    /// It was asked for: the answer will be told here.
    Wait(Coming),
    /// Ask, and tell here; then [`Names::store`] it with this generation.
    Ask(watch::Sender<Option<Found>>, Coming, u64),
}

/// The names by their lower-case form, each with an entry for every family.
#[derive(Debug)]
pub(super) struct Names {
    entries: LruCache<Box<str>, [Known; 3]>,
    /// Counts the configurations that answers came from.
    generation: u64,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { entries: LruCache::new(MAX_NAMES), generation: 0 }
    }

    /// What to do about a name in lower case.
    pub(super) fn step(&mut self, name: &str, family: IpFamily, now: Instant) -> Step {
        if let Some(known) = self.entries.get_mut(name).and_then(|known| known.get_mut(family as usize)) {
            match known {
                Known::Found(found, until) if now < *until => return Step::Use(found.clone()),
                // Nobody will answer any more where the other end has gone without a word.
                Known::Asked(coming) if coming.has_changed().is_ok() || coming.borrow().is_some() => {
                    return Step::Wait(coming.clone());
                }
                _ => {}
            }
        }
        let (tell, coming) = watch::channel(None);
        self.set(name, family, Known::Asked(coming.clone()));
        Step::Ask(tell, coming, self.generation)
    }

    /// Keeps what came of a question for `ttl`, within bounds.
    pub(super) fn store(
        &mut self,
        (name, family): (&str, IpFamily),
        found: Found,
        ttl: Duration,
        (generation, now): (u64, Instant),
    ) {
        if generation != self.generation {
            return;
        }
        let ttl = if found.is_ok() { ttl.clamp(MIN_TTL, MAX_TTL) } else { NEGATIVE_TTL };
        self.set(name, family, Known::Found(found, now + ttl));
    }

    /// Forgets everything: the configuration is another one now.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.generation += 1;
    }

    fn set(&mut self, name: &str, family: IpFamily, known: Known) {
        if !self.entries.contains(name) {
            self.entries.put(name.into(), Default::default());
        }
        if let Some(place) = self.entries.get_mut(name).and_then(|entry| entry.get_mut(family as usize)) {
            *place = known;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn ask(names: &mut Names, now: Instant) -> (watch::Sender<Option<Found>>, u64) {
        match names.step("shop", IpFamily::Any, now) {
            Step::Ask(tell, _, generation) => (tell, generation),
            other => panic!("{other:?}"),
        }
    }

    fn address() -> Arc<[IpAddr]> {
        Arc::from(["10.0.0.1".parse().unwrap()])
    }

    #[rstest]
    #[case::none(Ok(()), 0, 1)]
    #[case::usual(Ok(()), 30, 30)]
    #[case::endless(Ok(()), 1_000_000, 300)]
    #[case::negative(Err(()), 1_000_000, 1)]
    fn an_answer_holds_for_its_ttl_within_bounds(#[case] good: Result<(), ()>, #[case] ttl: u64, #[case] held: u64) {
        let (mut names, start) = (Names::new(), Instant::now());
        let answer = good.map_or_else(|()| Err(Fault::NoSuchName("none".into())), |()| Ok(address()));
        let (_tell, generation) = ask(&mut names, start);
        names.store(("shop", IpFamily::Any), answer.clone(), Duration::from_secs(ttl), (generation, start));
        let last = start + Duration::from_secs(held) - Duration::from_millis(1);
        assert!(matches!(names.step("shop", IpFamily::Any, last), Step::Use(known) if known == answer));
        assert!(matches!(names.step("shop", IpFamily::Any, start + Duration::from_secs(held)), Step::Ask(..)));
    }

    #[test]
    fn one_question_is_asked_at_a_time() {
        let (mut names, now) = (Names::new(), Instant::now());
        let (tell, _) = ask(&mut names, now);
        assert!(matches!(names.step("shop", IpFamily::Any, now), Step::Wait(_)));
        assert!(matches!(names.step("shop", IpFamily::Ipv6, now), Step::Ask(..)), "another family is another question");
        drop(tell);
        assert!(matches!(names.step("shop", IpFamily::Any, now), Step::Ask(..)), "the one that asked has gone");
    }

    #[test]
    fn an_answer_of_an_old_configuration_is_not_kept() {
        let (mut names, now) = (Names::new(), Instant::now());
        let (_tell, generation) = ask(&mut names, now);
        names.forget();
        names.store(("shop", IpFamily::Any), Ok(address()), MAX_TTL, (generation, now));
        assert!(matches!(names.step("shop", IpFamily::Any, now), Step::Ask(..)));
    }

    #[test]
    fn names_without_end_take_no_memory_without_end() {
        let (mut names, now) = (Names::new(), Instant::now());
        for number in 0..MAX_NAMES.get() + 10 {
            let _ = names.step(&number.to_string(), IpFamily::Any, now);
        }
        assert_eq!(names.entries.len(), MAX_NAMES.get());
    }
}
