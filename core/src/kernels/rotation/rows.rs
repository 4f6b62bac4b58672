//! The rotation of what is rounded to 8 bits: `x ← H D x / √n`, block by block.
//!
//! A few channels of a trained model's activations are tens of times larger than the others, and
//! one scale for a row then leaves the others few of their 255 levels. An orthogonal R in `W x = (W
//! Rᵀ) (R x)` spreads every channel over its block: int8 and int4 weights are rotated when they are
//! packed, rows of activations right before they are rounded. (Ashkboos et al., "QuaRot", arXiv
//! 2404.00456.)
//!
//! * A **block** has n = 256 elements; what a row has beyond whole blocks is cut into the powers of
//!   two of its length, the largest first.
//! * **D** are fixed signs: without them a block that is constant, or changes its sign regularly,
//!   would become one large element. These spread every column of H evenly too.
//! * **H** is the Walsh–Hadamard matrix: butterflies `(a + b, a − b)` of elements `i` and `i + h`,
//!   for `h = n/2, n/4, … 1` in that order, after each element was multiplied by its sign over √n.
//!   Every instruction set adds the same pairs in the same order.
//! * The result stays as the vectors leave it: of a block of `n/16` vectors, lane `l` of vector `v`
//!   becomes element `(n/16) l + v`. Weights and rows are permuted alike, so no product notices.
//!
//! The half of the butterflies that would cross lanes is done after a transposition.
use crate::isa::slices::{self, load_part};
use crate::isa::{LANES, Simd};
use crate::memory::bytes_mut;

/// Elements of a block: 16 vectors of 16, the square that a transposition turns.
pub const BLOCK: usize = LANES * LANES;

/// Magnitudes below this stay finite under the rotation: a sum of 256 elements of it over 16.
pub const ROTATABLE_BELOW: f32 = f32::from_bits((127 + 124) << 23);

/// The diagonal of D: the Rudin–Shapiro sequence, −1 where the bits of the index have an odd number
/// of neighbours that are both set.
static SIGNS: [f32; BLOCK] = signs();

const fn signs() -> [f32; BLOCK] {
    let mut signs = [1.0; BLOCK];
    let mut i = 0;
    while i < BLOCK {
        if (i & (i >> 1)).count_ones() % 2 == 1 {
            signs[i] = -1.0;
        }
        i += 1;
    }
    signs
}

/// `1 / √n` for a power of two.
#[inline(always)]
const fn inverse_root(n: usize) -> f32 {
    let log = n.ilog2();
    let root = 1.0 / (1_u32 << (log / 2)) as f32;
    if log.is_multiple_of(2) { root } else { root * core::f32::consts::FRAC_1_SQRT_2 }
}

/// Where the blocks of a row of `len` elements start, and their widths.
fn blocks(len: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    core::iter::from_fn(move || {
        let width = (1 << (len - start).checked_ilog2()?).min(BLOCK);
        start += width;
        Some((start - width, width))
    })
}

/// Rotates a row, or a part of one that starts at a multiple of [`BLOCK`] and ends at another or
/// with the row.
#[inline(always)]
pub(crate) fn rotate<S: Simd>(s: S, x: &mut [f32]) {
    rotate_from(
        s,
        x,
        #[inline(always)]
        |x, i| load_part(s, &x[i..]),
    );
}

/// [`rotate`] for a row that is read by `part(x, i)`: the 16 elements from `i` on, those past the
/// end of `x` being anything. `x` is read by nothing else.
#[inline(always)]
pub(crate) fn rotate_from<S: Simd>(s: S, x: &mut [f32], part: impl Fn(&[f32], usize) -> S::F) {
    for (start, width) in blocks(x.len()) {
        match width / LANES {
            16 => rotate_vectors::<S, 16>(s, start, x, &part),
            8 => rotate_vectors::<S, 8>(s, start, x, &part),
            4 => rotate_vectors::<S, 4>(s, start, x, &part),
            2 => rotate_vectors::<S, 2>(s, start, x, &part),
            1 => rotate_vectors::<S, 1>(s, start, x, &part),
            _ => {
                // Less than a vector is left, in blocks that share it.
                let rest = &s.to_array(part(x, start))[..x.len() - start];
                x[start..].copy_from_slice(rest);
                return reference(&mut x[start..]);
            }
        }
    }
}

/// A block as it lies in memory between its two halves of butterflies.
#[repr(C, align(64))]
struct Square([f32; BLOCK]);

/// Rotates a block of R vectors.
#[inline(always)]
fn rotate_vectors<S: Simd, const R: usize>(
    s: S,
    start: usize,
    x: &mut [f32],
    part: &impl Fn(&[f32], usize) -> S::F,
) {
    const LINE: usize = LANES * size_of::<f32>();
    let inverse_root = s.splat(inverse_root(R * LANES));
    let mut vectors = [inverse_root; R];
    for (v, vector) in vectors.iter_mut().enumerate() {
        let signs = slices::load(s, &SIGNS[v * LANES..]);
        *vector = s.mul(part(x, start + v * LANES), s.mul(signs, inverse_root));
    }
    butterflies(s, &mut vectors);
    let (mut rows, mut columns) = (Square([0.0; BLOCK]), Square([0.0; BLOCK]));
    let mut lanes = [inverse_root; LANES];
    for (line, vector) in rows.0.chunks_exact_mut(LANES).zip(&vectors) {
        slices::store(s, line, *vector);
    }
    let bytes = bytes_mut(&mut rows.0);
    slices::store_transposed(s, bytes, LINE, bytes_mut(&mut columns.0), LINE);
    for (lane, line) in lanes.iter_mut().zip(columns.0.chunks_exact(LANES)) {
        *lane = slices::load(s, line);
    }
    butterflies(s, &mut lanes);
    for (out, lane) in x[start..][..R * LANES].chunks_exact_mut(R).zip(lanes) {
        if R == LANES {
            slices::store(s, out, lane);
        } else {
            out.copy_from_slice(&s.to_array(lane)[..R]);
        }
    }
}

/// Butterflies of whole vectors.
#[inline(always)]
fn butterflies<S: Simd, const R: usize>(s: S, x: &mut [S::F; R]) {
    let mut h = R / 2;
    while h > 0 {
        for i in 0..R {
            if i & h == 0 {
                (x[i], x[i + h]) = (s.add(x[i], x[i + h]), s.sub(x[i], x[i + h]));
            }
        }
        h /= 2;
    }
}

/// One element at a time: what the rotation equals bit for bit on every
/// instruction set.
pub fn reference(x: &mut [f32]) {
    for (start, width) in blocks(x.len()) {
        let block = &mut x[start..][..width];
        for (x, sign) in block.iter_mut().zip(&SIGNS) {
            *x *= sign * inverse_root(width);
        }
        plain_butterflies(block);
        permute(block, |i, place| (place, i));
    }
}

/// Undoes [`reference`], up to rounding.
pub fn rotate_back(x: &mut [f32]) {
    for (start, width) in blocks(x.len()) {
        let block = &mut x[start..][..width];
        permute(block, |i, place| (i, place));
        plain_butterflies(block);
        for (x, sign) in block.iter_mut().zip(&SIGNS) {
            *x *= sign * inverse_root(width);
        }
    }
}

fn plain_butterflies(x: &mut [f32]) {
    let mut h = x.len() / 2;
    while h > 0 {
        for pair in x.chunks_exact_mut(2 * h) {
            let (first, second) = pair.split_at_mut(h);
            for (a, b) in first.iter_mut().zip(second) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        h /= 2;
    }
}

/// Moves elements of a block: `of(i, place)` says which of element `i` of the vectors and its place
/// after a rotation is written, and which is read.
fn permute(block: &mut [f32], of: impl Fn(usize, usize) -> (usize, usize)) {
    let vectors = block.len() / LANES;
    if vectors <= 1 {
        return;
    }
    let mut before = [0.0; BLOCK];
    let before = &mut before[..block.len()];
    before.copy_from_slice(block);
    for i in 0..before.len() {
        let (to, from) = of(i, i % LANES * vectors + i / LANES);
        block[to] = before[from];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, SimdOp};
    use crate::kernels::matmul::tests::noise;
    use proptest::prelude::*;
    use std::vec::Vec;

    struct Rotate<'a>(&'a mut [f32]);

    impl SimdOp for Rotate<'_> {
        type Output = ();
        #[inline(always)]
        fn eval<S: Simd>(self, s: S) {
            rotate(s, self.0);
        }
    }

    fn norm(x: &[f32]) -> f64 {
        x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_instruction_set_equals_the_reference_which_keeps_lengths_and_can_be_undone(seed: u64, len in 0_usize..900) {
            let x: Vec<f32> = (0..len).map(|i| noise(seed, i)).collect();
            let mut expected = x.clone();
            reference(&mut expected);
            for isa in Isa::available().iter() {
                let mut out = x.clone();
                isa.run(Rotate(&mut out));
                for (i, (out, expected)) in out.iter().zip(&expected).enumerate() {
                    prop_assert_eq!(out.to_bits(), expected.to_bits(), "{} at {} of {}", isa.name(), i, len);
                }
            }
            prop_assert!((norm(&expected) - norm(&x)).abs() <= 1e-6 * norm(&x));
            rotate_back(&mut expected);
            for (back, x) in expected.iter().zip(&x) {
                prop_assert!((back - x).abs() <= 2e-6, "{back} {x}");
            }
        }
    }

    #[test]
    fn blocks_are_256_and_then_the_powers_of_two_of_what_is_left() {
        let of = |len| blocks(len).collect::<Vec<_>>();
        assert_eq!(of(0), []);
        assert_eq!(of(512), [(0, 256), (256, 256)]);
        assert_eq!(of(256 + 172), [(0, 256), (256, 128), (384, 32), (416, 8), (424, 4)]);
    }

    #[test]
    fn one_large_element_and_every_regular_pattern_are_spread_evenly() {
        for k in 0..BLOCK {
            let mut outlier = [0.0; BLOCK];
            outlier[k] = 50.0;
            reference(&mut outlier);
            assert!(outlier.iter().all(|x| x.abs() == 50.0 / 16.0));
            let mut pattern: [f32; BLOCK] =
                core::array::from_fn(|i| if (i & k).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 });
            reference(&mut pattern);
            assert!(pattern.iter().all(|x| x.abs() == 1.0), "{k}");
        }
    }

    #[test]
    fn the_largest_that_can_be_rotated_stays_finite() {
        for len in [1, 3, 16, 255, 256] {
            for worst in 0..2 {
                let largest = f32::from_bits(ROTATABLE_BELOW.to_bits() - 1);
                let mut x: Vec<f32> =
                    (0..len).map(|i| if worst == 0 { largest } else { largest * SIGNS[i] }).collect();
                reference(&mut x);
                assert!(x.iter().all(|x| x.is_finite()), "{len}");
            }
        }
    }
}
