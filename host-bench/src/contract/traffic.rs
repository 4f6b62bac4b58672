//! Mixed traffic beside the fixed batch that suits the machine best, and a prefix that many prompts
//! share.
use super::Table;
use super::drive::{Ask, Rig, Round, Step};
use crate::model::load;
use crate::report::median;
use std::path::Path;
use verbatim::load::{ImageAccess, WeightChoice};
use verbatim::sys::pool::FutexPool;
use verbatim_core::engine::Speculation;
use verbatim_core::isa::Isa;

const ROUNDS: usize = 3;
/// Sequences that run at once.
const SEQUENCES: usize = 8;
const NO_DRAFTS: (Speculation, usize) = (Speculation::OFF, 0);

/// Token ids that are a function of the request and the position.
fn ids(request: usize, len: usize, vocab: usize) -> Vec<u32> {
    (0..len).map(|i| ((i * 7919 + request * 104_729 + 13) % vocab) as u32).collect()
}

pub(super) fn report(
    table: &mut Table,
    (path, access): (&Path, ImageAccess),
    (isa, pool): (Isa, &FutexPool),
    is_asked: &dyn Fn(&str) -> bool,
) -> Result<(), String> {
    if !is_asked("mixed") && !is_asked("prefix") {
        return Ok(());
    }
    let loaded = load(path, WeightChoice::default(), access, pool)?;
    let rig = Rig { loaded: &loaded, draft_model: None, isa, pool };
    if is_asked("mixed") {
        of_mixed(table, &rig)?;
    }
    if is_asked("prefix") {
        of_prefix(table, &rig)?;
    }
    Ok(())
}

/// Seconds of a prompt row and of a decode row in a batch where all do the same at the same time.
fn fixed(rounds: &[Round]) -> (f64, f64) {
    let rows = |pick: fn(&Step) -> usize, other: fn(&Step) -> usize| {
        let each = |round: &Round| {
            let steps = round.steps.iter().filter(|step| other(step) == 0);
            let (rows, seconds) =
                steps.fold((0, 0.0), |sum, step| (sum.0 + pick(step), sum.1 + step.seconds));
            seconds / (rows as f64).max(1.0)
        };
        rounds.iter().map(each).fold(f64::MAX, f64::min)
    };
    // A prompt's last row is sampled from: it counts as a decode row of a step that prefills.
    let prompt = rounds
        .iter()
        .map(|round| {
            let steps = round.steps.iter().filter(|step| step.prefill_rows > 0);
            let (rows, seconds) = steps.fold((0, 0.0), |sum, step| {
                (sum.0 + step.prefill_rows + step.decode_rows, sum.1 + step.seconds)
            });
            seconds / (rows as f64).max(1.0)
        })
        .fold(f64::MAX, f64::min);
    (prompt, rows(|step| step.decode_rows, |step| step.prefill_rows))
}

/// Prompts and answers of all lengths through a few slots, as long as others wait; against the time
/// that as many prompt and decode rows take in a fixed batch.
fn of_mixed(table: &mut Table, rig: &Rig<'_>) -> Result<(), String> {
    let vocab = rig.loaded.model().config().vocab_size;
    let uniform: Vec<Ask> = (0..SEQUENCES).map(|i| Ask::greedy(ids(i, 256, vocab), 32)).collect();
    let (prompt, decode) = fixed(&rig.run(&uniform, SEQUENCES, NO_DRAFTS, ROUNDS)?);
    let asks: Vec<Ask> = (0..4 * SEQUENCES)
        .map(|i| {
            let draw = |salt: usize, span: usize| (i * 2_654_435_761 + salt).wrapping_mul(40_503) / 97 % span;
            Ask::greedy(ids(100 + i, 32 + draw(1, 449), vocab), 16 + draw(2, 33))
        })
        .collect();
    let ratios = rig.run(&asks, SEQUENCES, NO_DRAFTS, ROUNDS)?.into_iter().map(|round| {
        let steps = round.steps.iter().take_while(|step| step.waiting > 0);
        let (expected, taken) = steps.fold((0.0, 0.0), |(expected, taken), step| {
            let cost = step.prefill_rows as f64 * prompt + step.decode_rows as f64 * decode;
            (expected + cost, taken + step.seconds)
        });
        expected / taken
    });
    table.at_least(
        "mixed traffic: over the same rows in a fixed batch",
        median(ratios.collect()),
        0.95,
        &format!("prompts of 32 to 480, answers of 16 to 48, {SEQUENCES} at once"),
    );
    Ok(())
}

/// Long prompts that begin alike and arrive together: the mean time to the first token, without the
/// cache over with it.
fn of_prefix(table: &mut Table, rig: &Rig<'_>) -> Result<(), String> {
    let (count, shared, own) = (16, 1500, 24);
    let vocab = rig.loaded.model().config().vocab_size;
    let asks = |salted: bool| -> Vec<Ask> {
        (0..count)
            .map(|i| {
                let mut prompt = ids(0, shared, vocab);
                prompt.extend(ids(1 + i, own, vocab));
                // With salts of their own, requests share nothing.
                Ask { salt: if salted { 1 + i as u64 } else { 0 }, ..Ask::greedy(prompt, 4) }
            })
            .collect()
    };
    let with = rig.run(&asks(false), count, NO_DRAFTS, 2)?;
    let without = rig.run(&asks(true), count, NO_DRAFTS, 1)?;
    let best = with.iter().map(Round::mean_first).fold(f64::MAX, f64::min);
    table.at_least(
        "shared prefix: mean time to the first token, without the cache over with it",
        without[0].mean_first() / best,
        5.0,
        &format!("{count} prompts of {shared} + {own} tokens"),
    );
    Ok(())
}
