//! Epilogues: the operation that a product applies to its sums before it writes them.
#![allow(unsafe_code)]

use super::panel::PANEL;
use crate::isa::{LANES, Simd, slices};
use crate::kernels::math::silu;
use crate::tensor::Shared;
use half::bf16;

/// Where the sums go: rows of whole panels.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// `out = sum (+ bias)`
    Store(Shared<'a, f32>),
    /// `out = out + (sum (+ bias))`: the residual.
    Add(Shared<'a, f32>),
    /// Panels come in pairs (gate, up): `out = silu(gate) · up`, f32.
    SwigluF32(Shared<'a, f32>),
    /// [`Epilogue::SwigluF32`], as bf16 operands for the next product.
    SwigluBf16(Shared<'a, bf16>),
}

impl Epilogue<'_> {
    /// The epilogue for the output without its first `start` elements.
    pub fn after(self, start: usize) -> Self {
        match self {
            Self::Store(out) => Self::Store(out.after(start)),
            Self::Add(out) => Self::Add(out.after(start)),
            Self::SwigluF32(out) => Self::SwigluF32(out.after(start)),
            Self::SwigluBf16(out) => Self::SwigluBf16(out.after(start)),
        }
    }

    /// Elements of the output.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Store(out) | Self::Add(out) | Self::SwigluF32(out) => out.len(),
            Self::SwigluBf16(out) => out.len(),
        }
    }

    /// Panels of the weight that make one panel of the output.
    pub fn panels_per_output(&self) -> usize {
        match self {
            Self::Store(_) | Self::Add(_) => 1,
            Self::SwigluF32(_) | Self::SwigluBf16(_) => 2,
        }
    }

    /// Writes a panel of a row of the output, which begins at element `at`, from the numbers of the
    /// panels that make it: one, or gate and up.
    ///
    /// # Safety
    /// No other task has this part of the output.
    ///
    /// # Panics
    /// If it is not part of the output.
    #[inline(always)]
    pub(super) unsafe fn write<S: Simd>(self, s: S, at: usize, numbers: [[S::F; 2]; 2]) {
        let [sums, ups] = numbers;
        for v in 0..2 {
            let at = at + v * LANES;
            // SAFETY: the caller vouches for the panel; within it each part is taken once.
            unsafe {
                match self {
                    Self::Store(out) => slices::store(s, out.part(at, LANES), sums[v]),
                    Self::Add(out) => {
                        let part = out.part(at, LANES);
                        slices::store(s, part, s.add(slices::load(s, part), sums[v]));
                    }
                    Self::SwigluF32(out) => {
                        slices::store(s, out.part(at, LANES), s.mul(silu(s, sums[v]), ups[v]));
                    }
                    Self::SwigluBf16(out) => {
                        slices::store_bf16(s, out.part(at, LANES), s.mul(silu(s, sums[v]), ups[v]));
                    }
                }
            }
        }
    }
}

/// The numbers of a panel with its part of the bias.
#[inline(always)]
pub(super) fn biased<S: Simd>(s: S, numbers: [S::F; 2], bias: &[f32]) -> [S::F; 2] {
    let bias = &bias[..PANEL];
    [s.add(numbers[0], slices::load(s, bias)), s.add(numbers[1], slices::load(s, &bias[LANES..]))]
}
