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

use crate::cache::planes::{CORRECTIONS_BYTES, KvLayout, KvView, Plane};
use crate::cache::{BLOCK, BlockId};
use crate::dtype::{Int8, KvFormat, bf16_operand, flush};
use crate::isa::{Isa, LANES, Simd, SimdOp};
use crate::kernels::quantize::{round_part, row_scale};
use crate::kernels::rmsnorm::rms_norm_in_place;
use crate::kernels::rope::rotate;
use crate::kernels::rotation;
use half::bf16;

/// The RMSNorms of the heads of queries and of keys.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorms<'a> {
    /// Weights of a query head, `[head_dim]`.
    pub q: &'a [f32],
    /// Weights of a key head, `[head_dim]`.
    pub k: &'a [f32],
    /// What is added to the mean square.
    pub eps: f32,
}

/// The inputs of one row, and the place of its keys and values in the cache.
#[derive(Debug)]
pub struct CacheWrite<'a> {
    /// Q, K and V side by side: `[q_size + 2 kv_size]`; changed in place.
    pub qkv: &'a mut [f32],
    /// The norms of query and key heads, if the model has them.
    pub norms: Option<HeadNorms<'a>>,
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
    const MULTIPLIES_PAIRS: bool = false;
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
        let norms = [w.norms.map(|norms| (norms.q, norms.eps)), w.norms.map(|norms| (norms.k, norms.eps))];
        for (heads, norm) in [&mut *q, &mut *k].into_iter().zip(norms) {
            for head in heads.chunks_exact_mut(d) {
                if let Some((weights, eps)) = norm {
                    rms_norm_in_place(s, head, weights, eps);
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
        for head in 0..layout.kv_head_count {
            let offset = queries.offset(head, row, w.group_size, query_len(layout.format, d));
            let place = Place {
                layout,
                slot: w.slot,
                // SAFETY: the offset is within the room that the caller vouches for.
                queries: unsafe { queries.start.add(offset * layout.format.element_bytes()) },
                keys: kv.part(w.layer, Plane::Keys, w.block as usize, head),
                values: kv.part(w.layer, Plane::Values, w.block as usize, head),
            };
            let q = &q[head * w.group_size * d..][..w.group_size * d];
            let (k, v) = (&k[head * d..][..d], &v[head * d..][..d]);
            // SAFETY: `place` is as its fields say; no other task touches these elements, as the
            // caller promises.
            unsafe {
                match layout.format {
                    KvFormat::F32 => place.write_f32(q, k, v),
                    KvFormat::Bf16 => place.write_bf16(q, k, v),
                    KvFormat::Int8 => place.write_int8(s, q, k, v),
                }
            }
        }
    }
}

/// Where the operands of one KV head go. All starts are aligned to 4 bytes.
///
/// The functions that write take `q` `[group · head_dim]`, `k` and `v` `[head_dim]`.
///
/// # Safety
/// Of each of them: `queries` has room for the group's `query_len` operands each, `keys` and
/// `values` are a head's whole parts of a block in this layout's format, `slot < BLOCK`, and no
/// other task reads the slot or the queries, or writes them, meanwhile.
struct Place {
    layout: KvLayout,
    /// The position within the block.
    slot: usize,
    queries: *mut u8,
    keys: *mut u8,
    values: *mut u8,
}

impl Place {
    /// Writes f32 elements: keys `[head_dim][16]`, values `[16][value_dim]`.
    #[inline(always)]
    unsafe fn write_f32(&self, q: &[f32], k: &[f32], v: &[f32]) {
        let (slot, value_dim) = (self.slot, self.layout.value_dim());
        let is_broken = v.iter().any(|x| !x.is_finite());
        let [out, keys, values] = [self.queries, self.keys, self.values].map(|start| start.cast::<f32>());
        for (i, x) in q.iter().enumerate() {
            // SAFETY: one element for each of the group's queries.
            unsafe { out.add(i).write(flush(*x)) };
        }
        for (i, (k, v)) in k.iter().zip(v).enumerate() {
            let (k, v) = if is_broken { (f32::NAN, 0.0) } else { (*k, *v) };
            // SAFETY: `i < head_dim <= value_dim` and `slot < 16`.
            unsafe {
                keys.add(i * BLOCK + slot).write(flush(k));
                values.add(slot * value_dim + i).write(flush(v));
            }
        }
    }

    /// Writes bf16 elements: keys `[head_dim / 2][16][2]`, values `[8][value_dim][2]`.
    #[inline(always)]
    unsafe fn write_bf16(&self, q: &[f32], k: &[f32], v: &[f32]) {
        let (slot, value_dim) = (self.slot, self.layout.value_dim());
        let is_broken = v.iter().any(|x| !bf16_operand(*x).is_finite());
        let [out, keys, values] = [self.queries, self.keys, self.values].map(|start| start.cast::<bf16>());
        for (i, x) in q.iter().enumerate() {
            // SAFETY: one element for each of the group's queries.
            unsafe { out.add(i).write(bf16_operand(*x)) };
        }
        let (pair, odd) = (slot / 2, slot % 2);
        for (i, (k, v)) in k.iter().zip(v).enumerate() {
            let (k, v) = if is_broken { (f32::NAN, 0.0) } else { (*k, *v) };
            // SAFETY: `i < head_dim <= value_dim`, `slot < 16` and `pair < 8`.
            unsafe {
                keys.add((i / 2) * 2 * BLOCK + slot * 2 + i % 2).write(bf16_operand(k));
                values.add((pair * value_dim + i) * 2 + odd).write(bf16_operand(v));
            }
        }
    }

    /// Writes int8 elements: keys `[head_dim / 4][16][4]`, values `[4][value_dim][4]`, and behind
    /// them the position's zero-point correction and scales. A value that is not finite makes the
    /// position's scale NaN, and attention masks the scales of positions that a query does not see.
    #[inline(always)]
    unsafe fn write_int8<S: Simd>(&self, s: S, q: &[f32], k: &[f32], v: &[f32]) {
        let (slot, layout) = (self.slot, &self.layout);
        let (d, value_dim) = (layout.head_dim, layout.value_dim());
        let len = query_len(KvFormat::Int8, d);
        for (i, query) in q.chunks_exact(d).enumerate() {
            // SAFETY: a query has `len` bytes: its head rounded up to quads, then its scale.
            unsafe {
                let out = self.queries.add(i * len);
                // Past the head come zeros, to the end of its last quad.
                out.add(d.next_multiple_of(4) - 4).cast::<[u8; 4]>().write([128; 4]);
                let scale = each_int8(s, query, |i, q| out.add(i).write((q as u8) ^ 0x80));
                // Its scores are as many times too great as the transform is wide.
                let scale = scale / rotation::heads::size(d) as f32;
                out.add(len - size_of::<f32>()).cast::<f32>().write(scale);
            }
        }
        // SAFETY: element indices as the shapes say, with `i < head_dim <= value_dim` and `slot <
        // 16`; zero-point corrections and scales, 16 each, lie behind the elements.
        unsafe {
            let mut sum = 0;
            let scale = each_int8(s, k, |i, q| {
                self.keys.add((i / 4 * BLOCK + slot) * 4 + i % 4).write(q as u8);
                sum += i32::from(q);
            });
            let corrections = self.keys.add(layout.element_bytes(Plane::Keys));
            corrections.cast::<i32>().add(slot).write(-128 * sum);
            corrections.add(CORRECTIONS_BYTES).cast::<f32>().add(slot).write(scale);
            let scale = each_int8(s, v, |i, q| {
                self.values.add((slot / 4 * value_dim + i) * 4 + slot % 4).write(q as u8);
            });
            let scales = self.values.add(layout.element_bytes(Plane::Values));
            scales.cast::<f32>().add(slot).write(scale);
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
