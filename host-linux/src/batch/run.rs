//! Answers the tasks of a batch, many at once, and hands the entries on in the order of the input.
use super::answerer::{Answerer, BatchSender, Halt, Stop};
use super::entry::Entry;
use super::input::{Input, Task};
use super::slots::Lane;
use crate::sys::priority::lower_this_thread;
use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// How often whoever takes the entries is asked whether it wants more.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Tasks that may be begun before the first that is not done, for each that is in flight: a line
/// that takes long should not keep the others waiting, and entries that wait take memory.
const AHEAD: usize = 16;
/// Bytes of entries that wait for one before them, after which no task is begun.
const WAITING_BYTES: usize = 16 << 20;

/// What whoever takes the entries of a batch still wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All that is to come.
    All,
    /// What was begun, and nothing new.
    Begun,
    /// Nothing at all: what was begun is given up.
    Nothing,
}

/// Takes the entries of a batch, in the order of its input.
pub trait Sink {
    /// Takes the next entry; an error ends the run.
    fn take(&mut self, entry: &Entry) -> io::Result<()>;

    /// What is wanted. It is asked often, and told whether all lines that were begun only wait for
    /// leave to be answered.
    fn wants(&mut self, is_idle: bool) -> Wanted;
}

/// Why a batch did not go on to its end.
#[derive(Debug)]
pub enum RunError {
    /// The input cannot be read.
    Input(io::Error),
    /// The output cannot be written.
    Output(io::Error),
    /// The system gives no threads.
    Threads(io::Error),
    /// The batch may not be answered: a word that programs can compare, and a sentence.
    Refused(&'static str, String),
    /// Nothing can be answered any more, for this reason.
    Failed(String),
    /// A line made this program panic, which was reported on standard error.
    Panicked,
}

/// How a run ended that met no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of the input was answered.
    Whole,
    /// The sink wanted no more.
    Stopped,
}

/// Tasks that are handed out, as far as there is room for their entries.
struct Queue<'i, 'a, R> {
    input: &'i mut Input<'a, R>,
    /// Tasks that were handed out.
    begun: usize,
    /// Entries that were handed on.
    taken: usize,
    /// Bytes of entries that wait for one before them.
    waiting_bytes: usize,
    /// Whether there is nothing to hand out any more.
    is_over: bool,
}

/// What came of a task.
enum Done {
    /// The entry of the task of this number.
    Entry(usize, Entry),
    /// No other task can come to its end, for this reason.
    Over(RunError),
}

/// What the workers of a batch share.
struct Shared<'s, 'i, 'a, R> {
    queue: Mutex<Queue<'i, 'a, R>>,
    /// Told when there is room for another task.
    room: Condvar,
    lane: &'s Lane<'s>,
    answerer: &'s dyn Answerer,
    from: &'s BatchSender,
    stop: Stop,
    /// Lines that wait for leave to be answered.
    asking: AtomicUsize,
    /// Lines that have it.
    answering: AtomicUsize,
}

/// Runs the rest of a batch with as many tasks at once as its lane has places, each on a thread of
/// its own.
pub fn run<R: BufRead + Send>(
    input: &mut Input<'_, R>,
    answerer: &dyn Answerer,
    from: &BatchSender,
    lane: &Lane<'_>,
    sink: &mut dyn Sink,
) -> Result<Outcome, RunError> {
    let queue = Queue { input, begun: 0, taken: 0, waiting_bytes: 0, is_over: false };
    let shared = Shared {
        queue: Mutex::new(queue),
        room: Condvar::new(),
        lane,
        answerer,
        from,
        stop: Stop::default(),
        asking: AtomicUsize::new(0),
        answering: AtomicUsize::new(0),
    };
    let (results, done) = channel();
    std::thread::scope(|scope| {
        // The others end soon after this; whatever they still send goes nowhere.
        let _ends = Ends(&shared);
        for number in 0..lane.max() {
            let (shared, results) = (&shared, results.clone());
            let builder = Builder::new().name("verbatim-line".to_owned());
            match builder.spawn_scoped(scope, move || shared.work(&results)) {
                Ok(_) => {}
                Err(error) if number == 0 => return Err(RunError::Threads(error)),
                // Fewer are slower, and change nothing else.
                Err(_) => break,
            }
        }
        drop(results);
        shared.collect(&done, sink)
    })
}

/// Stops the workers when it is dropped, whatever happened.
struct Ends<'e, 's, 'i, 'a, R>(&'e Shared<'s, 'i, 'a, R>);

impl<R> Drop for Ends<'_, '_, '_, '_, R> {
    fn drop(&mut self) {
        self.0.stop.set();
        self.0.wake();
    }
}

/// Counts one more until it is dropped.
struct Counted<'c>(&'c AtomicUsize);

impl<'c> Counted<'c> {
    fn by(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<'i, 'a, R> Shared<'_, 'i, 'a, R> {
    /// A worker that panics ends the run, so nobody goes on with what it left.
    fn queue(&self) -> MutexGuard<'_, Queue<'i, 'a, R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all workers that wait for room look at what has changed.
    fn wake(&self) {
        // Whoever has looked and does not wait yet holds the lock.
        drop(self.queue());
        self.room.notify_all();
    }
}

impl<R: BufRead + Send> Shared<'_, '_, '_, R> {
    /// The next task and its number, when there is room for it; `None` if there is no other.
    fn next(&self) -> io::Result<Option<(usize, Task)>> {
        let mut queue = self.queue();
        loop {
            if queue.is_over || self.stop.begins_nothing() {
                return Ok(None);
            }
            // The first task that is not done always has room.
            let ahead = queue.begun - queue.taken;
            let has_room = ahead < self.lane.max() * AHEAD && queue.waiting_bytes < WAITING_BYTES;
            if ahead == 0 || has_room {
                break;
            }
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let task = queue.input.next_task();
        queue.is_over = !matches!(task, Ok(Some(_)));
        let number = queue.begun;
        queue.begun += usize::from(!queue.is_over);
        Ok(task?.map(|task| (number, task)))
    }

    /// Answers tasks until there are no more.
    fn work(&self, results: &Sender<Done>) {
        lower_this_thread();
        loop {
            let done = catch_unwind(AssertUnwindSafe(|| self.step()));
            let Some(done) = done.unwrap_or(Some(Done::Over(RunError::Panicked))) else { return };
            let goes_on = matches!(done, Done::Entry(..));
            if let Done::Entry(_, entry) = &done {
                self.queue().waiting_bytes += entry.bytes.len();
            }
            if results.send(done).is_err() || !goes_on {
                return;
            }
        }
    }

    /// What comes of the next task; nothing if there is none, or it is not wanted.
    fn step(&self) -> Option<Done> {
        let (number, task) = match self.next() {
            Ok(next) => next?,
            Err(error) => return Some(Done::Over(RunError::Input(error))),
        };
        Some(match self.entry(task) {
            Ok(entry) => Done::Entry(number, entry),
            Err(Halt::Stopped) => return None,
            Err(Halt::Refused { code, message }) => Done::Over(RunError::Refused(code, message)),
            Err(Halt::Failed(reason)) => Done::Over(RunError::Failed(reason)),
        })
    }

    fn entry(&self, task: Task) -> Result<Entry, Halt> {
        let request = match task.request {
            Ok(request) => request,
            Err(error) => return Ok(Entry::refused(&task.id, &error)),
        };
        let asking = Counted::by(&self.asking);
        let _leave = self.answerer.leave(self.from, &self.stop)?;
        let _answering = Counted::by(&self.answering);
        drop(asking);
        let _slot = self.lane.take(&self.stop).ok_or(Halt::Stopped)?;
        let custom_id = request.custom_id.clone();
        let reply = self.answerer.answer(&task.id, request, self.from, &self.stop)?;
        Ok(Entry::answered(&task.id, &custom_id, &reply))
    }

    fn is_idle(&self) -> bool {
        self.asking.load(Ordering::SeqCst) > 0 && self.answering.load(Ordering::SeqCst) == 0
    }

    /// Hands entries on in the order of their tasks, until all are.
    fn collect(&self, done: &Receiver<Done>, sink: &mut dyn Sink) -> Result<Outcome, RunError> {
        let (mut waiting, mut next) = (BTreeMap::new(), 0);
        loop {
            match sink.wants(self.is_idle()) {
                Wanted::All => {}
                Wanted::Begun => {
                    self.stop.begin_nothing();
                    self.wake();
                }
                Wanted::Nothing => return Ok(Outcome::Stopped),
            }
            match done.recv_timeout(ASK_EVERY) {
                Ok(Done::Entry(number, entry)) => _ = waiting.insert(number, entry),
                Ok(Done::Over(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                // Every worker has ended: there are no more tasks, or some were given up.
                Err(RecvTimeoutError::Disconnected) => {
                    let queue = self.queue();
                    let is_whole = queue.is_over && queue.taken == queue.begun;
                    return Ok(if is_whole { Outcome::Whole } else { Outcome::Stopped });
                }
            }
            while let Some(entry) = waiting.remove(&next) {
                sink.take(&entry).map_err(RunError::Output)?;
                next += 1;
                let mut queue = self.queue();
                queue.taken = next;
                queue.waiting_bytes -= entry.bytes.len();
                drop(queue);
                self.room.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests;
