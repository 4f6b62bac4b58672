//! 12-bit bf16: a lossless code of bf16 weights. Decode reads three quarters of the bytes and
//! multiplies the same bits.
//!
//! A trained weight's sign and mantissa look like noise, but its exponent is one of a few: the 15
//! most frequent exponents of a panel cover all but a few weights in ten thousand. So a weight is
//! stored as 8 bits of sign and mantissa and a 4-bit code, an index into the panel's table of
//! exponents; the exponents of the others, code 15, stand apart with their places. (That trained
//! exponents hold under 3 bits: Zhang et al., "DFloat11", arXiv 2504.11651. Codes of a fixed
//! length, unlike theirs, are decoded by one table look-up in a register, in the K loop.)
//!
//! ```text
//! header    64 bytes: the 15 exponents, zeros
//! blocks    [ceil(K / 4)] of 192 bytes, two pairs of inputs:
//!             rest   [2 pairs][32 words]  word i: sign and mantissa of element i, and of
//!                                         element 32 + i with its bytes swapped
//!             codes  [32 words]           word i: 4 bits each, of pair 0: element i, element
//!                                         32 + i; of pair 1 likewise
//! escapes   a u32 each, ascending: pair << 14 | element << 8 | exponent; room for one in 512
//!           weights, whole cache lines
//! ```
//!
//! The 64 elements of a pair of inputs are numbered as a bf16 panel has them, `[32][2]`. A look-up
//! by words then gives the exponents of 32 elements in their place, and one logical operation the
//! rest: what is decoded is in order. Whether a pair has an escape is a comparison of two integers
//! that hardly ever comes true, and needs no vector. Weights whose escapes do not fit cannot be
//! packed ([`Unpackable::TooManyExponents`]); the model then stays in bf16.
use super::bfloat16::{fill_tile, sum_of_pairs};
use super::{ColumnSums, Format, Slice, Unpackable, Weight, unscaled_sums};
use crate::dtype::{Bf16x12, WeightFormat, bf16_operand, bf16_widen};
use crate::isa::bf16_12::DecodeBf16x12;
use crate::isa::{InstructionSet, Simd};
use crate::kernels::matmul::activations::Activations;
use crate::kernels::matmul::dequantized::{SLICE_STEP, Units, Unpack, unpacking_tile};
use crate::kernels::matmul::micro::TileRows;
use crate::kernels::matmul::panel::{PANEL, TILE_BYTES, TILE_ROW_BYTES, plain_offset, write_whole_tile};
use crate::kernels::matmul::prefetch::Ahead;
use crate::kernels::matmul::source::{CHUNK, Found, PanelRows};
use half::bf16;

const HEADER_BYTES: usize = 64;
/// Inputs of a block.
const BLOCK_INPUTS: usize = 4;
const _: () = assert!(SLICE_STEP.is_multiple_of(BLOCK_INPUTS));
const BLOCK_BYTES: usize = 3 * 64;
/// Weights of a pair of inputs.
const PAIR: usize = 2 * PANEL;
/// Pairs of a tile of rows.
const TILE_PAIRS: usize = CHUNK / 2;
/// The code of an exponent that is escaped.
const ESCAPE: u8 = 15;
/// Where sign and mantissa of a bf16 are.
const REST: u16 = 0x807f;
const ESCAPE_BYTES: usize = 4;
/// What follows the last escape: no pair of at most [`INPUTS_MAX`] inputs has that number.
const NO_ESCAPE: u32 = u32::MAX;
/// Inputs that a weight can have: an escape has 18 bits for its pair, and the last two pairs stand
/// for the end.
pub const INPUTS_MAX: usize = 2 * ((NO_ESCAPE >> 14) as usize - 1);

/// Escapes that a panel has room for; the zeros that fill up an odd K may all be escapes.
const fn escape_room(k: usize) -> usize {
    (k * PANEL / 512 + 1 + k % 2 * PANEL).next_multiple_of(64 / ESCAPE_BYTES)
}

/// Bytes of a panel before a block's first input.
#[inline(always)]
const fn block_offset(input: usize) -> usize {
    HEADER_BYTES + input / BLOCK_INPUTS * BLOCK_BYTES
}

/// Bytes of a panel before its escapes.
const fn escapes_offset(k: usize) -> usize {
    block_offset(k.next_multiple_of(BLOCK_INPUTS))
}

impl Format for Bf16x12 {
    const FORMAT: WeightFormat = WeightFormat::Bf16x12;
    type Operand = bf16;
    const INPUTS_MAX: usize = INPUTS_MAX;

    fn panel_len(k: usize) -> usize {
        escapes_offset(k) + escape_room(k) * ESCAPE_BYTES
    }

    #[inline(always)]
    fn offset(input: usize) -> usize {
        block_offset(input)
    }

    #[inline(always)]
    fn read_len(k: usize) -> usize {
        k.next_multiple_of(BLOCK_INPUTS)
    }

    fn takes(x: f32) -> bool {
        bf16_operand(x).is_finite()
    }

    #[inline(always)]
    fn pack<S: Simd>(s: S, rows: &dyn PanelRows, panel: &mut [u8]) -> Result<usize, Unpackable> {
        assert!(rows.inputs() <= INPUTS_MAX);
        // Of many pairs of inputs every fourth is counted: what those do not show is rare, but for
        // a rare panel.
        if pair_count(rows.inputs()) > 64 {
            match pack_counting(s, rows, 4, panel) {
                Err(Unpackable::TooManyExponents) => {}
                done => return done,
            }
        }
        pack_counting(s, rows, 1, panel)
    }

    fn read_column(panel: &[Bf16x12], lane: usize, out: &mut [f32]) {
        let mut column = Column::new(panel, out.len(), lane);
        for pair in out.chunks_mut(2) {
            for (x, weight) in pair.iter_mut().zip(column.next_pair()) {
                *x = bf16_widen(weight);
            }
        }
    }

    fn reference(activations: Activations<'_>, row: usize, panel: &[Bf16x12], lane: usize) -> f32 {
        let rows = activations.operands::<bf16>().0;
        let column = core::cell::RefCell::new(Column::new(panel, rows.width(), lane));
        sum_of_pairs(rows.row_padded(row), rows.width(), |_| column.borrow_mut().next_pair())
    }
}

const fn pair_count(k: usize) -> usize {
    k.div_ceil(2)
}

/// The exponent of a bf16.
#[inline(always)]
const fn exponent(bits: u16) -> u8 {
    (bits >> 7) as u8
}

/// The codes of exponents, and the exponents of codes.
struct Table {
    codes: [u8; 256],
    exponents: [u8; ESCAPE as usize],
}

impl Table {
    /// The 15 most frequent exponents, counted in every `stride`th pair of inputs; the lower one of
    /// two that are equally frequent comes first.
    #[inline(always)]
    fn count(rows: &dyn PanelRows, stride: usize) -> Self {
        // Two counters for each exponent: neighbours often have the same one.
        let mut counts = [[0_u32; 256]; 2];
        let (k, pairs) = (rows.inputs(), pair_count(rows.inputs()));
        let mut operands = [0; TILE_ROW_BYTES];
        for lane in 0..rows.count() {
            for start in (0..k).step_by(CHUNK) {
                rows.operands(lane, start, &mut operands, &mut [0; CHUNK]);
                let left = (pairs - start / 2).min(TILE_PAIRS);
                for pair in operands.as_chunks::<4>().0[..left].iter().step_by(stride) {
                    counts[0][usize::from(exponent(u16::from_le_bytes([pair[0], pair[1]])))] += 1;
                    counts[1][usize::from(exponent(u16::from_le_bytes([pair[2], pair[3]])))] += 1;
                }
            }
        }
        // Columns past the last row are zeros.
        counts[0][0] += (2 * (PANEL - rows.count()) * pairs.div_ceil(stride)) as u32;
        let mut table = Self { codes: [ESCAPE; 256], exponents: [0; ESCAPE as usize] };
        for code in 0..ESCAPE {
            let (mut best, mut max) = (0, 0);
            for e in 0..255 {
                let count = counts[0][e] + counts[1][e];
                if table.codes[e] == ESCAPE && count > max {
                    (best, max) = (e, count);
                }
            }
            if max == 0 {
                break;
            }
            table.codes[best] = code;
            table.exponents[usize::from(code)] = best as u8;
        }
        table
    }
}
const _: () = assert!(TILE_PAIRS.is_multiple_of(4));

/// Packs a panel with a table of exponents from every `stride`th pair of inputs.
#[inline(always)]
fn pack_counting<S: Simd>(
    s: S,
    rows: &dyn PanelRows,
    stride: usize,
    panel: &mut [u8],
) -> Result<usize, Unpackable> {
    let k = rows.inputs();
    let table = Table::count(rows, stride);
    let (head, escapes) = panel.split_at_mut(escapes_offset(k));
    let (header, blocks) = head.split_at_mut(HEADER_BYTES);
    header.fill(0);
    header[..usize::from(ESCAPE)].copy_from_slice(&table.exponents);
    escapes.fill(0xff);
    let mut escapes = escapes.chunks_exact_mut(ESCAPE_BYTES);
    let mut found = Found::default();
    let mut tile = [[0_u8; TILE_ROW_BYTES]; PANEL];
    let mut pairs = [0_u8; TILE_BYTES];
    for (number, block) in blocks.chunks_exact_mut(BLOCK_BYTES).enumerate() {
        let first = number * BLOCK_INPUTS;
        if first.is_multiple_of(CHUNK) {
            fill_tile(rows, first, &mut tile, &mut found);
            write_whole_tile(s, &mut pairs, tile.as_flattened(), TILE_ROW_BYTES);
        }
        let pairs = &pairs.as_chunks::<{ 2 * PAIR }>().0[first / 2 % TILE_PAIRS..][..2];
        encode_block(&table, k, first / 2, pairs, block, &mut escapes)?;
    }
    if found.bad { Err(Unpackable::NonFinite) } else { Ok(found.flushed) }
}

/// Encodes two pairs of inputs, the first of which has number `first`; `pairs` are their elements
/// as a bf16 panel has them.
#[inline(always)]
fn encode_block(
    table: &Table,
    k: usize,
    first: usize,
    pairs: &[[u8; 2 * PAIR]],
    block: &mut [u8],
    escapes: &mut core::slice::ChunksExactMut<'_, u8>,
) -> Result<(), Unpackable> {
    let (rests, block_codes) = block.split_at_mut(2 * PAIR);
    let mut codes = [[0; PAIR]; 2];
    for (step, (rest, elements)) in rests.chunks_exact_mut(PAIR).zip(pairs).enumerate() {
        let pair = first + step;
        if pair == pair_count(k) {
            // A block with one pair: the other is zeros, and a code that any table has.
            rest.fill(0);
            continue;
        }
        let element = |i: usize| u16::from_le_bytes([elements[2 * i], elements[2 * i + 1]]);
        let mut any = 0;
        for (i, rest) in rest.chunks_exact_mut(2).enumerate() {
            let [x, y] = [element(i), element(PANEL + i)];
            let word = x & REST | (y & REST).swap_bytes();
            rest.copy_from_slice(&word.to_le_bytes());
            let of = [x, y].map(|x| table.codes[usize::from(exponent(x))]);
            [codes[step][i], codes[step][PANEL + i]] = of;
            any |= u8::from(of[0] == ESCAPE) | u8::from(of[1] == ESCAPE);
        }
        if any != 0 {
            for i in (0..PAIR).filter(|i| codes[step][*i] == ESCAPE) {
                let entry = escape(pair, i, exponent(element(i)));
                let place = escapes.next().ok_or(Unpackable::TooManyExponents)?;
                place.copy_from_slice(&entry.to_le_bytes());
            }
        }
    }
    for (i, out) in block_codes.chunks_exact_mut(2).enumerate() {
        for (step, out) in out.iter_mut().enumerate() {
            *out = codes[step][i] | codes[step][PANEL + i] << 4;
        }
    }
    Ok(())
}

/// An escape as it is stored.
const fn escape(pair: usize, element: usize, exponent: u8) -> u32 {
    (pair as u32) << 14 | (element as u32) << 8 | exponent as u32
}

/// The escapes of a panel that are still to come.
#[derive(Clone, Copy, Debug)]
pub struct Escapes<'p> {
    next: u32,
    rest: &'p [Bf16x12],
}

impl<'p> Escapes<'p> {
    /// All those of a panel.
    ///
    /// # Panics
    /// If the panel has another length than `k` says.
    #[inline(always)]
    fn of(k: usize, panel: &'p [Bf16x12]) -> Self {
        assert!(panel.len() == Bf16x12::panel_len(k));
        let mut all = Self { next: NO_ESCAPE, rest: &panel[escapes_offset(k)..] };
        all.advance();
        all
    }

    /// Reads the next escape.
    #[inline(always)]
    fn advance(&mut self) {
        self.next = NO_ESCAPE;
        if let Some((entry, rest)) = self.rest.split_first_chunk() {
            self.next = u32::from_le_bytes(entry.map(|byte: Bf16x12| byte.0));
            self.rest = rest;
        }
    }

    /// The next one's element and exponent, if it is of that pair. Past the last one no pair has
    /// any.
    #[inline(always)]
    fn of_pair(&self, pair: usize) -> Option<(usize, u8)> {
        (self.next >> 14 == pair as u32).then_some(((self.next >> 8) as usize % PAIR, self.next as u8))
    }

    /// Gives the escaped elements of two pairs, an even one and the next, their exponents.
    #[inline(always)]
    fn complete<S: DecodeBf16x12>(&mut self, s: S, even_pair: usize, words: [S::Words; 2]) -> [S::Words; 2] {
        let [mut even, mut odd] = words;
        while self.next >> 15 == (even_pair / 2) as u32 {
            rare();
            if let Some((element, exponent)) = self.of_pair(even_pair) {
                even = s.with_exponent(even, element, exponent);
            } else if let Some((element, exponent)) = self.of_pair(even_pair + 1) {
                odd = s.with_exponent(odd, element, exponent);
            }
            self.advance();
        }
        [even, odd]
    }
}

/// Tells the compiler that the way here is not worth a register.
#[cold]
#[inline(never)]
fn rare() {}

/// The weights of one column, pair after pair, one element at a time.
struct Column<'p> {
    panel: &'p [Bf16x12],
    escapes: Escapes<'p>,
    lane: usize,
    pair: usize,
}

impl<'p> Column<'p> {
    fn new(panel: &'p [Bf16x12], k: usize, lane: usize) -> Self {
        Self { panel, escapes: Escapes::of(k, panel), lane, pair: 0 }
    }

    /// The next two weights.
    fn next_pair(&mut self) -> [bf16; 2] {
        let block = &self.panel[block_offset(2 * self.pair)..][..BLOCK_BYTES];
        let (rest, codes) = block.split_at(2 * PAIR);
        let step = self.pair % 2;
        let mut bits = [0, 1].map(|odd| {
            let element = plain_offset(self.lane, odd, 2);
            let (half, word) = (element / PANEL, element % PANEL);
            let rest = &rest[step * PAIR + 2 * word..][..2];
            let rest = u16::from_le_bytes([rest[half].0, rest[1 - half].0]) & REST;
            let code = codes[2 * word + step].0 >> (4 * half) & 15;
            let exponent = if code == ESCAPE { 0 } else { self.panel[usize::from(code)].0 };
            rest | u16::from(exponent) << 7
        });
        while let Some((element, exponent)) = self.escapes.of_pair(self.pair) {
            if element / 2 == self.lane {
                bits[element % 2] |= u16::from(exponent) << 7;
            }
            self.escapes.advance();
        }
        self.pair += 1;
        bits.map(bf16::from_bits)
    }
}

impl<S: InstructionSet> Weight<S> for Bf16x12 {
    type Cursor<'p> = Escapes<'p>;
    const DEQUANTIZES: bool = true;
    unscaled_sums!();

    #[inline(always)]
    fn cursor(k: usize, panel: &[Bf16x12]) -> Escapes<'_> {
        Escapes::of(k, panel)
    }
    #[inline(always)]
    fn accumulate<const MR: usize, const DEQUANTIZE: bool>(
        s: S,
        slice: Slice<'_, Bf16x12>,
        escapes: &mut Escapes<'_>,
        rows: TileRows<'_, bf16, MR>,
        sums: &mut [ColumnSums<S, Self>; MR],
        out: &mut [bf16],
        ahead: Ahead,
    ) {
        let Slice { panel, first, len, .. } = slice;
        let units = Units { panel, first: first / BLOCK_INPUTS, count: len.div_ceil(BLOCK_INPUTS) };
        unpacking_tile::<S, Bf16x12, MR, DEQUANTIZE>(s, units, rows, escapes, sums, out, ahead);
    }
}

/// A block, and the panel's table in registers.
#[derive(Clone, Copy)]
pub struct Unit<'p, S: DecodeBf16x12> {
    block: &'p [Bf16x12; BLOCK_BYTES],
    number: usize,
    table: S::CodeTable,
}

impl<S: InstructionSet> Unpack<S> for Bf16x12 {
    type Operand = bf16;
    type Cursor<'p> = Escapes<'p>;
    type Shared = S::CodeTable;
    type Unit<'p> = Unit<'p, S>;
    const UNIT: usize = BLOCK_INPUTS;
    const HEADER_LEN: usize = HEADER_BYTES;
    const BLOCK_LEN: usize = BLOCK_BYTES;
    const BLOCK_UNITS: usize = 1;

    #[inline(always)]
    fn shared(s: S, panel: &[Bf16x12]) -> S::CodeTable {
        s.load_code_table(panel.first_chunk().expect("a panel has a header"))
    }
    #[inline(always)]
    fn unit(_s: S, table: S::CodeTable, block: &[Bf16x12], number: usize) -> Unit<'_, S> {
        Unit { block: block.first_chunk().expect("a whole block"), number, table }
    }

    /// Both pairs at once, with one look at the escapes: products between the two would wait in
    /// registers for the second.
    #[inline(always)]
    fn unpack(s: S, unit: Unit<'_, S>, _pair: usize, escapes: &mut Escapes<'_>) -> [S::Words; 2] {
        let [even, odd, codes] = unit.block.as_chunks::<64>().0 else { unreachable!("three lines") };
        let words = [
            s.decode_words::<false>(even, codes, unit.table),
            s.decode_words::<true>(odd, codes, unit.table),
        ];
        escapes.complete(s, 2 * unit.number, words)
    }
}

#[cfg(test)]
mod tests;
