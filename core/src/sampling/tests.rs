//! Draws against slow references and against the probabilities that they are drawn from.
use super::*;
use crate::isa::Isa;
use crate::kernels::matmul::tests::noise;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

struct Owned {
    adjusted: Vec<f32>,
    weights: Vec<f32>,
    ids: Vec<u32>,
    counts: Vec<u32>,
}

impl Owned {
    fn new(len: usize) -> Self {
        Self { adjusted: vec![0.0; len], weights: vec![0.0; len], ids: vec![0; len], counts: vec![0; len] }
    }
    fn scratch(&mut self) -> Scratch<'_> {
        Scratch {
            adjusted: &mut self.adjusted,
            weights: &mut self.weights,
            ids: &mut self.ids,
            counts: &mut self.counts,
        }
    }
}

/// A draw at position 0 of the first choice, with no history, mask or bans.
fn first_draw(params: &SamplingParams) -> Draw<'_> {
    let history = History { prompt: &[], output: &[] };
    Draw { params, history, mask: None, banned: &[], choice: 0, position: 0 }
}

fn draw(isa: Isa, logits: &[f32], params: &SamplingParams, position: u64, owned: &mut Owned) -> u32 {
    let draw = Draw { position, ..first_draw(params) };
    sample(isa, logits, [].into_iter(), &draw, &mut owned.scratch(), &mut []).unwrap().token
}

/// The probabilities that should remain, by a full sort in f64.
fn slow_filter(logits: &[f32], params: &SamplingParams) -> Vec<f64> {
    let t = f64::from(params.temperature);
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f64> = logits.iter().map(|x| libm::exp((f64::from(*x) - f64::from(max)) / t)).collect();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
    if params.top_k > 0 {
        order.truncate(params.top_k as usize);
    }
    let total: f64 = order.iter().map(|i| weights[*i]).sum();
    let mut sum = 0.0;
    let mut kept = vec![0.0; logits.len()];
    for i in order {
        if (sum > 0.0 && sum >= f64::from(params.top_p) * total && params.top_p < 1.0)
            || weights[i] < f64::from(params.min_p)
        {
            break;
        }
        sum += weights[i];
        kept[i] = weights[i];
    }
    kept.iter().map(|w| w / sum).collect()
}

#[test]
fn frequencies_are_the_filtered_probabilities() {
    let logits: Vec<f32> = (0..40).map(|i| noise(4, i) * 6.0).collect();
    let plain = SamplingParams { temperature: 1.0, seed: 99, ..SamplingParams::GREEDY };
    for params in [
        plain,
        SamplingParams { temperature: 0.6, ..plain },
        SamplingParams { top_k: 5, ..plain },
        SamplingParams { top_p: 0.8, ..plain },
        SamplingParams { min_p: 0.1, ..plain },
        SamplingParams { temperature: 1.7, top_k: 20, top_p: 0.9, min_p: 0.05, ..plain },
    ] {
        let probabilities = slow_filter(&logits, &params);
        let mut counts = [0_u32; 40];
        let mut owned = Owned::new(40);
        let draws = 40_000;
        for position in 0..draws {
            counts[draw(Isa::detect(), &logits, &params, position, &mut owned) as usize] += 1;
        }
        let mut chi_square = 0.0;
        let mut cells = 0;
        for (count, p) in counts.iter().zip(&probabilities) {
            let expected = p * draws as f64;
            if *p == 0.0 {
                assert_eq!(*count, 0, "{params:?}");
            } else if expected >= 5.0 {
                chi_square += (f64::from(*count) - expected).powi(2) / expected;
                cells += 1;
            }
        }
        // Mean `cells`, deviation sqrt(2 cells): five deviations, and the seed is fixed.
        let bound = f64::from(cells) + 5.0 * libm::sqrt(2.0 * f64::from(cells));
        assert!(chi_square < bound, "{params:?}: {chi_square} over {cells} cells");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn every_instruction_set_draws_the_same_token_from_the_kept_set(
        seed: u64, n in 1_usize..300, scale in 0.1_f32..20.0, temperature in 0.05_f32..3.0,
        top_k in 0_u32..50, top_p in 0.05_f32..1.2, min_p in 0.0_f32..0.3, position: u64,
    ) {
        let logits: Vec<f32> = (0..n).map(|i| noise(seed, i) * scale).collect();
        let params = SamplingParams {
            temperature, top_k, top_p: top_p.min(1.0), min_p: if min_p < 0.1 { 0.0 } else { min_p }, seed,
            ..SamplingParams::GREEDY
        };
        let mut owned = Owned::new(n);
        let expected = draw(Isa::PORTABLE, &logits, &params, position, &mut owned);
        for isa in Isa::available().iter() {
            prop_assert_eq!(draw(*isa, &logits, &params, position, &mut owned), expected, "{}", isa.name());
        }
        // One ulp may decide which token is the last to be kept; the next one by weight is then
        // allowed as well.
        let looser = SamplingParams {
            top_p: (params.top_p * 1.0001).min(1.0), min_p: params.min_p * 0.9999, ..params
        };
        prop_assert!(slow_filter(&logits, &looser)[expected as usize] > 0.0);
    }

    #[test]
    fn penalties_are_what_they_say(
        prompt in prop::collection::vec(0_u32..20, 0..30), output in prop::collection::vec(0_u32..20, 0..30),
        repetition in 0.5_f32..2.0, presence in -1.0_f32..1.0, frequency in -1.0_f32..1.0, seed: u64,
    ) {
        let logits: Vec<f32> = (0..20).map(|i| noise(seed, i) * 5.0).collect();
        let params = SamplingParams {
            repetition_penalty: repetition, presence_penalty: presence, frequency_penalty: frequency,
            ..SamplingParams::GREEDY
        };
        let mut got = logits.clone();
        let mut counts = [0; 20];
        let history = History { prompt: &prompt, output: &output };
        penalties::apply(&mut got, &params, [(3, 1.5)].into_iter(), history, &mut counts);
        prop_assert!(counts.iter().all(|count| *count == 0));
        for id in 0..20 {
            let mut expected = logits[id] + if id == 3 { 1.5 } else { 0.0 };
            let in_output = output.iter().filter(|t| **t == id as u32).count();
            if in_output > 0 || prompt.contains(&(id as u32)) {
                expected = if expected > 0.0 { expected / repetition } else { expected * repetition };
            }
            if in_output > 0 {
                expected = expected - in_output as f32 * frequency - presence;
            }
            prop_assert_eq!(got[id].to_bits(), expected.to_bits());
        }
    }
}

#[test]
fn greedy_takes_the_first_of_the_maxima() {
    let mut owned = Owned::new(5);
    let logits = [1.0, 3.0, 3.0, -2.0, 3.0];
    assert_eq!(draw(Isa::detect(), &logits, &SamplingParams::GREEDY, 0, &mut owned), 1);
    let params = SamplingParams { temperature: 1.0, top_k: 2, ..SamplingParams::GREEDY };
    for position in 0..200 {
        let token = draw(Isa::detect(), &logits, &params, position, &mut owned);
        assert!(token == 1 || token == 2, "top-k keeps the lower ids of a tie: {token}");
    }
}

#[test]
fn masks_and_bans_are_obeyed() {
    let logits = [5.0, 4.0, 3.0, 2.0];
    let mut owned = Owned::new(4);
    let mut with = |mask: Option<&[u32]>, banned: &[u32]| {
        let draw = Draw { mask, banned, ..first_draw(&SamplingParams::GREEDY) };
        let sampled = sample(Isa::detect(), &logits, [].into_iter(), &draw, &mut owned.scratch(), &mut []);
        sampled.map(|sampled| sampled.token)
    };
    assert_eq!(with(Some(&[0b1100]), &[]), Ok(2));
    assert_eq!(with(None, &[0, 1]), Ok(2));
    assert_eq!(with(Some(&[0b1]), &[0]), Err(SampleError::MaskEmpty));
    assert_eq!(with(Some(&[]), &[]), Err(SampleError::MaskEmpty));
}

#[test]
fn logprobs_are_of_the_raw_logits_and_sorted() {
    let logits = [1.0, 2.0, 2.0, 0.0, -1.0];
    let mut owned = Owned::new(5);
    let mut top = [TokenLogprob::default(); 3];
    let params = SamplingParams { temperature: 0.5, ..SamplingParams::GREEDY };
    let bias = [(4, 100.0)];
    let mut scratch = owned.scratch();
    let draw = first_draw(&params);
    let sampled = sample(Isa::detect(), &logits, bias.into_iter(), &draw, &mut scratch, &mut top).unwrap();
    assert_eq!(sampled.token, 4);
    assert_eq!(top.map(|t| t.token), [1, 2, 0]);
    let sum: f64 = logits.iter().map(|x| libm::exp(f64::from(*x))).sum();
    assert!((f64::from(sampled.logprob) - (-1.0 - libm::log(sum))).abs() < 1e-6);
    // Every token's rank is its place in the list of all, ties to the lower id.
    for (at, token) in [1, 2, 0, 3, 4].into_iter().enumerate() {
        let mut all = [TokenLogprob::default(); 5];
        let scored = token_logprob(Isa::detect(), &logits, token, &mut all).unwrap();
        assert_eq!((all[at].token, scored.rank, scored.top_count), (token, at as u32 + 1, 5));
        assert_eq!(scored.logprob, all[at].logprob);
    }
    let broken = [0.0, f32::NAN];
    assert_eq!(token_logprob(Isa::detect(), &broken, 0, &mut []), Err(SampleError::NonFinite));
}

#[test]
fn noise_is_uniform_and_neighbouring_keys_are_independent() {
    let n = 100_000_u32;
    for other in [(1, 1, 8), (2, 0, 7), (1, 0, 7 ^ 1)] {
        let a = noise::NoiseKey::new(1, 0, 7);
        let b = noise::NoiseKey::new(other.0, other.1, other.2);
        let mut bins = [0_u32; 64];
        let mut correlation = 0.0;
        for token in 0..n {
            let (x, y) = (a.uniform(token), b.uniform(token));
            assert!(x > 0.0 && x <= 1.0);
            bins[((x * 64.0) as usize).min(63)] += 1;
            correlation += (f64::from(x) - 0.5) * (f64::from(y) - 0.5);
        }
        let expected = f64::from(n) / 64.0;
        let chi_square: f64 = bins.iter().map(|b| (f64::from(*b) - expected).powi(2) / expected).sum();
        assert!(chi_square < 63.0 + 5.0 * libm::sqrt(126.0), "{chi_square}");
        assert!((correlation / f64::from(n) * 12.0).abs() < 0.02, "{correlation}");
    }
}

#[test]
fn parameters_that_make_no_sense_are_refused_by_name() {
    let ok = SamplingParams::GREEDY;
    assert_eq!(ok.check(), Ok(()));
    for (params, name) in [
        (SamplingParams { temperature: -1.0, ..ok }, "temperature"),
        (SamplingParams { temperature: f32::NAN, ..ok }, "temperature"),
        (SamplingParams { temperature: 101.0, ..ok }, "temperature"),
        (SamplingParams { top_p: 0.0, ..ok }, "top_p"),
        (SamplingParams { top_p: 1.5, ..ok }, "top_p"),
        (SamplingParams { min_p: f32::NAN, ..ok }, "min_p"),
        (SamplingParams { repetition_penalty: 0.0, ..ok }, "repetition_penalty"),
        (SamplingParams { presence_penalty: f32::INFINITY, ..ok }, "presence_penalty"),
        (SamplingParams { frequency_penalty: 1e9, ..ok }, "frequency_penalty"),
    ] {
        assert_eq!(params.check().unwrap_err().name, name);
    }
}

#[test]
fn the_smallest_temperature_is_greedy_and_the_largest_logits_are_numbers() {
    let logits = [-3e38, 1e30, 3e38, 2.9e38, 7.0];
    let mut owned = Owned::new(5);
    for (temperature, top_k) in [(1e-45, 0), (1e-9, 3), (1e-3, 0), (1.0, 2)] {
        let params = SamplingParams { temperature, top_k, min_p: 0.0, ..SamplingParams::GREEDY };
        assert_eq!(draw(Isa::detect(), &logits, &params, 3, &mut owned), 2, "{temperature}");
    }
}
