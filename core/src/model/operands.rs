//! Buffers of operands. Their element type follows from the weight format for products, and from
//! the KV format for queries.
#![allow(unsafe_code)]

use crate::dtype::{Int8, KvFormat, OperandFormat};
use crate::kernels::attention::AttentionOut;
use crate::kernels::matmul::{Activations, Epilogue};
use crate::kernels::rmsnorm::Normed;
use crate::memory::{ArenaError, Carver};
use crate::tensor::{Rows, Shared, operand_stride, padded};
use half::bf16;

/// `[rows, operand_stride(width)]` of f32, bf16 or int8; the padding stays zero.
#[derive(Debug)]
pub(super) enum OperandRows<'s> {
    F32(&'s mut [f32]),
    Bf16(&'s mut [bf16]),
    /// The floats that attention and the gate write, and the 8-bit rows that
    /// [`Ops::quantize`](super::ops::Ops::quantize) makes of them, since a row's scale needs the
    /// whole row first. Norms write both.
    Int8 {
        floats: &'s mut [f32],
        rounded: &'s mut [Int8],
        scales: &'s mut [f32],
    },
}

impl<'s> OperandRows<'s> {
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        region: &'static str,
        format: OperandFormat,
        rows: usize,
        width: usize,
    ) -> Result<Self, ArenaError> {
        let count = rows.checked_mul(operand_stride(width)).ok_or(ArenaError::TooLarge { region })?;
        Ok(match format {
            OperandFormat::F32 => Self::F32(carver.carve(region, count)?),
            OperandFormat::Bf16 => Self::Bf16(carver.carve(region, count)?),
            OperandFormat::Int8 => Self::Int8 {
                floats: carver.carve(region, count)?,
                rounded: carver.carve("8-bit operands", count)?,
                scales: carver.carve("8-bit operands' scales", rows)?,
            },
        })
    }

    /// The first `rows` rows, for reading.
    pub(super) fn rows(&self, rows: usize, width: usize) -> Activations<'_> {
        let len = rows * operand_stride(width);
        match self {
            Self::F32(data) => Activations::F32(Rows::operands(&data[..len], width)),
            Self::Bf16(data) => Activations::Bf16(Rows::operands(&data[..len], width)),
            Self::Int8 { rounded, scales, .. } => {
                Activations::Int8(Rows::operands(&rounded[..len], width), &scales[..rows])
            }
        }
    }

    /// The output of an operation over all rows.
    pub(super) fn output(&mut self) -> SharedOperands<'_> {
        match self {
            Self::F32(data) => SharedOperands::F32(Shared::new(data)),
            Self::Bf16(data) => SharedOperands::Bf16(Shared::new(data)),
            Self::Int8 { floats, rounded, scales } => SharedOperands::Int8 {
                floats: Shared::new(floats),
                rounded: Shared::new(rounded),
                scales: Shared::new(scales),
            },
        }
    }
}

/// The buffers of [`OperandRows`], for tasks that write a row each.
#[derive(Clone, Copy, Debug)]
pub(super) enum SharedOperands<'a> {
    F32(Shared<'a, f32>),
    Bf16(Shared<'a, bf16>),
    Int8 { floats: Shared<'a, f32>, rounded: Shared<'a, Int8>, scales: Shared<'a, f32> },
}

impl<'a> SharedOperands<'a> {
    /// One row as the output of a norm.
    ///
    /// # Safety
    /// No other task has the row.
    pub(super) unsafe fn normed_row(self, row: usize, width: usize) -> Normed<'a> {
        let start = row * operand_stride(width);
        match self {
            // SAFETY: the caller's promise.
            Self::F32(out) => Normed::F32(unsafe { out.part(start, padded(width)) }),
            // SAFETY: the caller's promise.
            Self::Bf16(out) => Normed::Bf16(unsafe { out.part(start, padded(width)) }),
            // SAFETY: the caller's promise.
            Self::Int8 { floats, rounded, scales } => unsafe {
                Normed::Int8 {
                    floats: floats.part(start, padded(width)),
                    rounded: rounded.part(start, padded(width)),
                    scale: &mut scales.part(row, 1)[0],
                }
            },
        }
    }

    pub(super) fn attention(self) -> AttentionOut<'a> {
        match self {
            Self::F32(out) | Self::Int8 { floats: out, .. } => AttentionOut::F32(out),
            Self::Bf16(out) => AttentionOut::Bf16(out),
        }
    }

    pub(super) fn swiglu(self) -> Epilogue<'a> {
        match self {
            Self::F32(out) | Self::Int8 { floats: out, .. } => Epilogue::SwigluF32(out),
            Self::Bf16(out) => Epilogue::SwigluBf16(out),
        }
    }
}

/// Query operands, in the KV format.
#[derive(Debug)]
pub(super) enum QueryOperands<'s> {
    F32(&'s mut [f32]),
    Bf16(&'s mut [bf16]),
    Int8(&'s mut [Int8]),
}

impl<'s> QueryOperands<'s> {
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        format: KvFormat,
        count: usize,
    ) -> Result<Self, ArenaError> {
        let region = "query operands";
        Ok(match format {
            KvFormat::F32 => Self::F32(carver.carve(region, count)?),
            KvFormat::Bf16 => Self::Bf16(carver.carve(region, count)?),
            KvFormat::Int8 => Self::Int8(carver.carve(region, count)?),
        })
    }

    pub(super) fn start(&mut self) -> *mut u8 {
        match self {
            Self::F32(data) => data.as_mut_ptr().cast(),
            Self::Bf16(data) => data.as_mut_ptr().cast(),
            Self::Int8(data) => data.as_mut_ptr().cast(),
        }
    }
}
