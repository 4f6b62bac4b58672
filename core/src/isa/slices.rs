//! Safe loads and stores of slices: whole vectors, and parts of one.
//!
//! Kernels that walk over slices use these; only loops that are bound by every instruction read
//! through pointers ([`Simd::load`] and its like). Where a slice's length is known when it is
//! compiled, the check of it costs nothing.
use super::dot::Dot;
use super::simd::{LANES, Simd};
use crate::dtype::Int8;
use crate::memory::ByteLike;
use half::bf16;

/// The first 16 floats of a slice.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
pub fn load<S: Simd>(s: S, x: &[f32]) -> S::F {
    assert!(x.len() >= LANES);
    // SAFETY: there are 16 floats.
    unsafe { s.load(x.as_ptr()) }
}

/// Writes the first 16 floats of a slice.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
pub fn store<S: Simd>(s: S, out: &mut [f32], x: S::F) {
    assert!(out.len() >= LANES);
    // SAFETY: there is room for 16 floats.
    unsafe { s.store(out.as_mut_ptr(), x) }
}

/// Writes the first 16 elements of a slice as bf16 operands ([`Simd::store_bf16`]).
///
/// # Panics
/// If there are fewer.
#[inline(always)]
pub fn store_bf16<S: Simd>(s: S, out: &mut [bf16], x: S::F) {
    assert!(out.len() >= LANES);
    // SAFETY: there is room for 16 bf16.
    unsafe { s.store_bf16(out.as_mut_ptr(), x) }
}

/// Writes the first 16 elements of a slice as 8-bit activations ([`Simd::store_offset_int8`]).
///
/// # Panics
/// If there are fewer.
#[inline(always)]
pub fn store_offset_int8<S: Simd>(s: S, out: &mut [Int8], x: S::F) {
    assert!(out.len() >= LANES);
    // SAFETY: there is room for 16 elements.
    unsafe { s.store_offset_int8(out.as_mut_ptr(), x) }
}

/// Up to 16 elements; the lanes past the end of the slice are zero.
#[inline(always)]
pub fn load_part<S: Simd>(s: S, part: &[f32]) -> S::F {
    if part.len() >= LANES {
        return load(s, part);
    }
    let mut lanes = [0.0; LANES];
    lanes[..part.len()].copy_from_slice(part);
    s.lanes_of(lanes)
}

/// Writes as many lanes as there is room for, at most 16.
#[inline(always)]
pub fn store_part<S: Simd>(s: S, part: &mut [f32], x: S::F) {
    if part.len() >= LANES {
        return store(s, part, x);
    }
    let lanes = s.to_array(x);
    part.copy_from_slice(&lanes[..part.len()]);
}

/// Writes as many lanes as bf16 operands as there is room for, at most 16.
#[inline(always)]
pub fn store_part_bf16<S: Simd>(s: S, part: &mut [bf16], x: S::F) {
    let mut lanes = [bf16::ZERO; LANES];
    store_bf16(s, &mut lanes, x);
    let len = part.len().min(LANES);
    part[..len].copy_from_slice(&lanes[..len]);
}

/// Transposes 16 rows of 16 words of 4 bytes ([`Simd::store_transposed`]): row `i` begins at byte
/// `i * row_stride` of `rows`, column `j` goes to byte `j * stride` of `out`.
///
/// # Panics
/// If one of the slices ends before the last of its 16 rows or columns of 64 bytes.
#[inline(always)]
pub fn store_transposed<S: Simd>(s: S, rows: &[u8], row_stride: usize, out: &mut [u8], stride: usize) {
    const LINE: usize = 4 * LANES;
    assert!(rows.len() >= (LANES - 1) * row_stride + LINE && out.len() >= (LANES - 1) * stride + LINE);
    // SAFETY: the last of 16 rows and of 16 columns end within their slices, which do not overlap:
    // one is borrowed to be read, the other to be written.
    unsafe { s.store_transposed(rows.as_ptr(), row_stride, out.as_mut_ptr(), stride) }
}

/// A vector of the sixteen integers of an array.
#[inline(always)]
pub fn load_ints<S: Dot>(s: S, x: &[i32; LANES]) -> S::Ints {
    // SAFETY: 16 integers are borrowed.
    unsafe { s.load_ints(x.as_ptr()) }
}

/// Two vectors of 32 bf16 as their elements.
#[inline(always)]
pub fn words_to_array<S: Dot>(s: S, words: S::Words) -> [bf16; 4 * LANES] {
    let mut elements = [bf16::ZERO; 4 * LANES];
    // SAFETY: there is room for 64 elements.
    unsafe { s.store_words(elements.as_mut_ptr(), words) };
    elements
}

/// Two vectors of 32 bf16 from their elements.
#[inline(always)]
pub fn words_of_array<S: Dot>(s: S, elements: &[bf16; 4 * LANES]) -> S::Words {
    let (first, second) = elements.split_at(2 * LANES);
    // SAFETY: 32 elements each.
    unsafe { s.load_words([first.as_ptr(), second.as_ptr()]) }
}

/// Sixteen floats from their bytes, which need no alignment.
#[inline(always)]
pub fn load_float_bytes<S: Simd, B: ByteLike>(s: S, bytes: &[B; 4 * LANES]) -> S::F {
    const { assert!(size_of::<B>() == 1) };
    // SAFETY: 64 bytes are borrowed, any of which are floats; the load needs no alignment.
    unsafe { s.load(bytes.as_ptr().cast()) }
}

/// Sixteen integers from their bytes, which need no alignment.
#[inline(always)]
pub fn load_int_bytes<S: Dot, B: ByteLike>(s: S, bytes: &[B; 4 * LANES]) -> S::Ints {
    const { assert!(size_of::<B>() == 1) };
    // SAFETY: 64 bytes are borrowed, any of which are integers; the load needs no alignment.
    unsafe { s.load_ints(bytes.as_ptr().cast()) }
}
