//! A format of tests: scales and minima for blocks of 32 and of 256 inputs, as GGUF's k-quants have
//! them.
//!
//! It shows what a block format needs to be added: this file with its `mod` line, and one line of
//! the list in `dtype`. A weight is `(d s) q − e m`: `q` of 4 bits, `s` and `m` a byte each for 32
//! inputs of a column, `d` and `e` an f32 each for 256. It is multiplied in f32.
//!
//! ```text
//! block of 256 inputs, 4864 bytes:
//!   d, e     [2][32 columns] f32
//!   groups   [8], of 32 inputs: s [32 columns], m [32 columns], then [16][32 columns] bytes of two
//!            inputs each, the even one in the low half
//! ```
use super::{ColumnSums, Format, Slice, Unpackable, Weight, unscaled_sums};
use crate::dtype::WeightFormat;
use crate::isa::portable::fma;
use crate::isa::{InstructionSet, LANES, Simd, slices};
use crate::kernels::matmul::activations::Activations;
use crate::kernels::matmul::dequantized::{Units, Unpack, unpacking_tile};
use crate::kernels::matmul::micro::TileRows;
use crate::kernels::matmul::panel::PANEL;
use crate::kernels::matmul::prefetch::Ahead;
use crate::kernels::matmul::source::{CHUNK, PanelRows};

crate::memory::byte_types! {
    /// A byte of a panel.
    Toy;
}

const BLOCK: usize = 256;
const GROUP: usize = 32;
const HEADER_BYTES: usize = 2 * PANEL * size_of::<f32>();
const SCALES_BYTES: usize = 2 * PANEL;
const GROUP_BYTES: usize = SCALES_BYTES + GROUP / 2 * PANEL;
const BLOCK_BYTES: usize = HEADER_BYTES + BLOCK / GROUP * GROUP_BYTES;
const _: () = assert!(BLOCK_BYTES.is_multiple_of(64) && GROUP == CHUNK);

/// Where a group begins.
fn group_offset(number: usize) -> usize {
    let groups = BLOCK / GROUP;
    number / groups * BLOCK_BYTES + HEADER_BYTES + number % groups * GROUP_BYTES
}

/// A float of a block's header: `d` (which 0) or `e` (which 1) of a column.
fn header(panel: &[Toy], block: usize, which: usize, lane: usize) -> f32 {
    let at = block * BLOCK_BYTES + (which * PANEL + lane) * size_of::<f32>();
    f32::from_le_bytes(core::array::from_fn(|i| panel[at + i].0))
}

/// The weight of an input of a column.
fn weight(panel: &[Toy], lane: usize, k: usize) -> f32 {
    let group = &panel[group_offset(k / GROUP)..][..GROUP_BYTES];
    let byte = group[SCALES_BYTES + k % GROUP / 2 * PANEL + lane].0;
    let q = byte >> (4 * (k % 2)) & 15;
    let [d, e] = [0, 1].map(|which| header(panel, k / BLOCK, which, lane));
    d * f32::from(group[lane].0) * f32::from(q) - e * f32::from(group[PANEL + lane].0)
}

impl Format for Toy {
    const FORMAT: WeightFormat = WeightFormat::Toy;
    type Operand = f32;

    fn panel_len(k: usize) -> usize {
        k.div_ceil(BLOCK) * BLOCK_BYTES
    }
    fn offset(input: usize) -> usize {
        if input.is_multiple_of(BLOCK) { input / BLOCK * BLOCK_BYTES } else { group_offset(input / GROUP) }
    }
    fn read_len(k: usize) -> usize {
        k.next_multiple_of(GROUP)
    }
    fn takes(x: f32) -> bool {
        x.abs() < 1e30
    }

    fn pack<S: Simd>(_s: S, rows: &dyn PanelRows, panel: &mut [u8]) -> Result<usize, Unpackable> {
        panel.fill(0);
        for lane in 0..rows.count() {
            for block in 0..rows.inputs().div_ceil(BLOCK) {
                pack_column(rows, lane, block, &mut panel[block * BLOCK_BYTES..][..BLOCK_BYTES])?;
            }
        }
        Ok(0)
    }

    fn read_column(panel: &[Toy], lane: usize, out: &mut [f32]) {
        out.iter_mut().enumerate().for_each(|(k, x)| *x = weight(panel, lane, k));
    }

    fn reference(activations: Activations<'_>, row: usize, panel: &[Toy], lane: usize) -> f32 {
        let rows = activations.operands::<f32>().0;
        let row = &rows.row_padded(row)[..Self::read_len(rows.width())];
        row.iter().enumerate().fold(0.0, |acc, (k, a)| fma(*a, weight(panel, lane, k), acc))
    }
}

/// Packs a block of one column.
fn pack_column(rows: &dyn PanelRows, lane: usize, block: usize, out: &mut [u8]) -> Result<(), Unpackable> {
    let groups: [[f32; GROUP]; BLOCK / GROUP] = core::array::from_fn(|group| {
        let (start, mut bits) = (block * BLOCK + group * GROUP, [0; CHUNK]);
        if start < rows.inputs() {
            rows.floats(lane, start, &mut bits);
        }
        bits.map(f32::from_bits)
    });
    if !groups.as_flattened().iter().all(|x| Toy::takes(*x)) {
        return Err(Unpackable::NonFinite);
    }
    let ends = groups.map(|x| (x.iter().copied().fold(0.0, f32::min), x.iter().copied().fold(0.0, f32::max)));
    let steps = ends.map(|(low, high)| (high - low) / 15.0);
    let d = steps.iter().copied().fold(0.0, f32::max) / 255.0;
    let e = ends.iter().map(|(low, _)| -low).fold(0.0, f32::max) / 255.0;
    let ratio = |x: f32, y: f32| if y > 0.0 { libm::rintf(x / y) } else { 0.0 };
    out[lane * 4..][..4].copy_from_slice(&d.to_le_bytes());
    out[(PANEL + lane) * 4..][..4].copy_from_slice(&e.to_le_bytes());
    for (i, x) in groups.iter().enumerate() {
        let group = &mut out[group_offset(i)..][..GROUP_BYTES];
        let (s, m) = (ratio(steps[i], d), ratio(-ends[i].0, e));
        (group[lane], group[PANEL + lane]) = (s as u8, m as u8);
        for (j, x) in x.iter().enumerate() {
            let q = ratio(x + e * m, d * s).clamp(0.0, 15.0);
            group[SCALES_BYTES + j / 2 * PANEL + lane] |= (q as u8) << (4 * (j % 2));
        }
    }
    Ok(())
}

impl<S: InstructionSet> Weight<S> for Toy {
    type Cursor<'p> = ();
    const DEQUANTIZES: bool = true;
    unscaled_sums!();

    fn cursor(_k: usize, _panel: &[Toy]) {}
    #[inline(always)]
    fn accumulate<const MR: usize, const DEQUANTIZE: bool>(
        s: S,
        slice: Slice<'_, Toy>,
        cursor: &mut (),
        rows: TileRows<'_, f32, MR>,
        sums: &mut [ColumnSums<S, Self>; MR],
        out: &mut [f32],
        ahead: Ahead,
    ) {
        let units =
            Units { panel: slice.panel, first: slice.first / GROUP, count: slice.len.div_ceil(GROUP) };
        unpacking_tile::<S, Toy, MR, DEQUANTIZE>(s, units, rows, cursor, sums, out, ahead);
    }
}

/// A group: its bytes, and `d s` and `e m` of 32 columns.
#[derive(Clone, Copy)]
pub struct Unit<'p, S: Simd> {
    group: &'p [Toy],
    scales: [S::F; 2],
    minima: [S::F; 2],
}

/// Sixteen bytes as floats.
#[inline(always)]
fn floats<S: Simd>(s: S, bytes: &[Toy], number: impl Fn(u8) -> u8) -> S::F {
    s.lanes_of(core::array::from_fn(|lane| f32::from(number(bytes[lane].0))))
}

impl<S: InstructionSet> Unpack<S> for Toy {
    type Operand = f32;
    type Cursor<'p> = ();
    type Shared = ();
    type Unit<'p> = Unit<'p, S>;
    const UNIT: usize = GROUP;
    const BLOCK_LEN: usize = BLOCK_BYTES;
    const BLOCK_UNITS: usize = BLOCK / GROUP;

    #[inline(always)]
    fn shared(_s: S, _panel: &[Toy]) {}
    #[inline(always)]
    fn unit(s: S, (): (), block: &[Toy], number: usize) -> Unit<'_, S> {
        let group = &block[group_offset(number % (BLOCK / GROUP))..][..GROUP_BYTES];
        let headers = block.as_chunks::<{ 4 * LANES }>().0;
        let product = |which: usize, half: usize| {
            let header = slices::load_float_bytes(s, &headers[2 * which + half]);
            s.mul(header, floats(s, &group[which * PANEL + half * LANES..], |byte| byte))
        };
        Unit { group, scales: [product(0, 0), product(0, 1)], minima: [product(1, 0), product(1, 1)] }
    }
    #[inline(always)]
    fn unpack(s: S, unit: Unit<'_, S>, pair: usize, (): &mut ()) -> [[S::F; 2]; 2] {
        let bytes = &unit.group[SCALES_BYTES + pair * PANEL..][..PANEL];
        let column = |step: usize, half: usize| {
            let q = floats(s, &bytes[half * LANES..], |byte| byte >> (4 * step) & 15);
            s.sub(s.mul(unit.scales[half], q), unit.minima[half])
        };
        [[column(0, 0), column(0, 1)], [column(1, 0), column(1, 1)]]
    }
}
