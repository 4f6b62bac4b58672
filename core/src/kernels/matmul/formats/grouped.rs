//! int4, int5 and int6: 4.25, 5.25 and 6.25 bits a weight; rows are rotated, and rounded to 8 bits
//! with a scale for each.
//!
//! A column of the checkpoint is rotated, as for int8. 32 inputs of a column are a **group**, with
//! a scale `s` and a zero `z`, which share a byte: a weight has 4, 5 or 6 bits, the zero as many,
//! and the scale the others. A stored number `q` stands for the 8-bit weight `s q − s z`, and that
//! for the real one by the column's f32 scale. So products are the sums of whole numbers that
//! [int8](super::int8) has, exact in any order, and a group costs no rounding. Zeros use all levels
//! where a group is lopsided, which a signed scale cannot: on Gaussian weights the mean square
//! error of int4 is 0.86 of Q4_0's, at 4.25 bits a weight to its 4.5, and that of int5 0.96 of
//! Q5_0's at 5.25 bits to its 5.5. (The scheme of scales: Lin et al., "QServe", arXiv 2405.04532.)
//!
//! ```text
//! quantization block of 64 inputs, 1088 bytes and 256 for each bit above 4:
//!   scales   [2 groups][32 columns]               a byte each: s in the low bits, z above
//!   weights  [2 groups][4][32 columns][4 inputs]  a byte holds input 8 i + j in its low half and
//!                                                 input 8 i + 4 + j in its high half
//!   planes   [2 groups][2][b][16 columns][4]      a byte holds the b bits above the low 4 of input
//!                                                 4 i + j, for 8 / b numbers i one after another
//! ```
//!
//! Behind the blocks comes the tail that [`scaled`] draws. Sixty-four bytes are two vectors of
//! quads: masks and shifts, and for each half a 16-bit multiply (two bytes, each the largest scale
//! times the largest weight, have no carry) and a subtraction. Where `Strategy::int4_scales_sums`,
//! a single row of int4 is better served by `s (Σ a q − z Σ a)`, the same whole number: a group's
//! sums are scaled instead of its weights. It is the same because `−s z` and `15 s − s z` are 8-bit
//! numbers in what is packed here; a panel in which they are not has no defined product.
use super::scaled::{self, BLOCK as ROTATED, TAIL_BYTES};
use super::{ColumnSums, Format, Slice, Unpackable, Weight};
use crate::dtype::{FLUSH_BELOW, Int4, Int5, Int6, Int8, WeightFormat, nearest_int};
use crate::isa::grouped::{Group, GroupBits, UnpackGroup};
use crate::isa::{InstructionSet, LANES, Simd};
use crate::kernels::matmul::activations::Activations;
use crate::kernels::matmul::dequantized::{SLICE_STEP, Units, Unpack, unpacking_tile};
use crate::kernels::matmul::micro::TileRows;
use crate::kernels::matmul::panel::PANEL;
use crate::kernels::matmul::prefetch::Ahead;
use crate::kernels::matmul::source::{CHUNK, PanelRows};
use crate::memory::{ByteLike, bytes};

/// Inputs that share a scale.
const GROUP: usize = 32;

/// Inputs of a quantization block: two groups, whose scales fill a cache line.
const BLOCK: usize = 2 * GROUP;
const _: () = assert!(SLICE_STEP.is_multiple_of(BLOCK));

const SCALES_BYTES: usize = 2 * PANEL;
/// Bytes of the low 4 bits of a group, and of one bit of it.
const GROUP_BYTES: usize = GROUP * PANEL / 2;
const PLANE_BYTES: usize = GROUP * PANEL / 8;

/// A format of groups; the type is that of a panel's bytes.
pub trait Grouped: ByteLike + GroupBits + From<u8> {
    /// The format's entry in the list of weight formats.
    const FORMAT: WeightFormat;
    /// The 8-bit number that the maximal magnitude of a column becomes. Less than 127, so that a
    /// group of one sign finds a step; where scales are few, so that the usual group uses all
    /// levels.
    const COLUMN_MAX: f32;

    /// Bytes of the planes of a group.
    const PLANES_BYTES: usize = Self::HIGH * PLANE_BYTES;
    /// Bytes of a block.
    const BLOCK_BYTES: usize = SCALES_BYTES + 2 * (GROUP_BYTES + Self::PLANES_BYTES);
}

macro_rules! grouped {
    ($($bits:literal bits: $format:ident, $column_max:literal;)*) => {
        $(
            impl GroupBits for $format {
                const BITS: usize = $bits;
            }
            impl From<u8> for $format {
                #[inline(always)]
                fn from(byte: u8) -> Self {
                    Self(byte)
                }
            }
            impl Grouped for $format {
                const FORMAT: WeightFormat = WeightFormat::$format;
                const COLUMN_MAX: f32 = $column_max;
            }
            const _: () = assert!(<$format as Grouped>::BLOCK_BYTES.is_multiple_of(64));
        )*
    };
}
grouped! {
    4 bits: Int4, 119.0;
    5 bits: Int5, 119.0;
    6 bits: Int6, 105.0;
}

/// Where the scale of a group lies in a panel.
fn scale_offset<G: Grouped>(lane: usize, k: usize) -> usize {
    k / BLOCK * G::BLOCK_BYTES + k % BLOCK / GROUP * PANEL + lane
}

/// Where the byte of a weight's low bits lies in a panel, and the shift to its half.
fn low_offset<G: Grouped>(lane: usize, k: usize) -> (usize, u32) {
    let (group, inner) = (k % BLOCK / GROUP, k % GROUP);
    let (pair, step) = (inner / 8, inner / 4 % 2);
    let offset = group * GROUP_BYTES + pair * PANEL * 4 + lane * 4 + inner % 4;
    (k / BLOCK * G::BLOCK_BYTES + SCALES_BYTES + offset, 4 * step as u32)
}

/// Where the byte of a weight's bits above the low four lies in a panel, and the shift to them.
fn high_offset<G: Grouped>(lane: usize, k: usize) -> (usize, u32) {
    let (group, inner) = (k % BLOCK / GROUP, k % GROUP);
    let (half, bits) = (lane / LANES, inner / 4 * G::HIGH);
    let plane = half * G::HIGH + bits / 8;
    let offset = group * G::PLANES_BYTES + plane * 4 * LANES + lane % LANES * 4 + inner % 4;
    let planes = SCALES_BYTES + 2 * GROUP_BYTES;
    (k / BLOCK * G::BLOCK_BYTES + planes + offset, (bits % 8) as u32)
}

/// The 8-bit weight of an input of a column.
fn weight<G: Grouped>(panel: &[G], lane: usize, k: usize) -> i8 {
    let (at, shift) = low_offset::<G>(lane, k);
    let mut q = panel[at].byte() >> shift & 15;
    if G::HIGH > 0 {
        let (at, shift) = high_offset::<G>(lane, k);
        q |= (panel[at].byte() >> shift & ((1 << G::HIGH) - 1)) << 4;
    }
    let scale = panel[scale_offset::<G>(lane, k)].byte();
    let (s, z) = (scale & G::SCALE_MAX, scale >> G::SCALE_BITS);
    s.wrapping_mul(q).wrapping_sub(s.wrapping_mul(z)) as i8
}

/// Bytes of a panel's blocks.
fn blocks_len<G: Grouped>(k: usize) -> usize {
    k.div_ceil(BLOCK) * G::BLOCK_BYTES
}

impl<G: Grouped> Format for G {
    const FORMAT: WeightFormat = <G as Grouped>::FORMAT;
    type Operand = Int8;
    const INPUTS_MAX: usize = scaled::INPUTS_MAX;

    fn panel_len(k: usize) -> usize {
        blocks_len::<G>(k) + TAIL_BYTES
    }

    #[inline(always)]
    fn offset(input: usize) -> usize {
        input / BLOCK * G::BLOCK_BYTES
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
        let (weights, tail) = panel.split_at_mut(blocks_len::<G>(k));
        weights.fill(0);
        for start in (0..k).step_by(ROTATED) {
            for lane in 0..rows.count() {
                let block = scaled::rotated(s, rows, lane, start, &mut [0; CHUNK]);
                let (_, inverse) = column_scale_of::<G>(max[lane]);
                for (group, x) in groups.as_flattened_mut().iter_mut().zip(block) {
                    group[lane] = x * inverse;
                }
            }
            for (i, group) in groups.iter().take((k - start).div_ceil(GROUP)).enumerate() {
                write_group::<G>(weights, start / GROUP + i, group, &mut sums);
            }
        }
        scaled::write_tail(tail, &sums, max.map(|max| column_scale_of::<G>(max).0));
        Ok(0)
    }

    fn read_column(panel: &[G], lane: usize, out: &mut [f32]) {
        scaled::read_column(panel, lane, out, |k| weight(panel, lane, k));
    }

    fn reference(activations: Activations<'_>, row: usize, panel: &[G], lane: usize) -> f32 {
        scaled::reference(activations, row, panel, lane, |k| weight(panel, lane, k))
    }

    #[cfg(test)]
    fn pack_plainly(panel: &mut [G], k: usize, value: &dyn Fn(usize, usize) -> f32) -> Option<usize> {
        panel.fill(G::from(0));
        let (mut sums, mut scales) = ([0; PANEL], [0.0; PANEL]);
        for lane in 0..PANEL {
            let blocks = || scaled::rotated_plainly(k, move |i| value(lane, i));
            let max = blocks().flat_map(|(_, block)| block).fold(0.0, |max: f32, x| max.max(x.abs()));
            let (scale, inverse) = column_scale_of::<G>(max);
            scales[lane] = scale;
            for (start, block) in blocks() {
                for (first, x) in (start..k).step_by(GROUP).zip(block.as_chunks::<GROUP>().0) {
                    let x = x.map(|x| x * inverse);
                    let (s, z) = tests::best_scale_and_zero::<G>(&x);
                    let at = scale_offset::<G>(lane, first);
                    panel[at] = G::from(s as u8 | (z as u8) << G::SCALE_BITS);
                    for (i, x) in x.iter().enumerate() {
                        let q = quantum::<G>(*x, 1.0 / s, z) as u8;
                        let (at, shift) = low_offset::<G>(lane, first + i);
                        panel[at] = G::from(panel[at].byte() | (q & 15) << shift);
                        if G::HIGH > 0 {
                            let (at, shift) = high_offset::<G>(lane, first + i);
                            panel[at] = G::from(panel[at].byte() | (q >> 4) << shift);
                        }
                        sums[lane] += i32::from(weight(panel, lane, first + i));
                    }
                }
            }
        }
        scaled::write_tail(crate::memory::bytes_mut(&mut panel[blocks_len::<G>(k)..]), &sums, scales);
        Some(0)
    }
}

/// The scale of a column whose maximal magnitude is `max`, and what makes its weights 8-bit
/// numbers.
#[inline(always)]
fn column_scale_of<G: Grouped>(max: f32) -> (f32, f32) {
    if max < FLUSH_BELOW { (0.0, 0.0) } else { (max / G::COLUMN_MAX, G::COLUMN_MAX / max) }
}

/// The maximum of an 8-bit weight.
const WEIGHT_MAX: f32 = 127.0;

/// Scale and zero for a group that ranges from `low` to `high` (both include 0), with a step one
/// less than would hold the whole range if `clip`: fewer levels lost in the middle for a clipped
/// end.
#[inline(always)]
fn scale_and_zero<G: GroupBits>(low: f32, high: f32, clip: bool) -> (f32, f32) {
    let (levels, steepest) = (f32::from(G::WEIGHT_MAX), f32::from(G::SCALE_MAX));
    let whole = nearest_int((high - low) / levels + 0.499) as f32;
    let s = if clip { whole - 1.0 } else { whole };
    let s = if s > steepest { steepest } else { s };
    let s = if s < 1.0 { 1.0 } else { s };
    // |s (q − z)| must stay an 8-bit number for the smallest q and the largest.
    let reach = nearest_int(WEIGHT_MAX / s - 0.499) as f32;
    let z = nearest_int(levels / 2.0 - (high + low) / 2.0 / s) as f32;
    let min = if reach < levels { levels - reach } else { 0.0 };
    let max = if reach < levels { reach } else { levels };
    let z = if z < min { min } else { z };
    (s, if z > max { max } else { z })
}

/// The stored number for `x`, given `1 / s` and `z`.
#[inline(always)]
fn quantum<G: GroupBits>(x: f32, inverse: f32, z: f32) -> f32 {
    let levels = f32::from(G::WEIGHT_MAX);
    let q = nearest_int(x * inverse) as f32 + z;
    let q = if q < 0.0 { 0.0 } else { q };
    if q > levels { levels } else { q }
}

/// Packs a group of all columns, `x[input][lane]` as 8-bit numbers, into the weights of a panel,
/// and adds up what each column's weights have become. Of two steps for a group
/// the one with the smaller sum of squares is taken.
#[inline(always)]
fn write_group<G: Grouped>(
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
            let (s, z) = scale_and_zero::<G>(low[lane], high[lane], candidate == 1);
            (scales[candidate][lane], zeros[candidate][lane]) = (s, z);
            inverses[lane] = 1.0 / s;
        }
        let (scales, zeros, errors) = (&scales[candidate], &zeros[candidate], &mut errors[candidate]);
        for x in x {
            for lane in 0..PANEL {
                let z = zeros[lane];
                let difference = (quantum::<G>(x[lane], inverses[lane], z) - z) * scales[lane] - x[lane];
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
    let block = &mut panel[group / 2 * G::BLOCK_BYTES..][..G::BLOCK_BYTES];
    let (block_scales, rest) = block.split_at_mut(SCALES_BYTES);
    let (weights, planes) = rest.split_at_mut(2 * GROUP_BYTES);
    let bytes = &mut block_scales[group % 2 * PANEL..][..PANEL];
    for lane in 0..PANEL {
        bytes[lane] = s[lane] as u8 | (z[lane] as u8) << G::SCALE_BITS;
    }
    let weights = &mut weights[group % 2 * GROUP_BYTES..][..GROUP_BYTES];
    let planes = &mut planes[group % 2 * G::PLANES_BYTES..][..G::PLANES_BYTES];
    for (pair, out) in weights.chunks_exact_mut(PANEL * 4).enumerate() {
        // Bits of the planes before those of the pair, which has two quads.
        let bits = 2 * pair * G::HIGH;
        for j in 0..4 {
            let (first, second) = (&x[8 * pair + j], &x[8 * pair + 4 + j]);
            for lane in 0..PANEL {
                let low = quantum::<G>(first[lane], inverses[lane], z[lane]);
                let high = quantum::<G>(second[lane], inverses[lane], z[lane]);
                sums[lane] += ((low + high - 2.0 * z[lane]) * s[lane]) as i32;
                let (low, high) = (low as u8, high as u8);
                out[lane * 4 + j] = low & 15 | high << 4;
                if G::HIGH > 0 {
                    let plane = lane / LANES * G::HIGH + bits / 8;
                    let both = low >> 4 | high >> 4 << G::HIGH;
                    planes[plane * 4 * LANES + lane % LANES * 4 + j] |= both << (bits % 8);
                }
            }
        }
    }
}

impl<S: InstructionSet, G: Grouped> Weight<S> for G {
    type Cursor<'p> = ();
    const DEQUANTIZES: bool = true;

    #[inline(always)]
    fn cursor(_k: usize, _panel: &[G]) {}
    #[inline(always)]
    fn begin(s: S, panel: &[G]) -> [S::Ints; 2] {
        scaled::begin(s, panel)
    }
    #[inline(always)]
    fn finish(s: S, sums: [S::Ints; 2], panel: &[G], row_scale: f32) -> [S::F; 2] {
        scaled::finish(s, sums, panel, row_scale)
    }
    #[inline(always)]
    fn accumulate<const MR: usize, const DEQUANTIZE: bool>(
        s: S,
        slice: Slice<'_, G>,
        cursor: &mut (),
        rows: TileRows<'_, Int8, MR>,
        sums: &mut [ColumnSums<S, Self>; MR],
        out: &mut [Int8],
        ahead: Ahead,
    ) {
        let Slice { panel, first, len, .. } = slice;
        let units = Units { panel, first: first / GROUP, count: len.div_ceil(GROUP) };
        unpacking_tile::<S, G, MR, DEQUANTIZE>(s, units, rows, cursor, sums, out, ahead);
    }
}

/// A group, and its scales in registers.
#[derive(Clone, Copy)]
pub struct Unit<'p, S: UnpackGroup> {
    group: Group<'p>,
    scales: [S::GroupScales; 2],
}

impl<S: InstructionSet, G: Grouped> Unpack<S> for G {
    type Operand = Int8;
    type Cursor<'p> = ();
    type Shared = ();
    type Unit<'p> = Unit<'p, S>;
    const UNIT: usize = GROUP;
    const BLOCK_LEN: usize = G::BLOCK_BYTES;
    const BLOCK_UNITS: usize = BLOCK / GROUP;
    const HAS_ONE: bool = G::HIGH == 0 && S::STRATEGY.int4_scales_sums;

    #[inline(always)]
    fn shared(_s: S, _panel: &[G]) {}
    #[inline(always)]
    fn unit(s: S, (): (), block: &[G], number: usize) -> Unit<'_, S> {
        let block = bytes(&block[..G::BLOCK_BYTES]);
        let (scales, rest) = block.split_at(SCALES_BYTES);
        let (weights, planes) = rest.split_at(2 * GROUP_BYTES);
        let group = Group {
            scales: &scales.as_chunks::<{ 2 * LANES }>().0[number % 2],
            weights: &weights.as_chunks::<GROUP_BYTES>().0[number % 2],
            high: &planes[number % 2 * G::PLANES_BYTES..][..G::PLANES_BYTES],
        };
        let scales = [s.load_group_scales::<G>(group.scales(0)), s.load_group_scales::<G>(group.scales(1))];
        Unit { group, scales }
    }

    #[inline(always)]
    fn unpack(s: S, unit: Unit<'_, S>, pair: usize, (): &mut ()) -> [[S::Quads; 2]; 2] {
        // Twice, by hand: a closure would be a call, compiled for no instruction set.
        let Unit { group, scales } = unit;
        let first = s.load_group_quads::<G>(group.quads(pair, 0), group.plane::<G>(pair, 0), scales[0]);
        let second = s.load_group_quads::<G>(group.quads(pair, 1), group.plane::<G>(pair, 1), scales[1]);
        [[first.0, second.0], [first.1, second.1]]
    }

    #[inline(always)]
    fn add_to_one(s: S, unit: Unit<'_, S>, row: &[Int8], sums: [S::Ints; 2]) -> [S::Ints; 2] {
        s.add_int4_group(row.first_chunk().expect("a whole group"), unit.group, sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scale and zero of a group of 8-bit numbers.
    pub(super) fn best_scale_and_zero<G: GroupBits>(x: &[f32; GROUP]) -> (f32, f32) {
        let low = x.iter().fold(0.0, |low, x| if *x < low { *x } else { low });
        let high = x.iter().fold(0.0, |high, x| if *x > high { *x } else { high });
        let [whole, clipped] = [false, true].map(|clip| {
            let (s, z) = scale_and_zero::<G>(low, high, clip);
            let mut error = 0.0;
            for x in x {
                let difference = (quantum::<G>(*x, 1.0 / s, z) - z) * s - x;
                error += difference * difference;
            }
            (error, s, z)
        });
        let (_, s, z) = if clipped.0 < whole.0 { clipped } else { whole };
        (s, z)
    }

    fn ends_of_a_group<G: GroupBits>() {
        let ends = |magnitude: f32| (0..=238).map(move |i| magnitude * i as f32 * 0.5);
        let (scales, zeros) = (f32::from(G::SCALE_MAX), f32::from(G::WEIGHT_MAX));
        for low in ends(-1.0) {
            for high in ends(1.0) {
                for clip in [false, true] {
                    let (s, z) = scale_and_zero::<G>(low, high, clip);
                    let fits = (1.0..=scales).contains(&s) && (0.0..=zeros).contains(&z);
                    assert!(fits, "{low} {high}: {s} {z}");
                    assert!(s * z <= 128.0 && s * (zeros - z) <= 127.0, "{low} {high}: {s} {z}");
                }
            }
        }
    }

    #[test]
    fn both_ends_of_a_group_are_8_bit_numbers() {
        ends_of_a_group::<Int4>();
        ends_of_a_group::<Int5>();
        ends_of_a_group::<Int6>();
    }
}
