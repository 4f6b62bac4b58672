//! A model's speed within a bound of time: a short look tells how much can be measured well.
use super::speed::{Case, operations, run};
use crate::load::LoadedModel;
use std::time::Duration;
use verbatim_core::dtype::KvFormat;
use verbatim_core::isa::Isa;
use verbatim_core::pool::Pool;

/// Tokens of the prompt that is measured, at most.
const PROMPT_MAX: usize = 512;
/// Tokens of the prompts before decoding.
const DEPTH: usize = 64;
/// Tokens that are decoded, at least and at most.
const TOKENS: (usize, usize) = (4, 48);

/// What runs a model.
#[derive(Clone, Copy)]
pub struct Bench<'b> {
    /// The weights, with their shape.
    pub loaded: &'b LoadedModel,
    /// The instruction set that computes.
    pub isa: Isa,
    /// The workers on which all steps run.
    pub pool: &'b dyn Pool,
    /// The format of keys and values.
    pub kv_format: KvFormat,
}

/// Decoding of several sequences at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decode {
    /// Sequences that run at once.
    pub sequences: usize,
    /// Tokens a second of all of them together.
    pub rate: f64,
}

/// What a model did.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Tokens of the prompt that was computed.
    pub prompt: usize,
    /// Tokens of a prompt computed in a second.
    pub prefill: f64,
    /// Operations of that prefill in a second, without attention.
    pub prefill_operations: f64,
    /// Decoding, one sequence first.
    pub decode: Vec<Decode>,
}

/// Tokens that take about `time` at so many seconds each, within bounds.
fn tokens_in(time: f64, each: f64, (low, high): (usize, usize)) -> usize {
    ((time / each.max(1e-9)) as usize).clamp(low, high)
}

/// Measures prefill, and decode of each number of sequences, for about `time` each: a model that
/// takes longer for the least that tells anything takes longer.
///
/// # Errors
/// A context that is too short for anything, or memory that the system does not give.
pub fn measure(bench: Bench<'_>, sequences: &[usize], time: Duration) -> Result<Measured, String> {
    let time = time.as_secs_f64();
    let config = *bench.loaded.model().config();
    let half = config.position_count / 2;
    let case = |sequences, prompt, tokens| Case {
        sequences,
        prompt,
        tokens,
        rows: PROMPT_MAX,
        rounds: 1,
        kv_format: Some(bench.kv_format),
    };
    let go = |case: &Case| run(bench.loaded, bench.isa, bench.pool, case);
    // The first look wakes the workers and reads the weights.
    let short = 32.min(half).max(2);
    let look = go(&case(1, short, 2))?;
    let look_again = go(&case(1, short, 2))?;
    let each = look.prompt_s().min(look_again.prompt_s()) / short as f64;
    let prompt = tokens_in(time, each, (short, PROMPT_MAX.min(half).max(short)));
    let took = go(&Case { rounds: 2, ..case(1, prompt, 1) })?.prompt_s();
    let step = look.decode.min(look_again.decode);
    let depth = DEPTH.min(half).max(1);
    let most = TOKENS.1.min(config.position_count.saturating_sub(depth + 1)).max(1);
    let mut decode = Vec::new();
    for sequences in sequences.iter().copied() {
        // A step of many takes longer than one of one, if by less than that number.
        let each = step * (1.0 + (sequences as f64 - 1.0) / 4.0);
        let tokens = tokens_in(time, each, (TOKENS.0.min(most), most));
        let speed = go(&case(sequences, depth, tokens))?;
        decode.push(Decode { sequences, rate: sequences as f64 / speed.decode });
    }
    Ok(Measured {
        prompt,
        prefill: prompt as f64 / took,
        prefill_operations: operations(&config, prompt) / took,
        decode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::NoProgress;
    use crate::runtime::{Options, ServedModel};

    #[test]
    fn the_time_decides_how_much_is_measured() {
        assert_eq!(tokens_in(1.0, 0.1, (4, 48)), 10);
        assert_eq!(tokens_in(1.0, 0.0, (4, 48)), 48);
        assert_eq!(tokens_in(1.0, 10.0, (4, 48)), 4);
        assert_eq!(tokens_in(1.0, f64::INFINITY, (4, 48)), 4);
        assert_eq!(tokens_in(1.0, f64::NAN, (4, 48)), 48);
    }

    #[test]
    fn a_small_model_is_measured() {
        let options = Options { workers: Some(1), ..Options::default() };
        let served = ServedModel::open(&options, &NoProgress).expect("the built-in model");
        let bench = Bench {
            loaded: &served.loaded,
            isa: served.isa,
            pool: &served.pool,
            kv_format: served.limits.kv_format,
        };
        let told = measure(bench, &[1, 3], Duration::from_millis(20)).expect("it is measured");
        let counts: Vec<_> = told.decode.iter().map(|decode| decode.sequences).collect();
        assert_eq!(counts, [1, 3]);
        assert!(told.decode.iter().all(|decode| decode.rate.is_finite() && decode.rate > 0.0), "{told:?}");
        assert!((32..=PROMPT_MAX).contains(&told.prompt) && told.prefill > 0.0, "{told:?}");
        assert!(told.prefill_operations > told.prefill, "a token is many operations: {told:?}");
    }
}
