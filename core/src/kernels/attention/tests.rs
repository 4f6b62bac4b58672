//! The kernel against the reference bit by bit, and the reference against softmax in f64.
use super::*;
use crate::cache::{KvCache, KvLayout};
use crate::dtype::{bf16_operand, bf16_widen, flush};
use crate::kernels::cache_write::{CacheWrite, cache_write};
use crate::kernels::matmul::tests::noise;
use crate::kernels::quantize;
use crate::kernels::rotation;
use crate::memory::Arena;
use core::ops::Range;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

#[derive(Clone, Debug)]
struct Shape {
    format: KvFormat,
    kv_heads: usize,
    group: usize,
    d: usize,
    len: usize,
}

/// Rows of `d` elements as operands: what they are worth, and in int8 the numbers and scales.
struct Rounded {
    worth: Vec<f32>,
    numbers: Vec<i8>,
    scales: Vec<f32>,
}

fn rounded(format: KvFormat, d: usize, x: &[f32]) -> Rounded {
    let mut rounded = Rounded { worth: Vec::new(), numbers: Vec::new(), scales: Vec::new() };
    match format {
        KvFormat::F32 => rounded.worth.extend(x.iter().copied().map(flush)),
        KvFormat::Bf16 => rounded.worth.extend(x.iter().map(|x| bf16_widen(bf16_operand(*x)))),
        KvFormat::Int8 => {
            for row in x.chunks(d) {
                let mut bytes = vec![Int8(0); d];
                let scale = quantize::round_reference(row, &mut bytes);
                let numbers = bytes.iter().map(|q| (i32::from(q.0) - 128) as i8);
                rounded.worth.extend(numbers.clone().map(|q| f32::from(q) * scale));
                rounded.numbers.extend(numbers);
                rounded.scales.push(scale);
            }
        }
    }
    rounded
}

/// Zeroed memory of at least `bytes` bytes, aligned to 64.
fn aligned(bytes: usize) -> Vec<[u64; 8]> {
    // A vector of 64-byte elements is aligned to 8 only, so there is one more to start within.
    vec![[0; 8]; bytes / 64 + 2]
}

fn aligned_bytes(memory: &mut [[u64; 8]]) -> &mut [u8] {
    // SAFETY: u64s are bytes without padding.
    let bytes =
        unsafe { core::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<u8>(), size_of_val(memory)) };
    let skip = bytes.as_ptr().align_offset(64);
    &mut bytes[skip..]
}

/// Every row of [`run_rows`].
fn run(isa: Isa, shape: &Shape, seed: u64, chunk: usize, split_apart: bool, block_step: usize) -> Vec<f32> {
    run_rows(isa, shape, seed, chunk, split_apart, block_step, core::slice::from_ref(&(0..shape.len)))
}

/// Writes a whole sequence into a cache whose blocks are permuted, then attends for the rows of
/// `spans` in chunks of `chunk` rows; other rows are left zero.
fn run_rows(
    isa: Isa,
    shape: &Shape,
    seed: u64,
    chunk: usize,
    split_apart: bool,
    block_step: usize,
    spans: &[Range<usize>],
) -> Vec<f32> {
    run_spoiled(isa, shape, seed, chunk, split_apart, block_step, spans, &|_, _| ())
}

/// A case whose rows' Q, K and V were changed by `spoil` first.
#[allow(clippy::too_many_arguments)]
fn run_spoiled(
    isa: Isa,
    shape: &Shape,
    seed: u64,
    chunk: usize,
    split_apart: bool,
    block_step: usize,
    spans: &[Range<usize>],
    spoil: &dyn Fn(usize, &mut [f32]),
) -> Vec<f32> {
    let Shape { format, kv_heads, group, d, len } = *shape;
    let blocks = len.div_ceil(BLOCK);
    // A step coprime to the number of blocks visits all of them.
    let block_total = (blocks + 1).next_power_of_two();
    let table: Vec<BlockId> = (0..blocks).map(|i| ((i * block_step + 1) % block_total) as u32).collect();
    let layout =
        KvLayout { format, layer_count: 2, kv_head_count: kv_heads, head_dim: d, block_count: block_total };
    let mut memory = aligned(layout.total_bytes() + 4096);
    let mut arena = Arena::new(aligned_bytes(&mut memory)).unwrap();
    let mut cache = KvCache::carve(&mut arena, layout).unwrap();
    cache.bytes_mut().fill(0xff); // NaN everywhere
    let kv = cache.view();
    for block in &table {
        // SAFETY: one thread.
        unsafe { kv.zero(1, *block as usize) };
    }
    let heads = kv_heads * group;
    let stride = (heads * d).next_multiple_of(32);
    let mut query_memory = vec![0_f32; kv_heads * len * group * d];
    let queries = Queries { start: query_memory.as_mut_ptr().cast(), row_capacity: len };
    let (cos, sin) = (vec![1.0; d / 2], vec![0.0; d / 2]);
    for row in 0..len {
        let mut qkv: Vec<f32> =
            (0..(heads + 2 * kv_heads) * d).map(|i| noise(seed, row * 8192 + i) * 4.0).collect();
        spoil(row, &mut qkv);
        let write = CacheWrite {
            qkv: &mut qkv,
            norms: None,
            cos: &cos,
            sin: &sin,
            group_size: group,
            layer: 1,
            block: table[row / BLOCK],
            slot: row % BLOCK,
        };
        // SAFETY: one thread; the memory is as long as an f32 for every element needs.
        unsafe { cache_write(isa, kv, queries, row, write) };
    }
    let mut out = vec![0.0; len * stride];
    let shared = AttentionOut::F32(Shared::new(&mut out));
    let mut scratch = vec![0.0; scratch_len(group, layout.value_dim())];
    let rows_max = chunk.min(rows_per_task(group));
    for kv_head in 0..kv_heads {
        let chunks = spans.iter().flat_map(|span| span.clone().step_by(rows_max).map(|row| (row, span.end)));
        for (first_row, end) in chunks {
            let a = Attend {
                kv,
                layer: 1,
                kv_head,
                table: &table,
                queries,
                first_row,
                row_count: rows_max.min(end - first_row),
                first_position: first_row,
                group_size: group,
                scale: 1.0 / libm::sqrtf(d as f32),
                window: None,
                soft_cap: None,
            };
            if split_apart {
                let count = a.row_count * group;
                let part = partial_len(count, layout.value_dim());
                let splits = split_count(a.context_len());
                let mut partials = vec![f32::NAN; part * splits];
                for split in (0..splits).rev() {
                    let floats = &mut partials[split * part..][..part];
                    let mut partial = Partial::over(floats, count, layout.value_dim());
                    // SAFETY: one thread.
                    unsafe { attend_split(isa, &a, split, &mut scratch, &mut partial) };
                }
                // SAFETY: one thread.
                unsafe { merge_splits(isa, &a, &mut partials, shared, stride) };
            } else {
                // SAFETY: one thread.
                unsafe { attend(isa, &a, &mut scratch, shared, stride) };
            }
        }
    }
    (0..len).flat_map(|row| out[row * stride..][..heads * d].to_vec()).collect()
}

fn reference_rows(shape: &Shape, seed: u64, rows: &[usize]) -> Vec<(usize, Vec<f32>)> {
    let Shape { format, kv_heads, group, d, .. } = *shape;
    let heads = kv_heads * group;
    let element = |row: usize, i: usize| noise(seed, row * 8192 + i) * 4.0;
    rows.iter()
        .map(|row| {
            let mut out = vec![0.0; heads * d];
            for head in 0..heads {
                let of = |base: usize, rows: Range<usize>, rotate: bool| {
                    let mut x: Vec<f32> =
                        rows.flat_map(|row| (0..d).map(move |i| element(row, base + i))).collect();
                    if rotate {
                        x.chunks_mut(d).for_each(rotation::heads::transform);
                    }
                    rounded(format, d, &x)
                };
                let kv_head = head / group;
                let rotate = format == KvFormat::Int8;
                let mut q = of(head * d, *row..row + 1, rotate);
                if rotate {
                    let n = rotation::heads::size(d) as f32;
                    q.worth.iter_mut().chain(&mut q.scales).for_each(|x| *x /= n);
                }
                let k = of((heads + kv_head) * d, 0..row + 1, rotate);
                let v = of((heads + kv_heads + kv_head) * d, 0..row + 1, false);
                let scale = 1.0 / libm::sqrtf(d as f32);
                let out = &mut out[head * d..][..d];
                let worth = [&*q.worth, &*k.worth, &*v.worth];
                let operands = match format {
                    KvFormat::F32 => reference::Operands::F32(worth),
                    KvFormat::Bf16 => reference::Operands::Bf16(worth),
                    KvFormat::Int8 => reference::Operands::Int8(
                        [&q.numbers, &k.numbers, &v.numbers],
                        [&q.scales, &k.scales, &v.scales],
                    ),
                };
                reference::attend_one(&operands, scale, out);
                near_softmax(worth, f64::from(scale), out, format);
            }
            (*row, out)
        })
        .collect()
}

fn near_softmax([query, keys, values]: [&[f32]; 3], scale: f64, out: &[f32], format: KvFormat) {
    let d = query.len();
    let dot =
        |k: &[f32]| query.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>() * scale;
    let scores: Vec<f64> = keys.chunks(d).map(dot).collect();
    let max = scores.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| libm::exp(s - max)).collect();
    let total: f64 = weights.iter().sum();
    // f32: a score of 54 products of values up to 8 is off by 7e-6 at most, which a value of 8
    // makes 6e-5. bf16: a probability is off by 2^-9 at most, values lie within 16 of their mean.
    // int8: a weight is off by 1/510 of the maximum of its tile.
    let bound = match format {
        KvFormat::F32 => 1e-4,
        KvFormat::Bf16 => 16.0 / 512.0,
        KvFormat::Int8 => 0.2,
    };
    for i in 0..d {
        let exact: f64 =
            weights.iter().zip(values.chunks(d)).map(|(w, v)| w * f64::from(v[i])).sum::<f64>() / total;
        assert!((exact - f64::from(out[i])).abs() < bound, "{exact} {}", out[i]);
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn equals_the_reference_in_any_chunks_and_blocks(
        seed: u64,
        format in prop::sample::select(KvFormat::ALL.to_vec()),
        kv_heads in 1_usize..3, group in 1_usize..6, half_d in 1_usize..28, len in 1_usize..150,
        chunk in 1_usize..40, split_apart: bool,
    ) {
        let shape = Shape { format, kv_heads, group, d: 2 * half_d, len };
        let expected = reference_rows(&shape, seed, &[0, len / 2, len - 1]);
        let width = kv_heads * group * 2 * half_d;
        for isa in Isa::available().iter() {
            let out = run(*isa, &shape, seed, chunk, split_apart, 3);
            for (row, expected) in &expected {
                prop_assert_eq!(bits(&out[row * width..][..width]), bits(expected), "{} row {}", isa.name(), row);
            }
        }
    }
}

#[test]
fn long_contexts_split_and_merge_to_the_same_bits() {
    for format in KvFormat::ALL {
        let shape = Shape { format, kv_heads: 1, group: 4, d: 16, len: 2 * SPLIT + 70 };
        let rows = [SPLIT - 1, SPLIT, 2 * SPLIT + 69];
        let spans = [SPLIT - 14..SPLIT + 14, 2 * SPLIT - 14..shape.len];
        let expected = reference_rows(&shape, 5, &rows);
        let width = 64;
        let first = run_rows(Isa::detect(), &shape, 5, 12, false, 1, &spans);
        for (row, expected) in &expected {
            assert_eq!(bits(&first[row * width..][..width]), bits(expected), "row {row}");
        }
        for (isa, chunk) in Isa::available().iter().flat_map(|isa| [(*isa, 1), (*isa, 12)]) {
            let again = run_rows(isa, &shape, 5, chunk, true, 5, &spans);
            assert!(bits(&again) == bits(&first), "{} in chunks of {chunk}", isa.name());
        }
    }
}

/// The widest head whose columns are kept, and wider ones.
#[test]
fn wide_heads_equal_the_reference() {
    for d in [2 * WIDE_STEPS, 2 * WIDE_STEPS + 2, 4 * WIDE_STEPS] {
        let shape = Shape { format: KvFormat::Bf16, kv_heads: 1, group: 4, d, len: 85 };
        let expected = reference_rows(&shape, 9, &[0, 40, 84]);
        for isa in Isa::available().iter() {
            let out = run(*isa, &shape, 9, 12, false, 1);
            for (row, expected) in &expected {
                assert_eq!(bits(&out[row * 4 * d..][..4 * d]), bits(expected), "{} row {row}", isa.name());
            }
        }
    }
}

/// In int8 a query, key or value that is not finite makes every element NaN of what sees it, and
/// changes no bit of what does not, in the same chunk or not.
#[test]
fn what_is_not_finite_poisons_the_rows_that_see_it_and_no_other() {
    let (d, group, len, broken) = (6, 2, 40, 33);
    let shape = Shape { format: KvFormat::Int8, kv_heads: 1, group, d, len };
    for isa in Isa::available().iter() {
        let sound = run(*isa, &shape, 3, 20, false, 1);
        // The first query head, the keys, the values.
        for (part, bad) in [0, 2, 3].into_iter().flat_map(|part| [(part, f32::NAN), (part, f32::INFINITY)]) {
            let spoil = |row: usize, qkv: &mut [f32]| {
                if row == broken {
                    qkv[part * d + 1] = bad;
                }
            };
            let got = run_spoiled(*isa, &shape, 3, 20, false, 1, core::slice::from_ref(&(0..len)), &spoil);
            for (i, (got, sound)) in got.chunks(d).zip(sound.chunks(d)).enumerate() {
                let (row, head) = (i / group, i % group);
                let sees = if part == 0 { row == broken && head == 0 } else { row >= broken };
                let holds = if sees { got.iter().all(|x| x.is_nan()) } else { bits(got) == bits(sound) };
                assert!(holds, "{} part {part} row {row} head {head}", isa.name());
            }
        }
    }
}
