//! Answers the tasks of a batch, many at once, and hands the entries on in the order of the input.
use super::answerer::{Answerer, BatchSender, Halt, Stop};
use super::entry::Entry;
use super::input::{Input, Task};
use crate::sys::priority::lower_this_thread;
use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often whoever takes the entries is asked whether it wants more.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Tasks that may be begun before the first that is not done, for each that is in flight: a line
/// that takes long should not keep the others waiting, and entries that wait take memory.
const AHEAD: usize = 16;
/// Bytes of entries that wait for one before them, after which no task is begun.
const WAITING_BYTES: usize = 64 << 20;

/// Takes the entries of a batch, in the order of its input.
pub trait Sink {
    /// Takes the next entry; an error ends the run.
    fn take(&mut self, entry: &Entry) -> io::Result<()>;

    /// Whether more are wanted. It is asked often.
    fn is_wanted(&mut self) -> bool;
}

/// Why a batch did not go on to its end.
#[derive(Debug)]
pub enum RunError {
    /// The input cannot be read.
    Input(io::Error),
    /// The output cannot be written.
    Output(io::Error),
    /// Nothing can be answered any more, for this reason.
    Failed(String),
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
    /// The next task cannot be read.
    Unread(io::Error),
    /// Nothing can be answered any more, for this reason.
    Failed(String),
}

/// What the workers of a batch share.
struct Shared<'s, 'i, 'a, R> {
    queue: Mutex<Queue<'i, 'a, R>>,
    /// Told when there is room for another task.
    room: Condvar,
    in_flight: usize,
    answerer: &'s dyn Answerer,
    from: &'s BatchSender,
    stop: Stop,
}

/// Runs the rest of a batch with `in_flight` tasks at once, each on a thread of its own.
pub fn run<R: BufRead + Send>(
    input: &mut Input<'_, R>,
    answerer: &dyn Answerer,
    from: &BatchSender,
    in_flight: usize,
    sink: &mut dyn Sink,
) -> Result<Outcome, RunError> {
    let queue = Queue { input, begun: 0, taken: 0, waiting_bytes: 0, is_over: false };
    let shared = Shared {
        queue: Mutex::new(queue),
        room: Condvar::new(),
        in_flight: in_flight.max(1),
        answerer,
        from,
        stop: Stop::default(),
    };
    let (results, done) = channel();
    std::thread::scope(|scope| {
        for _ in 0..shared.in_flight {
            let (shared, results) = (&shared, results.clone());
            scope.spawn(move || shared.work(&results));
        }
        drop(results);
        let outcome = shared.collect(&done, sink);
        // The others end soon after this; whatever they still send goes nowhere.
        shared.stop.set();
        shared.room.notify_all();
        outcome
    })
}

impl<'i, 'a, R: BufRead + Send> Shared<'_, 'i, 'a, R> {
    /// A worker that panics leaves the queue whole.
    fn queue(&self) -> MutexGuard<'_, Queue<'i, 'a, R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task and its number, when there is room for it; `None` if there is no other.
    fn next(&self) -> io::Result<Option<(usize, Task)>> {
        let mut queue = self.queue();
        loop {
            if queue.is_over || self.stop.is_set() {
                return Ok(None);
            }
            // The first task that is not done always has room.
            let ahead = queue.begun - queue.taken;
            let has_room = ahead < self.in_flight * AHEAD && queue.waiting_bytes < WAITING_BYTES;
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
            let done = match self.next() {
                Ok(None) => return,
                Ok(Some((number, task))) => match self.entry(task) {
                    Ok(entry) => Done::Entry(number, entry),
                    Err(Halt::Stopped) => return,
                    Err(Halt::Failed(reason)) => Done::Failed(reason),
                },
                Err(error) => Done::Unread(error),
            };
            let goes_on = matches!(done, Done::Entry(..));
            if let Done::Entry(_, entry) = &done {
                self.queue().waiting_bytes += entry.bytes.len();
            }
            if results.send(done).is_err() || !goes_on {
                return;
            }
        }
    }

    fn entry(&self, task: Task) -> Result<Entry, Halt> {
        let request = match task.request {
            Ok(request) => request,
            Err(error) => return Ok(Entry::refused(&task.id, &error)),
        };
        let custom_id = request.custom_id.clone();
        let reply = self.answerer.answer(&task.id, request, self.from, &self.stop)?;
        Ok(Entry::answered(&task.id, &custom_id, &reply))
    }

    /// Hands entries on in the order of their tasks, until all are.
    fn collect(&self, done: &Receiver<Done>, sink: &mut dyn Sink) -> Result<Outcome, RunError> {
        let (mut waiting, mut next) = (BTreeMap::new(), 0);
        loop {
            if !sink.is_wanted() {
                return Ok(Outcome::Stopped);
            }
            match done.recv_timeout(ASK_EVERY) {
                Ok(Done::Entry(number, entry)) => _ = waiting.insert(number, entry),
                Ok(Done::Unread(error)) => return Err(RunError::Input(error)),
                Ok(Done::Failed(reason)) => return Err(RunError::Failed(reason)),
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
mod tests {
    use super::super::answerer::{LineError, LineRequest, Reply};
    use super::super::input::Input;
    use super::super::journal::Journal;
    use super::super::resume::resume;
    use super::*;
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Repeats what it is asked, some of it later than what comes behind.
    #[derive(Default)]
    struct Echo {
        now: AtomicUsize,
        most: AtomicUsize,
        fails_at: Option<&'static str>,
    }

    impl Answerer for Echo {
        fn read(&self, line: &[u8]) -> Result<LineRequest, LineError> {
            let value: Value = serde_json::from_slice(line)
                .map_err(|_| LineError::new("invalid_json_line", None, "no JSON"))?;
            let custom_id = value["custom_id"].as_str().unwrap_or_default().to_owned();
            Ok(LineRequest { custom_id, url: String::new(), body: serde_json::Map::new() })
        }

        fn answer(&self, id: &str, request: LineRequest, _: &BatchSender, _: &Stop) -> Result<Reply, Halt> {
            if self.fails_at == Some(&request.custom_id) {
                return Err(Halt::Failed("the end".to_owned()));
            }
            self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The earlier ones of each handful take longer.
            let number: u64 = request.custom_id.trim_start_matches('r').parse().unwrap_or(0);
            std::thread::sleep(Duration::from_micros(300 * (4 - number % 5 % 4)));
            self.now.fetch_sub(1, Ordering::SeqCst);
            let status = if number % 7 == 3 { 400 } else { 200 };
            Ok(Reply { status, body: json!({"id": id}).to_string().into_bytes() })
        }

        fn fingerprint(&self) -> &str {
            "f"
        }
    }

    /// Keeps entries until it has enough of them.
    struct Kept {
        entries: Vec<Entry>,
        max: usize,
    }

    impl Sink for Kept {
        fn take(&mut self, entry: &Entry) -> io::Result<()> {
            self.entries.push(entry.clone());
            Ok(())
        }

        fn is_wanted(&mut self) -> bool {
            self.entries.len() < self.max
        }
    }

    fn text(count: usize) -> String {
        (0..count).map(|i| format!("{{\"custom_id\": \"r{i}\"}}\n")).collect()
    }

    fn all(text: &str, echo: &Echo, in_flight: usize) -> (Vec<Entry>, Result<Outcome, RunError>) {
        let mut input = Input::new(text.as_bytes(), 1000, echo);
        let mut kept = Kept { entries: Vec::new(), max: usize::MAX };
        let outcome = run(&mut input, echo, &BatchSender::default(), in_flight, &mut kept);
        (kept.entries, outcome)
    }

    #[test]
    fn entries_come_in_order_whatever_is_in_flight() {
        let echo = Echo::default();
        let (alone, outcome) = all(&text(200), &echo, 1);
        assert!(matches!(outcome, Ok(Outcome::Whole)) && alone.len() == 200);
        let (crowd, _) = all(&text(200), &echo, 8);
        assert_eq!(alone, crowd);
        assert!((2..=8).contains(&echo.most.load(Ordering::SeqCst)));
        let custom_id =
            |entry: &Entry| serde_json::from_slice::<Value>(&entry.bytes).expect("JSON")["custom_id"].clone();
        assert!(alone.iter().enumerate().all(|(i, entry)| custom_id(entry) == format!("r{i}")));
    }

    #[test]
    fn lines_that_are_no_requests_are_entries_too() {
        let text = format!("{}nothing\n{{\"custom_id\": \"r1\"}}\n{{}}\n{}\n", text(3), "x".repeat(2000));
        let (entries, _) = all(&text, &Echo::default(), 4);
        let code = |entry: &Entry| {
            serde_json::from_slice::<Value>(&entry.bytes).expect("JSON")["error"]["code"].clone()
        };
        let codes: Vec<Value> = entries[3..].iter().map(code).collect();
        assert_eq!(codes, ["invalid_json_line", "duplicate_custom_id", "invalid_custom_id", "line_too_long"]);
    }

    #[test]
    fn a_batch_that_was_cut_goes_on_to_the_same_bytes() {
        let (text, echo) = (text(60), Echo::default());
        let (whole, _) = all(&text, &echo, 4);
        let expected: Vec<u8> = whole.iter().flat_map(|entry| entry.bytes.clone()).collect();
        let path = std::env::temp_dir().join(format!("verbatim-journal-{}", std::process::id()));
        for cut in [0, 1, 2, 50, 51, expected.len() / 2, expected.len() - 1, expected.len()] {
            std::fs::write(&path, &expected[..cut]).expect("written");
            let mut journal = Journal::open(&path).expect("opened");
            assert!(Journal::open(&path).is_err(), "it is in use");
            let mut input = Input::new(text.as_bytes(), 1000, &echo);
            let resumed = resume(&mut input, &mut [&mut journal]).expect("read");
            let lines = expected[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(resumed.lines, lines);
            assert_eq!(resumed.failed, whole[..lines].iter().filter(|entry| entry.is_error).count());
            assert!(journal.peek().expect("read").is_none());
            journal.cut().expect("cut");
            struct Appends<'j>(&'j mut Journal);
            impl Sink for Appends<'_> {
                fn take(&mut self, entry: &Entry) -> io::Result<()> {
                    self.0.append(entry)
                }

                fn is_wanted(&mut self) -> bool {
                    true
                }
            }
            let outcome = run(&mut input, &echo, &BatchSender::default(), 3, &mut Appends(&mut journal));
            assert!(matches!(outcome, Ok(Outcome::Whole)));
            assert!(std::fs::read(&path).expect("read") == expected, "cut at {cut}");
        }
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_run_ends_when_nobody_wants_it_or_nothing_answers() {
        let echo = Echo { fails_at: Some("r20"), ..Echo::default() };
        let (entries, outcome) = all(&text(1000), &echo, 4);
        assert!(matches!(outcome, Err(RunError::Failed(reason)) if reason == "the end"));
        assert!(entries.len() <= 20);
        let text = text(1000);
        let mut input = Input::new(text.as_bytes(), 1000, &echo);
        let mut kept = Kept { entries: Vec::new(), max: 5 };
        let echo = Echo::default();
        let outcome = run(&mut input, &echo, &BatchSender::default(), 4, &mut kept);
        assert!(matches!(outcome, Ok(Outcome::Stopped)) && kept.entries.len() < 100);
    }
}
