//! 4-bit weights: what a panel of them looks like, and how it becomes 8-bit weights inside a
//! product.
//!
//! 32 inputs of a column are a **group**, with a scale `s` and a zero `z` of 4 bits each. A stored
//! number `q` of 4 bits stands for the 8-bit weight `s q − s z`, and that for the real one by the
//! column's f32 scale. So products are the sums of whole numbers that [int8](super::panel) has,
//! exact in any order, and a group costs no rounding. Zeros use all 16 levels where a group is
//! lopsided, which a signed scale cannot: on Gaussian weights the mean square error is 0.86 of
//! Q4_0's, at 4.25 bits a weight to its 4.5. (The scheme of scales: Lin et al., "QServe", arXiv
//! 2405.04532.)
//!
//! ```text
//! block of 64 inputs, 1088 bytes:
//!   scales   [2 groups][32 columns]               a byte each: z in the high half, s in the low one
//!   weights  [2 groups][4][32 columns][4 inputs]  a byte holds input 8 i + j low and 8 i + 4 + j high
//! ```
//!
//! Sixty-four bytes are two vectors of quads: a mask, a shift, and for each half a 16-bit multiply
//! (two bytes of at most 15 times 15 have no carry) and a subtraction. That happens in registers,
//! within the K loop ([`tile`]); where there are more rows than one tile has, the first leaves what
//! it unpacked in cache, and the others multiply it as int8. Where [`Simd::SCALES_SUMS`], a single
//! row is better served by `s (Σ a q − z Σ a)`, the same whole number: a group's sums are scaled
//! instead of its weights. The same it is because `−s z` and `15 s − s z` are 8-bit numbers in what
//! is packed here; a panel in which they are not has no defined product.
use super::micro::{Ahead, Bursts, Element};
use super::pack::greatest_of;
use super::panel::{INT8_TAIL, PANEL};
use super::weight::SliceRows;
use crate::dtype::{FLUSH_BELOW, Int4, Int8, nearest_int};
use crate::isa::{InstructionSet, LANES};
use crate::kernels::rotation;
use crate::kernels::rotation::rows::rotated_block;

/// Inputs that share a scale.
pub const GROUP: usize = 32;

/// Inputs of a block: two groups, whose scales fill a cache line.
pub const BLOCK: usize = 2 * GROUP;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = SCALES_BYTES + 2 * GROUP_BYTES;

const SCALES_BYTES: usize = 2 * PANEL;
const GROUP_BYTES: usize = GROUP * PANEL / 2;

/// The 8-bit number that the greatest magnitude of a column becomes. Less than 127, so that a group
/// of one sign finds a step.
const COLUMN_MAX: f32 = 119.0;

/// Where the scale of a group lies in a panel.
fn scale_offset(lane: usize, k: usize) -> usize {
    k / BLOCK * BLOCK_BYTES + k % BLOCK / GROUP * PANEL + lane
}

/// Where the byte of a weight lies in a panel, and the shift to its half.
fn weight_offset(lane: usize, k: usize) -> (usize, u32) {
    let (group, inner) = (k % BLOCK / GROUP, k % GROUP);
    let (pair, step) = (inner / 8, inner / 4 % 2);
    let offset = group * GROUP_BYTES + pair * PANEL * 4 + lane * 4 + inner % 4;
    (k / BLOCK * BLOCK_BYTES + SCALES_BYTES + offset, 4 * step as u32)
}

/// The 8-bit weight of an input of a column.
pub(super) fn weight_at(panel: &[Int4], lane: usize, k: usize) -> i8 {
    let (at, shift) = weight_offset(lane, k);
    let (q, scale) = (panel[at].0 >> shift & 15, panel[scale_offset(lane, k)].0);
    let (s, z) = (scale & 15, scale >> 4);
    (s * q).wrapping_sub(s * z) as i8
}

/// The scale of a column whose greatest magnitude is `max`, and what makes its weights 8-bit
/// numbers.
#[inline(always)]
pub(super) fn column_scale_of(max: f32) -> (f32, f32) {
    if max < FLUSH_BELOW { (0.0, 0.0) } else { (max / COLUMN_MAX, COLUMN_MAX / max) }
}

/// The greatest number that an 8-bit weight may be.
const WEIGHT_MAX: f32 = 127.0;

/// Scale and zero for a group that ranges from `low` to `high` (both include 0), with a step one
/// less than would hold the whole range if `clip`: fewer levels lost in the middle for a clipped
/// end.
#[inline(always)]
pub(super) fn scale_and_zero(low: f32, high: f32, clip: bool) -> (f32, f32) {
    let whole = nearest_int((high - low) / 15.0 + 0.499) as f32;
    let s = if clip { whole - 1.0 } else { whole };
    let s = if s > 15.0 { 15.0 } else { s };
    let s = if s < 1.0 { 1.0 } else { s };
    // |s (q − z)| must stay an 8-bit number for q = 0 and q = 15.
    let reach = nearest_int(WEIGHT_MAX / s - 0.499) as f32;
    let z = nearest_int(7.5 - (high + low) / 2.0 / s) as f32;
    let least = if reach < 15.0 { 15.0 - reach } else { 0.0 };
    let most = if reach < 15.0 { reach } else { 15.0 };
    let z = if z < least { least } else { z };
    (s, if z > most { most } else { z })
}

/// The number of 4 bits for `x`, given `1 / s` and `z`.
#[inline(always)]
pub(super) fn quantum(x: f32, inverse: f32, z: f32) -> f32 {
    let q = nearest_int(x * inverse) as f32 + z;
    let q = if q < 0.0 { 0.0 } else { q };
    if q > 15.0 { 15.0 } else { q }
}

/// Packs 32 rows of `k` elements each into an int4 panel, each row rotated. Of two steps for a
/// group the one with the smaller sum of squares is taken.
///
/// `value(lane, i)` is an element of a row, 0 past the last one; magnitudes are below
/// [`rotation::rows::ROTATABLE_BELOW`].
///
/// # Panics
/// If the panel has another length than `k` says.
pub fn pack_int4(panel: &mut [Int4], k: usize, value: impl Fn(usize, usize) -> f32) {
    assert_eq!(panel.len(), k.div_ceil(BLOCK) * BLOCK_BYTES + INT8_TAIL);
    panel.fill(Int4(0));
    for lane in 0..PANEL {
        let block = |start: usize| rotated_block(start, k, |i| value(lane, i));
        let (column_scale, inverse) =
            column_scale_of(greatest_of((0..k).step_by(rotation::rows::BLOCK).map(block)));
        let mut sum = 0;
        for start in (0..k).step_by(rotation::rows::BLOCK) {
            for (first, x) in (start..k).step_by(GROUP).zip(block(start).as_chunks::<GROUP>().0) {
                let x = x.map(|x| x * inverse);
                let (s, z) = best_scale_and_zero(&x);
                panel[scale_offset(lane, first)] = Int4(s as u8 | (z as u8) << 4);
                for (i, x) in x.iter().enumerate() {
                    let q = quantum(*x, 1.0 / s, z) as u8;
                    let (at, shift) = weight_offset(lane, first + i);
                    panel[at].0 |= q << shift;
                    sum += i32::from(weight_at(panel, lane, first + i));
                }
            }
        }
        let tail = panel.len() - INT8_TAIL;
        for i in 0..4 {
            panel[tail + lane * 4 + i] = Int4(sum.wrapping_mul(-128).to_le_bytes()[i]);
            panel[tail + (PANEL + lane) * 4 + i] = Int4(column_scale.to_le_bytes()[i]);
        }
    }
}

/// Scale and zero of a group of 8-bit numbers.
fn best_scale_and_zero(x: &[f32; GROUP]) -> (f32, f32) {
    let low = x.iter().fold(0.0, |low, x| if *x < low { *x } else { low });
    let high = x.iter().fold(0.0, |high, x| if *x > high { *x } else { high });
    let [whole, clipped] = [false, true].map(|clip| {
        let (s, z) = scale_and_zero(low, high, clip);
        let mut error = 0.0;
        for x in x {
            let difference = (quantum(*x, 1.0 / s, z) - z) * s - x;
            error += difference * difference;
        }
        (error, s, z)
    });
    let (_, s, z) = if clipped.0 < whole.0 { clipped } else { whole };
    (s, z)
}

/// Packs a group of all columns, `x[input][lane]` as 8-bit numbers, into the weights of a panel,
/// and adds up what each column's weights have become. The choices are those of [`pack_int4`], for
/// 32 lanes at a time.
#[inline(always)]
pub(super) fn write_group(
    panel: &mut [u8],
    group: usize,
    x: &[[f32; PANEL]; GROUP],
    sums: &mut [i32; PANEL],
) {
    let (mut low, mut high) = ([0.0_f32; PANEL], [0.0_f32; PANEL]);
    for x in x {
        for lane in 0..PANEL {
            low[lane] = if x[lane] < low[lane] { x[lane] } else { low[lane] };
            high[lane] = if x[lane] > high[lane] { x[lane] } else { high[lane] };
        }
    }
    let mut scales = [[0.0_f32; PANEL]; 2];
    let mut zeros = [[0.0_f32; PANEL]; 2];
    let mut errors = [[0.0_f32; PANEL]; 2];
    for candidate in 0..2 {
        let mut inverses = [0.0_f32; PANEL];
        for lane in 0..PANEL {
            let (s, z) = scale_and_zero(low[lane], high[lane], candidate == 1);
            (scales[candidate][lane], zeros[candidate][lane]) = (s, z);
            inverses[lane] = 1.0 / s;
        }
        let (scales, zeros, errors) = (&scales[candidate], &zeros[candidate], &mut errors[candidate]);
        for x in x {
            for lane in 0..PANEL {
                let z = zeros[lane];
                let difference = (quantum(x[lane], inverses[lane], z) - z) * scales[lane] - x[lane];
                errors[lane] += difference * difference;
            }
        }
    }
    let [mut s, mut z, mut inverses] = [scales[0], zeros[0], [0.0_f32; PANEL]];
    for lane in 0..PANEL {
        let clipped = errors[1][lane] < errors[0][lane];
        s[lane] = if clipped { scales[1][lane] } else { s[lane] };
        z[lane] = if clipped { zeros[1][lane] } else { z[lane] };
        inverses[lane] = 1.0 / s[lane];
    }
    let block = &mut panel[group / 2 * BLOCK_BYTES..][..BLOCK_BYTES];
    let (block_scales, weights) = block.split_at_mut(SCALES_BYTES);
    let bytes = &mut block_scales[group % 2 * PANEL..][..PANEL];
    for lane in 0..PANEL {
        bytes[lane] = s[lane] as u8 | (z[lane] as u8) << 4;
    }
    let weights = &mut weights[group % 2 * GROUP_BYTES..][..GROUP_BYTES];
    for (pair, out) in weights.chunks_exact_mut(PANEL * 4).enumerate() {
        for j in 0..4 {
            let (first, second) = (&x[8 * pair + j], &x[8 * pair + 4 + j]);
            for lane in 0..PANEL {
                let low = quantum(first[lane], inverses[lane], z[lane]);
                let high = quantum(second[lane], inverses[lane], z[lane]);
                sums[lane] += ((low + high - 2.0 * z[lane]) * s[lane]) as i32;
                out[lane * 4 + j] = low as u8 | (high as u8) << 4;
            }
        }
    }
}

/// Adds the products of MR rows and the 32 columns of a panel: 32 inputs for each of `groups`. With
/// `KEEP` the weights are left at `keep` as int8 has them.
///
/// # Safety
/// For each `r < MR`, `a + r * a_stride` is valid for reading `groups * 32` elements; `panel` is
/// valid for reading `groups.div_ceil(2)` blocks; with `KEEP`, `keep` for writing `groups * 32`
/// inputs of 32 columns.
#[inline(always)]
pub(super) unsafe fn tile<S: InstructionSet, const MR: usize, const KEEP: bool>(
    s: S,
    groups: usize,
    (a, a_stride): SliceRows<Int8>,
    panel: *const Int4,
    acc: &mut [[S::Ints; 2]; MR],
    keep: *mut Int8,
    ahead: Ahead,
) {
    let mut sums = *acc;
    let mut bursts = Bursts::cut(ahead, groups.div_ceil(2), BLOCK_LINES);
    for group in 0..groups {
        if group.is_multiple_of(2) {
            bursts.fetch(s, BLOCK_LINES);
        }
        // SAFETY: the group lies in one of the blocks, its inputs in each row, and 32 inputs of 32
        // columns in `keep`.
        unsafe {
            let (scales, weights) = group_parts(panel, group);
            if MR == 1 && !KEEP && S::STRATEGY.int4_scales_sums {
                let group_of =
                    crate::isa::int4::Int4Group { scales: &*scales.cast(), weights: &*weights.cast() };
                sums[0] = s.add_group(&*a.add(group * GROUP).cast(), group_of, sums[0]);
                continue;
            }
            let scales =
                [s.load_group_scales(&*scales.cast()), s.load_group_scales(&*scales.add(LANES).cast())];
            let a = a.add(group * GROUP);
            for pair in 0..4 {
                let weights = weights.add(pair * PANEL * 4);
                let first = s.load_nibbles(&*weights.cast(), scales[0]);
                let second = s.load_nibbles(&*weights.add(PANEL * 2).cast(), scales[1]);
                if KEEP {
                    let kept = <Int8 as Element<S>>::KEPT;
                    let keep = keep.add((group * 4 + pair) * 2 * kept);
                    s.store_dequantized_quads(keep, [first.0, second.0]);
                    s.store_dequantized_quads(keep.add(kept), [first.1, second.1]);
                }
                for r in 0..MR {
                    let a = a.add(r * a_stride + pair * 8);
                    let (low, high) = (s.splat_quad(a), s.splat_quad(a.add(4)));
                    sums[r][0] = s.dot_quads(low, first.0, sums[r][0]);
                    sums[r][1] = s.dot_quads(low, second.0, sums[r][1]);
                    sums[r][0] = s.dot_quads(high, first.1, sums[r][0]);
                    sums[r][1] = s.dot_quads(high, second.1, sums[r][1]);
                }
            }
        }
    }
    *acc = sums;
}

/// Cache lines of a block.
const BLOCK_LINES: usize = BLOCK_BYTES / 64;
const _: () = assert!(BLOCK_BYTES.is_multiple_of(64));

/// The scales and the weights of a group.
///
/// # Safety
/// The panel has the group.
#[inline(always)]
unsafe fn group_parts(panel: *const Int4, group: usize) -> (*const Int4, *const Int4) {
    // SAFETY: within the block that holds the group.
    unsafe {
        let block = panel.add(group / 2 * BLOCK_BYTES);
        (block.add(group % 2 * PANEL), block.add(SCALES_BYTES + group % 2 * GROUP_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_group_are_8_bit_numbers() {
        let ends = |magnitude: f32| (0..=238).map(move |i| magnitude * i as f32 * 0.5);
        for low in ends(-1.0) {
            for high in ends(1.0) {
                for clip in [false, true] {
                    let (s, z) = scale_and_zero(low, high, clip);
                    assert!((1.0..=15.0).contains(&s) && (0.0..=15.0).contains(&z), "{low} {high}: {s} {z}");
                    assert!(s * z <= 128.0 && s * (15.0 - z) <= 127.0, "{low} {high}: {s} {z}");
                }
            }
        }
    }
}
