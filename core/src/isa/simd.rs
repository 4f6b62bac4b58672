//! Sixteen lanes of `f32`, and the operations on them that every kernel may use.
use super::tuning::Strategy;
use crate::dtype::{Int8, nearest_int};
use half::bf16;

/// Lanes of every vector, on every instruction set: a constant of the numerics.
pub const LANES: usize = 16;

/// Sixteen lanes of `f32`.
///
/// Every operation is IEEE 754 binary32, round to nearest even, subnormals kept, lane by lane.
/// Operations that few kernels need stand in extensions: `Dot`, `Dequantized`, `UnpackGroup`,
/// `DecodeBf16x12`; an [`InstructionSet`](super::InstructionSet) has them all.
///
/// # Safety
///
/// A value of the implementing type is a proof that the CPU has its instructions; it must be
/// impossible to make one otherwise. The methods' bits, those of the extensions too, must equal
/// those of [`Portable`](super::Portable).
pub unsafe trait Simd: Copy + Send + Sync + 'static {
    /// How matrix products use the instruction set's registers.
    const STRATEGY: Strategy;
    /// A vector of sixteen lanes of `f32`.
    type F: Copy;
    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// Reads 16 floats.
    ///
    /// # Safety
    /// `p` is valid for reading 16 floats; no alignment is needed.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// Writes 16 floats.
    ///
    /// # Safety
    /// `p` is valid for writing 16 floats; no alignment is needed.
    unsafe fn store(self, p: *mut f32, x: Self::F);
    /// The sum `a + b` of each lane.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// The difference `a - b` of each lane.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// The product `a * b` of each lane.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// The quotient `a / b` of each lane.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: with a NaN on either side, `b`.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: with a NaN on either side, `b`.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { x } else { y }`; a NaN compares false.
    fn select_lt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F;
    /// The magnitude `|a|` of each lane; a NaN stays one.
    fn abs(self, a: Self::F) -> Self::F;
    /// `p * 2^n` for integral `n` in `-126..=127`, `n` given as floats.
    fn scale_by_power_of_two(self, p: Self::F, n: Self::F) -> Self::F;
    /// For positive normal `x`: `(m, e)` with `x = m * 2^e` and `1 <= m < 2`.
    fn split_exponent(self, x: Self::F) -> (Self::F, Self::F);
    /// Reads 16 bf16, widened.
    ///
    /// # Safety
    /// `p` is valid for reading 16 bf16; no alignment is needed.
    unsafe fn load_bf16(self, p: *const bf16) -> Self::F;
    /// Writes 16 bf16 operands: flushed, then rounded to nearest even (`dtype::bf16_operand`).
    ///
    /// # Safety
    /// `p` is valid for writing 16 bf16; no alignment is needed.
    unsafe fn store_bf16(self, p: *mut bf16, x: Self::F);
    /// Writes `nearest_int(x) + 128` as 16 elements, for `x` between -128 and 127; what a NaN
    /// becomes is not said.
    ///
    /// # Safety
    /// `p` is valid for writing 16 elements.
    #[inline(always)]
    unsafe fn store_offset_int8(self, p: *mut Int8, x: Self::F) {
        for (i, x) in self.to_array(x).into_iter().enumerate() {
            // SAFETY: the caller vouches for 16 elements.
            unsafe { p.add(i).write(Int8((nearest_int(x) + 128) as u8)) };
        }
    }
    /// Writes 16 rows of 16 words of 4 bytes as columns: word `j` of row `i`, at `rows + i *
    /// row_stride + 4 * j`, goes to `p + j * stride + 4 * i`.
    ///
    /// # Safety
    /// For each `i < 16`, `rows + i * row_stride` is valid for reading 64 bytes and `p + i *
    /// stride` for writing 64; no alignment is needed, and they do not overlap.
    #[inline(always)]
    unsafe fn store_transposed(self, rows: *const u8, row_stride: usize, p: *mut u8, stride: usize) {
        for i in 0..LANES {
            for j in 0..LANES {
                // SAFETY: four of the 64 bytes that the caller vouches for in each row.
                unsafe {
                    let word = rows.add(i * row_stride + 4 * j).cast::<[u8; 4]>().read();
                    p.add(j * stride + 4 * i).cast::<[u8; 4]>().write(word);
                }
            }
        }
    }
    /// Calls `tile.run::<ROWS>(self, row)` for `rows` in `1..=Strategy::tile_rows`: each
    /// implementation lists its sizes, so that no instruction set compiles tiles that its registers
    /// cannot hold.
    ///
    /// # Panics
    /// For other numbers of rows, and for more than [`RowTile::ROWS_MAX`].
    fn run_tile<T: RowTile<Self>>(self, rows: usize, row: usize, tile: &mut T);
    /// Calls `tile.run` for the `Strategy::dequantizing_rows` rows from 0 on; no other size is
    /// compiled.
    fn run_dequantizing_tile<T: RowTile<Self>>(self, tile: &mut T);
    /// Calls `tile.run` for ROWS rows in a function of its own, compiled for the instruction set.
    ///
    /// # Panics
    /// For more rows than [`RowTile::ROWS_MAX`].
    fn run_tile_of<T: RowTile<Self>, const ROWS: usize>(self, row: usize, tile: &mut T);
    /// Hints that the cache line at `p` will be read soon. Any address is allowed.
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        let _ = p;
    }
    /// The sum of the lanes by the one merge tree: halves folded 8, 4, 2, 1.
    #[inline(always)]
    fn sum_lanes(self, x: Self::F) -> f32 {
        let mut lanes = self.to_array(x);
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }
    /// The maximum of the lanes, by the same tree and the rule of [`Simd::max`].
    #[inline(always)]
    fn max_lanes(self, x: Self::F) -> f32 {
        let mut lanes = self.to_array(x);
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] = if lanes[i] > lanes[i + width] { lanes[i] } else { lanes[i + width] };
            }
            width /= 2;
        }
        lanes[0]
    }
    /// The lanes as an array.
    #[inline(always)]
    fn to_array(self, x: Self::F) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: `lanes` is 16 floats.
        unsafe { self.store(lanes.as_mut_ptr(), x) };
        lanes
    }
    /// The lanes of an array.
    #[inline(always)]
    fn lanes_of(self, lanes: [f32; LANES]) -> Self::F {
        // SAFETY: `lanes` is 16 floats.
        unsafe { self.load(lanes.as_ptr()) }
    }
}

/// Something done for a tile of rows, whose number is known when it is compiled.
pub trait RowTile<S: Simd> {
    /// The maximum of rows that are asked for: larger sizes are not compiled.
    const ROWS_MAX: usize = usize::MAX;
    /// Does it for the rows `row..row + ROWS`.
    fn run<const ROWS: usize>(&mut self, simd: S, row: usize);
}

/// Writes `Simd::STRATEGY` and the methods of `Simd` that run tiles, for the sizes `1..=` the last
/// one listed.
///
/// Every size is a function of its own, compiled as the attributes say: inlined into one, the
/// tiles' loops compete for registers, and the largest lose.
macro_rules! tile_sizes {
    (
        $simd:ty, $(#[$attribute:meta])* $($rows:literal)* | $max:literal;
        dequantizing $dequantizing:literal; $strategy:expr
    ) => {
        const STRATEGY: Strategy =
            Strategy { tile_rows: $max, dequantizing_rows: $dequantizing, ..$strategy };

        #[inline(always)]
        fn run_tile<T: $crate::isa::RowTile<Self>>(self, rows: usize, row: usize, tile: &mut T) {
            match rows {
                $($rows => self.run_tile_of::<T, $rows>(row, tile),)*
                $max => self.run_tile_of::<T, $max>(row, tile),
                _ => unreachable!("a tile has 1 to `tile_rows` rows"),
            }
        }

        #[inline(always)]
        fn run_dequantizing_tile<T: $crate::isa::RowTile<Self>>(self, tile: &mut T) {
            self.run_tile_of::<T, $dequantizing>(0, tile);
        }

        #[inline(always)]
        fn run_tile_of<T: $crate::isa::RowTile<Self>, const ROWS: usize>(self, row: usize, tile: &mut T) {
            $(#[$attribute])*
            #[inline(never)]
            unsafe fn apart<T: $crate::isa::RowTile<$simd>, const ROWS: usize>(
                simd: $simd,
                row: usize,
                tile: &mut T,
            ) {
                tile.run::<ROWS>(simd, row);
            }
            if const { ROWS <= T::ROWS_MAX } {
                // SAFETY: `self` proves the instructions.
                unsafe { apart::<T, ROWS>(self, row, tile) }
            } else {
                unreachable!("the tile has no more than `ROWS_MAX` rows");
            }
        }
    };
}
pub(super) use tile_sizes;
