//! int4: 4.25 bits a weight; rows are rotated, and rounded to 8 bits with a scale for each.
//!
//! A column of the checkpoint is rotated, as for int8. 32 inputs of a column are a **group**, with
//! a scale `s` and a zero `z` of 4 bits each. A stored number `q` of 4 bits stands for the 8-bit
//! weight `s q − s z`, and that for the real one by the column's f32 scale. So products are the
//! sums of whole numbers that [int8](super::int8) has, exact in any order, and a group costs no
//! rounding. Zeros use all 16 levels where a group is lopsided, which a signed scale cannot: on
//! Gaussian weights the mean square error is 0.86 of Q4_0's, at 4.25 bits a weight to its 4.5. (The
//! scheme of scales: Lin et al., "QServe", arXiv 2405.04532.)
//!
//! ```text
//! quantization block of 64 inputs, 1088 bytes:
//!   scales   [2 groups][32 columns]               a byte each: s in the low half, z in the high
//!   weights  [2 groups][4][32 columns][4 inputs]  a byte holds input 8 i + j in its low half and
//!                                                 input 8 i + 4 + j in its high half
//! ```
//!
//! Behind the blocks comes the tail that [`scaled`] draws. Sixty-four bytes are two vectors of
//! quads: a mask, a shift, and for each half a 16-bit multiply (two bytes of at most 15 times 15
//! have no carry) and a subtraction. Where `Strategy::int4_scales_sums`, a single row is better
//! served by `s (Σ a q − z Σ a)`, the same whole number: a group's sums are scaled instead of its
//! weights. It is the same because `−s z` and `15 s − s z` are 8-bit numbers in what is packed
//! here; a panel in which they are not has no defined product.
use super::scaled::{self, BLOCK as ROTATED, TAIL_BYTES};
use super::{ColumnSums, Format, Slice, Unpackable, Weight};
use crate::dtype::{FLUSH_BELOW, Int4, Int8, WeightFormat, nearest_int};
use crate::isa::int4::{Int4Group, UnpackInt4};
use crate::isa::{InstructionSet, LANES, Simd};
use crate::kernels::matmul::activations::Activations;
use crate::kernels::matmul::dequantized::{SLICE_STEP, Units, Unpack, unpacking_tile};
use crate::kernels::matmul::micro::TileRows;
use crate::kernels::matmul::panel::PANEL;
use crate::kernels::matmul::prefetch::Ahead;
use crate::kernels::matmul::source::{CHUNK, PanelRows};

/// Inputs that share a scale.
const GROUP: usize = 32;

/// Inputs of a quantization block: two groups, whose scales fill a cache line.
const BLOCK: usize = 2 * GROUP;
const _: () = assert!(SLICE_STEP.is_multiple_of(BLOCK));

/// Bytes of a block.
const BLOCK_BYTES: usize = SCALES_BYTES + 2 * GROUP_BYTES;
const _: () = assert!(BLOCK_BYTES.is_multiple_of(64));

const SCALES_BYTES: usize = 2 * PANEL;
const GROUP_BYTES: usize = GROUP * PANEL / 2;

/// The 8-bit number that the maximal magnitude of a column becomes. Less than 127, so that a group
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
fn weight(panel: &[Int4], lane: usize, k: usize) -> i8 {
    let (at, shift) = weight_offset(lane, k);
    let (q, scale) = (panel[at].0 >> shift & 15, panel[scale_offset(lane, k)].0);
    let (s, z) = (scale & 15, scale >> 4);
    (s * q).wrapping_sub(s * z) as i8
}

/// Bytes of a panel's blocks.
const fn blocks_len(k: usize) -> usize {
    k.div_ceil(BLOCK) * BLOCK_BYTES
}

impl Format for Int4 {
    const FORMAT: WeightFormat = WeightFormat::Int4;
    type Operand = Int8;
    const INPUTS_MAX: usize = scaled::INPUTS_MAX;

    fn panel_len(k: usize) -> usize {
        blocks_len(k) + TAIL_BYTES
    }

    #[inline(always)]
    fn offset(input: usize) -> usize {
        input / BLOCK * BLOCK_BYTES
    }

    #[inline(always)]
    fn read_len(k: usize) -> usize {
        k.next_multiple_of(GROUP)
    }

    fn takes(x: f32) -> bool {
        scaled::takes(x)
    }

    #[inline(always)]
    fn pack<S: Simd>(s: S, rows: &dyn PanelRows, panel: &mut [u8]) -> Result<usize, Unpackable> {
        let k = rows.inputs();
        let max = scaled::max_magnitudes(s, rows).ok_or(Unpackable::NonFinite)?;
        let mut sums = [0_i32; PANEL];
        // Groups of all columns, transposed: columns are lanes here too.
        let mut groups = [[[0.0_f32; PANEL]; GROUP]; ROTATED / GROUP];
        let (weights, tail) = panel.split_at_mut(blocks_len(k));
        weights.fill(0);
        for start in (0..k).step_by(ROTATED) {
            for lane in 0..rows.count() {
                let block = scaled::rotated(s, rows, lane, start, &mut [0; CHUNK]);
                let (_, inverse) = column_scale_of(max[lane]);
                for (group, x) in groups.as_flattened_mut().iter_mut().zip(block) {
                    group[lane] = x * inverse;
                }
            }
            for (i, group) in groups.iter().take((k - start).div_ceil(GROUP)).enumerate() {
                write_group(weights, start / GROUP + i, group, &mut sums);
            }
        }
        scaled::write_tail(tail, &sums, max.map(|max| column_scale_of(max).0));
        Ok(0)
    }

    fn read_column(panel: &[Int4], lane: usize, out: &mut [f32]) {
        scaled::read_column(panel, lane, out, |k| weight(panel, lane, k));
    }

    fn reference(activations: Activations<'_>, row: usize, panel: &[Int4], lane: usize) -> f32 {
        scaled::reference(activations, row, panel, lane, |k| weight(panel, lane, k))
    }

    #[cfg(test)]
    fn pack_plainly(panel: &mut [Int4], k: usize, value: &dyn Fn(usize, usize) -> f32) -> Option<usize> {
        panel.fill(Int4(0));
        let (mut sums, mut scales) = ([0; PANEL], [0.0; PANEL]);
        for lane in 0..PANEL {
            let blocks = || scaled::rotated_plainly(k, move |i| value(lane, i));
            let max = blocks().flat_map(|(_, block)| block).fold(0.0, |max: f32, x| max.max(x.abs()));
            let (scale, inverse) = column_scale_of(max);
            scales[lane] = scale;
            for (start, block) in blocks() {
                for (first, x) in (start..k).step_by(GROUP).zip(block.as_chunks::<GROUP>().0) {
                    let x = x.map(|x| x * inverse);
                    let (s, z) = tests::best_scale_and_zero(&x);
                    panel[scale_offset(lane, first)] = Int4(s as u8 | (z as u8) << 4);
                    for (i, x) in x.iter().enumerate() {
                        let q = quantum(*x, 1.0 / s, z) as u8;
                        let (at, shift) = weight_offset(lane, first + i);
                        panel[at].0 |= q << shift;
                        sums[lane] += i32::from(weight(panel, lane, first + i));
                    }
                }
            }
        }
        scaled::write_tail(crate::memory::bytes_mut(&mut panel[blocks_len(k)..]), &sums, scales);
        Some(0)
    }
}

/// The scale of a column whose maximal magnitude is `max`, and what makes its weights 8-bit
/// numbers.
#[inline(always)]
fn column_scale_of(max: f32) -> (f32, f32) {
    if max < FLUSH_BELOW { (0.0, 0.0) } else { (max / COLUMN_MAX, COLUMN_MAX / max) }
}

/// The maximum of an 8-bit weight.
const WEIGHT_MAX: f32 = 127.0;

/// Scale and zero for a group that ranges from `low` to `high` (both include 0), with a step one
/// less than would hold the whole range if `clip`: fewer levels lost in the middle for a clipped
/// end.
#[inline(always)]
fn scale_and_zero(low: f32, high: f32, clip: bool) -> (f32, f32) {
    let whole = nearest_int((high - low) / 15.0 + 0.499) as f32;
    let s = if clip { whole - 1.0 } else { whole };
    let s = if s > 15.0 { 15.0 } else { s };
    let s = if s < 1.0 { 1.0 } else { s };
    // |s (q − z)| must stay an 8-bit number for q = 0 and q = 15.
    let reach = nearest_int(WEIGHT_MAX / s - 0.499) as f32;
    let z = nearest_int(7.5 - (high + low) / 2.0 / s) as f32;
    let min = if reach < 15.0 { 15.0 - reach } else { 0.0 };
    let max = if reach < 15.0 { reach } else { 15.0 };
    let z = if z < min { min } else { z };
    (s, if z > max { max } else { z })
}

/// The number of 4 bits for `x`, given `1 / s` and `z`.
#[inline(always)]
fn quantum(x: f32, inverse: f32, z: f32) -> f32 {
    let q = nearest_int(x * inverse) as f32 + z;
    let q = if q < 0.0 { 0.0 } else { q };
    if q > 15.0 { 15.0 } else { q }
}

/// Packs a group of all columns, `x[input][lane]` as 8-bit numbers, into the weights of a panel,
/// and adds up what each column's weights have become. Of two steps for a group
/// the one with the smaller sum of squares is taken.
#[inline(always)]
fn write_group(panel: &mut [u8], group: usize, x: &[[f32; PANEL]; GROUP], sums: &mut [i32; PANEL]) {
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

impl<S: InstructionSet> Weight<S> for Int4 {
    type Cursor<'p> = ();
    const DEQUANTIZES: bool = true;

    #[inline(always)]
    fn cursor(_k: usize, _panel: &[Int4]) {}
    #[inline(always)]
    fn begin(s: S, panel: &[Int4]) -> [S::Ints; 2] {
        scaled::begin(s, panel)
    }
    #[inline(always)]
    fn finish(s: S, sums: [S::Ints; 2], panel: &[Int4], row_scale: f32) -> [S::F; 2] {
        scaled::finish(s, sums, panel, row_scale)
    }
    #[inline(always)]
    fn accumulate<const MR: usize, const DEQUANTIZE: bool>(
        s: S,
        slice: Slice<'_, Int4>,
        cursor: &mut (),
        rows: TileRows<'_, Int8, MR>,
        sums: &mut [ColumnSums<S, Self>; MR],
        out: &mut [Int8],
        ahead: Ahead,
    ) {
        let Slice { panel, first, len, .. } = slice;
        let units = Units { panel, first: first / GROUP, count: len.div_ceil(GROUP) };
        unpacking_tile::<S, Int4, MR, DEQUANTIZE>(s, units, rows, cursor, sums, out, ahead);
    }
}

/// A group, and its scales in registers.
#[derive(Clone, Copy)]
pub struct Unit<'p, S: UnpackInt4> {
    group: Int4Group<'p>,
    scales: [S::GroupScales; 2],
}

impl<S: InstructionSet> Unpack<S> for Int4 {
    type Operand = Int8;
    type Cursor<'p> = ();
    type Shared = ();
    type Unit<'p> = Unit<'p, S>;
    const UNIT: usize = GROUP;
    const BLOCK_LEN: usize = BLOCK_BYTES;
    const BLOCK_UNITS: usize = BLOCK / GROUP;
    const HAS_ONE: bool = S::STRATEGY.int4_scales_sums;

    #[inline(always)]
    fn shared(_s: S, _panel: &[Int4]) {}
    #[inline(always)]
    fn unit(s: S, (): (), block: &[Int4], number: usize) -> Unit<'_, S> {
        let block: &[_; BLOCK_BYTES] = block.first_chunk().expect("a whole block");
        let (scales, weights) = block.split_at(SCALES_BYTES);
        let group = Int4Group {
            scales: &scales.as_chunks::<{ 2 * LANES }>().0[number % 2],
            weights: &weights.as_chunks::<GROUP_BYTES>().0[number % 2],
        };
        let scales = [s.load_group_scales(group.scales(0)), s.load_group_scales(group.scales(1))];
        Unit { group, scales }
    }

    #[inline(always)]
    fn unpack(s: S, unit: Unit<'_, S>, pair: usize, (): &mut ()) -> [[S::Quads; 2]; 2] {
        let first = s.load_nibbles(unit.group.quads(pair, 0), unit.scales[0]);
        let second = s.load_nibbles(unit.group.quads(pair, 1), unit.scales[1]);
        [[first.0, second.0], [first.1, second.1]]
    }

    #[inline(always)]
    fn add_to_one(s: S, unit: Unit<'_, S>, row: &[Int8], sums: [S::Ints; 2]) -> [S::Ints; 2] {
        s.add_group(row.first_chunk().expect("a whole group"), unit.group, sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scale and zero of a group of 8-bit numbers.
    pub(super) fn best_scale_and_zero(x: &[f32; GROUP]) -> (f32, f32) {
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
