//! What the integer formats share: rows are rotated before they are packed, each column has a
//! scale, and a panel ends with a tail of 32 `i32` and 32 `f32`.
//!
//! The integers are the **zero-point corrections**: rows of activations are offset by 128, so a sum
//! of products is too large by `128 Σ w`, and begins with `−128 Σ w` of its column. The floats are
//! the columns' scales. An output is `(sum as f32 · row scale) · column scale`, the sum a whole
//! number, exact in any order.
use crate::dtype::Int8;
use crate::isa::{InstructionSet, LANES, Simd, slices};
use crate::kernels::matmul::activations::Activations;
use crate::kernels::matmul::panel::PANEL;
use crate::kernels::matmul::source::{CHUNK, PanelRows};
use crate::kernels::rotation;
use crate::kernels::rotation::rows::ROTATABLE_BELOW;
use crate::memory::ByteLike;

/// Bytes of a panel's tail.
pub(super) const TAIL_BYTES: usize = PANEL * (size_of::<i32>() + size_of::<f32>());

/// Inputs that a weight can have: that many products of 255 and 128 fit 32 bits.
pub(super) const INPUTS_MAX: usize = 1 << 16;

/// Rotated elements that are packed together.
pub(super) const BLOCK: usize = rotation::rows::BLOCK;

/// Whether an element can be rotated and stays finite.
pub(super) fn takes(x: f32) -> bool {
    x.abs() < ROTATABLE_BELOW
}

/// The part of a row that starts at `start`, a multiple of [`BLOCK`], rotated; zeros past the row's
/// end. `max` becomes the maximum of itself and the row's elements, as the bits of their
/// magnitudes.
#[inline(always)]
pub(super) fn rotated<S: Simd>(
    s: S,
    rows: &dyn PanelRows,
    lane: usize,
    start: usize,
    max: &mut [u32; CHUNK],
) -> [f32; BLOCK] {
    let len = (rows.inputs() - start).min(BLOCK);
    let mut block = [0.0; BLOCK];
    let mut bits = [0; BLOCK];
    let bits = &mut bits[..len.next_multiple_of(CHUNK)];
    rows.floats(lane, start, bits);
    for (out, bits) in block.chunks_exact_mut(CHUNK).zip(bits.chunks_exact(CHUNK)) {
        for ((x, max), bits) in out.iter_mut().zip(&mut *max).zip(bits) {
            *x = f32::from_bits(*bits);
            // Magnitudes are ordered as their bits are, infinity and NaN behind all numbers.
            *max = (*max).max(bits & 0x7fff_ffff);
        }
    }
    rotation::rows::rotate(s, &mut block[..len]);
    block
}

/// The maximal magnitude of each row once it is rotated, or `None` where an element cannot be.
#[inline(always)]
pub(super) fn max_magnitudes<S: Simd>(s: S, rows: &dyn PanelRows) -> Option<[f32; PANEL]> {
    let mut magnitudes = [0.0; PANEL];
    let mut bits = [0; CHUNK];
    for (lane, magnitude) in magnitudes.iter_mut().enumerate().take(rows.count()) {
        let mut max = [0.0_f32; CHUNK];
        for start in (0..rows.inputs()).step_by(BLOCK) {
            let block = rotated(s, rows, lane, start, &mut bits);
            for x in block.chunks_exact(CHUNK) {
                for (max, x) in max.iter_mut().zip(x) {
                    *max = if x.abs() > *max { x.abs() } else { *max };
                }
            }
        }
        *magnitude = max.into_iter().fold(0.0, f32::max);
    }
    bits.iter().all(|bits| *bits < ROTATABLE_BELOW.to_bits()).then_some(magnitudes)
}

/// Writes the zero-point corrections of columns whose weights have these sums, and their scales.
///
/// # Panics
/// If the tail has another length.
#[inline(always)]
pub(super) fn write_tail(tail: &mut [u8], sums: &[i32; PANEL], scales: [f32; PANEL]) {
    assert_eq!(tail.len(), TAIL_BYTES);
    for lane in 0..PANEL {
        let correction = sums[lane].wrapping_mul(-128);
        tail[lane * 4..][..4].copy_from_slice(&correction.to_le_bytes());
        tail[(PANEL + lane) * 4..][..4].copy_from_slice(&scales[lane].to_le_bytes());
    }
}

/// Bytes of 16 integers or floats of a tail.
const VECTOR_BYTES: usize = 4 * LANES;

/// The four vectors of a panel's tail: corrections, then scales.
#[inline(always)]
fn tail<B: ByteLike>(panel: &[B]) -> &[[B; VECTOR_BYTES]; 4] {
    let (vectors, _) = panel[panel.len() - TAIL_BYTES..].as_chunks();
    vectors.first_chunk().expect("a tail is four vectors")
}

/// The sums before the first product: the zero-point corrections.
#[inline(always)]
pub(super) fn begin<S: InstructionSet, B: ByteLike>(s: S, panel: &[B]) -> [S::Ints; 2] {
    let tail = tail(panel);
    [slices::load_int_bytes(s, &tail[0]), slices::load_int_bytes(s, &tail[1])]
}

/// The sums times both scales.
#[inline(always)]
pub(super) fn finish<S: InstructionSet, B: ByteLike>(
    s: S,
    sums: [S::Ints; 2],
    panel: &[B],
    row_scale: f32,
) -> [S::F; 2] {
    let tail = tail(panel);
    let scales = [slices::load_float_bytes(s, &tail[2]), slices::load_float_bytes(s, &tail[3])];
    let row_scale = s.splat(row_scale);
    let [first, second] = [s.ints_to_floats(sums[0]), s.ints_to_floats(sums[1])];
    [s.mul(s.mul(first, row_scale), scales[0]), s.mul(s.mul(second, row_scale), scales[1])]
}

/// The scale of column `lane`.
fn column_scale<B: ByteLike>(panel: &[B], lane: usize) -> f32 {
    let at = panel.len() - PANEL * size_of::<f32>() + lane * size_of::<f32>();
    f32::from_le_bytes(core::array::from_fn(|i| panel[at + i].byte()))
}

/// A column whose 8-bit weights are `weight(k)`, scaled and rotated back.
pub(super) fn read_column<B: ByteLike>(
    panel: &[B],
    lane: usize,
    out: &mut [f32],
    weight: impl Fn(usize) -> i8,
) {
    let scale = column_scale(panel, lane);
    for (k, x) in out.iter_mut().enumerate() {
        *x = f32::from(weight(k)) * scale;
    }
    rotation::rows::rotate_back(out);
}

/// The product of a row and a column whose 8-bit weights are `weight(k)`.
pub(super) fn reference<B: ByteLike>(
    activations: Activations<'_>,
    row: usize,
    panel: &[B],
    lane: usize,
    weight: impl Fn(usize) -> i8,
) -> f32 {
    let (rows, scales) = activations.operands::<Int8>();
    let products = rows.row(row).iter().enumerate();
    let sum: i64 = products.map(|(k, a)| (i64::from(a.0) - 128) * i64::from(weight(k))).sum();
    sum as i32 as f32 * scales[row] * column_scale(panel, lane)
}

/// The blocks of a row, rotated one element at a time.
#[cfg(test)]
pub(super) fn rotated_plainly(
    k: usize,
    value: impl Fn(usize) -> f32,
) -> impl Iterator<Item = (usize, [f32; BLOCK])> {
    (0..k).step_by(BLOCK).map(move |start| {
        let mut block = [0.0; BLOCK];
        let part = &mut block[..BLOCK.min(k - start)];
        part.iter_mut().enumerate().for_each(|(i, x)| *x = value(start + i));
        rotation::rows::reference(part);
        (start, block)
    })
}
