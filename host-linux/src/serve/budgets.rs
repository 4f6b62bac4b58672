//! What requests spend together: turns at reading and tokenizing, tokens of prompts that wait,
//! memory of answers, and memory that is to go back to the system.
use super::api::limits::{RequestBounds, RequestLimits};
use super::error::ApiError;
use super::turns::Turns;
use crate::runtime::ServedModel;
use crate::sys::heap::trim;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Bytes of bodies, one large or many small, after which memory is swept.
const SWEPT_BYTES: usize = 256 << 10;
/// How long the sweeper waits, so that what ends together is swept together.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// The budgets of a server. They live as long as it does.
#[derive(Debug)]
pub struct Budgets {
    /// What each request may ask for.
    pub bounds: RequestBounds,
    /// Turns at reading a body: parsing, rendering and tokenizing take processors and memory, so
    /// they are done for a few requests at once.
    pub reading: Turns,
    /// The tokens of prompts that wait.
    pub queue: TokenQueue,
    /// Memory of answers that are larger than what they answer.
    pub answers: AnswerMemory,
    /// Gives freed memory back.
    pub sweeper: Sweeper,
}

impl Budgets {
    /// The budgets of a server of `model`.
    pub fn new(limits: &RequestLimits, model: &ServedModel) -> Self {
        let bounds = RequestBounds::new(limits, model);
        Self {
            bounds,
            reading: Turns::new(bounds.tokenizing.max),
            queue: TokenQueue { used: AtomicUsize::new(0), max: bounds.queued_tokens.max },
            answers: AnswerMemory { used: AtomicUsize::new(0), max: bounds.answer_bytes.max },
            sweeper: Sweeper::start(),
        }
    }
}

/// Counts the bytes of answers that are larger than what they answer: lists of tokens, vectors, and
/// what is said of texts. An answer that is sent whole counts until its client has it; a stream
/// counts for what it keeps until its end. Text that is generated is small.
#[derive(Debug)]
pub struct AnswerMemory {
    used: AtomicUsize,
    max: usize,
}

impl AnswerMemory {
    /// Room for an answer, which has taken none yet. `advice` is what a client may do for whose
    /// answer there is none, such as `ask for a stream`.
    pub fn room(&self, advice: &'static str) -> AnswerRoom<'_> {
        AnswerRoom { memory: self, taken: 0, advice }
    }

    /// Bytes that are taken now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// What one answer has taken of the memory; dropping it gives that back.
#[derive(Debug)]
pub struct AnswerRoom<'m> {
    memory: &'m AnswerMemory,
    taken: usize,
    advice: &'static str,
}

impl AnswerRoom<'_> {
    /// Takes `bytes` more: an error of status 429 where other answers leave no room for them, of
    /// status 400 where none would.
    pub fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        const NAME: &str = "max-answer-bytes";
        let AnswerMemory { used, max } = self.memory;
        if self.taken.saturating_add(bytes) > *max {
            let message = format!("this answer takes more than {max} bytes: {} (option {NAME})", self.advice);
            return Err(ApiError { budget: Some(NAME), ..ApiError::invalid("", message) });
        }
        let fits = |used: usize| used.checked_add(bytes).filter(|used| used <= max);
        if used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            let message =
                format!("large answers fill {max} bytes: ask again, or {} (option {NAME})", self.advice);
            return Err(ApiError::queue_full(NAME, message));
        }
        self.taken += bytes;
        Ok(())
    }
}

impl Drop for AnswerRoom<'_> {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Counts the tokens of prompts from when they are submitted to their first output.
#[derive(Debug)]
pub struct TokenQueue {
    used: AtomicUsize,
    max: usize,
}

impl TokenQueue {
    /// Lets a request in whose prompts have these numbers of choices and tokens, or refuses it with
    /// 429. A request that comes to an empty queue is let in however long it is: it would else be
    /// refused for ever.
    pub fn enter(&self, prompts: impl Iterator<Item = (u32, usize)>) -> Result<Queued<'_>, ApiError> {
        let mut end = 0;
        let prompts = prompts.map(|(choices, tokens)| {
            end += choices as usize;
            (end, tokens)
        });
        let prompts: Vec<_> = prompts.collect();
        let tokens: usize = prompts.iter().map(|(_, tokens)| tokens).sum();
        let fits = |used: usize| (used == 0 || used + tokens <= self.max).then_some(used + tokens);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Queued { queue: self, prompts }),
            Err(used) => {
                let message = format!(
                    "the queue is full: prompts of {used} tokens wait already, and {tokens} more are too many (option max-queued-tokens)"
                );
                Err(ApiError::queue_full("max-queued-tokens", message))
            }
        }
    }

    /// Tokens that wait now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The place of a request in a [`TokenQueue`]; dropping it leaves.
#[derive(Debug)]
pub struct Queued<'q> {
    queue: &'q TokenQueue,
    /// For each prompt, the number after its last choice, and its tokens that still count.
    prompts: Vec<(usize, usize)>,
}

impl Queued<'_> {
    /// Notes that a choice has had an event: its prompt waits no more.
    pub fn heard_of(&mut self, choice: usize) {
        if let Some((_, tokens)) = self.prompts.iter_mut().find(|(end, _)| choice < *end) {
            self.queue.used.fetch_sub(std::mem::take(tokens), Ordering::Relaxed);
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let rest = self.prompts.iter().map(|(_, tokens)| tokens).sum();
        self.queue.used.fetch_sub(rest, Ordering::Relaxed);
    }
}

/// A thread that gives memory back to the system some time after bodies were freed: the allocator
/// keeps what it got, and a burst of them would stay for good.
#[derive(Debug)]
pub struct Sweeper {
    wake: SyncSender<()>,
    /// Bytes of bodies that were freed since it was last woken.
    freed: AtomicUsize,
}

impl Sweeper {
    fn start() -> Self {
        let (wake, inbox) = sync_channel(1);
        // Without the thread nothing is swept, and nothing else is lost.
        let _ = std::thread::Builder::new().name("verbatim-sweep".to_owned()).spawn(move || sweep(&inbox));
        Self { wake, freed: AtomicUsize::new(0) }
    }

    /// Notes that so many bytes of a body were freed, and what was made of them.
    pub fn freed(&self, bytes: usize) {
        if self.freed.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) >= SWEPT_BYTES {
            self.freed.store(0, Ordering::Relaxed);
            // If it is full, the sweeper is about to look.
            let _ = self.wake.try_send(());
        }
    }
}

/// Sweeps when it is woken; ends with the server.
fn sweep(inbox: &Receiver<()>) {
    while inbox.recv().is_ok() {
        std::thread::sleep(SWEEP_EVERY);
        // Whoever wakes it after this is swept next time.
        let _ = inbox.try_recv();
        trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_take_the_memory_that_there_is() {
        let memory = AnswerMemory { used: AtomicUsize::new(0), max: 100 };
        let (mut first, mut second) = (memory.room("ask"), memory.room("ask"));
        first.grow(60).expect("there is room");
        let error = second.grow(41).unwrap_err();
        assert_eq!((error.status, error.budget), (429, Some("max-answer-bytes")));
        second.grow(40).expect("there is room for less");
        let error = first.grow(41).unwrap_err();
        assert_eq!((error.status, error.budget), (400, Some("max-answer-bytes")), "it fits in no case");
        drop(first);
        assert_eq!(memory.used(), 40);
        second.grow(60).expect("what is given back can be taken");
        assert_eq!(second.grow(usize::MAX).unwrap_err().status, 400);
        drop(second);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn prompts_wait_until_their_first_output_and_no_more_than_fit() {
        let queue = TokenQueue { used: AtomicUsize::new(0), max: 100 };
        let mut first = queue.enter([(2, 50), (1, 30)].into_iter()).expect("the queue is empty");
        assert_eq!(queue.used(), 80);
        let error = queue.enter([(1, 21)].into_iter()).unwrap_err();
        assert_eq!(
            (error.status, error.code, error.budget),
            (429, Some("queue_full"), Some("max-queued-tokens"))
        );
        assert_eq!(error.headers(), [("Retry-After", "1")]);
        assert_eq!(queue.used(), 80, "a refused request counts for nothing");
        first.heard_of(2);
        first.heard_of(2);
        assert_eq!(queue.used(), 50);
        let second = queue.enter([(1, 50)].into_iter()).expect("it fits");
        first.heard_of(0);
        drop(second);
        assert_eq!(queue.used(), 0);
        first.heard_of(1);
        drop(first);
        assert_eq!(queue.used(), 0);
        let long = queue.enter([(1, 1000)].into_iter()).expect("nothing else waits");
        assert!(queue.enter([(1, 1)].into_iter()).is_err());
        drop(long);
        assert_eq!(queue.used(), 0);
    }
}
