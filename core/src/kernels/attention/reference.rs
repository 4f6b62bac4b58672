//! Attention for one query, one number at a time: what the kernel equals bit for bit.
use super::int8::{WEIGHT_MAX, weight_scale};
use super::{SPLIT, TILE};
use crate::dtype::{FLUSH_RESCALED_BELOW, bf16_operand, bf16_widen, flush};
use crate::isa::portable::{Portable, fma};
use crate::isa::{LANES, Simd};
use crate::kernels::math::exp;
use core::ops::Range;

fn exp_of(x: f32) -> f32 {
    exp(Portable, Portable.splat(x))[0]
}

/// A query, and the keys and values that it sees (`[positions][d]`), as operands of a KV format.
#[derive(Clone, Copy, Debug)]
pub enum Operands<'a> {
    /// f32: the query, the keys and the values.
    F32([&'a [f32]; 3]),
    /// bf16: the query, the keys and the values, widened to f32.
    Bf16([&'a [f32]; 3]),
    /// 8 bits, and the scales of each: the query's one, and the positions'.
    Int8([&'a [i8]; 3], [&'a [f32]; 3]),
}

impl Operands<'_> {
    fn width(&self) -> usize {
        match self {
            Self::F32([query, ..]) | Self::Bf16([query, ..]) => query.len(),
            Self::Int8([query, ..], _) => query.len(),
        }
    }

    fn positions(&self) -> usize {
        match self {
            Self::F32([query, keys, _]) | Self::Bf16([query, keys, _]) => keys.len() / query.len(),
            Self::Int8(_, [_, keys, _]) => keys.len(),
        }
    }

    fn score(&self, position: usize, scale: f32) -> f32 {
        match self {
            Self::F32([query, keys, _]) => {
                let key = &keys[position * query.len()..];
                query.iter().zip(key).fold(0.0, |dot, (q, k)| fma(*q, *k, dot)) * scale
            }
            Self::Bf16([query, keys, _]) => {
                let key = &keys[position * query.len()..][..query.len()];
                let pairs = query.chunks(2).zip(key.chunks(2));
                pairs.fold(0.0, |dot, (q, k)| fma(q[0], k[0], fma(q[1], k[1], dot))) * scale
            }
            Self::Int8([query, keys, _], [query_scale, key_scales, _]) => {
                let key = &keys[position * query.len()..];
                let dot: i32 = query.iter().zip(key).map(|(q, k)| i32::from(*q) * i32::from(*k)).sum();
                (dot as f32 * key_scales[position]) * (query_scale[0] * scale)
            }
        }
    }

    /// Adds the values of a tile to one element of the output; rounds the probabilities to what is
    /// to be summed.
    fn weigh(&self, p: &mut [f32; TILE], positions: Range<usize>, element: usize, acc: f32) -> f32 {
        let d = self.width();
        match self {
            Self::F32([_, _, values]) => {
                *p = p.map(flush);
                positions.zip(p).fold(acc, |acc, (position, p)| fma(*p, values[position * d + element], acc))
            }
            Self::Bf16([_, _, values]) => {
                *p = p.map(|p| bf16_widen(bf16_operand(p)));
                let value = |position| values.get(position * d + element).copied().unwrap_or(0.0);
                positions.step_by(2).zip(p.chunks(2)).fold(acc, |acc, (position, p)| {
                    fma(p[0], value(position), fma(p[1], value(position + 1), acc))
                })
            }
            Self::Int8([_, _, values], [_, _, scales]) => {
                let weights = positions.clone().zip(*p).map(|(position, p)| p * scales[position]);
                let (scale, inverse) =
                    weight_scale(weights.clone().fold(0.0, |max, w| if w > max { w } else { max }));
                let sum: i32 = positions
                    .zip(weights)
                    .map(|(position, w)| {
                        let weight = libm::rintf(fma(w, inverse, -128.0)) + 128.0;
                        assert!((0.0..=WEIGHT_MAX).contains(&weight));
                        weight as i32 * i32::from(values[position * d + element])
                    })
                    .sum();
                fma(sum as f32, scale, acc)
            }
        }
    }
}

/// Attention of the query over all positions; writes `d` values.
pub fn attend_one(operands: &Operands<'_>, scale: f32, out: &mut [f32]) {
    let (d, count) = (operands.width(), operands.positions());
    let (mut total_max, mut total_sum) = (0.0, 0.0);
    for split in 0..count.div_ceil(SPLIT) {
        let mut max = f32::NEG_INFINITY;
        let mut sum = 0.0_f32;
        // One element of the output at a time would repeat the softmax: the accumulators live in
        // the output for the first split, and are merged into it element by element for the others.
        for element in 0..d {
            let mut state = (f32::NEG_INFINITY, 0.0_f32, 0.0_f32);
            let mut start = split * SPLIT;
            let end = count.min(start + SPLIT);
            while start < end {
                let here = start..end.min(start + TILE);
                tile(operands, scale, here, element, &mut state);
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
    operands: &Operands<'_>,
    scale: f32,
    positions: Range<usize>,
    element: usize,
    (max, sum, acc): &mut (f32, f32, f32),
) {
    let mut scores = [f32::NEG_INFINITY; TILE];
    for (score, position) in scores.iter_mut().zip(positions.clone()) {
        *score = operands.score(position, scale);
    }
    let tile_max = scores.iter().fold(f32::NEG_INFINITY, |m, s| if *s > m { *s } else { m });
    if tile_max > *max {
        let alpha = exp_of(*max - tile_max);
        *max = tile_max;
        *sum *= alpha;
        let x = *acc * alpha;
        *acc = if x.abs() < FLUSH_RESCALED_BELOW { 0.0 } else { x };
    }
    let mut p = scores.map(|score| exp_of(score - *max));
    *acc = operands.weigh(&mut p, positions, element, *acc);
    let mut lanes: [f32; LANES] =
        core::array::from_fn(|i| ((p[i] + p[LANES + i]) + p[2 * LANES + i]) + p[3 * LANES + i]);
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    *sum += lanes[0];
}
