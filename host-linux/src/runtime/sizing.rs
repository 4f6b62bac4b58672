//! How large an engine is: its context, its KV capacity, and the limits that follow from options.
//! Pure functions: what the machine has comes in as numbers.
use super::error::{Limit, LimitError};
use super::options::Options;
use verbatim_core::cache::BLOCK;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::engine::EngineLimits;

/// The format of keys and values where none is asked for.
pub fn default_kv_format(weights: WeightFormat) -> KvFormat {
    match weights {
        WeightFormat::F32 => KvFormat::F32,
        _ => KvFormat::Bf16,
    }
}

/// Positions of a sequence: those asked for, else all `position_count` of the model.
pub fn context(asked: Option<usize>, position_count: usize) -> Result<usize, LimitError> {
    let found = asked.unwrap_or(position_count);
    if (1..=position_count).contains(&found) {
        return Ok(found);
    }
    Err(LimitError::Range { limit: Limit::ModelLen, found, min: 1, max: position_count })
}

/// What the size of the KV cache depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvDemand {
    /// Positions of a sequence, at most.
    pub model_len: usize,
    /// Whether that context was asked for; otherwise it may be cut to what fits.
    pub is_model_len_given: bool,
    /// Sequences that run at once.
    pub sequences: usize,
    /// The capacity that was asked for, in tokens.
    pub kv_tokens: Option<usize>,
    /// Bytes of a KV block of the served model, all layers together; at least 1.
    pub block_bytes: u64,
    /// Bytes that a draft model takes for keys and values of its own.
    pub draft_bytes: u64,
    /// Bytes of memory that are free, if that is known.
    pub free_bytes: Option<u64>,
}

/// The size of a KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvSize {
    /// Positions of a sequence: as demanded, or fewer where the cache holds no more.
    pub model_len: usize,
    /// The capacity in tokens, all sequences together.
    pub kv_tokens: usize,
}

/// How large the KV cache may be: as asked for, else enough for all sequences at full length if
/// that fits in 0.8 of the memory that is free.
///
/// A context that nobody asked for is cut to the capacity; one that was asked for and does not fit
/// is an error, since a sequence of that length would be refused each time.
pub fn kv_size(demand: &KvDemand) -> Result<KvSize, LimitError> {
    let wanted = demand.sequences.saturating_mul(demand.model_len);
    let wanted = wanted.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX);
    let fits = demand.free_bytes.map_or(usize::MAX, |bytes| {
        // A draft model's own keys and values hold every sequence at full length.
        let bytes = bytes.saturating_sub(demand.draft_bytes);
        usize::try_from(bytes / 10 * 8 / demand.block_bytes).unwrap_or(usize::MAX).saturating_mul(BLOCK)
    });
    let kv_tokens = demand.kv_tokens.unwrap_or(wanted.min(fits));
    let capacity = kv_tokens.saturating_add(BLOCK - 1) / BLOCK * BLOCK;
    let model_len = demand.model_len;
    // A capacity of 0 is out of its own range, which the memory plan says.
    if capacity == 0 || capacity >= model_len {
        return Ok(KvSize { model_len, kv_tokens });
    }
    if demand.is_model_len_given {
        let is_given = demand.kv_tokens.is_some();
        return Err(LimitError::KvBelowContext { kv_tokens, model_len, is_given });
    }
    Ok(KvSize { model_len: capacity, kv_tokens })
}

/// Rows whose logits are computed at a time, at most.
const HEAD_ROWS_MAX: usize = 32;

/// The limits of an engine with that KV cache.
pub fn engine_limits(options: &Options, size: KvSize, kv_format: KvFormat, workers: usize) -> EngineLimits {
    let draft_len = options.drafting.draft_len();
    EngineLimits {
        model_len: size.model_len,
        sequences: options.max_seqs,
        queue: options.max_queue,
        kv_tokens: size.kv_tokens,
        rows: options.max_rows,
        head_rows: options.max_seqs.saturating_mul(1 + draft_len).min(options.max_rows).min(HEAD_ROWS_MAX),
        kv_format,
        workers,
        draft_len,
        top_logprobs: 20,
        logit_bias: 300,
        stop_ids: 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Drafting;

    /// Eight sequences of 1024 tokens with blocks of 1000 bytes, on a machine with room for them.
    const DEMAND: KvDemand = KvDemand {
        model_len: 1024,
        is_model_len_given: false,
        sequences: 8,
        kv_tokens: None,
        block_bytes: 1000,
        draft_bytes: 0,
        free_bytes: Some(1 << 30),
    };

    #[test]
    fn a_context_is_the_models_or_what_was_asked_for_within_it() {
        assert_eq!(context(None, 512), Ok(512));
        assert_eq!(context(Some(9), 512), Ok(9));
        for found in [0, 513, usize::MAX] {
            let error = LimitError::Range { limit: Limit::ModelLen, found, min: 1, max: 512 };
            assert_eq!(context(Some(found), 512), Err(error));
        }
        let told = context(Some(513), 512).unwrap_err().to_string();
        assert_eq!(told, "tokens of context: found 513, expected between 1 and 512");
    }

    #[test]
    fn all_sequences_have_room_where_memory_has() {
        let size = |demand| kv_size(&demand).unwrap();
        assert_eq!(size(DEMAND), KvSize { model_len: 1024, kv_tokens: 8192 });
        assert_eq!(size(KvDemand { free_bytes: None, ..DEMAND }).kv_tokens, 8192, "nothing is known");
        // Whole blocks, and no overflow whatever is asked for.
        assert_eq!(size(KvDemand { model_len: 1, sequences: 3, ..DEMAND }).kv_tokens, BLOCK);
        let huge = KvDemand { sequences: usize::MAX / 2 / BLOCK, free_bytes: None, ..DEMAND };
        assert!(kv_size(&huge).is_ok());
    }

    #[test]
    fn the_capacity_is_at_most_eight_tenths_of_free_memory() {
        let blocks = |free_bytes, draft_bytes| {
            let demand = KvDemand { free_bytes: Some(free_bytes), draft_bytes, ..DEMAND };
            kv_size(&demand).unwrap().kv_tokens / BLOCK
        };
        assert_eq!(blocks(125_000, 0), 100);
        assert_eq!(blocks(225_000, 100_000), 100, "a draft model's keys and values come first");
        assert_eq!(blocks(100_000, 200_000), 0, "and may leave nothing");
    }

    #[test]
    fn a_context_that_does_not_fit_is_cut_or_refused() {
        let small = KvDemand { free_bytes: Some(25_000), ..DEMAND };
        let cut = KvSize { model_len: 20 * BLOCK, kv_tokens: 20 * BLOCK };
        assert_eq!(kv_size(&small), Ok(cut));
        let asked = KvDemand { is_model_len_given: true, ..small };
        let error =
            |kv_tokens, is_given| Err(LimitError::KvBelowContext { kv_tokens, model_len: 1024, is_given });
        assert_eq!(kv_size(&asked), error(20 * BLOCK, false));
        assert_eq!(kv_size(&KvDemand { kv_tokens: Some(100), ..asked }), error(100, true));
        assert_eq!(kv_size(&KvDemand { kv_tokens: Some(1024), ..asked }).unwrap().model_len, 1024);
        // A capacity that ends within a block has the whole block.
        let last = KvDemand { kv_tokens: Some(1025 - BLOCK), ..asked };
        assert!(kv_size(&last).is_ok());
        assert_eq!(kv_size(&KvDemand { kv_tokens: Some(0), ..asked }).unwrap().kv_tokens, 0);
    }

    #[test]
    fn logits_are_computed_for_all_that_may_be_drafted_within_bounds() {
        let rows = |max_seqs, max_rows, drafting| {
            let options = Options { max_seqs, max_rows, drafting, ..Options::default() };
            let size = KvSize { model_len: 64, kv_tokens: 64 };
            engine_limits(&options, size, KvFormat::Bf16, 2).head_rows
        };
        assert_eq!(rows(2, 512, Drafting::Off), 2);
        assert_eq!(rows(2, 512, Drafting::Lookup), 18);
        assert_eq!(rows(8, 512, Drafting::Lookup), HEAD_ROWS_MAX);
        assert_eq!(rows(8, 4, Drafting::Off), 4);
    }
}
