//! A packed weight: its panels, its shape and its bias.
//!
//! Most weights are stored in one format. A fused one may be a run of **segments**, each of whole
//! panels in a format of its own: in `int4` models the values of a fused Q, K and V keep 8 bits.
//! All segments of a weight meet the same rows of activations, so their formats have the same
//! operands.
use super::activations::Activations;
use super::formats::{Format, panel_len};
use super::panel::{PANEL, panel_count};
use crate::dtype::{OperandFormat, WeightFormat, weight_formats};
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
                let segment = self.segment_of(n / PANEL);
                match segment.panels {
                    $($(#[cfg($cfg)])? Panels::$variant(all) => {
                        <$element as Format>::read_column(self.panel_of(segment, all, n), n % PANEL, out)
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
                let segment = self.segment_of(n / PANEL);
                match segment.panels {
                    $($(#[cfg($cfg)])? Panels::$variant(all) => {
                        let panel = self.panel_of(segment, all, n);
                        <$element as Format>::reference(activations, row, panel, n % PANEL)
                    })*
                }
            }
        }
    };
}
weight_formats!(panels);

/// The maximum of segments of a weight: Q, K and V.
pub const SEGMENTS_MAX: usize = 3;

/// Panels of a weight that lie next to each other in one format.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'w> {
    /// The number of its first panel in the weight.
    pub first: usize,
    /// The number of the panel behind its last.
    pub end: usize,
    /// Its panels, one after another.
    pub panels: Panels<'w>,
}

/// A weight with its shape and bias: `y = x Wᵀ + b`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'w> {
    outputs: usize,
    inputs: usize,
    /// The first `segment_count` are the weight's.
    segments: [Segment<'w>; SEGMENTS_MAX],
    segment_count: usize,
    bias: Option<&'w [f32]>,
}

impl<'w> Linear<'w> {
    /// A weight of `outputs × inputs` in one format; the bias is padded to whole panels.
    ///
    /// Returns `None` if the slices do not have the lengths that the shape says.
    pub fn new(outputs: usize, inputs: usize, panels: Panels<'w>, bias: Option<&'w [f32]>) -> Option<Self> {
        Self::of_segments(inputs, &[(outputs, panels)], bias)
    }

    /// A weight of a run of segments: the outputs of each, of which all but the last have whole
    /// panels, and its panels.
    ///
    /// Returns `None` if there are no segments or more than [`SEGMENTS_MAX`], if slices do not have
    /// the lengths that the shapes say, or if the formats have different operands.
    pub fn of_segments(
        inputs: usize,
        parts: &[(usize, Panels<'w>)],
        bias: Option<&'w [f32]>,
    ) -> Option<Self> {
        let (last, whole) = parts.split_last()?;
        let operands = last.1.format().operands();
        let (mut outputs, mut first) = (0_usize, 0);
        let mut segments = [Segment { first: 0, end: 0, panels: last.1 }; SEGMENTS_MAX];
        for (i, (part_outputs, panels)) in parts.iter().enumerate() {
            let end = first + panel_count(*part_outputs);
            let len = panel_len(panels.format(), inputs).checked_mul(end - first)?;
            let fits = panels.len() == len && panels.format().operands() == operands;
            let is_whole = i == whole.len() || part_outputs.is_multiple_of(PANEL);
            if !(fits && is_whole) {
                return None;
            }
            *segments.get_mut(i)? = Segment { first, end, panels: *panels };
            outputs = outputs.checked_add(*part_outputs)?;
            first = end;
        }
        let bias_fits = bias.is_none_or(|b| b.len() == padded(outputs));
        let weight = Self { outputs, inputs, segments, segment_count: parts.len(), bias };
        (bias_fits && inputs > 0).then_some(weight)
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

    /// The segments, in the order of their panels.
    #[inline(always)]
    pub fn segments(&self) -> &[Segment<'w>] {
        &self.segments[..self.segment_count]
    }

    /// What the activations that it meets are rounded to.
    #[inline(always)]
    pub fn operands(&self) -> OperandFormat {
        self.segments[0].panels.format().operands()
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
        self.segments().iter().map(|segment| self.panel_bytes(segment) * (segment.end - segment.first)).sum()
    }

    /// Bytes of one panel of a segment.
    pub(super) fn panel_bytes(&self, segment: &Segment<'_>) -> usize {
        let format = segment.panels.format();
        panel_len(format, self.inputs) * format.element_bytes()
    }

    /// The segment of a panel.
    fn segment_of(&self, panel: usize) -> &Segment<'w> {
        let of = self.segments().iter().find(|segment| panel < segment.end);
        of.expect("the segments have all panels")
    }

    /// The panel of column `n`, which is one of the segment's.
    fn panel_of<W: Format + AnyBits>(&self, segment: &Segment<'w>, all: &'w [W], n: usize) -> &'w [W] {
        let len = W::panel_len(self.inputs);
        &all[(n / PANEL - segment.first) * len..][..len]
    }
}
