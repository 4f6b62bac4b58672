//! The order in which a task goes through its rows and panels, so that both stay in L2.
//!
//! A slice of a panel stays in L1 while it meets all rows, which come from L2 as long as they fit
//! there. More rows are cut into blocks that fit. All blocks of rows then meet one group of panels,
//! which fits L2 too, before the next group: each weight is read from memory once, and the rows are
//! read from a larger cache once for each group. No cut changes a bit.
use core::ops::Range;

/// Bytes of a block of rows, and of a group of panels: half a megabyte each of L2, which has one or
/// two megabytes a core.
const BLOCK_BYTES: usize = if cfg!(test) { 4 << 10 } else { 512 << 10 }; // small, as products in tests are
/// The minimum of rows of a block, which share the columns that the first tile of a slice
/// dequantized.
const ROWS_MIN: usize = if cfg!(test) { 32 } else { 64 };
/// Rows of a block are a multiple of this, so that tiles are not cut.
const ROWS_STEP: usize = 32;

/// Ranges of rows for each of some ranges of panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    rows: usize,
    rows_each: usize,
    panels_each: usize,
}

impl Blocks {
    /// The blocks for `rows` rows of `row_bytes` bytes and panels of the output of `panel_bytes`.
    pub(super) fn new(rows: usize, row_bytes: usize, panel_bytes: usize) -> Self {
        let count = rows.div_ceil((BLOCK_BYTES / row_bytes).max(ROWS_MIN)).max(1);
        let rows_each = rows.div_ceil(count).max(1).next_multiple_of(ROWS_STEP);
        let panels_each = if rows <= rows_each { usize::MAX } else { (BLOCK_BYTES / panel_bytes).max(1) };
        Self { rows, rows_each, panels_each }
    }

    /// The groups of `panels`.
    pub(super) fn panels(self, panels: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let end = panels.end;
        panels
            .step_by(self.panels_each)
            .map(move |first| first..first.saturating_add(self.panels_each).min(end))
    }

    /// The blocks of rows.
    pub(super) fn rows(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.rows)
            .step_by(self.rows_each)
            .map(move |first| first..(first + self.rows_each).min(self.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_row_of_every_panel_is_in_one_block() {
        for (rows, row_bytes, panel_bytes) in
            [(1, 64, 64), (512, 5632, 180_000), (513, 11264, 1 << 20), (65, 1 << 20, 1), (0, 64, 64)]
        {
            let blocks = Blocks::new(rows, row_bytes, panel_bytes);
            assert!(blocks.rows().flatten().eq(0..rows), "{blocks:?}");
            assert!(blocks.panels(3..20).flatten().eq(3..20), "{blocks:?}");
        }
    }

    #[test]
    fn few_rows_are_one_block_and_many_fit() {
        let lens = |blocks: Blocks| blocks.rows().map(|rows| rows.len()).collect::<Vec<_>>();
        let few = Blocks::new(ROWS_MIN, 1 << 20, 1 << 20);
        assert_eq!((lens(few), few.panels(0..100).count()), (std::vec![ROWS_MIN], 1));
        let many = Blocks::new(512, BLOCK_BYTES / 96, BLOCK_BYTES / 2);
        assert_eq!((lens(many), many.panels(0..6).count()), (std::vec![96, 96, 96, 96, 96, 32], 3));
    }
}
