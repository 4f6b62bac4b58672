//! Panels: 32 columns of a weight, stored together.
//!
//! A weight `[N, K]` (N outputs, as checkpoints store it) becomes `ceil(N / 32)` panels, each
//! contiguous, which hold its rows as columns of the product. A **plain** format's panel is
//! `[ceil(K / STEP)][32][STEP]`: the STEP elements that one instruction multiplies stand side by
//! side, so that a vector register holds one step of 16 columns. The other formats draw their
//! panels in their own files ([`formats`](super::formats)).
//!
//! Columns past N and what fills up the last step of K are zero. Lanes are columns: there is no sum
//! across lanes anywhere. One layout serves every number of rows and every instruction set.
use crate::isa::{LANES, Simd, slices};

/// Columns of a panel: a constant of the layout, for every instruction set.
pub const PANEL: usize = 32;

const _: () = assert!(PANEL == crate::tensor::ROW_ALIGN && PANEL == 2 * LANES);

/// Panels of a weight with `n` outputs.
pub const fn panel_count(n: usize) -> usize {
    n.div_ceil(PANEL)
}

/// Elements of a plain panel of `k` inputs, `step` of which stand side by side.
pub const fn plain_len(k: usize, step: usize) -> usize {
    k.next_multiple_of(step) * PANEL
}

/// Where input `k` of column `lane` lies in a plain panel.
#[inline(always)]
pub const fn plain_offset(lane: usize, k: usize, step: usize) -> usize {
    k / step * step * PANEL + lane * step + k % step
}

/// Bytes of a tile: 16 words of 4 bytes for each of the 32 columns.
pub(super) const TILE_BYTES: usize = PANEL * TILE_ROW_BYTES;

/// Bytes of one row of a tile.
pub(super) const TILE_ROW_BYTES: usize = 4 * LANES;

/// Writes a tile of rows as columns of a panel: 32 words of 4 bytes for each step of K, as many
/// steps as `out` takes. Row `i` of the tile are the 64 bytes at `i * stride`.
///
/// # Panics
/// If `rows` ends before the 32nd row, or `out` is longer than a tile.
#[inline(always)]
pub(super) fn write_tile<S: Simd>(s: S, out: &mut [u8], rows: &[u8], stride: usize) {
    if let Ok(out) = out.try_into() {
        write_whole_tile(s, out, rows, stride);
    } else {
        let mut whole = [0; TILE_BYTES];
        write_whole_tile(s, &mut whole, rows, stride);
        out.copy_from_slice(&whole[..out.len()]);
    }
}

/// [`write_tile`] for all 16 steps.
///
/// # Panics
/// If `rows` ends before the 32nd row.
#[inline(always)]
pub(super) fn write_whole_tile<S: Simd>(s: S, out: &mut [u8; TILE_BYTES], rows: &[u8], stride: usize) {
    const LINE: usize = PANEL * 4;
    for half in 0..2 {
        // Sixteen rows fill the first half of each line of 128 bytes, sixteen the second.
        let rows = &rows[half * LANES * stride..];
        slices::store_transposed(s, rows, stride, &mut out[half * LINE / 2..], LINE);
    }
}
