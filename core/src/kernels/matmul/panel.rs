//! Packed weights: panels of 32 columns.
//!
//! A weight `[N, K]` (N outputs, as checkpoints store it) becomes `ceil(N / 32)` panels, each contiguous:
//!
//! * f32: `[K][32]`
//! * bf16: `[ceil(K / 2)][32][2]`: the two elements of a pair side by side, so that one 64-byte vector holds
//!   pair `k` of 16 columns, which is the operand of `vdpbf16ps`, and two shifts away from FMA operands.
//!
//! Columns past N and an odd K's partner are zero. Lanes are columns: no sum across lanes anywhere. One
//! layout serves every number of rows and every instruction set.
use crate::dtype::WeightFormat;
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
}

impl Panels<'_> {
    /// The format.
    pub fn format(&self) -> WeightFormat {
        match self {
            Self::F32(_) => WeightFormat::F32,
            Self::Bf16(_) => WeightFormat::Bf16,
        }
    }
}

/// Elements of one panel of a weight with `k` inputs.
pub const fn panel_len(format: WeightFormat, k: usize) -> usize {
    match format {
        WeightFormat::F32 => k * PANEL,
        WeightFormat::Bf16 => k.next_multiple_of(2) * PANEL,
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

    /// Column `n` widened to f32, for a tied embedding: `out[k] = W[n, k]`.
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
        }
    }
}
