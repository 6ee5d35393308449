//! What a round notes while it is under way, so that a round that is cut off can still tell where
//! it was.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::result::{AS_EXPECTED, Durations, Facts, Failure, Line, Log, Observation, Phase, Reason};

/// The most log lines of a round: each address tried is one, and the exchange a few more.
const MAX_LOG: usize = 64;
/// The longest log line or message.
const MAX_LINE: usize = 400;

/// The notes of one round.
#[derive(Debug)]
pub struct Trace {
    start: Instant,
    deadline: Instant,
    phase: Phase,
    phase_start: Instant,
    durations: Durations,
    marks: Option<Arc<Marks>>,
    facts: Facts,
    log: Log,
}

/// When bytes went to and fro; see [`Timed`].
#[derive(Debug, Default)]
pub struct Marks {
    seen: Mutex<(Option<Instant>, Option<Instant>)>,
}

impl Marks {
    /// The last write before anything was read, and the first read.
    fn get(&self) -> (Option<Instant>, Option<Instant>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was written.
    pub(super) fn wrote(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.1.is_none() {
            seen.0 = Some(Instant::now());
        }
    }

    /// Something was read.
    pub(super) fn read(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.1.is_none() {
            seen.1 = Some(Instant::now());
        }
    }
}

impl Trace {
    /// Begins now, and ends after `timeout`.
    #[must_use]
    pub fn begin(timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            start: now,
            deadline: now + timeout,
            phase: Phase::Resolve,
            phase_start: now,
            durations: Durations::default(),
            marks: None,
            facts: Facts::default(),
            log: Log::default(),
        }
    }

    /// Makes room for as many facts and lines as a usual round notes, at once.
    pub fn reserve(&mut self, facts: usize, lines: usize) {
        self.facts.reserve(facts);
        self.log.0.reserve(lines);
    }

    /// When the round ends.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time that is left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The time that has gone.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends the current phase, and an exchange that is under way, and begins another.
    pub fn enter(&mut self, phase: Phase) {
        let now = Instant::now();
        self.settle(now);
        self.phase = phase;
        self.phase_start = now;
    }

    /// Begins with another phase: what has gone by since the last one ended belongs to none.
    pub fn restart(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_start = Instant::now();
    }

    /// Begins the exchange: request, processing and transfer are told apart by the bytes that go
    /// through a [`Timed`] stream with these marks.
    pub fn exchange(&mut self) -> Arc<Marks> {
        self.enter(Phase::Request);
        let marks = Arc::new(Marks::default());
        self.marks = Some(Arc::clone(&marks));
        marks
    }

    /// Notes what was seen.
    pub fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.set(name, value);
    }

    /// What was noted under a name.
    #[must_use]
    pub fn seen(&self, name: &str) -> Option<&Value> {
        self.facts.get(name)
    }

    /// Notes what happened.
    pub fn log(&mut self, line: impl AsRef<str>) {
        self.note(Line::Text(cut(line.as_ref()).into()));
    }

    /// Notes one of the usual things that happen.
    pub fn note(&mut self, line: Line) {
        if self.log.0.len() < MAX_LOG {
            let micros = u32::try_from(self.start.elapsed().as_micros()).unwrap_or(u32::MAX);
            self.log.0.push((micros, line));
        }
    }

    /// Notes what happened at another time of the round than now.
    pub fn log_at(&mut self, at: Instant, line: impl AsRef<str>) {
        if self.log.0.len() < MAX_LOG {
            let micros = u32::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(u32::MAX);
            self.log.0.push((micros, Line::Text(cut(line.as_ref()).into())));
        }
    }

    /// Takes over phases that were timed apart since the current one began; what is left of the time
    /// since then belongs to the current one. The round stands in `phase` then, where one is given.
    pub fn absorb(&mut self, inner: &Durations, phase: Option<Phase>) {
        let now = Instant::now();
        let rest = now.saturating_duration_since(self.phase_start).saturating_sub(inner.total());
        self.durations.add(self.phase, rest);
        for phase in Phase::ALL {
            if let Some(duration) = inner.get(*phase) {
                self.durations.add(*phase, duration);
            }
        }
        self.phase = phase.unwrap_or(self.phase);
        self.phase_start = now;
    }

    /// The current phase.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Divides the exchange at its marks and ends the current phase.
    fn settle(&mut self, now: Instant) {
        if let Some(marks) = self.marks.take() {
            let (wrote, read) = marks.get();
            for (mark, next) in [(wrote, Phase::Processing), (read, Phase::Transfer)] {
                if let Some(at) = mark {
                    self.durations.add(self.phase, at.saturating_duration_since(self.phase_start));
                    self.phase_start = at.max(self.phase_start);
                    self.phase = next;
                }
            }
        }
        self.durations.add(self.phase, now.saturating_duration_since(self.phase_start));
    }

    /// Ends with what the kind said; `None` where the time ran out before it said anything.
    #[must_use]
    pub fn finish(mut self, ended: Option<Result<(), Failure>>) -> Observation {
        self.settle(Instant::now());
        let failure = if let Some(ended) = ended {
            ended.err()
        } else {
            let timeout = self.deadline - self.start;
            let message = format!("no end of {} within {} ms", self.phase, timeout.as_millis());
            Some(Failure::new(Reason::Timeout, message))
        };
        let success = failure.as_ref().is_none_or(|failure| failure.degraded);
        let reason = failure.as_ref().map(|failure| failure.reason);
        let message = match failure {
            None => {
                self.note(Line::AsExpected);
                AS_EXPECTED.into()
            }
            Some(failure) => {
                let message = cut(&failure.message);
                self.note(Line::Text(message.as_str().into()));
                message.into()
            }
        };
        Observation {
            success,
            reason,
            phase: (!success).then_some(self.phase),
            message,
            durations: self.durations,
            facts: self.facts,
            log: self.log,
        }
    }
}

fn cut(line: &str) -> String {
    let mut cut: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_LINE).collect();
    if line.chars().nth(MAX_LINE).is_some() {
        cut.pop();
        cut.push('…');
    }
    cut
}

/// A stream that marks when bytes were written and read.
#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    marks: Arc<Marks>,
}

impl<S> Timed<S> {
    /// Puts marks on a stream.
    pub(super) const fn new(stream: S, marks: Arc<Marks>) -> Self {
        Self { stream, marks }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.marks.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.marks.wrote();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_round_that_is_cut_off_names_the_phase_it_was_in() {
        let mut trace = Trace::begin(Duration::from_secs(1));
        tokio::time::advance(Duration::from_millis(200)).await;
        trace.enter(Phase::Connect);
        tokio::time::advance(Duration::from_millis(800)).await;
        let seen = trace.finish(None);
        assert_eq!((seen.reason, seen.phase), (Some(Reason::Timeout), Some(Phase::Connect)));
        assert_eq!(seen.message, "no end of connect within 1000 ms");
        assert_eq!(seen.durations.get(Phase::Resolve), Some(Duration::from_millis(200)));
        assert_eq!(seen.durations.get(Phase::Connect), Some(Duration::from_millis(800)));
        assert_eq!(seen.durations.get(Phase::Tls), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_exchange_is_divided_where_bytes_went_through() {
        let mut trace = Trace::begin(Duration::from_secs(5));
        let marks = trace.exchange();
        tokio::time::advance(Duration::from_millis(10)).await;
        marks.wrote();
        tokio::time::advance(Duration::from_millis(20)).await;
        marks.read();
        tokio::time::advance(Duration::from_millis(30)).await;
        marks.read();
        marks.wrote();
        let seen = trace.finish(Some(Ok(())));
        let millis = |phase| seen.durations.get(phase).map(|duration| duration.as_millis());
        assert_eq!(millis(Phase::Request), Some(10));
        assert_eq!(millis(Phase::Processing), Some(20));
        assert_eq!(millis(Phase::Transfer), Some(30));
        assert_eq!(seen.durations.total(), Duration::from_millis(60));
        assert_eq!((seen.success, seen.phase), (true, None));
    }

    #[tokio::test(start_paused = true)]
    async fn two_exchanges_with_a_handshake_between_them_are_added_up() {
        let mut trace = Trace::begin(Duration::from_secs(5));
        for _ in 0..2 {
            let marks = trace.exchange();
            tokio::time::advance(Duration::from_millis(10)).await;
            marks.wrote();
            tokio::time::advance(Duration::from_millis(20)).await;
            marks.read();
            trace.enter(Phase::Tls);
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        let seen = trace.finish(Some(Ok(())));
        let millis = |phase| seen.durations.get(phase).map(|duration| duration.as_millis());
        assert_eq!((millis(Phase::Request), millis(Phase::Processing)), (Some(20), Some(40)));
        assert_eq!((millis(Phase::Transfer), millis(Phase::Tls)), (Some(0), Some(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn phases_that_were_timed_apart_are_taken_over_and_the_rest_is_the_current_ones() {
        let mut trace = Trace::begin(Duration::from_secs(5));
        trace.enter(Phase::Processing);
        tokio::time::advance(Duration::from_millis(100)).await;
        let mut inner = Durations::default();
        inner.add(Phase::Connect, Duration::from_millis(30));
        trace.absorb(&inner, Some(Phase::Connect));
        let seen = trace.finish(Some(Err(Failure::new(Reason::Refused, "no"))));
        assert_eq!(seen.durations.get(Phase::Processing), Some(Duration::from_millis(70)));
        assert_eq!(seen.durations.get(Phase::Connect), Some(Duration::from_millis(30)));
        assert_eq!(seen.phase, Some(Phase::Connect));
    }

    #[test]
    fn a_line_is_one_line_and_has_an_end() {
        let long = cut(&"a\nb".repeat(1_000));
        assert_eq!((long.chars().count(), long.contains('\n')), (MAX_LINE, false));
    }
}
