//! bf16: 16 bits a weight, `[ceil(K / 2)][32][2]`; rows are rounded to bf16 operands.
//!
//! The two elements of a pair stand side by side, so that one 64-byte vector holds pair `k` of 16
//! columns, which is the operand of `vdpbf16ps`, and two shifts away from FMA operands. An output
//! is `acc = fma(a[k], w[k], fma(a[k+1], w[k+1], acc))` for `k = 0, 2, …`, from +0, an odd K padded
//! with a zero.
use super::{ColumnSums, Format, Slice, Unpackable, Weight, plain_layout, plain_products, unscaled_sums};
use crate::dtype::{WeightFormat, bf16_operand, bf16_widen};
use crate::isa::portable::fma;
use crate::isa::{InstructionSet, Simd};
use crate::kernels::matmul::activations::Activations;
use crate::kernels::matmul::dequantized::{dequantized_as_stored, plain_tile};
use crate::kernels::matmul::micro::TileRows;
use crate::kernels::matmul::panel::{
    PANEL, TILE_BYTES, TILE_ROW_BYTES, plain_len, plain_offset, write_tile, write_whole_tile,
};
use crate::kernels::matmul::prefetch::Ahead;
use crate::kernels::matmul::source::{CHUNK, Found, PanelRows, any};
use half::bf16;

/// Elements of K that one instruction multiplies.
const PAIR: usize = 2;

impl Format for bf16 {
    const FORMAT: WeightFormat = WeightFormat::Bf16;
    type Operand = bf16;
    plain_layout!(PAIR);

    fn panel_len(k: usize) -> usize {
        plain_len(k, PAIR)
    }

    fn takes(x: f32) -> bool {
        bf16_operand(x).is_finite()
    }

    #[inline(always)]
    fn pack<S: Simd>(s: S, rows: &dyn PanelRows, panel: &mut [u8]) -> Result<usize, Unpackable> {
        let mut found = Found::default();
        let mut tile = [[0_u8; TILE_ROW_BYTES]; PANEL];
        // Whole tiles of rows that are operands already go straight to the panel.
        let operands = rows.as_operands().filter(|_| rows.count() == PANEL);
        for (block, out) in panel.chunks_mut(TILE_BYTES).enumerate() {
            if let Some((bytes, row_bytes)) = operands
                && (block + 1) * TILE_ROW_BYTES <= row_bytes
                && let Ok(out) = (&mut *out).try_into()
            {
                write_whole_tile(s, out, &bytes[block * TILE_ROW_BYTES..], row_bytes);
                continue;
            }
            fill_tile(rows, block * CHUNK, &mut tile, &mut found);
            write_tile(s, out, tile.as_flattened(), TILE_ROW_BYTES);
        }
        if found.bad { Err(Unpackable::NonFinite) } else { Ok(found.flushed) }
    }

    fn read_column(panel: &[bf16], lane: usize, out: &mut [f32]) {
        for (k, x) in out.iter_mut().enumerate() {
            *x = bf16_widen(panel[plain_offset(lane, k, PAIR)]);
        }
    }

    fn reference(activations: Activations<'_>, row: usize, panel: &[bf16], lane: usize) -> f32 {
        let rows = activations.operands::<bf16>().0;
        let pair = |k: usize| [0, 1].map(|i| panel[plain_offset(lane, k + i, PAIR)]);
        sum_of_pairs(rows.row_padded(row), rows.width(), pair)
    }

    #[cfg(test)]
    fn pack_plainly(panel: &mut [bf16], k: usize, value: &dyn Fn(usize, usize) -> f32) -> Option<usize> {
        let mut flushed = 0;
        panel.fill(bf16::ZERO);
        for (lane, i) in (0..PANEL).flat_map(|lane| (0..k).map(move |i| (lane, i))) {
            let operand = bf16_operand(value(lane, i));
            flushed += usize::from(operand.to_bits() == 0 && value(lane, i) != 0.0);
            panel[plain_offset(lane, i, PAIR)] = operand;
        }
        Some(flushed)
    }
}

/// The operands of all rows for 32 inputs, from `start` on.
#[inline(always)]
pub(super) fn fill_tile(
    rows: &dyn PanelRows,
    start: usize,
    tile: &mut [[u8; TILE_ROW_BYTES]; PANEL],
    found: &mut Found,
) {
    let mut rare = [0; CHUNK];
    for (lane, row) in tile.iter_mut().enumerate().take(rows.count()) {
        rows.operands(lane, start, row, &mut rare);
    }
    if any(&rare) {
        (0..rows.count()).for_each(|lane| rows.count_rare(lane, start, found));
    }
}

/// The sum of products of a row and a column of which `pair(k)` are the weights `k` and `k + 1`.
pub(super) fn sum_of_pairs(row: &[bf16], k: usize, pair: impl Fn(usize) -> [bf16; 2]) -> f32 {
    let add = |acc, first: usize| {
        let [even, odd] = pair(first);
        let odd = fma(bf16_widen(row[first + 1]), bf16_widen(odd), acc);
        fma(bf16_widen(row[first]), bf16_widen(even), odd)
    };
    (0..k).step_by(PAIR).fold(0.0, add)
}

impl<S: InstructionSet> Weight<S> for bf16 {
    plain_products!();
    unscaled_sums!();
}
