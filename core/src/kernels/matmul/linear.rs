//! A packed weight: its panels in one of the formats, its shape and its bias.
use super::activations::Activations;
use super::formats::{Format, panel_len};
use super::panel::{PANEL, panel_count};
use crate::dtype::{WeightFormat, weight_formats};
use crate::memory::{AnyBits, cast};
use crate::tensor::padded;

macro_rules! panels {
    ($(
        $(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])?
        $variant:ident = $number:literal { element: $element:ty, $($rest:tt)* }
    )*) => {
        /// The panels of one weight, one after another.
        #[derive(Clone, Copy, Debug)]
        pub enum Panels<'w> {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $variant(&'w [$element]),)*
        }

        impl<'w> Panels<'w> {
            /// Panels of a format from their bytes; `None` if those are not aligned and whole.
            pub fn from_bytes(format: WeightFormat, bytes: &'w [u8]) -> Option<Self> {
                match format {
                    $($(#[cfg($cfg)])? WeightFormat::$variant => cast(bytes).map(Self::$variant),)*
                }
            }

            /// The format in which the panels are stored.
            pub fn format(&self) -> WeightFormat {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant(_) => WeightFormat::$variant,)*
                }
            }

            /// Elements of all panels.
            fn len(&self) -> usize {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant(all) => all.len(),)*
                }
            }
        }

        impl Linear<'_> {
            /// Column `n` widened to f32, for a tied embedding: `out[k] = W[n, k]`, rotated back
            /// where it was rotated to be packed.
            ///
            /// # Panics
            /// If `n` is no column or `out` is shorter than the inputs.
            pub fn read_column(&self, n: usize, out: &mut [f32]) {
                assert!(n < self.outputs);
                let out = &mut out[..self.inputs];
                match self.panels {
                    $($(#[cfg($cfg)])? Panels::$variant(all) => {
                        <$element as Format>::read_column(self.panel_of(all, n), n % PANEL, out)
                    })*
                }
            }

            /// The product of a row of activations and column `n`, one element at a time, without
            /// the bias: what every instruction set equals bit for bit.
            ///
            /// # Panics
            /// If `n` is no column, or the activations do not fit the weight.
            pub fn reference(&self, activations: Activations<'_>, row: usize, n: usize) -> f32 {
                assert!(n < self.outputs && activations.width() == self.inputs);
                match self.panels {
                    $($(#[cfg($cfg)])? Panels::$variant(all) => {
                        <$element as Format>::reference(activations, row, self.panel_of(all, n), n % PANEL)
                    })*
                }
            }
        }
    };
}
weight_formats!(panels);

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
        let bias_fits = bias.is_none_or(|b| b.len() == padded(outputs));
        (panels.len() == len && bias_fits && inputs > 0).then_some(Self { outputs, inputs, panels, bias })
    }

    /// The number of output columns, N.
    #[inline(always)]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The number of inputs, K.
    #[inline(always)]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The packed weights, in one of the formats.
    #[inline(always)]
    pub fn panels(&self) -> Panels<'w> {
        self.panels
    }

    /// The bias, padded to whole panels.
    #[inline(always)]
    pub fn bias(&self) -> Option<&'w [f32]> {
        self.bias
    }

    /// How many panels there are.
    #[inline(always)]
    pub fn panel_count(&self) -> usize {
        panel_count(self.outputs)
    }

    /// Bytes of the panels.
    pub fn bytes(&self) -> usize {
        let format = self.panels.format();
        panel_len(format, self.inputs) * self.panel_count() * format.element_bytes()
    }

    /// The panel of column `n`.
    fn panel_of<W: Format + AnyBits>(&self, all: &'w [W], n: usize) -> &'w [W] {
        let len = W::panel_len(self.inputs);
        &all[n / PANEL * len..][..len]
    }
}
