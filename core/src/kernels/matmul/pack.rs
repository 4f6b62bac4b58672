//! From the rows of a checkpoint's weight to one panel.
use super::panel::{PANEL, panel_len};
use crate::dtype::{WeightFormat, bf16_operand};
use half::bf16;

/// Packs 32 rows (columns of the product) of `k` elements each into an f32 panel.
///
/// `row(lane)` gives the elements of a row, or `None` past the last one; `panel` is `[k][32]`.
///
/// # Panics
/// If a slice has another length than `k` says.
pub fn pack_f32<'a>(panel: &mut [f32], k: usize, row: impl Fn(usize) -> Option<&'a [f32]>) {
    assert_eq!(panel.len(), panel_len(WeightFormat::F32, k));
    for lane in 0..PANEL {
        let source = row(lane);
        assert!(source.is_none_or(|s| s.len() == k));
        for i in 0..k {
            panel[i * PANEL + lane] = source.map_or(0.0, |s| s[i]);
        }
    }
}

/// Packs 32 rows of `k` elements each into a bf16 panel, flushed and rounded as operands are.
///
/// Returns how many nonzero elements the flush set to zero.
///
/// # Panics
/// If a slice has another length than `k` says.
pub fn pack_bf16<'a>(panel: &mut [bf16], k: usize, row: impl Fn(usize) -> Option<&'a [f32]>) -> usize {
    assert_eq!(panel.len(), panel_len(WeightFormat::Bf16, k));
    panel.fill(bf16::ZERO);
    let mut flushed = 0;
    for lane in 0..PANEL {
        let Some(source) = row(lane) else { continue };
        assert_eq!(source.len(), k);
        for (i, x) in source.iter().enumerate() {
            let operand = bf16_operand(*x);
            flushed += usize::from(operand.to_bits() == 0 && *x != 0.0);
            panel[(i / 2) * 2 * PANEL + lane * 2 + i % 2] = operand;
        }
    }
    flushed
}
