//! What a product hands to a matrix unit, which multiplies whole tiles at once.

/// Rows of bytes in memory, `stride` bytes from one to the next.
#[derive(Clone, Copy)]
#[allow(dead_code)] // read where there is a unit
pub(crate) struct ByteRows {
    pub(crate) data: *const u8,
    pub(crate) stride: usize,
    pub(crate) count: usize,
}
