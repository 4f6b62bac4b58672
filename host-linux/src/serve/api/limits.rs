//! Budgets of what is inside a request, and the one refusal for each that is spent.
//!
//! [`RequestLimits`] is what whoever starts the server chooses, [`RequestBounds`] what comes of it
//! for a model. Every bound has the name of its option, which errors tell, and counts under that
//! name ([`ApiError::budget`]). Bounds on connections and on the bytes of bodies are the
//! transport's.
use crate::runtime::{CHOICES_MAX, ServedModel};
use crate::serve::error::ApiError;
use crate::serve::setting::Setting;

/// Choices that a prompt may have.
const CHOICES: usize = 128;
/// Prompts that a request may have. Those for which the engine has no place wait.
const PROMPTS: usize = 1024;
/// Depth to which `serde_json` reads.
const JSON_DEPTH_MAX: usize = 127;
/// JSON values in a body that are allowed for any model.
const JSON_NODES_MIN: usize = 100_000;
/// Bytes of answers that list their tokens, for any model.
const ANSWER_BYTES_MIN: usize = 256 << 20;
/// Bytes of such answers for each token of the context: an answer of the whole context, with nine
/// alternatives for each token, as `serve/api/answer/room.rs` counts.
const ANSWER_BYTES_A_TOKEN: usize = 10 << 10;
/// Tokens of prompts that may wait for any model.
const QUEUED_TOKENS_MIN: usize = 1 << 16;

/// The budgets of a request that are chosen; where nothing is, the model decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// JSON arrays and objects inside each other, 1 to 127.
    pub json_depth: usize,
    /// JSON values and names in a body; `None` is four for each token of the context, at least
    /// 100,000.
    pub json_nodes: Option<usize>,
    /// Stop strings of a request.
    pub stop_strings: usize,
    /// Characters of a stop string.
    pub stop_chars: usize,
    /// Choices (`n`) of a prompt. Those for which the engine has no place wait.
    pub choices: usize,
    /// Prompts of a request. Those for which the engine has no place wait.
    pub prompts: usize,
    /// Bodies that are read and tokenized at once; `None` is the engine's number of workers.
    pub tokenizing: Option<usize>,
    /// Tokens of prompts that wait for their first token; `None` is 16 contexts, at least 65,536.
    pub queued_tokens: Option<usize>,
    /// Bytes of all answers that list their tokens and are sent whole; `None` is 10 KiB for each
    /// token of the context, at least 256 MiB.
    pub answer_bytes: Option<usize>,
    /// Whether a parameter that means nothing at its endpoint is refused, rather than told.
    pub is_strict: bool,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            json_depth: 64,
            json_nodes: None,
            stop_strings: 16,
            stop_chars: 1000,
            choices: CHOICES,
            prompts: PROMPTS,
            tokenizing: None,
            queued_tokens: None,
            answer_bytes: None,
            is_strict: false,
        }
    }
}

/// What a body is read for, and within.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'s> {
    /// The model that is asked.
    pub model: &'s ServedModel,
    /// The budgets of the request.
    pub bounds: &'s RequestBounds,
}

/// A bound on one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The name of the option that sets it.
    pub name: &'static str,
    /// The greatest number that is allowed, at least 1.
    pub max: usize,
    /// Where that number comes from.
    pub reason: &'static str,
}

impl Bound {
    /// Lets `found` pass, or refuses it. `subject` and `unit` stand before and behind the number.
    pub fn check(self, param: &str, (subject, found, unit): (&str, usize, &str)) -> Result<(), ApiError> {
        if found <= self.max {
            return Ok(());
        }
        Err(self.refuse(param, &format!("{subject} {found} {unit}, but at most {} are taken", self.max)))
    }

    /// The refusal of a request that spends more, in words that end before the option's name.
    pub fn refuse(self, param: &str, message: &str) -> ApiError {
        let message = format!("{message} (option {})", self.name);
        ApiError { budget: Some(self.name), ..ApiError::invalid(param, message) }
    }
}

/// The budgets of a request to one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestBounds {
    /// JSON arrays and objects inside each other.
    pub json_depth: Bound,
    /// JSON values and names of a body.
    pub json_nodes: Bound,
    /// Stop strings of a request.
    pub stop_strings: Bound,
    /// Characters of a stop string.
    pub stop_chars: Bound,
    /// Entries of `logit_bias`, for which the engine has room.
    pub logit_bias: Bound,
    /// Choices (`n`) of a prompt.
    pub choices: Bound,
    /// Prompts of a request.
    pub prompts: Bound,
    /// Bodies that are read and tokenized at once.
    pub tokenizing: Bound,
    /// Tokens of prompts that wait for their first token.
    pub queued_tokens: Bound,
    /// Bytes of answers that list their tokens and are sent whole.
    pub answer_bytes: Bound,
    /// Whether a parameter that means nothing at its endpoint is refused.
    pub is_strict: bool,
    /// Sequences that wait, which the engine counts.
    pub queue: Bound,
}

impl RequestBounds {
    /// What the choices come to for a model.
    pub fn new(limits: &RequestLimits, model: &ServedModel) -> Self {
        let context = model.limits.model_len;
        let given = |name, max: usize| Bound { name, max: max.max(1), reason: "as chosen, or by default" };
        let follows = |name, chosen: Option<usize>, derived: usize, reason| match chosen {
            Some(max) => given(name, max),
            None => Bound { name, max: derived.max(1), reason },
        };
        let json_nodes = context.saturating_mul(4).max(JSON_NODES_MIN);
        let answer_bytes = context.saturating_mul(ANSWER_BYTES_A_TOKEN).max(ANSWER_BYTES_MIN);
        let queued_tokens = context.saturating_mul(16).max(QUEUED_TOKENS_MIN);
        Self {
            json_depth: given("max-json-depth", limits.json_depth.min(JSON_DEPTH_MAX)),
            json_nodes: follows(
                "max-json-nodes",
                limits.json_nodes,
                json_nodes,
                "4 for each token of the context, at least 100,000",
            ),
            stop_strings: given("max-stop-strings", limits.stop_strings),
            stop_chars: given("max-stop-chars", limits.stop_chars),
            logit_bias: follows("logit-bias", None, model.limits.logit_bias, "the engine's table"),
            choices: given("max-choices", limits.choices.min(CHOICES_MAX)),
            prompts: given("max-prompts", limits.prompts.min(CHOICES_MAX)),
            tokenizing: follows(
                "max-tokenizing",
                limits.tokenizing,
                model.workers.workers,
                "the engine's workers",
            ),
            queued_tokens: follows(
                "max-queued-tokens",
                limits.queued_tokens,
                queued_tokens,
                "16 contexts, at least 65,536",
            ),
            answer_bytes: follows(
                "max-answer-bytes",
                limits.answer_bytes,
                answer_bytes,
                "10 KiB for each token of the context, at least 256 MiB",
            ),
            is_strict: limits.is_strict,
            queue: Bound {
                name: "max-queue",
                max: model.limits.queue,
                reason: "sequences that wait, as chosen, or by default",
            },
        }
    }

    /// All bounds, as they are told at the start and among the metrics.
    pub fn settings(&self) -> Vec<Setting> {
        let refuse = [
            self.json_depth,
            self.json_nodes,
            self.stop_strings,
            self.stop_chars,
            self.logit_bias,
            self.choices,
            self.prompts,
            self.queued_tokens,
            self.answer_bytes,
            self.queue,
        ];
        let mut settings: Vec<_> =
            refuse.iter().map(|bound| Setting::budget(bound.name, bound.max, bound.reason)).collect();
        let Bound { name, max, reason } = self.tokenizing;
        settings.push(Setting::bound(name, max, reason));
        settings
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const fn bound(name: &'static str, max: usize) -> Bound {
        Bound { name, max, reason: "a test" }
    }

    /// Bounds such as a small model has.
    pub(in super::super) const BOUNDS: RequestBounds = RequestBounds {
        json_depth: bound("max-json-depth", 64),
        json_nodes: bound("max-json-nodes", 100_000),
        stop_strings: bound("max-stop-strings", 16),
        stop_chars: bound("max-stop-chars", 1000),
        logit_bias: bound("logit-bias", 300),
        choices: bound("max-choices", 8),
        prompts: bound("max-prompts", 8),
        tokenizing: bound("max-tokenizing", 2),
        queued_tokens: bound("max-queued-tokens", 100_000),
        answer_bytes: bound("max-answer-bytes", 1 << 20),
        is_strict: false,
        queue: bound("max-queue", 4),
    };

    #[test]
    fn a_bound_refuses_what_is_beyond_it_and_names_its_option() {
        let bound = bound("max-things", 3);
        assert_eq!(bound.check("x", ("x has", 3, "things")), Ok(()));
        let error = bound.check("x", ("x has", 4, "things")).unwrap_err();
        assert_eq!(
            (error.status, error.param.as_deref(), error.budget),
            (400, Some("x"), Some("max-things"))
        );
        assert_eq!(error.message, "x has 4 things, but at most 3 are taken (option max-things)");
    }
}
