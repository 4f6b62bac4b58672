//! Rows of a weight before they are packed: from a checkpoint's bytes, or from a function.
//!
//! A panel is packed from at most 32 [`PanelRows`], 32 elements of each at a time. A type of
//! checkpoint element is a line of the list in [`float`]; a type whose elements come in blocks of
//! 32 or 256 is another implementation of [`PanelRows`] beside it.
pub mod float;

pub use float::SourceType;

/// Elements of a row taken at a time.
pub(super) const CHUNK: usize = 32;

/// Bytes of a chunk as bf16 operands.
pub(super) const OPERAND_BYTES: usize = 2 * CHUNK;

/// Up to 32 rows of a weight, which become the columns of a panel.
///
/// Each call converts whole chunks, in code of its own: formats are compiled for any rows, not once
/// for each type of element. Elements past the end of a row are zeros.
pub trait PanelRows {
    /// How many rows, 32 at most.
    fn count(&self) -> usize;
    /// Elements of a row, K.
    fn inputs(&self) -> usize;
    /// The elements of a row from `start` on, a multiple of 32, as bits of f32: as many as `out`
    /// has, whole chunks, each of which begins within the row.
    fn floats(&self, row: usize, start: usize, out: &mut [u32]);
    /// Converts the elements to bytes of bf16 operands. Where one was flushed or is not finite, its
    /// place in `rare` is not 0; other places of `rare` are left as they are.
    fn operands(&self, row: usize, start: usize, out: &mut [u8; OPERAND_BYTES], rare: &mut [u16; CHUNK]);
    /// Counts what [`PanelRows::operands`] found: that is rare, so the common pass has no sums to
    /// carry.
    fn count_rare(&self, row: usize, start: usize, found: &mut Found);
    /// All rows as bytes, and the bytes of a row, if those are their operands, all of them finite.
    /// It may answer `None` where they are.
    fn as_operands(&self) -> Option<(&[u8], usize)> {
        None
    }
}

/// What a pass over elements found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Nonzero elements that became zero.
    pub flushed: usize,
    /// Whether one is not finite.
    pub bad: bool,
}

/// Whether a place is not 0.
#[inline(always)]
pub(super) fn any<T: Copy + Default + core::ops::BitOr<Output = T> + PartialEq>(places: &[T; CHUNK]) -> bool {
    places.iter().fold(T::default(), |any, x| any | *x) != T::default()
}
