//! Dequantized columns of weights, which several tiles of rows read from cache.
//!
//! Where an instruction multiplies what is stored, dequantized columns are bf16 pairs and 8-bit
//! quads in order, and the defaults here are all there is. Elsewhere they are widened when they are
//! written: `Strategy::pairs_factor` and `Strategy::quads_factor` are then 2, and the instruction
//! set has its own form of them.
use super::dot::Dot;
use super::simd::LANES;
use crate::dtype::Int8;
use half::bf16;

/// Writing dequantized columns, and multiplying rows by them.
pub trait Dequantized: Dot {
    /// Writes the pairs of 32 columns for [`Dequantized::add_dequantized_pairs`].
    ///
    /// # Safety
    /// `p` is valid for writing `64 * pairs_factor` elements.
    #[inline(always)]
    unsafe fn store_dequantized_pairs(self, p: *mut bf16, words: Self::Words) {
        // SAFETY: the caller vouches for 64 elements.
        unsafe { self.store_words(p, words) };
    }
    /// Reads what [`Dequantized::store_dequantized_pairs`] wrote, as the pairs of 32 columns.
    ///
    /// # Safety
    /// `p` is valid for reading `64 * pairs_factor` elements.
    #[inline(always)]
    unsafe fn load_dequantized_pairs(self, p: *const bf16) -> [Self::Pairs; 2] {
        // SAFETY: the caller vouches for 64 elements, which were stored as they are.
        unsafe { [self.load_pairs(p), self.load_pairs(p.add(2 * LANES))] }
    }
    /// Writes the quads of 32 columns for [`Dequantized::add_dequantized_quads`].
    ///
    /// # Safety
    /// `p` is valid for writing `128 * quads_factor` elements.
    #[inline(always)]
    unsafe fn store_dequantized_quads(self, p: *mut Int8, columns: [Self::Quads; 2]) {
        // SAFETY: the caller vouches for 128 elements.
        unsafe {
            self.store_quads(p, columns[0]);
            self.store_quads(p.add(4 * LANES), columns[1]);
        }
    }
    /// `sums[r][v] += a[r] b[v]`: one step of the product of MR rows, `stride` apart, and 32
    /// columns.
    ///
    /// # Safety
    /// Each row is valid for reading 1 element, `b` for 32.
    #[inline(always)]
    unsafe fn add_floats<const MR: usize>(
        self,
        (a, stride): (*const f32, usize),
        b: *const f32,
        sums: &mut [[Self::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            let columns = [self.load(b), self.load(b.add(LANES))];
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = self.splat(a.add(r * stride).read());
                *sums = [self.fma(row, columns[0], sums[0]), self.fma(row, columns[1], sums[1])];
            }
        }
    }
    /// One step of pairs ([`Dot::dot_pairs`]), of columns that
    /// [`Dequantized::store_dequantized_pairs`] wrote.
    ///
    /// # Safety
    /// Each row is valid for reading 2 elements, `b` for what was written.
    #[inline(always)]
    unsafe fn add_dequantized_pairs<const MR: usize>(
        self,
        (a, stride): (*const bf16, usize),
        b: *const bf16,
        sums: &mut [[Self::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            let columns = self.load_dequantized_pairs(b);
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = self.splat_pair(a.add(r * stride));
                *sums = [self.dot_pairs(row, columns[0], sums[0]), self.dot_pairs(row, columns[1], sums[1])];
            }
        }
    }
    /// Writes pairs as floats: 16 odd elements, 16 even ones, and so on.
    ///
    /// # Safety
    /// `from` is valid for reading `2 * pairs` elements, `to` for writing as many, rounded up to a
    /// multiple of 32.
    #[inline(always)]
    unsafe fn widen_pairs(self, from: *const bf16, pairs: usize, to: *mut f32) {
        for pair in 0..pairs {
            // SAFETY: two of the elements that the caller vouches for, and their places.
            unsafe {
                let to = to.add(pair / LANES * 2 * LANES + pair % LANES);
                to.write(from.add(2 * pair + 1).read().to_f32());
                to.add(LANES).write(from.add(2 * pair).read().to_f32());
            }
        }
    }
    /// [`Dot::splat_pair`] from a row that [`Dequantized::widen_pairs`] wrote, where
    /// `Strategy::widens_rows`: `p` is the odd element of the pair.
    ///
    /// # Safety
    /// `p` is valid for reading floats 0 and 16.
    #[inline(always)]
    unsafe fn splat_wide_pair(self, p: *const f32) -> Self::Pairs {
        let _ = p;
        unreachable!("only where `widens_rows`");
    }
    /// [`Dequantized::add_dequantized_pairs`] for rows that [`Dequantized::widen_pairs`] wrote: `a`
    /// is the odd element of the first.
    ///
    /// # Safety
    /// Each row is valid for reading floats 0 and 16, `b` for what was written.
    #[inline(always)]
    unsafe fn add_wide_pairs<const MR: usize>(
        self,
        (a, stride): (*const f32, usize),
        b: *const bf16,
        sums: &mut [[Self::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            self.add_floats((a, stride), b.cast(), sums);
            self.add_floats((a.add(LANES), stride), b.cast::<f32>().add(2 * LANES), sums);
        }
    }
    /// One step of quads ([`Dot::dot_quads`]), of columns that
    /// [`Dequantized::store_dequantized_quads`] wrote.
    ///
    /// # Safety
    /// Each row is valid for reading 4 elements, `b` for what was written.
    #[inline(always)]
    unsafe fn add_dequantized_quads<const MR: usize>(
        self,
        (a, stride): (*const Int8, usize),
        b: *const Int8,
        sums: &mut [[Self::Ints; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            let columns = [self.load_quads(b), self.load_quads(b.add(4 * LANES))];
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = self.splat_quad(a.add(r * stride));
                *sums = [self.dot_quads(row, columns[0], sums[0]), self.dot_quads(row, columns[1], sums[1])];
            }
        }
    }
}
