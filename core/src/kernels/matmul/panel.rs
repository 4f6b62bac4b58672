//! Packed weights: panels of 32 columns.
//!
//! A weight `[N, K]` (N outputs, as checkpoints store it) becomes `ceil(N / 32)` panels, each
//! contiguous:
//!
//! * f32: `[K][32]`
//! * bf16: `[ceil(K / 2)][32][2]`: the two elements of a pair side by side, so that one 64-byte
//!   vector holds pair `k` of 16 columns, which is the operand of `vdpbf16ps`, and two shifts away
//!   from FMA operands.
//!
//! * int8: `[ceil(K / 4)][32][4]`, signed, then 32 `i32` and 32 `f32`: `−128 Σ w` of each column,
//!   where its sum starts (activations are offset by 128), and its scale.
//! * bf16, coded: the same numbers in 12 bits each, see [`coded`](super::coded).
//! * int4: 64 inputs after 64 inputs, see [`int4`](super::int4), and the same tail as int8.
//!
//! Rows of int8 and int4 weights are rotated, as their activations are (`kernels::rotation::rows`).
//! Columns past N and what fills up the last pair or quad of K are zero. Lanes are columns: no sum
//! across lanes anywhere. One layout serves every number of rows and every instruction set.
use super::coded::{self, coded_len};
use super::int4::{BLOCK, BLOCK_BYTES, weight_at};
use crate::dtype::{Bf16x12, Int4, Int8, WeightFormat};
use crate::kernels::rotation::rows::rotate_back;
use crate::tensor::padded;
use half::bf16;

/// Columns of a panel: a constant of the layout, for every instruction set.
pub const PANEL: usize = 32;

const _: () = assert!(PANEL == crate::tensor::ROW_ALIGN);

/// The panels of one weight.
#[derive(Clone, Copy, Debug)]
pub enum Panels<'w> {
    /// `[panels][K][32]`
    F32(&'w [f32]),
    /// `[panels][ceil(K / 2)][32][2]`
    Bf16(&'w [bf16]),
    /// `[panels]` of weights, starts and scales.
    Int8(&'w [Int8]),
    /// `[panels]` of blocks, starts and scales.
    Int4(&'w [Int4]),
    /// `[panels]` of headers, blocks and escapes.
    Coded(&'w [Bf16x12]),
}

impl Panels<'_> {
    /// The format.
    pub fn format(&self) -> WeightFormat {
        match self {
            Self::F32(_) => WeightFormat::F32,
            Self::Bf16(_) => WeightFormat::Bf16,
            Self::Int8(_) => WeightFormat::Int8,
            Self::Int4(_) => WeightFormat::Int4,
            Self::Coded(_) => WeightFormat::Bf16Coded,
        }
    }
}

/// Elements of one panel of a weight with `k` inputs.
pub const fn panel_len(format: WeightFormat, k: usize) -> usize {
    match format {
        WeightFormat::F32 => k * PANEL,
        WeightFormat::Bf16 => k.next_multiple_of(2) * PANEL,
        WeightFormat::Int8 => k.next_multiple_of(4) * PANEL + INT8_TAIL,
        WeightFormat::Bf16Coded => coded_len(k),
        WeightFormat::Int4 => k.div_ceil(BLOCK) * BLOCK_BYTES + INT8_TAIL,
    }
}

/// Bytes of an int8 or int4 panel behind its weights: where the columns' sums start, and their
/// scales.
pub const INT8_TAIL: usize = PANEL * (size_of::<i32>() + size_of::<f32>());

/// Inputs that an int8 or int4 weight can have: that many products of 255 and 127 fit 32 bits.
pub const INT8_INPUTS_MAX: usize = 1 << 16;

/// The scale of column `lane` of an int8 or int4 panel.
pub(super) fn column_scale(panel: &[impl Byte], lane: usize) -> f32 {
    let at = panel.len() - PANEL * size_of::<f32>() + lane * size_of::<f32>();
    f32::from_le_bytes(core::array::from_fn(|i| panel[at + i].get()))
}

/// What panels of whole numbers are made of.
pub(super) trait Byte: Copy {
    /// The byte.
    fn get(self) -> u8;
}

impl Byte for Int8 {
    fn get(self) -> u8 {
        self.0
    }
}

impl Byte for Int4 {
    fn get(self) -> u8 {
        self.0
    }
}

/// Panels of a weight with `n` outputs.
pub const fn panel_count(n: usize) -> usize {
    n.div_ceil(PANEL)
}

/// A weight with its shape and bias: `y = x Wᵀ + b`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'w> {
    outputs: usize,
    inputs: usize,
    panels: Panels<'w>,
    bias: Option<&'w [f32]>,
}

impl<'w> Linear<'w> {
    /// A weight of `outputs × inputs`; the bias is padded to whole panels.
    ///
    /// Returns `None` if the slices do not have the lengths that the shape says.
    pub fn new(outputs: usize, inputs: usize, panels: Panels<'w>, bias: Option<&'w [f32]>) -> Option<Self> {
        let len = panel_len(panels.format(), inputs).checked_mul(panel_count(outputs))?;
        let actual = match panels {
            Panels::F32(p) => p.len(),
            Panels::Bf16(p) => p.len(),
            Panels::Int8(p) => p.len(),
            Panels::Int4(p) => p.len(),
            Panels::Coded(p) => p.len(),
        };
        let bias_fits = bias.is_none_or(|b| b.len() == padded(outputs));
        (actual == len && bias_fits && inputs > 0).then_some(Self { outputs, inputs, panels, bias })
    }

    /// N.
    #[inline(always)]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// K.
    #[inline(always)]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The packed weights.
    #[inline(always)]
    pub fn panels(&self) -> Panels<'w> {
        self.panels
    }

    /// The bias, padded.
    #[inline(always)]
    pub fn bias(&self) -> Option<&'w [f32]> {
        self.bias
    }

    /// How many panels.
    #[inline(always)]
    pub fn panel_count(&self) -> usize {
        panel_count(self.outputs)
    }

    /// Bytes of the panels.
    pub fn bytes(&self) -> usize {
        let format = self.panels.format();
        panel_len(format, self.inputs) * self.panel_count() * format.element_bytes()
    }

    /// Column `n` widened to f32, for a tied embedding: `out[k] = W[n, k]`, rotated back where it
    /// was rotated to be packed.
    ///
    /// # Panics
    /// If `n` is no column or `out` is shorter than the inputs.
    pub fn read_column(&self, n: usize, out: &mut [f32]) {
        assert!(n < self.outputs);
        let (panel, lane) = (n / PANEL, n % PANEL);
        let out = &mut out[..self.inputs];
        match self.panels {
            Panels::F32(p) => {
                let panel = &p[panel * panel_len(WeightFormat::F32, self.inputs)..];
                for (k, x) in out.iter_mut().enumerate() {
                    *x = panel[k * PANEL + lane];
                }
            }
            Panels::Bf16(p) => {
                let panel = &p[panel * panel_len(WeightFormat::Bf16, self.inputs)..];
                for (k, x) in out.iter_mut().enumerate() {
                    *x = crate::dtype::bf16_widen(panel[(k / 2) * 2 * PANEL + lane * 2 + k % 2]);
                }
            }
            Panels::Int8(p) => {
                let len = panel_len(WeightFormat::Int8, self.inputs);
                let panel = &p[panel * len..][..len];
                let scale = column_scale(panel, lane);
                for (k, x) in out.iter_mut().enumerate() {
                    let weight = panel[(k / 4) * 4 * PANEL + lane * 4 + k % 4].0 as i8;
                    *x = f32::from(weight) * scale;
                }
                rotate_back(out);
            }
            Panels::Coded(p) => {
                let len = panel_len(WeightFormat::Bf16Coded, self.inputs);
                coded::read_column(self.inputs, &p[panel * len..][..len], lane, out);
            }
            Panels::Int4(p) => {
                let len = panel_len(WeightFormat::Int4, self.inputs);
                let panel = &p[panel * len..][..len];
                let scale = column_scale(panel, lane);
                for (k, x) in out.iter_mut().enumerate() {
                    *x = f32::from(weight_at(panel, lane, k)) * scale;
                }
                rotate_back(out);
            }
        }
    }
}
