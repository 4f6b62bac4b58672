//! From rows of a weight to one panel: the one packer, for checkpoints and for images.
//!
//! A panel of 32 output columns is 32 contiguous rows, transposed. Rows are taken 32 elements of
//! each at a time (a cache line of a bf16 row), converted in a tile that stays in the first-level
//! cache, and the tile is written out in whole cache lines. How, each format says
//! ([`Format::pack`]); what the elements of the rows are, [`source`](super::source) does.
//!
//! A weight that is not finite, or not any more once it is rounded or rotated, is an error. Nonzero
//! weights that became +0, as bf16 operands do below 2^-50, are counted.
use super::formats::{Format, FormatVisitor, Unpackable, panel_len, visit};
use super::panel::PANEL;
use super::source::float::{Element, FloatRows, SourceVisitor, Values, chunk, count, floats, operands};
use super::source::{CHUNK, Found, PanelRows, SourceType, any};
use crate::dtype::WeightFormat;
use crate::isa::{Isa, Simd, SimdOp};
use core::marker::PhantomData;

/// A weight that is infinite, NaN, or too large for the format it is packed to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NonFinite {
    /// The index of the row among those that were given.
    pub lane: usize,
    /// The index of the element in its row.
    pub k: usize,
    /// Its value before it is packed.
    pub value: f32,
}

/// Why rows cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PackError {
    /// A weight is not finite.
    NonFinite(NonFinite),
    /// A panel has too many different exponents for the 12-bit format.
    TooManyExponents,
}

/// Packs up to 32 rows of `k` elements into a panel, and returns how many nonzero elements were
/// flushed.
///
/// `rows` are the bytes of the rows, one after another; `panel` are the bytes of one panel. On an
/// error the panel's contents are unspecified.
///
/// # Panics
/// If a slice has another length than `k` says, or `k` is 0.
pub fn pack_panel(
    isa: Isa,
    format: WeightFormat,
    panel: &mut [u8],
    k: usize,
    source: SourceType,
    rows: &[u8],
) -> Result<usize, PackError> {
    struct Typed<'p> {
        isa: Isa,
        format: WeightFormat,
        panel: &'p mut [u8],
        k: usize,
        rows: &'p [u8],
    }
    impl SourceVisitor for Typed<'_> {
        type Output = Result<usize, PackError>;
        fn visit<E: Element>(self) -> Self::Output {
            let Self { isa, format, panel, k, rows } = self;
            visit(format, Packing { isa, panel, rows: &FloatRows::<E>::new(isa, rows, k) })
        }
    }
    source.visit(Typed { isa, format, panel, k, rows })
}

/// [`pack_panel`] for rows whose elements a function gives; in portable code.
///
/// # Panics
/// If the panel has another length than the rows say.
pub fn pack_values(format: WeightFormat, panel: &mut [u8], rows: &Values<'_>) -> Result<usize, PackError> {
    visit(format, Packing { isa: Isa::PORTABLE, panel, rows })
}

/// Packing a panel of a format.
struct Packing<'p> {
    isa: Isa,
    panel: &'p mut [u8],
    rows: &'p dyn PanelRows,
}

impl FormatVisitor for Packing<'_> {
    type Output = Result<usize, PackError>;
    fn visit<F: Format>(self) -> Self::Output {
        let Self { isa, panel, rows } = self;
        let k = rows.inputs();
        assert_eq!(panel.len(), panel_len(F::FORMAT, k) * size_of::<F>());
        assert!(k > 0 && rows.count() <= PANEL);
        let packed = isa.run(PackOp::<F> { panel, rows, format: PhantomData });
        packed.map_err(|error| match error {
            Unpackable::TooManyExponents => PackError::TooManyExponents,
            Unpackable::NonFinite => PackError::NonFinite(find_bad::<F>(rows)),
        })
    }
}

struct PackOp<'p, F> {
    panel: &'p mut [u8],
    rows: &'p dyn PanelRows,
    format: PhantomData<F>,
}

impl<F: Format> SimdOp for PackOp<'_, F> {
    type Output = Result<usize, Unpackable>;
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Self::Output {
        F::pack(s, self.rows, self.panel)
    }
}

/// The first element that a format does not take.
///
/// # Panics
/// If there is none.
#[cold]
fn find_bad<F: Format>(rows: &dyn PanelRows) -> NonFinite {
    for lane in 0..rows.count() {
        for start in (0..rows.inputs()).step_by(CHUNK) {
            let mut bits = [0; CHUNK];
            rows.floats(lane, start, &mut bits);
            for (k, value) in (start..rows.inputs()).zip(bits.map(f32::from_bits)) {
                if !F::takes(value) {
                    return NonFinite { lane, k, value };
                }
            }
        }
    }
    unreachable!("the packer found an element that the format does not take")
}

struct ConvertOp<'p, 'a, E> {
    to_bf16: bool,
    out: &'p mut [u8],
    bytes: &'a [u8],
    element: PhantomData<E>,
}

impl<E: Element> SimdOp for ConvertOp<'_, '_, E> {
    type Output = Found;
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, _s: S) -> Found {
        let mut found = Found::default();
        let mut tail = [0; CHUNK * 4];
        let element_bytes = if self.to_bf16 { 2 } else { 4 };
        for (block, out) in self.out.chunks_mut(CHUNK * element_bytes).enumerate() {
            let bytes = chunk::<E>(self.bytes, block * CHUNK, &mut tail);
            if self.to_bf16 {
                let (mut operand, mut rare) = ([0; 2 * CHUNK], [0; CHUNK]);
                operands::<E>(bytes, &mut operand, &mut rare);
                if any(&rare) {
                    count::<E>(bytes, &mut found);
                }
                out.copy_from_slice(&operand[..out.len()]);
            } else {
                let mut bits = [0; CHUNK];
                floats::<E>(bytes, &mut bits);
                found.bad |= bits.iter().fold(false, |bad, x| bad | (x & 0x7f80_0000 == 0x7f80_0000));
                for (out, bits) in out.chunks_exact_mut(4).zip(bits) {
                    out.copy_from_slice(&bits.to_le_bytes());
                }
            }
        }
        found
    }
}

/// Converts elements in their own order, as an embedding or a norm is stored; returns how many were
/// flushed. A [`NonFinite`] names lane 0.
///
/// # Panics
/// If the two slices do not hold the same number of elements, or the format is one of panels alone.
pub fn convert(
    isa: Isa,
    format: WeightFormat,
    out: &mut [u8],
    source: SourceType,
    bytes: &[u8],
) -> Result<usize, NonFinite> {
    struct Typed<'p> {
        isa: Isa,
        format: WeightFormat,
        out: &'p mut [u8],
        bytes: &'p [u8],
    }
    impl SourceVisitor for Typed<'_> {
        type Output = Result<usize, NonFinite>;
        fn visit<E: Element>(self) -> Self::Output {
            let Self { isa, format, out, bytes } = self;
            let element_bytes = format.element_bytes();
            assert!(format == format.of_rows() && out.len().is_multiple_of(element_bytes));
            assert_eq!(bytes.len(), out.len() / element_bytes * E::BYTES);
            if out.is_empty() {
                return Ok(0);
            }
            let to_bf16 = format == WeightFormat::Bf16;
            let found = isa.run(ConvertOp::<E> { to_bf16, out, bytes, element: PhantomData });
            if !found.bad {
                return Ok(found.flushed);
            }
            let row = FloatRows::<E>::new(isa, bytes, bytes.len() / E::BYTES);
            Err(visit(format, FindBad(&row)))
        }
    }
    source.visit(Typed { isa, format, out, bytes })
}

/// [`find_bad`] for a format.
struct FindBad<'r>(&'r dyn PanelRows);

impl FormatVisitor for FindBad<'_> {
    type Output = NonFinite;
    fn visit<F: Format>(self) -> NonFinite {
        find_bad::<F>(self.0)
    }
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
