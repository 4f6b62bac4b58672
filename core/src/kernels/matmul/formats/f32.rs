//! f32: a weight as it is, `[K][32]`; rows stay f32.
//!
//! An output is `acc = fma(a[k], w[k], acc)` for `k = 0, 1, …`, from +0.
use super::{ColumnSums, Format, Slice, Unpackable, Weight, plain_layout, plain_products, unscaled_sums};
use crate::dtype::WeightFormat;
use crate::isa::portable::fma;
use crate::isa::{InstructionSet, LANES, Simd};
use crate::kernels::matmul::activations::Activations;
use crate::kernels::matmul::dequantized::{dequantized_as_stored, plain_tile};
use crate::kernels::matmul::micro::TileRows;
use crate::kernels::matmul::panel::{PANEL, TILE_BYTES, TILE_ROW_BYTES, plain_len, plain_offset, write_tile};
use crate::kernels::matmul::prefetch::Ahead;
use crate::kernels::matmul::source::{CHUNK, PanelRows};

impl Format for f32 {
    const FORMAT: WeightFormat = WeightFormat::F32;
    type Operand = f32;
    plain_layout!(1);

    fn panel_len(k: usize) -> usize {
        plain_len(k, 1)
    }

    fn takes(x: f32) -> bool {
        x.is_finite()
    }

    #[inline(always)]
    fn pack<S: Simd>(s: S, rows: &dyn PanelRows, panel: &mut [u8]) -> Result<usize, Unpackable> {
        let mut bad = [0; CHUNK];
        let mut tiles = [[[0_u8; TILE_ROW_BYTES]; PANEL]; CHUNK / LANES];
        for (block, out) in panel.chunks_mut(CHUNK / LANES * TILE_BYTES).enumerate() {
            for lane in 0..rows.count() {
                let mut bits = [0; CHUNK];
                rows.floats(lane, block * CHUNK, &mut bits);
                for (bad, bits) in bad.iter_mut().zip(&bits) {
                    *bad |= u32::from(bits & 0x7f80_0000 == 0x7f80_0000);
                }
                for (tile, bits) in tiles.iter_mut().zip(bits.chunks_exact(LANES)) {
                    for (bytes, word) in tile[lane].chunks_exact_mut(4).zip(bits) {
                        bytes.copy_from_slice(&word.to_le_bytes());
                    }
                }
            }
            for (out, tile) in out.chunks_mut(TILE_BYTES).zip(&tiles) {
                write_tile(s, out, tile.as_flattened(), TILE_ROW_BYTES);
            }
        }
        if bad.iter().all(|bad| *bad == 0) { Ok(0) } else { Err(Unpackable::NonFinite) }
    }

    fn read_column(panel: &[f32], lane: usize, out: &mut [f32]) {
        for (k, x) in out.iter_mut().enumerate() {
            *x = panel[plain_offset(lane, k, 1)];
        }
    }

    fn reference(activations: Activations<'_>, row: usize, panel: &[f32], lane: usize) -> f32 {
        let row = activations.operands::<f32>().0.row(row);
        let add = |acc, (k, a): (usize, &f32)| fma(*a, panel[plain_offset(lane, k, 1)], acc);
        row.iter().enumerate().fold(0.0, add)
    }

    #[cfg(test)]
    fn pack_plainly(panel: &mut [f32], k: usize, value: &dyn Fn(usize, usize) -> f32) -> Option<usize> {
        for (lane, i) in (0..PANEL).flat_map(|lane| (0..k).map(move |i| (lane, i))) {
            panel[plain_offset(lane, i, 1)] = value(lane, i);
        }
        Some(0)
    }
}

impl<S: InstructionSet> Weight<S> for f32 {
    plain_products!();
    unscaled_sums!();
}
