//! Texts to vectors: what all endpoints share that embed.
use super::fields::Fields;
use super::limits::Reading;
use super::params;
use crate::load::EmbeddingConfig;
use crate::runtime::embedding::Watcher;
use crate::runtime::{self, Embedded, EmbeddingError, GenerationError, ServedModel};
use crate::serve::active::Active;
use crate::serve::budgets::{AnswerRoom, Queued};
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::observe::Usage;
use crate::serve::server::Server;
use crate::serve::transport::refusal;
use crate::text::quote::quote_value;
use serde_json::{Value, json};

/// Texts of a request, at most, as in OpenAI's API.
pub(super) const TEXTS_MAX: usize = 2048;

/// How the model makes embeddings; 400 if it makes none.
pub(super) fn config(model: &ServedModel) -> Result<&EmbeddingConfig, ApiError> {
    model.embedding.as_ref().map_err(|why| {
        ApiError::invalid("model", format!("the model {} makes no embeddings: {why}", model.name))
    })
}

/// How texts become ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoding<'m> {
    model: &'m ServedModel,
    /// Whether the tokenizer adds its special tokens.
    adds_special: bool,
    /// The last tokens that are kept of a text that has more; `None` refuses what the context has
    /// no room for.
    keeps: Option<usize>,
}

impl<'m> Encoding<'m> {
    /// Reads `add_special_tokens` (else true) and `truncate_prompt_tokens` (−1: the context).
    pub(super) fn read(fields: &Fields<'_>, model: &'m ServedModel) -> Result<Self, ApiError> {
        let context = model.limits.model_len;
        let keeps = match fields.integer("truncate_prompt_tokens", -1, context as i64)? {
            Some(0) => {
                let message = "truncate_prompt_tokens must be -1 or at least 1, found 0";
                return Err(ApiError::invalid("truncate_prompt_tokens", message));
            }
            Some(count) => Some(usize::try_from(count).unwrap_or(context)),
            None => None,
        };
        let adds_special = match fields.get("add_special_tokens") {
            Some(_) => fields.flag("add_special_tokens")?,
            None => true,
        };
        Ok(Self { model, adds_special, keeps })
    }

    /// The ids of a text, which comes from the field `name`.
    pub(super) fn text(&self, text: &str, name: &str) -> Result<Vec<u32>, ApiError> {
        if self.keeps.is_none() {
            params::check_text_fits(text, self.model, name)?;
        }
        let ids = self.model.tokenizer.encode(text, self.adds_special);
        self.cut(ids.map_err(|error| ApiError::text(name, &error))?, name)
    }

    /// Ids as they were sent in the field `name`.
    fn ids(&self, list: &[Value], name: &str) -> Result<Vec<u32>, ApiError> {
        if self.keeps.is_none() {
            params::check_ids_fit(list, self.model, name)?;
        }
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| wrong(name, value))
        };
        self.cut(list.iter().map(id).collect::<Result<_, _>>()?, name)
    }

    fn cut(&self, mut ids: Vec<u32>, name: &str) -> Result<Vec<u32>, ApiError> {
        if let Some(keeps) = self.keeps {
            ids.drain(..ids.len().saturating_sub(keeps));
        }
        if ids.is_empty() {
            return Err(ApiError::invalid(name, format!("{name} has an empty text")));
        }
        if ids.len() > self.model.limits.model_len {
            return Err(params::context_exceeded(name, self.model, ids.len()));
        }
        Ok(ids)
    }
}

fn wrong(name: &str, found: &Value) -> ApiError {
    let expected = "a string, a list of token ids, or a list of either";
    ApiError::invalid(name, format!("{name} must be {expected}, found {}", quote_value(found)))
}

/// Refuses more texts than are taken.
pub(super) fn check_count(name: &str, count: usize) -> Result<(), ApiError> {
    if (1..=TEXTS_MAX).contains(&count) {
        return Ok(());
    }
    let message = format!("{name} has {count} entries, but 1 to {TEXTS_MAX} are taken");
    Err(ApiError::invalid(name, message))
}

/// The prompts of the field `name`: of one text or of several, as strings or as token ids.
pub(super) fn prompts(
    fields: &Fields<'_>,
    name: &str,
    reading: Reading<'_>,
) -> Result<Vec<Vec<u32>>, ApiError> {
    let encoding = Encoding::read(fields, reading.model)?;
    let value = fields.get(name).ok_or_else(|| ApiError::invalid(name, format!("{name} is missing")))?;
    match value {
        Value::String(text) => Ok(vec![encoding.text(text, name)?]),
        Value::Array(list) if matches!(list.first(), Some(Value::Number(_))) => {
            Ok(vec![encoding.ids(list, name)?])
        }
        Value::Array(list) => {
            check_count(name, list.len())?;
            let prompt = |value: &Value| match value {
                Value::String(text) => encoding.text(text, name),
                Value::Array(ids) => encoding.ids(ids, name),
                other => Err(wrong(name, other)),
            };
            list.iter().map(prompt).collect()
        }
        other => Err(wrong(name, other)),
    }
}

/// Memory for an answer made of the vectors of so many `texts`, where it takes `each` bytes for a
/// text besides the vector. It is to be kept until the client has the answer.
pub(super) fn room(server: &Server, texts: usize, each: usize) -> Result<AnswerRoom<'_>, ApiError> {
    let vector = server.model.loaded.model().config().hidden_size * size_of::<f32>();
    let mut room = server.budgets.answers.room("send fewer texts at once");
    room.grow(texts.saturating_mul(vector.saturating_add(each)))?;
    Ok(room)
}

/// The vectors of prompts that come from the field `name`, and are cached with those of the same
/// salt. What they took is noted in the request's record, also where there is an error.
pub(super) fn embed(
    exchange: &mut Exchange<'_>,
    name: &str,
    prompts: Vec<Vec<u32>>,
    cache_salt: u64,
) -> Result<Vec<Vec<f32>>, ApiError> {
    let client = exchange.client.clone();
    let is_wanted = || !client.is_cut() && !client.has_left();
    let active = exchange.server.active.enter(exchange.sender());
    let asks = (prompts, cache_salt, 0);
    let (usage, vectors) = compute(exchange.server, name, asks, &active, &is_wanted);
    exchange.record.usage = usage;
    vectors
}

/// What prompts took that come from the field `name`, and their vectors, as long as these are
/// wanted. A prompt counts from when the engine has begun with it, whatever becomes of the others.
pub(super) fn compute(
    server: &Server,
    name: &str,
    asks: (Vec<Vec<u32>>, u64, i8),
    active: &Active,
    is_wanted: &dyn Fn() -> bool,
) -> (Usage, Result<Vec<Vec<f32>>, ApiError>) {
    match config(&server.model) {
        Ok(config) => compute_by(config, server, name, asks, active, is_wanted),
        Err(error) => (Usage::default(), Err(error)),
    }
}

/// What [`compute`] does, by this way of making embeddings.
fn compute_by(
    config: &EmbeddingConfig,
    server: &Server,
    name: &str,
    (prompts, cache_salt, priority): (Vec<Vec<u32>>, u64, i8),
    active: &Active,
    is_wanted: &dyn Fn() -> bool,
) -> (Usage, Result<Vec<Vec<f32>>, ApiError>) {
    let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
    let queued = match server.budgets.queue.enter(lengths.iter().map(|length| (1, *length))) {
        Ok(queued) => queued,
        Err(error) => return (Usage::default(), Err(error)),
    };
    let is_wanted = || !active.is_cancelled() && is_wanted();
    let mut waiting = Waiting { is_wanted: &is_wanted, queued, lengths, begun: 0 };
    let prompts = prompts.into_iter().map(|prompt| Embedded { prompt, priority, cache_salt }).collect();
    let embedded = runtime::embed(&server.engine.tagged(active.number), config, prompts, &mut waiting);
    let embedded = embedded.map_err(|error| match error {
        EmbeddingError::Submit(_, error) => blaming(name, error.into()),
        EmbeddingError::Ended(_, GenerationError::Unwanted) if active.is_cancelled() => ApiError::cancelled(),
        EmbeddingError::Ended(_, GenerationError::Unwanted) if server.lifecycle.is_cut() => {
            refusal::cut_off()
        }
        EmbeddingError::Ended(_, error) => error.into(),
    });
    let cached_tokens = embedded.iter().flatten().map(|embedding| embedding.cached_tokens).sum();
    let usage = Usage { prompt_tokens: waiting.begun, completion_tokens: 0, cached_tokens };
    (usage, embedded.map(|all| all.into_iter().map(|embedding| embedding.vector).collect()))
}

/// An error that names the field in which this endpoint takes prompts.
fn blaming(name: &str, error: ApiError) -> ApiError {
    let param = error.param.map(|param| if param == "prompt" { name.to_owned() } else { param });
    ApiError { param, ..error }
}

/// Whoever waits for vectors, and the place in the queue.
struct Waiting<'s> {
    is_wanted: &'s dyn Fn() -> bool,
    queued: Queued<'s>,
    /// The tokens of each prompt that has not begun.
    lengths: Vec<usize>,
    /// Those of all that have.
    begun: usize,
}

impl Watcher for Waiting<'_> {
    fn is_wanted(&self) -> bool {
        (self.is_wanted)()
    }

    fn begins(&mut self, number: usize) {
        self.queued.heard_of(number);
        self.begun += self.lengths.get_mut(number).map_or(0, std::mem::take);
    }
}

/// What an answer says of the tokens that it took.
pub(super) fn usage_json(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens, "completion_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Dimensions, Pooling};
    use crate::serve::active::Sender;
    use crate::serve::routes::tests::Rig;

    /// A client that leaves before the last of many texts has had the others computed.
    #[test]
    fn what_was_begun_counts_whatever_becomes_of_the_rest() {
        let rig = Rig::new();
        let config =
            EmbeddingConfig { pooling: Pooling::Mean, normalizes: true, dimensions: Dimensions::Whole };
        let queue = &rig.server.budgets.queue;
        let compute = |is_wanted: &dyn Fn() -> bool| {
            let prompts = (0..100).map(|i| vec![i; 7]).collect();
            let active = rig.server.active.enter(Sender::default());
            compute_by(&config, &rig.server, "input", (prompts, 0, 0), &active, is_wanted)
        };
        let (usage, vectors) = compute(&|| queue.used() == 700);
        assert!(vectors.is_err() && queue.used() == 0);
        assert!((7..700).contains(&usage.prompt_tokens), "{usage:?}");
        let (usage, vectors) = compute(&|| false);
        assert!(vectors.is_err() && usage == Usage::default());
        let (usage, vectors) = compute(&|| true);
        assert_eq!((usage.prompt_tokens, vectors.map(|all| all.len())), (700, Ok(100)));
        rig.stop();
    }
}
