//! The rows that a product multiplies, in the format that the weights ask for.
use crate::dtype::{Int8, OperandFormat};
use crate::memory::AnyBits;
use crate::tensor::Rows;
use core::ops::Range;
use half::bf16;

/// Rows of activations, `[R, K]`.
#[derive(Clone, Copy, Debug)]
pub enum Activations<'a> {
    /// For weights that are multiplied in f32.
    F32(Rows<'a, f32>),
    /// For weights that are multiplied in bf16: operands, zero beyond K.
    Bf16(Rows<'a, bf16>),
    /// For weights that are multiplied in 8 bits: rows offset by 128, and the scale of each.
    Int8(Rows<'a, Int8>, &'a [f32]),
}

impl<'a> Activations<'a> {
    /// The number of rows, R.
    pub fn count(&self) -> usize {
        match self {
            Self::F32(rows) => rows.count(),
            Self::Bf16(rows) => rows.count(),
            Self::Int8(rows, _) => rows.count(),
        }
    }

    /// The rows in a range, and their scales.
    pub fn part(&self, rows: Range<usize>) -> Self {
        match self {
            Self::F32(all) => Self::F32(all.part(rows)),
            Self::Bf16(all) => Self::Bf16(all.part(rows)),
            Self::Int8(all, scales) => Self::Int8(all.part(rows.clone()), &scales[rows]),
        }
    }

    /// Elements of a row without padding, K.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::F32(rows) => rows.width(),
            Self::Bf16(rows) => rows.width(),
            Self::Int8(rows, _) => rows.width(),
        }
    }

    /// Bytes from one row to the next.
    pub(super) fn row_bytes(&self) -> usize {
        match self {
            Self::F32(rows) => rows.stride() * size_of::<f32>(),
            Self::Bf16(rows) => rows.stride() * size_of::<bf16>(),
            Self::Int8(rows, _) => rows.stride(),
        }
    }

    /// What the rows are rounded to.
    pub(super) fn format(&self) -> OperandFormat {
        match self {
            Self::F32(_) => OperandFormat::F32,
            Self::Bf16(_) => OperandFormat::Bf16,
            Self::Int8(..) => OperandFormat::Int8,
        }
    }

    /// The rows as elements of `O`, and their scales; the scales are empty where rows have none.
    ///
    /// # Panics
    /// If the rows are of another type.
    pub(super) fn operands<O: Operand>(self) -> (Rows<'a, O>, &'a [f32]) {
        O::rows(self).expect("the activations are in the format of the weights")
    }
}

/// An element that activations are rounded to.
pub trait Operand: AnyBits {
    /// The rows and their scales, where they are of this type.
    fn rows(activations: Activations<'_>) -> Option<(Rows<'_, Self>, &[f32])>;
}

impl Operand for f32 {
    fn rows(activations: Activations<'_>) -> Option<(Rows<'_, Self>, &[f32])> {
        if let Activations::F32(rows) = activations { Some((rows, &[])) } else { None }
    }
}

impl Operand for bf16 {
    fn rows(activations: Activations<'_>) -> Option<(Rows<'_, Self>, &[f32])> {
        if let Activations::Bf16(rows) = activations { Some((rows, &[])) } else { None }
    }
}

impl Operand for Int8 {
    fn rows(activations: Activations<'_>) -> Option<(Rows<'_, Self>, &[f32])> {
        if let Activations::Int8(rows, scales) = activations { Some((rows, scales)) } else { None }
    }
}
