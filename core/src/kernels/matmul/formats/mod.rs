//! Weight formats: how 32 columns of a weight are stored in a panel, and what they are worth.
//!
//! A format is one file here, one line of the list in `dtype` (`weight_formats!`), and a `mod`
//! line. Its file says everything about it:
//!
//! * [`Format`]: the layout of a panel, packing, reading back, and the scalar reference;
//! * [`Weight`]: adding the products of a slice, and finishing sums, in vectors.
//!
//! | file | a weight takes | is multiplied as |
//! |---|---|---|
//! | [`f32`](mod@float32) | 32 bits | f32 |
//! | [`bf16`](mod@bfloat16) | 16 bits | bf16 |
//! | [`int8`] | 8 bits, and a scale for each column | 8-bit integers |
//! | [`grouped`] | 4.25, 5.25 or 6.25 bits, and a scale for each column | 8-bit integers |
//! | [`bf16_12`] | 12 bits, and a few exceptions | bf16 |
//!
//! The list becomes the enum `Panels` (`linear`), the dispatch of a product (`product`) and that of
//! [`panel_len`] and of packing (here).
pub mod bf16_12;
#[path = "bf16.rs"]
pub mod bfloat16;
#[path = "f32.rs"]
pub mod float32;
pub mod grouped;
pub mod int8;
pub(super) mod scaled;
#[cfg(test)]
pub(crate) mod toy;

use super::activations::{Activations, Operand};
use super::micro::{Element, TileRows};
use super::prefetch::Ahead;
use super::source::PanelRows;
use crate::dtype::{WeightFormat, weight_formats};
use crate::isa::{InstructionSet, Simd};
use crate::memory::AnyBits;

/// A format of weights; the type is that of a panel's elements.
pub trait Format: AnyBits {
    /// The format's entry in the list of weight formats, with its name and number.
    const FORMAT: WeightFormat;
    /// What rows of activations are rounded to before they are multiplied.
    type Operand: Operand;
    /// The maximum of inputs that a weight can have.
    const INPUTS_MAX: usize = usize::MAX;

    /// Elements of a panel of `k` inputs: whole cache lines.
    fn panel_len(k: usize) -> usize;
    /// Elements of a panel before an input at which a slice may begin.
    fn offset(input: usize) -> usize;
    /// Elements of a row that the first `k` inputs are multiplied with.
    fn read_len(k: usize) -> usize;
    /// Packs rows into a panel's bytes; returns how many nonzero elements were flushed to zero.
    fn pack<S: Simd>(s: S, rows: &dyn PanelRows, panel: &mut [u8]) -> Result<usize, Unpackable>;
    /// Whether an element of a row can be packed: it is finite, and stays so.
    fn takes(x: f32) -> bool;
    /// Column `lane` of a panel widened to f32, for a tied embedding; as many inputs as `out` has.
    fn read_column(panel: &[Self], lane: usize, out: &mut [f32]);
    /// The product of row `row` of the activations and column `lane` of a panel, one element at a
    /// time: what every instruction set equals bit for bit.
    fn reference(activations: Activations<'_>, row: usize, panel: &[Self], lane: usize) -> f32;
    /// Packs rows as [`Format::pack`] does, one element at a time, if there is such a second way.
    #[cfg(test)]
    fn pack_plainly(_panel: &mut [Self], _k: usize, _value: &dyn Fn(usize, usize) -> f32) -> Option<usize> {
        None
    }
}

/// Why a panel cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpackable {
    /// An element is one that [`Format::takes`] refuses.
    NonFinite,
    /// The weights have too many different exponents ([`bf16_12`]).
    TooManyExponents,
}

/// The inputs `first..first + len` of a panel.
#[derive(Clone, Copy)]
pub struct Slice<'p, W> {
    pub(super) panel: &'p [W],
    /// Inputs of the panel.
    pub(super) k: usize,
    pub(super) first: usize,
    pub(super) len: usize,
}

/// Sums of 32 columns.
pub type ColumnSums<S, W> = [<<W as Format>::Operand as Element<S>>::Sums; 2];

/// What a format does in a product.
pub trait Weight<S: InstructionSet>: Format<Operand: Element<S>> {
    /// The state that a panel's slices hand on to the next.
    type Cursor<'p>: Copy;
    /// Whether columns that several tiles of rows need are dequantized first.
    const DEQUANTIZES: bool;

    /// The state before the first slice.
    fn cursor(k: usize, panel: &[Self]) -> Self::Cursor<'_>;
    /// What the sums of a panel's 32 columns are before the first product.
    fn begin(s: S, panel: &[Self]) -> ColumnSums<S, Self>;
    /// The sums as numbers, for a row with that scale.
    fn finish(s: S, sums: ColumnSums<S, Self>, panel: &[Self], row_scale: f32) -> [S::F; 2];
    /// Adds the products of a slice with MR rows; with `DEQUANTIZE`, leaves the slice's columns
    /// dequantized in `out`. Slices of a panel come in order.
    ///
    /// # Panics
    /// If the panel, the rows ([`Format::read_len`]) or `out` are shorter than the slice.
    fn accumulate<const MR: usize, const DEQUANTIZE: bool>(
        s: S,
        slice: Slice<'_, Self>,
        cursor: &mut Self::Cursor<'_>,
        rows: TileRows<'_, Self::Operand, MR>,
        sums: &mut [ColumnSums<S, Self>; MR],
        out: &mut [Self::Operand],
        ahead: Ahead,
    );
}

/// A plain format's part of [`Format`]: STEP elements side by side.
macro_rules! plain_layout {
    ($step:expr) => {
        #[inline(always)]
        fn offset(input: usize) -> usize {
            input * PANEL
        }
        #[inline(always)]
        fn read_len(k: usize) -> usize {
            k.next_multiple_of($step)
        }
    };
}
use plain_layout;

/// A plain format's part of [`Weight`].
macro_rules! plain_products {
    () => {
        type Cursor<'p> = ();
        const DEQUANTIZES: bool = !dequantized_as_stored::<S, Self>();

        #[inline(always)]
        fn cursor(_k: usize, _panel: &[Self]) {}
        #[inline(always)]
        fn accumulate<const MR: usize, const DEQUANTIZE: bool>(
            s: S,
            slice: Slice<'_, Self>,
            (): &mut (),
            rows: TileRows<'_, Self, MR>,
            sums: &mut [ColumnSums<S, Self>; MR],
            out: &mut [Self],
            ahead: Ahead,
        ) {
            let columns = &slice.panel[Self::offset(slice.first)..][..Self::read_len(slice.len) * PANEL];
            plain_tile::<S, Self, MR, DEQUANTIZE>(s, columns, rows, sums, out, ahead);
        }
    };
}
use plain_products;

/// The part of [`Weight`] of formats whose sums are the numbers.
macro_rules! unscaled_sums {
    () => {
        #[inline(always)]
        fn begin(s: S, _panel: &[Self]) -> [S::F; 2] {
            [s.splat(0.0); 2]
        }
        #[inline(always)]
        fn finish(_s: S, sums: [S::F; 2], _panel: &[Self], _row_scale: f32) -> [S::F; 2] {
            sums
        }
    };
}
use unscaled_sums;

macro_rules! dispatch {
    ($(
        $(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])?
        $variant:ident = $number:literal { element: $element:ty, $($rest:tt)* }
    )*) => {
        /// Elements of one panel of a weight with `k` inputs.
        pub fn panel_len(format: WeightFormat, k: usize) -> usize {
            match format {
                $($(#[cfg($cfg)])? WeightFormat::$variant => <$element as Format>::panel_len(k),)*
            }
        }

        /// The maximum of inputs that a weight of a format can have.
        pub fn inputs_max(format: WeightFormat) -> usize {
            match format {
                $($(#[cfg($cfg)])? WeightFormat::$variant => <$element as Format>::INPUTS_MAX,)*
            }
        }

        /// Calls `visitor` with the format's type.
        #[inline(always)]
        pub(super) fn visit<V: FormatVisitor>(format: WeightFormat, visitor: V) -> V::Output {
            match format {
                $($(#[cfg($cfg)])? WeightFormat::$variant => visitor.visit::<$element>(),)*
            }
        }
    };
}
weight_formats!(dispatch);

/// Something done for a format that is known when it is compiled.
pub(super) trait FormatVisitor {
    /// The result of the visit.
    type Output;
    /// Does the work for format `F`.
    fn visit<F: Format>(self) -> Self::Output;
}
