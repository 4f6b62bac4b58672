//! Tiles of rows: a function for each size that a path's registers can hold.

use super::Simd;

/// Something done for a tile of rows, whose number is known when it is compiled.
pub trait RowTile<S: Simd> {
    /// Does it for the rows `row..row + ROWS`.
    fn run<const ROWS: usize>(&mut self, simd: S, row: usize);
}

/// Writes `Simd::TILE_ROWS` and `Simd::run_tile` for the sizes `1..=` the last one listed, and the
/// same for tiles that unpack.
///
/// Every size is a function of its own, compiled as the attributes say: inlined into one, the
/// tiles' loops compete for registers, and the largest lose.
macro_rules! tile_sizes {
    ($simd:ty, $(#[$attribute:meta])* $($rows:literal)* | $most:literal; unpacking $unpack:literal) => {
        const TILE_ROWS: usize = $most;
        const UNPACK_ROWS: usize = $unpack;

        #[inline(always)]
        fn run_unpacking_tile<T: $crate::isa::RowTile<Self>>(self, tile: &mut T) {
            self.run_tile($unpack, 0, tile);
        }

        #[inline(always)]
        fn run_tile<T: $crate::isa::RowTile<Self>>(self, rows: usize, row: usize, tile: &mut T) {
            $(#[$attribute])*
            #[inline(never)]
            unsafe fn apart<T: $crate::isa::RowTile<$simd>, const ROWS: usize>(
                simd: $simd,
                row: usize,
                tile: &mut T,
            ) {
                tile.run::<ROWS>(simd, row);
            }
            // SAFETY: `self` proves the instructions.
            unsafe {
                match rows {
                    $($rows => apart::<T, $rows>(self, row, tile),)*
                    $most => apart::<T, $most>(self, row, tile),
                    _ => unreachable!("a tile has 1 to TILE_ROWS rows"),
                }
            }
        }
    };
}
pub(super) use tile_sizes;
