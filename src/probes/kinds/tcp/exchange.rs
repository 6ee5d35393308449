//! The exchange itself, over any stream.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::step::{Expect, Piece, Step};
use crate::probes::result::{Failure, Line, Reason};
use crate::probes::trace::{Timed, Trace};
use crate::probes::wire::{MAX_SHOWN, io_reason, show};

/// How much of what comes back is looked at in one step: greetings and answers have no more, and
/// the field says so.
const MAX_ANSWER: usize = 4_096;
/// How much is read at once.
const CHUNK: usize = 1_024;

/// How long before the end of a round it is said that what has come is not what was expected: the
/// bytes are evidence, and more of it than the time that has run out.
const MARGIN: Duration = Duration::from_millis(2);

fn last_look(trace: &Trace) -> Instant {
    trace.deadline().checked_sub(MARGIN).unwrap_or_else(Instant::now)
}

/// How far an exchange has come.
pub(super) struct Exchange {
    /// What has come since the last step.
    answer: Vec<u8>,
    /// What the named groups have caught.
    caught: Vec<Vec<u8>>,
    received: usize,
    /// What is told of what has matched.
    matched: Map<String, Value>,
}

impl Exchange {
    pub(super) fn new(groups: usize) -> Self {
        Self { answer: Vec::new(), caught: vec![Vec::new(); groups], received: 0, matched: Map::new() }
    }

    /// How many bytes have come.
    pub(super) const fn received(&self) -> usize {
        self.received
    }

    /// What is told of what has matched.
    pub(super) fn into_matched(self) -> Map<String, Value> {
        self.matched
    }

    /// Turns to TLS: what has come in the clear behind the last line that was expected must not count
    /// as said under it.
    pub(super) fn turn(&mut self) -> Result<(), Failure> {
        let line = self.answer.iter().position(|byte| *byte == b'\n').map_or(self.answer.len(), |end| end + 1);
        self.answer.drain(..line);
        if self.answer.is_empty() {
            return Ok(());
        }
        let seen = show(&self.answer, MAX_SHOWN);
        Err(Failure::new(Reason::Protocol, format!("before TLS it goes on in the clear with {seen}")))
    }

    /// Goes through the steps.
    pub(super) async fn run(
        &mut self,
        trace: &mut Trace,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        steps: &[Step],
    ) -> Result<(), Failure> {
        let mut stream = Timed::new(stream, trace.exchange());
        for step in steps {
            if let Some(expect) = &step.expect {
                let expected = self.expect(trace, &mut stream, expect).await;
                if let Err(failure) = expected {
                    trace.fact("answerBytes", self.received);
                    if failure.reason == Reason::Expect {
                        trace.fact("expected", expect.regex.as_str());
                    }
                    return Err(failure);
                }
            }
            if !step.send.is_empty() {
                // What came before is over with.
                self.answer.clear();
                self.send(trace, &mut stream, &step.send).await?;
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        trace: &mut Trace,
        stream: &mut (impl AsyncWrite + Unpin),
        pieces: &[Piece],
    ) -> Result<(), Failure> {
        let joined;
        let bytes = match pieces {
            [Piece::Bytes(bytes)] => bytes.as_slice(),
            pieces => {
                joined = self.join(pieces);
                joined.as_slice()
            }
        };
        let sent = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| Failure::new(io_reason(&error, Reason::Send), format!("while sending: {error}")))?;
        trace.note(Line::Sent(bytes.len()));
        Ok(())
    }

    fn join(&self, pieces: &[Piece]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(piece) => bytes.extend_from_slice(piece),
                Piece::Group(place) => bytes.extend_from_slice(self.caught.get(*place).map_or(&[], Vec::as_slice)),
            }
        }
        bytes
    }

    async fn expect(
        &mut self,
        trace: &mut Trace,
        stream: &mut (impl AsyncRead + Unpin),
        expect: &Expect,
    ) -> Result<(), Failure> {
        let mut chunk = [0; CHUNK];
        let begun = Instant::now();
        // What a step before has left may be enough.
        if !self.answer.is_empty() && self.take(trace, expect) {
            return Ok(());
        }
        loop {
            let room = MAX_ANSWER.saturating_sub(self.answer.len()).min(CHUNK);
            if room == 0 {
                return Err(self.unmet(expect, "what came first"));
            }
            let space = chunk.get_mut(..room).unwrap_or_default();
            let reading = stream.read(space);
            let read = if self.answer.is_empty() {
                // The round's own end is the end of this.
                reading.await
            } else {
                let heard = Instant::now();
                match timeout_at(last_look(trace), reading).await {
                    Ok(read) => read,
                    Err(_) if heard.elapsed() * 2 >= begun.elapsed() => {
                        return Err(self.unmet(expect, "nothing more came, and that"));
                    }
                    // It is still at it.
                    Err(_) => std::future::pending().await,
                }
            };
            let read = read.map_err(|error| {
                let seen = show(&self.answer, MAX_SHOWN);
                Failure::new(io_reason(&error, Reason::Reset), format!("after {seen}: {error}"))
            })?;
            if read == 0 {
                return Err(self.unmet(expect, "what came before the end"));
            }
            self.answer.extend(chunk.iter().take(read));
            self.received += read;
            if self.take(trace, expect) {
                return Ok(());
            }
            // A round that is cut off later still tells what it has heard.
            trace.note(Line::Received(self.start(), self.answer.len()));
        }
    }

    /// Matches; then notes what the groups have caught, and leaves what follows for the next step.
    fn take(&mut self, trace: &mut Trace, expect: &Expect) -> bool {
        let end = if expect.is_plain() {
            expect.regex.find(&self.answer).map(|found| found.end())
        } else {
            expect.regex.captures(&self.answer).map(|found| {
                for (group, place) in &expect.groups {
                    if let (Some(text), Some(caught)) = (found.get(*group), self.caught.get_mut(*place)) {
                        *caught = text.as_bytes().to_vec();
                    }
                }
                for (name, text) in expect.told(&found) {
                    self.matched.insert(name.to_owned(), Value::String(text));
                }
                found.get(0).map_or(0, |whole| whole.end())
            })
        };
        let Some(end) = end else { return false };
        trace.note(Line::Received(self.start(), self.answer.len()));
        self.answer.drain(..end);
        true
    }

    /// The beginning of what has come.
    fn start(&self) -> Box<[u8]> {
        self.answer.iter().copied().take(MAX_SHOWN).collect()
    }

    fn unmet(&self, expect: &Expect, what: &str) -> Failure {
        let seen = show(&self.answer, MAX_SHOWN);
        Failure::new(Reason::Expect, format!("received {seen}; {what} does not match `{}`", expect.regex))
    }
}
