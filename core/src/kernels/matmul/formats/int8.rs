//! int8: 8 bits a weight, signed, `[ceil(K / 4)][32][4]`, then the tail that [`scaled`] draws; rows
//! are rotated, and rounded to 8 bits with a scale for each.
//!
//! A column of the checkpoint is rotated, then scaled so that its maximal magnitude is 127, and
//! rounded to nearest even.
use super::scaled::{self, BLOCK, TAIL_BYTES};
use super::{ColumnSums, Format, Slice, Unpackable, Weight, plain_layout, plain_products};
use crate::dtype::{Int8, WeightFormat, int8_scale, nearest_int};
use crate::isa::{InstructionSet, Simd};
use crate::kernels::matmul::activations::Activations;
use crate::kernels::matmul::dequantized::{dequantized_as_stored, plain_tile};
use crate::kernels::matmul::micro::TileRows;
use crate::kernels::matmul::panel::{PANEL, TILE_BYTES, TILE_ROW_BYTES, plain_len, plain_offset, write_tile};
use crate::kernels::matmul::prefetch::Ahead;
use crate::kernels::matmul::source::{CHUNK, PanelRows};

/// Elements of K that one instruction multiplies.
const QUAD: usize = 4;

impl Format for Int8 {
    const FORMAT: WeightFormat = WeightFormat::Int8;
    type Operand = Int8;
    const INPUTS_MAX: usize = scaled::INPUTS_MAX;
    plain_layout!(QUAD);

    fn panel_len(k: usize) -> usize {
        plain_len(k, QUAD) + TAIL_BYTES
    }

    fn takes(x: f32) -> bool {
        scaled::takes(x)
    }

    #[inline(always)]
    fn pack<S: Simd>(s: S, rows: &dyn PanelRows, panel: &mut [u8]) -> Result<usize, Unpackable> {
        let max = scaled::max_magnitudes(s, rows).ok_or(Unpackable::NonFinite)?;
        let mut sums = [0_i32; PANEL];
        let mut bytes = [[0_u8; BLOCK]; PANEL];
        let inverses = max.map(|max| int8_scale(max).1);
        let (weights, tail) = panel.split_at_mut(plain_len(rows.inputs(), QUAD));
        for (number, out) in weights.chunks_mut(BLOCK * PANEL).enumerate() {
            for (lane, bytes) in bytes.iter_mut().enumerate().take(rows.count()) {
                let block = scaled::rotated(s, rows, lane, number * BLOCK, &mut [0; CHUNK]);
                for (byte, x) in bytes.iter_mut().zip(block) {
                    let q = nearest_int(x * inverses[lane]);
                    sums[lane] += q;
                    *byte = q as u8;
                }
            }
            for (i, out) in out.chunks_mut(TILE_BYTES).enumerate() {
                write_tile(s, out, &bytes.as_flattened()[TILE_ROW_BYTES * i..], BLOCK);
            }
        }
        scaled::write_tail(tail, &sums, max.map(|max| int8_scale(max).0));
        Ok(0)
    }

    fn read_column(panel: &[Int8], lane: usize, out: &mut [f32]) {
        scaled::read_column(panel, lane, out, |k| weight(panel, lane, k));
    }

    fn reference(activations: Activations<'_>, row: usize, panel: &[Int8], lane: usize) -> f32 {
        scaled::reference(activations, row, panel, lane, |k| weight(panel, lane, k))
    }

    #[cfg(test)]
    fn pack_plainly(panel: &mut [Int8], k: usize, value: &dyn Fn(usize, usize) -> f32) -> Option<usize> {
        panel.fill(Int8(0));
        let (mut sums, mut scales) = ([0; PANEL], [0.0; PANEL]);
        for lane in 0..PANEL {
            let blocks = || scaled::rotated_plainly(k, move |i| value(lane, i));
            let max = blocks().flat_map(|(_, block)| block).fold(0.0, |max: f32, x| max.max(x.abs()));
            let (scale, inverse) = int8_scale(max);
            scales[lane] = scale;
            for (start, block) in blocks() {
                for (i, x) in (start..k).zip(block) {
                    let q = nearest_int(x * inverse) as i8;
                    sums[lane] += i32::from(q);
                    panel[plain_offset(lane, i, QUAD)] = Int8(q as u8);
                }
            }
        }
        let weights = plain_len(k, QUAD);
        scaled::write_tail(crate::memory::bytes_mut(&mut panel[weights..]), &sums, scales);
        Some(0)
    }
}

/// Weight `k` of a column.
fn weight(panel: &[Int8], lane: usize, k: usize) -> i8 {
    panel[plain_offset(lane, k, QUAD)].0 as i8
}

impl<S: InstructionSet> Weight<S> for Int8 {
    plain_products!();

    #[inline(always)]
    fn begin(s: S, panel: &[Int8]) -> [S::Ints; 2] {
        scaled::begin(s, panel)
    }
    #[inline(always)]
    fn finish(s: S, sums: [S::Ints; 2], panel: &[Int8], row_scale: f32) -> [S::F; 2] {
        scaled::finish(s, sums, panel, row_scale)
    }
}
