//! Borrowed row-major views, and the one type through which tasks share an output.
//!
//! A view is `[rows, width]` with a stride of its own: rows of activations are padded to a multiple
//! of 32 elements, and the padding is zero, so kernels run over whole vectors and need no tails.
#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::ops::Range;

/// Elements that the stride of every activation row is a multiple of: one weight panel.
pub const ROW_ALIGN: usize = 32;

/// `width` rounded up to whole panels.
#[inline(always)]
pub const fn padded(width: usize) -> usize {
    width.next_multiple_of(ROW_ALIGN)
}

/// The stride of rows that a product reads: whole cache lines of bytes, and one more, so that rows
/// whose width is a power of two do not all fall into the same sets of the L1 cache (a tile of 12
/// rows a page apart would thrash it).
#[inline(always)]
pub const fn operand_stride(width: usize) -> usize {
    width.next_multiple_of(LINE) + LINE
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// A borrowed view of rows of equal width, `[rows, width]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    data: &'a [T],
    width: usize,
    stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Rows of `width` elements, `stride` apart.
    ///
    /// # Panics
    /// If `width > stride` or the data is not whole rows.
    pub fn new(data: &'a [T], width: usize, stride: usize) -> Self {
        assert!(width <= stride && stride > 0 && data.len().is_multiple_of(stride));
        Self { data, width, stride }
    }

    /// Rows of operands, [`operand_stride`] apart.
    pub fn operands(data: &'a [T], width: usize) -> Self {
        Self::new(data, width, operand_stride(width))
    }

    /// Rows whose padding is up to [`ROW_ALIGN`].
    pub fn padded(data: &'a [T], width: usize) -> Self {
        Self::new(data, width, padded(width))
    }

    /// A view of the rows in a range.
    pub fn part(&self, rows: Range<usize>) -> Self {
        Self { data: &self.data[rows.start * self.stride..rows.end * self.stride], ..*self }
    }

    /// The number of rows.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.data.len() / self.stride
    }

    /// Elements of a row, without padding.
    #[inline(always)]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Elements from one row to the next.
    #[inline(always)]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row `i` without its padding.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..][..self.width]
    }

    /// Row `i` with its padding.
    #[inline(always)]
    pub fn row_padded(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..][..self.stride]
    }

    /// The elements of all rows, padding included.
    #[inline(always)]
    pub fn data(&self) -> &'a [T] {
        self.data
    }
}

/// An output that several tasks write at once, each its own part.
///
/// It borrows the slice mutably for as long as it lives, so nothing else can look at the data
/// meanwhile; what remains to be vouched for is that no two tasks take overlapping parts, which
/// [`Shared::part`] asks of its caller.
#[derive(Debug)]
pub struct Shared<'a, T> {
    data: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<'_, T> {}

// SAFETY: sending the handle to another thread gives that thread only what `part` hands out,
// disjoint mutable slices, which is sound for T: Send.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Takes the slice for sharing.
    pub fn new(data: &'a mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), lifetime: PhantomData }
    }

    /// Elements of the whole output.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the output has no element.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The output without its first `start` elements, still shared.
    ///
    /// # Panics
    /// If `start` lies beyond the end.
    pub fn after(self, start: usize) -> Self {
        assert!(start <= self.len, "a task's part lies outside its output");
        Self { data: self.data.wrapping_add(start), len: self.len - start, ..self }
    }

    /// The part `start..start + len`.
    ///
    /// # Safety
    /// While the returned slice lives no other call takes an overlapping part.
    ///
    /// # Panics
    /// If the part does not lie within the slice.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // the point of the type
    pub unsafe fn part(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start <= self.len && len <= self.len - start, "a task's part lies outside its output");
        // SAFETY: in bounds of the slice taken in `new`; disjointness is the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.data.add(start), len) }
    }
}

/// Whether `|a - b| <= absolute + relative * |b|` for every element; NaN equals only NaN.
///
/// For tests against references of higher precision. Tests of the contract compare bits instead.
pub fn approx_eq(a: &[f32], b: &[f32], absolute: f32, relative: f32) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= absolute + relative * b.abs()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_know_their_padding() {
        let data: [u32; 64] = core::array::from_fn(|i| i as u32);
        let rows = Rows::padded(&data, 20);
        assert_eq!((rows.count(), rows.width(), rows.stride()), (2, 20, 32));
        assert_eq!(rows.row(1)[0], 32);
        assert_eq!((rows.row(1).len(), rows.row_padded(1).len()), (20, 32));
    }

    #[test]
    fn shared_parts_reach_the_slice() {
        let mut data = [0; 8];
        let shared = Shared::new(&mut data);
        // SAFETY: the two parts do not overlap.
        let (a, b) = unsafe { (shared.part(0, 4), shared.part(4, 4)) };
        a.fill(1);
        b.fill(2);
        // SAFETY: a single part.
        unsafe { shared.after(6).part(1, 1) }.fill(3);
        assert_eq!((shared.after(8).len(), shared.after(6).len()), (0, 2));
        assert_eq!(data, [1, 1, 1, 1, 2, 2, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "outside its output")]
    fn a_part_beyond_the_end_is_refused() {
        let mut data = [0; 8];
        // SAFETY: a single part.
        unsafe { Shared::new(&mut data).part(usize::MAX, 2) };
    }

    #[test]
    fn approx_eq_is_absolute_plus_relative() {
        assert!(approx_eq(&[1.0, f32::NAN, f32::INFINITY], &[1.001, f32::NAN, f32::INFINITY], 0.0, 0.01));
        assert!(!approx_eq(&[1.0], &[1.1], 0.01, 0.01));
        assert!(!approx_eq(&[1.0], &[f32::NAN], 1.0, 1.0));
        assert!(!approx_eq(&[1.0], &[1.0, 2.0], 1.0, 1.0));
    }
}
