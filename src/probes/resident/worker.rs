//! The threads that probe. Each has a runtime of its own and keeps many rounds under way, so that
//! none waits for another's target and no round goes from thread to thread.
//!
//! Every target has slots at a fixed rate. A slot in which no round can begin, because the last one
//! is still under way or there is no place, is counted as missed and never made up for. Between
//! slots a round may be asked for: by hand, by an event, or because a state is to be confirmed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::cell::{Cell, Made};
use super::round::Rounds;
use crate::probes::plan::missed;

/// The place of the first round where nothing sleeps: far enough never to come.
const NEVER: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 60 * 60);

/// How many words a thread takes at once, before it looks what is due.
const AT_ONCE: usize = 256;

/// What a thread is told. The channel is unbounded because the engine alone speaks on it: at most a
/// few words for each target.
enum Command {
    Add {
        id: u64,
        cell: Arc<Cell>,
    },
    Remove {
        id: u64,
    },
    /// A round at once, or, while one is under way, right after it.
    Fire {
        id: u64,
        reply: Option<oneshot::Sender<Made>>,
    },
    /// The next round no later than this.
    Hasten {
        id: u64,
        by: Instant,
    },
    /// A round has ended in which another one was asked for.
    Again {
        id: u64,
    },
}

/// The threads. Dropping it ends them.
pub(super) struct Pool {
    threads: Vec<UnboundedSender<Command>>,
    next: AtomicU64,
}

/// A target in the hands of a thread; dropping it takes it away again.
pub(super) struct Seat {
    id: u64,
    thread: UnboundedSender<Command>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.thread.send(Command::Remove { id: self.id });
    }
}

impl Seat {
    /// Asks for a round at once.
    pub(super) fn fire(&self) {
        let _ = self.thread.send(Command::Fire { id: self.id, reply: None });
    }

    /// Asks for a round at once, and for what comes of it. The receiver ends without a word where
    /// the target is taken away, or no place is found for the round.
    pub(super) fn ask(&self) -> oneshot::Receiver<Made> {
        let (reply, made) = oneshot::channel();
        let _ = self.thread.send(Command::Fire { id: self.id, reply: Some(reply) });
        made
    }

    /// Asks for a round no later than `by`.
    pub(super) fn hasten(&self, by: Instant) {
        let _ = self.thread.send(Command::Hasten { id: self.id, by });
    }
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no thread or no descriptor left.
    pub(super) fn start(threads: usize, rounds: &Arc<Rounds>) -> io::Result<Self> {
        let mut senders = Vec::new();
        for number in 0..threads.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (sender, commands) = unbounded_channel();
            let worker = Worker {
                own: sender.downgrade(),
                rounds: Arc::clone(rounds),
                seats: HashMap::new(),
                queue: BinaryHeap::new(),
            };
            thread::Builder::new().name(format!("probes-{number}")).spawn(move || {
                // As a task, and not as what the runtime blocks on: whoever wakes that writes to
                // the poll's own descriptor, and every round would wake it twice.
                runtime.block_on(async move { tokio::spawn(worker.run(commands)).await })
            })?;
            senders.push(sender);
        }
        Ok(Self { threads: senders, next: AtomicU64::new(0) })
    }

    /// Gives a target to a thread, each in its turn.
    pub(super) fn seat(&self, cell: &Arc<Cell>) -> Option<Seat> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let index = usize::try_from(id).unwrap_or(0) % self.threads.len().max(1);
        let thread = self.threads.get(index)?.clone();
        let _ = thread.send(Command::Add { id, cell: Arc::clone(cell) });
        Some(Seat { id, thread })
    }
}

/// One target in a thread's hands.
struct Seated {
    cell: Arc<Cell>,
    /// The next slot; none where the probe is suspended.
    slot: Option<Instant>,
    /// When the next round is due: at the slot with its jitter, or before it.
    due: Option<Instant>,
    waiting: Vec<oneshot::Sender<Made>>,
}

struct Worker {
    own: WeakUnboundedSender<Command>,
    rounds: Arc<Rounds>,
    seats: HashMap<u64, Seated>,
    /// What is due when, the soonest first. An entry whose time is not its seat's is out of date.
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Worker {
    async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let mut told = Vec::new();
        loop {
            let next = self.queue.peek().map_or_else(|| Instant::now() + NEVER, |Reverse((due, _))| *due);
            tokio::select! {
                count = commands.recv_many(&mut told, AT_ONCE) => {
                    if count == 0 {
                        // The pool and every seat are gone.
                        return;
                    }
                    told.drain(..).for_each(|command| self.take(command));
                }
                () = sleep_until(next) => self.begin_due(),
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Add { id, cell } => self.add(id, cell),
            Command::Remove { id } => {
                self.seats.remove(&id);
            }
            Command::Fire { id, reply } => self.fire(id, reply),
            Command::Hasten { id, by } => self.hasten(id, by),
            Command::Again { id } => self.again(id),
        }
    }

    fn add(&mut self, id: u64, cell: Arc<Cell>) {
        let now = Instant::now();
        let slot = (!cell.suspended).then(|| now + cell.slots.until_next(self.rounds.now()));
        // Until its first round nothing is known of it.
        let first = (!cell.record.observed()).then(|| now + cell.slots.until_first());
        let due = slot.map(|slot| first.map_or(slot, |first| first.min(slot)));
        self.seats.insert(id, Seated { cell, slot, due, waiting: Vec::new() });
        self.enqueue(id);
    }

    fn enqueue(&mut self, id: u64) {
        if let Some(due) = self.seats.get(&id).and_then(|seated| seated.due) {
            self.queue.push(Reverse((due, id)));
        }
    }

    /// Begins every round that is due.
    fn begin_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, id))) = self.queue.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            self.queue.pop();
            self.due(id, due, now);
        }
    }

    fn due(&mut self, id: u64, due: Instant, now: Instant) {
        let Some(seated) = self.seats.get_mut(&id).filter(|seated| seated.due == Some(due)) else { return };
        let interval = seated.cell.plan.interval;
        let Some(slot) = seated.slot else { return };
        let mut intended = due;
        if due >= slot {
            let gone = missed(now.saturating_duration_since(slot), interval);
            let busy = u32::from(seated.cell.flight.is_under_way());
            if gone + busy > 0 {
                self.rounds.missed(&seated.cell, gone + busy);
            }
            intended += interval * gone;
            let next = slot + interval * (gone + 1);
            (seated.slot, seated.due) = (Some(next), Some(next + seated.cell.jitter()));
        } else {
            // A round before its slot leaves the slot as it is.
            seated.due = Some(slot + seated.cell.jitter());
        }
        let begins = !seated.cell.flight.is_under_way();
        self.enqueue(id);
        if begins {
            self.begin(id, intended);
        }
    }

    fn fire(&mut self, id: u64, reply: Option<oneshot::Sender<Made>>) {
        let Some(seated) = self.seats.get_mut(&id) else { return };
        seated.waiting.extend(reply);
        if seated.cell.flight.is_under_way() {
            seated.cell.flight.ask_again();
        } else {
            self.begin(id, Instant::now());
        }
    }

    fn hasten(&mut self, id: u64, by: Instant) {
        let Some(seated) = self.seats.get_mut(&id) else { return };
        if seated.due.is_some_and(|due| by < due) {
            seated.due = Some(by);
            self.enqueue(id);
        }
    }

    fn again(&mut self, id: u64) {
        let Some(seated) = self.seats.get(&id) else { return };
        if seated.cell.flight.is_under_way() {
            // One has begun meanwhile, and those who wait are waiting for it.
            return;
        }
        self.begin(id, Instant::now());
    }

    /// Begins a round that was due at `due`.
    fn begin(&mut self, id: u64, due: Instant) {
        let Some(seated) = self.seats.get_mut(&id) else { return };
        seated.cell.flight.begin();
        let replies = std::mem::take(&mut seated.waiting);
        // Whatever ends the round, a panic in a kind too, the next one may begin.
        let ending = Ending { id, cell: Arc::clone(&seated.cell), own: self.own.clone() };
        let rounds = Arc::clone(&self.rounds);
        tokio::spawn(async move {
            let (made, soon) = rounds.make(&ending.cell, due).await;
            if let Some(made) = made {
                for reply in replies {
                    let _ = reply.send(made.clone());
                }
            }
            if let Some(by) = soon {
                ending.tell(Command::Hasten { id, by });
            }
        });
    }
}

/// Notes that a round has ended.
struct Ending {
    id: u64,
    cell: Arc<Cell>,
    own: WeakUnboundedSender<Command>,
}

impl Ending {
    fn tell(&self, command: Command) {
        if let Some(own) = self.own.upgrade() {
            let _ = own.send(command);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.cell.flight.end() {
            self.tell(Command::Again { id: self.id });
        }
    }
}
