//! Attention for one query, one number at a time: what the kernel equals bit for bit.
use super::{SPLIT, TILE};
use crate::dtype::{FLUSH_RESCALED_BELOW, KvFormat, bf16_operand, bf16_widen, flush};
use crate::isa::portable::{Portable, fma};
use crate::isa::{LANES, Simd};
use crate::kernels::math::exp;

fn exp_of(x: f32) -> f32 {
    exp(Portable, Portable.splat(x))[0]
}

/// Attention of `query` over the positions of `keys` and `values` (`[positions][d]`), all of them operands of the
/// format already; writes `d` values.
pub fn attend_one(
    format: KvFormat,
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    scale: f32,
    out: &mut [f32],
) {
    let d = query.len();
    let count = keys.len() / d;
    let (mut total_max, mut total_sum) = (0.0, 0.0);
    for split in 0..count.div_ceil(SPLIT) {
        let mut max = f32::NEG_INFINITY;
        let mut sum = 0.0_f32;
        // One element of the output at a time would repeat the softmax: the accumulators live in the output
        // for the first split, and are merged into it element by element for the others.
        for element in 0..d {
            let mut state = (f32::NEG_INFINITY, 0.0_f32, 0.0_f32);
            let mut start = split * SPLIT;
            let end = count.min(start + SPLIT);
            while start < end {
                let here = start..end.min(start + TILE);
                tile(format, query, keys, values, scale, here, element, &mut state);
                start += TILE;
            }
            let (m, l, o) = state;
            (max, sum) = (m, l);
            out[element] = if split == 0 {
                o
            } else {
                let merged = if total_max > m { total_max } else { m };
                out[element] * exp_of(total_max - merged) + o * exp_of(m - merged)
            };
        }
        if split == 0 {
            (total_max, total_sum) = (max, sum);
        } else {
            let merged = if total_max > max { total_max } else { max };
            total_sum = total_sum * exp_of(total_max - merged) + sum * exp_of(max - merged);
            total_max = merged;
        }
    }
    for x in out {
        *x /= total_sum;
    }
}

fn tile(
    format: KvFormat,
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    scale: f32,
    positions: core::ops::Range<usize>,
    element: usize,
    (max, sum, acc): &mut (f32, f32, f32),
) {
    let d = query.len();
    let mut scores = [f32::NEG_INFINITY; TILE];
    for (score, position) in scores.iter_mut().zip(positions.clone()) {
        let key = &keys[position * d..][..d];
        let mut dot = 0.0;
        match format {
            KvFormat::F32 => {
                for i in 0..d {
                    dot = fma(query[i], key[i], dot);
                }
            }
            KvFormat::Bf16 => {
                for i in (0..d).step_by(2) {
                    dot = fma(query[i], key[i], fma(query[i + 1], key[i + 1], dot));
                }
            }
        }
        *score = dot * scale;
    }
    let tile_max = scores.iter().fold(f32::NEG_INFINITY, |m, s| if *s > m { *s } else { m });
    if tile_max > *max {
        let alpha = exp_of(*max - tile_max);
        *max = tile_max;
        *sum *= alpha;
        let x = *acc * alpha;
        *acc = if x.abs() < FLUSH_RESCALED_BELOW { 0.0 } else { x };
    }
    let mut p = [0.0; TILE];
    for (p, score) in p.iter_mut().zip(scores) {
        let exact = exp_of(score - *max);
        *p = match format {
            KvFormat::F32 => flush(exact),
            KvFormat::Bf16 => bf16_widen(bf16_operand(exact)),
        };
    }
    let mut lanes: [f32; LANES] =
        core::array::from_fn(|i| ((p[i] + p[LANES + i]) + p[2 * LANES + i]) + p[3 * LANES + i]);
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    *sum += lanes[0];
    let value = |i: usize| values.get((positions.start + i) * d + element).copied().unwrap_or(0.0);
    match format {
        KvFormat::F32 => {
            for i in 0..positions.len() {
                *acc = fma(p[i], value(i), *acc);
            }
        }
        KvFormat::Bf16 => {
            for i in (0..positions.len()).step_by(2) {
                *acc = fma(p[i], value(i), fma(p[i + 1], value(i + 1), *acc));
            }
        }
    }
}
