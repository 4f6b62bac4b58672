//! Embeddings: prompts in, one vector each out. Nothing is generated.
use super::engine::{EngineHandle, Ticket, TokenEvent, TokenEventKind};
use super::error::{GenerationError, SubmitError};
use super::pooling::{PooledPrompt, normalize};
use super::request::OwnedRequest;
use crate::load::EmbeddingConfig;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use verbatim_core::engine::{FinishReason, Refusal};
use verbatim_core::model::RowOutput;
use verbatim_core::sampling::SamplingParams;

/// How often it is asked whether the vectors are still wanted, and a full queue whether it has
/// room.
const ASK_EVERY: Duration = Duration::from_millis(25);

/// The embedding of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// As many numbers as the model has hidden dimensions, all finite.
    pub vector: Vec<f32>,
    /// Tokens of the prompt whose keys and values were in the cache.
    pub cached_tokens: usize,
}

/// Why there are no embeddings.
#[derive(Clone, Debug, PartialEq)]
pub enum EmbeddingError {
    /// The prompt of this number was not taken.
    Submit(usize, SubmitError),
    /// The prompt of this number was not finished.
    Ended(usize, GenerationError),
}

impl fmt::Display for EmbeddingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submit(_, error) => error.fmt(f),
            Self::Ended(_, error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EmbeddingError {}

/// A prompt that is to be embedded, and where it belongs in the engine's order.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// Its token ids, at least one.
    pub prompt: Vec<u32>,
    /// As that of [`OwnedRequest`].
    pub priority: i8,
    /// As that of [`OwnedRequest`].
    pub cache_salt: u64,
}

/// What becomes of prompts, while they are computed.
pub trait Watcher {
    /// Whether the vectors are still wanted.
    fn is_wanted(&self) -> bool {
        true
    }

    /// The prompt of this number is computed from now on.
    fn begins(&mut self, _number: usize) {}
}

/// Of no interest to the caller.
impl Watcher for () {}

/// The embeddings of prompts, as `config` says, in their order.
///
/// However many prompts there are, the engine has no more of them at once than it runs sequences.
/// Once it has taken the first one, the others wait until there is room for them.
pub fn embed(
    engine: &EngineHandle,
    config: &EmbeddingConfig,
    prompts: Vec<Embedded>,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Embedding>, EmbeddingError> {
    let (sender, events) = channel();
    let count = prompts.len();
    let waiting = prompts.into_iter().enumerate().collect();
    let mut run = Run { engine, config, sender, waiting, begun: BTreeMap::new(), done: BTreeMap::new() };
    while run.done.len() < count {
        run.submit_those_that_fit()?;
        if !watcher.is_wanted() {
            let number = run.begun.keys().next().copied().unwrap_or(0);
            return Err(EmbeddingError::Ended(number, GenerationError::Unwanted));
        }
        // An end of the queue is impossible: `run` holds a sender.
        if let Ok(event) = events.recv_timeout(ASK_EVERY) {
            run.take(event, watcher)?;
        }
    }
    Ok(std::mem::take(&mut run.done).into_values().collect())
}

/// A prompt that the engine has.
struct Begun {
    ticket: Ticket,
    pooled: Arc<PooledPrompt>,
    cached_tokens: usize,
}

/// The prompts of a call, by their numbers. Dropping it ends those that the engine has.
struct Run<'r> {
    engine: &'r EngineHandle,
    config: &'r EmbeddingConfig,
    sender: Sender<TokenEvent>,
    waiting: VecDeque<(usize, Embedded)>,
    begun: BTreeMap<usize, Begun>,
    done: BTreeMap<usize, Embedding>,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.begun.values().for_each(|begun| self.engine.cancel(begun.ticket));
    }
}

impl Run<'_> {
    /// Submits prompts in order, as many as run at once and as the queue has room for.
    fn submit_those_that_fit(&mut self) -> Result<(), EmbeddingError> {
        while self.begun.len() < self.engine.model().limits.sequences
            && let Some((number, prompt)) = self.waiting.front()
        {
            let number = *number;
            let pooled = Arc::new(PooledPrompt::new(self.config.pooling, prompt.prompt.len()));
            let request = OwnedRequest {
                priority: prompt.priority,
                cache_salt: prompt.cache_salt,
                prompt_output: RowOutput::Hidden,
                pooled: Some(Arc::clone(&pooled)),
                ..OwnedRequest::new(prompt.prompt.clone(), SamplingParams::GREEDY, 0)
            };
            match self.engine.submit(request, number, self.sender.clone()) {
                Ok(ticket) => {
                    self.waiting.pop_front();
                    self.begun.insert(number, Begun { ticket, pooled, cached_tokens: 0 });
                }
                Err(SubmitError::Refused(Refusal::QueueFull { .. })) if number > 0 => break,
                Err(error) => return Err(EmbeddingError::Submit(number, error)),
            }
        }
        Ok(())
    }

    /// Takes an event of a prompt.
    fn take(&mut self, event: TokenEvent, watcher: &mut dyn Watcher) -> Result<(), EmbeddingError> {
        let number = event.choice;
        let ended = |error| Err(EmbeddingError::Ended(number, error));
        let Some(begun) = self.begun.get_mut(&number) else { return Ok(()) };
        match event.kind {
            TokenEventKind::Admitted { cached_tokens } => {
                begun.cached_tokens = cached_tokens;
                watcher.begins(number);
            }
            TokenEventKind::Finished(FinishReason::DeviceLost) => return ended(GenerationError::DeviceLost),
            TokenEventKind::Finished(_) => {
                let Some(Begun { pooled, cached_tokens, .. }) = self.begun.remove(&number) else {
                    return Ok(());
                };
                let mut vector = pooled.vector();
                if vector.iter().any(|x| !x.is_finite()) {
                    return ended(GenerationError::NonFinite { position: pooled.first_position() });
                }
                if self.config.normalizes {
                    normalize(&mut vector);
                }
                self.done.insert(number, Embedding { vector, cached_tokens });
            }
            TokenEventKind::EngineLost => return ended(self.engine.loss()),
            _ => {}
        }
        Ok(())
    }
}
