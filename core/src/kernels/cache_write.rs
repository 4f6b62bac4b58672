//! From one row of the QKV product to a query operand and a position of the KV cache.
//!
//! For each head: RMSNorm where the model has it, RoPE for Q and K, then Q, K and V are rounded to
//! the KV format as operands (flushed below 2^-50, in f32 too: `kernels::attention` says why; in
//! int8 by the scale of the position's head, Q and K transformed before by
//! `kernels::rotation::heads`) and stored, K and V in the layout of `cache::planes`, Q as
//! `[kv_head][row][head of the group][query_len]`.
//!
//! Values that are not finite are stored as zeros under keys of NaN. A query that does not see the
//! position has a probability of zero for it, and zero times NaN is NaN: a broken row would spoil
//! those before it in its step. One that sees it gets NaN from the keys.
#![allow(unsafe_code)]

use crate::cache::planes::{CORRECTIONS_BYTES, KvView, Plane};
use crate::cache::{BLOCK, BlockId};
use crate::dtype::{Int8, KvFormat, bf16_operand, flush};
use crate::isa::{Isa, LANES, Simd, SimdOp};
use crate::kernels::quantize::{round_part, row_scale};
use crate::kernels::rmsnorm::rms_norm_in_place;
use crate::kernels::rope::rotate;
use crate::kernels::rotation;
use half::bf16;

/// The inputs of one row, and the place of its keys and values in the cache.
#[derive(Debug)]
pub struct CacheWrite<'a> {
    /// Q, K and V side by side: `[q_size + 2 kv_size]`; changed in place.
    pub qkv: &'a mut [f32],
    /// RMSNorm weights of query and key heads, `[head_dim]` each, and eps.
    pub norms: Option<(&'a [f32], &'a [f32], f32)>,
    /// Cosines of the row's position, `[head_dim / 2]`.
    pub cos: &'a [f32],
    /// Sines of the row's position, `[head_dim / 2]`.
    pub sin: &'a [f32],
    /// Query heads a KV head serves.
    pub group_size: usize,
    /// The layer's number, from 0.
    pub layer: usize,
    /// The block that holds the position.
    pub block: BlockId,
    /// The position within the block.
    pub slot: usize,
}

/// Elements of a query operand: the head's; in int8 rounded up to whole quads, and behind them the
/// 4 bytes of its scale.
pub const fn query_len(format: KvFormat, head_dim: usize) -> usize {
    match format {
        KvFormat::F32 | KvFormat::Bf16 => head_dim,
        KvFormat::Int8 => head_dim.next_multiple_of(4) + size_of::<f32>(),
    }
}

/// Where the query operands of all rows lie: `[kv_head][rows][group][query_len]`.
#[derive(Clone, Copy, Debug)]
pub struct Queries {
    /// The start, of f32, bf16 or bytes as the KV format says, aligned to 4 bytes.
    pub start: *mut u8,
    /// Rows that a KV head's part has room for.
    pub row_capacity: usize,
}

// SAFETY: only a pointer; who may write which row is the contract of `cache_write`.
unsafe impl Send for Queries {}
// SAFETY: as above.
unsafe impl Sync for Queries {}

impl Queries {
    /// Elements before the operands of `row` under `kv_head`.
    #[inline(always)]
    pub fn offset(&self, kv_head: usize, row: usize, group_size: usize, query_len: usize) -> usize {
        (kv_head * self.row_capacity + row) * group_size * query_len
    }
}

/// Writes row `row`'s queries, keys and values.
///
/// # Safety
/// `queries.start` has room for `kv_heads · row_capacity · group · query_len` elements of the KV
/// format and `row < row_capacity`; no other task writes this row's queries or this slot of this
/// block, or reads either, meanwhile.
pub unsafe fn cache_write(isa: Isa, kv: KvView<'_>, queries: Queries, row: usize, write: CacheWrite<'_>) {
    assert!(row < queries.row_capacity && write.slot < BLOCK);
    isa.run(Op { kv, queries, row, write });
}

struct Op<'a> {
    kv: KvView<'a>,
    queries: Queries,
    row: usize,
    write: CacheWrite<'a>,
}

impl SimdOp for Op<'_> {
    type Output = ();
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { kv, queries, row, write: w } = self;
        let layout = *kv.layout();
        let d = layout.head_dim;
        let kv_size = layout.kv_head_count * d;
        let q_size = kv_size * w.group_size;
        assert!(w.qkv.len() >= q_size + 2 * kv_size && w.cos.len() * 2 == d && w.sin.len() * 2 == d);
        let (q, rest) = w.qkv.split_at_mut(q_size);
        let (k, rest) = rest.split_at_mut(kv_size);
        let v = &rest[..kv_size];
        for (heads, norm) in [(&mut *q, w.norms.map(|n| n.0)), (&mut *k, w.norms.map(|n| n.1))] {
            for head in heads.chunks_exact_mut(d) {
                if let (Some(norm), Some((_, _, eps))) = (norm, w.norms) {
                    rms_norm_in_place(s, head, norm, eps);
                }
                rotate(s, head, w.cos, w.sin);
            }
        }
        if layout.format == KvFormat::Int8 {
            for heads in [&mut *q, &mut *k] {
                for head in heads.chunks_exact_mut(d) {
                    rotation::heads::transform(head);
                }
            }
        }
        let value_dim = layout.value_dim();
        for head in 0..layout.kv_head_count {
            let of_group = &q[head * w.group_size * d..][..w.group_size * d];
            let query_offset = queries.offset(head, row, w.group_size, query_len(layout.format, d));
            let keys = kv.part(w.layer, Plane::Keys, w.block as usize, head);
            let values = kv.part(w.layer, Plane::Values, w.block as usize, head);
            let (k, v) = (&k[head * d..][..d], &v[head * d..][..d]);
            let is_broken = match layout.format {
                KvFormat::F32 => v.iter().any(|x| !x.is_finite()),
                KvFormat::Bf16 => v.iter().any(|x| !bf16_operand(*x).is_finite()),
                // The scale of the position says it, and is masked.
                KvFormat::Int8 => false,
            };
            let key = |i: usize| if is_broken { f32::NAN } else { k[i] };
            let value = |i: usize| if is_broken { 0.0 } else { v[i] };
            // SAFETY: queries: the offset is within the room the caller vouches for. Keys and
            // values: `part` is `head_bytes` long; the largest index is d/2·32 or 16·value_dim
            // elements, its length; zero-point corrections and scales lie behind `element_bytes`.
            // No other task touches these elements, as the caller promises; the bases are 64-byte
            // aligned.
            unsafe {
                match layout.format {
                    KvFormat::F32 => {
                        let out = queries.start.cast::<f32>().add(query_offset);
                        for (i, x) in of_group.iter().enumerate() {
                            out.add(i).write(flush(*x));
                        }
                        for i in 0..d {
                            keys.cast::<f32>().add(i * BLOCK + w.slot).write(flush(key(i)));
                            values.cast::<f32>().add(w.slot * value_dim + i).write(flush(value(i)));
                        }
                    }
                    KvFormat::Bf16 => {
                        let out = queries.start.cast::<bf16>().add(query_offset);
                        for (i, x) in of_group.iter().enumerate() {
                            out.add(i).write(bf16_operand(*x));
                        }
                        let (pair, odd) = (w.slot / 2, w.slot % 2);
                        for i in 0..d {
                            let at = (i / 2) * 2 * BLOCK + w.slot * 2 + i % 2;
                            keys.cast::<bf16>().add(at).write(bf16_operand(key(i)));
                            let at = (pair * value_dim + i) * 2 + odd;
                            values.cast::<bf16>().add(at).write(bf16_operand(value(i)));
                        }
                    }
                    KvFormat::Int8 => {
                        let len = query_len(layout.format, d);
                        for (i, query) in of_group.chunks_exact(d).enumerate() {
                            let out = queries.start.add(query_offset + i * len);
                            // Past the head come zeros, to the end of its last quad.
                            out.add(d.next_multiple_of(4) - 4).cast::<[u8; 4]>().write([128; 4]);
                            let scale = each_int8(s, query, |i, q| out.add(i).write((q as u8) ^ 0x80));
                            // Its scores are as many times too great as the transform is wide.
                            let scale = scale / rotation::heads::size(d) as f32;
                            out.add(len - size_of::<f32>()).cast::<f32>().write(scale);
                        }
                        let mut sum = 0;
                        let scale = each_int8(s, k, |i, q| {
                            keys.add((i / 4 * BLOCK + w.slot) * 4 + i % 4).write(q as u8);
                            sum += i32::from(q);
                        });
                        let corrections = keys.add(layout.element_bytes(Plane::Keys));
                        corrections.cast::<i32>().add(w.slot).write(-128 * sum);
                        corrections.add(CORRECTIONS_BYTES).cast::<f32>().add(w.slot).write(scale);
                        let scale = each_int8(s, v, |i, q| {
                            values.add((w.slot / 4 * value_dim + i) * 4 + w.slot % 4).write(q as u8);
                        });
                        let scales = values.add(layout.element_bytes(Plane::Values));
                        scales.cast::<f32>().add(w.slot).write(scale);
                    }
                }
            }
        }
    }
}

/// Rounds a head to 8 bits and gives each element with its index; returns the scale.
#[inline(always)]
fn each_int8<S: Simd>(s: S, x: &[f32], mut element: impl FnMut(usize, i8)) -> f32 {
    let (scale, inverse) = row_scale(s, x);
    for (part, i) in x.chunks(LANES).zip((0..).step_by(LANES)) {
        let mut rounded = [Int8(0); LANES];
        round_part(s, part, inverse, &mut rounded);
        for (j, q) in rounded[..part.len()].iter().enumerate() {
            element(i + j, (q.0 ^ 0x80) as i8);
        }
    }
    scale
}
