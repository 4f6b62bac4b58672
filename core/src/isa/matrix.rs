//! Units that multiply whole tiles at once: what a product hands to one, and that there is none.
/// Rows of bytes, each so many after the one before.
#[derive(Clone, Copy)]
#[allow(dead_code)] // read where there is a unit
pub(crate) struct ByteRows {
    pub(crate) data: *const u8,
    pub(crate) stride: usize,
    pub(crate) count: usize,
}

/// The types of a unit on CPUs that have none.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
pub(super) mod none {
    use super::ByteRows;

    /// The proof that there is a unit: cannot be made.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Matrix {}

    /// The unit in use: cannot be made.
    pub(crate) enum Tiles {}

    impl Matrix {
        pub(crate) unsafe fn tiles(self) -> Tiles {
            match self {}
        }
    }

    impl Tiles {
        pub(crate) unsafe fn add_products(
            &mut self,
            _: ByteRows,
            _: (*const u8, usize),
            _: (*const u8, usize),
            _: *mut u8,
            _: (*const u8, usize),
        ) {
            match *self {}
        }
    }
}
