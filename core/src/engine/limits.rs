//! How much an engine may hold: every number from which its memory is sized.
use crate::cache::BLOCK;
use crate::dtype::KvFormat;
use crate::model::{ForwardLimits, ModelConfig, RunnerLimits};

/// The sizes of an engine's memory. Only `model_len` and `kv_format`, which are in the fingerprint,
/// can change an output bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Positions of a sequence, prompt and output together.
    pub model_len: usize,
    /// Sequences (choices of requests) that run at once.
    pub sequences: usize,
    /// Sequences that may wait, beyond those that run.
    pub queue: usize,
    /// Tokens that the KV blocks hold, all sequences together; rounded up to whole blocks.
    pub kv_tokens: usize,
    /// The largest number of rows of a step: activations are sized for it.
    pub rows: usize,
    /// Rows whose logits are computed at a time.
    pub head_rows: usize,
    /// How keys and values are stored.
    pub kv_format: KvFormat,
    /// Workers of the pools that will be used: scratch is per worker.
    pub workers: usize,
    /// The largest number of draft tokens of a sequence at a time; 0 turns speculation off.
    pub draft_len: usize,
    /// The largest number of alternatives that are listed beside a token.
    pub top_logprobs: usize,
    /// The largest number of entries of a request's logit bias.
    pub logit_bias: usize,
    /// The largest number of token ids that may end a request.
    pub stop_ids: usize,
}

impl EngineLimits {
    /// Sensible limits for a model: one sequence of its full context, a step of up to 512 rows.
    pub fn for_model(config: &ModelConfig) -> Self {
        let model_len = config.position_count.min(2048);
        Self {
            model_len,
            sequences: 1,
            queue: 1,
            kv_tokens: model_len,
            rows: model_len.min(512),
            head_rows: 1,
            kv_format: match config.weight_format {
                crate::dtype::WeightFormat::F32 => KvFormat::F32,
                _ => KvFormat::Bf16,
            },
            workers: 1,
            draft_len: 0,
            top_logprobs: 20,
            logit_bias: 300,
            stop_ids: 16,
        }
    }

    /// Sequences that are live at once, running or waiting.
    pub fn slots(&self) -> usize {
        self.sequences + self.queue
    }

    /// KV blocks in all.
    pub fn block_count(&self) -> usize {
        self.kv_tokens.div_ceil(BLOCK)
    }

    /// Blocks of one sequence at full length.
    pub fn blocks_per_sequence(&self) -> usize {
        self.model_len.div_ceil(BLOCK)
    }

    /// What a runner of the engine's steps is sized for.
    pub fn runner(&self) -> RunnerLimits {
        RunnerLimits {
            forward: ForwardLimits {
                rows: self.rows,
                head_rows: self.head_rows,
                workers: self.workers,
                model_len: self.model_len,
                kv_format: self.kv_format,
            },
            block_count: self.block_count(),
            sequences: self.sequences,
            blocks_per_sequence: self.blocks_per_sequence(),
        }
    }
}
