//! The Walsh–Hadamard transform of a head, which spreads an outlier over all elements before they
//! are rounded to 8 bits.
//!
//! Keys have a few channels far greater than the rest, which would take the other channels' bits.
//! The transform `H` is symmetric and `H H = n`, so `(H q) · (H k) = n (q · k)`: rotated queries
//! and keys have the scores that they had, n times (Ashkboos et al., "QuaRot", arXiv 2404.00456).
//! `n` is a power of two, and dividing a scale by it rounds nothing.

/// The size of the transform for heads `head_dim` wide: the largest power of two that divides it.
/// Wider heads are transformed in pieces of that size.
pub const fn size(head_dim: usize) -> usize {
    1 << head_dim.trailing_zeros()
}

/// Transforms each piece of a head in place, without normalising: butterflies of width n/2, n/4, …
/// 1.
#[inline(always)]
pub fn transform(x: &mut [f32]) {
    let size = size(x.len());
    for piece in x.chunks_exact_mut(size) {
        let mut width = size / 2;
        while width > 0 {
            for pair in piece.chunks_exact_mut(2 * width) {
                let (low, high) = pair.split_at_mut(width);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            width /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matmul::tests::noise;
    use std::vec::Vec;

    #[test]
    fn twice_is_n_times_and_an_outlier_is_spread() {
        for (len, n) in [(2, 2), (8, 8), (22, 2), (64, 64), (80, 16), (96, 32), (128, 128)] {
            assert_eq!(size(len), n);
            let x: Vec<f32> = (0..len).map(|i| noise(9, i)).collect();
            let mut y = x.clone();
            transform(&mut y);
            transform(&mut y);
            for (x, y) in x.iter().zip(&y) {
                assert!((x * n as f32 - y).abs() <= 1e-5 * n as f32, "{x} {y}");
            }
        }
        let mut x = [0.0; 64];
        x[13] = 3.0;
        transform(&mut x);
        assert!(x.iter().all(|x| x.abs() == 3.0));
    }
}
