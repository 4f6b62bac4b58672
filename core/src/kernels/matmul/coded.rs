//! bf16 weights in 12 bits, losslessly: decode reads three quarters of the bytes and multiplies the
//! same bits.
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
//!             rest   [2 pairs][32 words]  word i: sign and mantissa of element i, and of element 32 + i with its bytes swapped
//!             codes  [32 words]           word i: 4 bits each, of pair 0: element i, element 32 + i; of pair 1 likewise
//! escapes   a u32 each, ascending: pair << 14 | element << 8 | exponent; room for one in 512 weights, whole cache lines
//! ```
//!
//! The 64 elements of a pair of inputs are numbered as a bf16 panel has them, `[32][2]`. A look-up
//! by words then gives the exponents of 32 elements in their place, and one logical operation the
//! rest: what is decoded is in order. Whether a pair has an escape is a comparison of two integers
//! that hardly ever comes true, so the vector units do not hear of it. Weights whose escapes do not
//! fit cannot be coded: [`encode`] says so, and the model is kept as it is.
use super::micro::{Ahead, Bursts, Element};
use super::panel::PANEL;
use super::weight::{Slice, SliceRows};
use crate::dtype::Bf16x12;
use crate::isa::InstructionSet;
use half::bf16;

const HEADER_BYTES: usize = 64;
/// Inputs of a block.
pub(super) const BLOCK_INPUTS: usize = 4;
const BLOCK_BYTES: usize = 3 * 64;
/// Weights of a pair of inputs.
const PAIR: usize = 2 * PANEL;
/// What says that an exponent is escaped.
const ESCAPE: u8 = 15;
/// Where sign and mantissa of a bf16 are.
const REST: u16 = 0x807f;
const ESCAPE_BYTES: usize = 4;
/// What follows the last escape: no pair of at most [`CODED_INPUTS_MAX`] inputs has that number.
const NO_ESCAPE: u32 = u32::MAX;
/// Inputs of a product that can be coded: an escape has 18 bits for its pair, and the last two
/// pairs are what is said past the end.
pub const CODED_INPUTS_MAX: usize = 2 * ((NO_ESCAPE >> 14) as usize - 1);

/// Bytes of a panel of `k` inputs.
pub const fn coded_len(k: usize) -> usize {
    HEADER_BYTES + k.div_ceil(BLOCK_INPUTS) * BLOCK_BYTES + escape_room(k) * ESCAPE_BYTES
}

/// Escapes that a panel has room for; the zeros that fill up an odd K may all be escapes.
const fn escape_room(k: usize) -> usize {
    (k * PANEL / 512 + 1 + k % 2 * PANEL).next_multiple_of(64 / ESCAPE_BYTES)
}

/// The panel cannot be coded: its escapes do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyExponents;

/// Codes a bf16 panel; `weight(i)` is its element `i` in the order `[ceil(k / 2)][32][2]`.
///
/// # Panics
/// If `out` has another length than `k` says, or `k` is above [`CODED_INPUTS_MAX`].
#[inline(always)]
pub fn encode(k: usize, weight: impl Fn(usize) -> bf16, out: &mut [Bf16x12]) -> Result<(), TooManyExponents> {
    assert!(out.len() == coded_len(k));
    assert!(k <= CODED_INPUTS_MAX);
    // Of many pairs of inputs every fourth is asked: what those do not show is rare, but for a rare
    // panel.
    let looks: &[usize] = if k.div_ceil(2) > 64 { &[4, 1] } else { &[1] };
    for asked in looks {
        if encode_asking(*asked, k, &weight, out).is_ok() {
            return Ok(());
        }
    }
    Err(TooManyExponents)
}

/// The same, with a table of exponents made from every `asked`th pair of inputs.
#[inline(always)]
fn encode_asking(
    asked: usize,
    k: usize,
    weight: &impl Fn(usize) -> bf16,
    out: &mut [Bf16x12],
) -> Result<(), TooManyExponents> {
    let pair_count = k.div_ceil(2);
    let exponent = |x: bf16| (x.to_bits() >> 7) as u8;
    let mut counts = [[0_u32; 256]; 2];
    for first in (0..pair_count * PAIR).step_by(asked * PAIR) {
        for i in (first..first + PAIR).step_by(2) {
            counts[0][usize::from(exponent(weight(i)))] += 1;
            counts[1][usize::from(exponent(weight(i + 1)))] += 1;
        }
    }
    let mut codes = [ESCAPE; 256];
    out[..HEADER_BYTES].fill(Bf16x12(0));
    for code in 0..ESCAPE {
        let (mut best, mut most) = (0, 0);
        for e in 0..255 {
            let count = counts[0][e] + counts[1][e];
            if codes[e] == ESCAPE && count > most {
                (best, most) = (e, count);
            }
        }
        if most == 0 {
            break;
        }
        codes[best] = code;
        out[usize::from(code)] = Bf16x12(best as u8);
    }
    let (head, escapes) = out.split_at_mut(offset(k.next_multiple_of(BLOCK_INPUTS)));
    escapes.fill(Bf16x12(0xff));
    let mut escapes = escapes.chunks_exact_mut(ESCAPE_BYTES);
    for (number, block) in head[HEADER_BYTES..].chunks_exact_mut(BLOCK_BYTES).enumerate() {
        let (rests, block_codes) = block.split_at_mut(2 * PAIR);
        let mut nibbles = [[0; PAIR]; 2];
        for (step, rest) in rests.chunks_exact_mut(PAIR).enumerate() {
            let pair = 2 * number + step;
            if pair == pair_count {
                // A block with one pair: the other is zeros, and a code that any table has.
                rest.fill(Bf16x12(0));
                continue;
            }
            let mut any = 0;
            for (i, rest) in rest.chunks_exact_mut(2).enumerate() {
                let [x, y] = [weight(pair * PAIR + i), weight(pair * PAIR + PANEL + i)];
                let word = x.to_bits() & REST | (y.to_bits() & REST).swap_bytes();
                [rest[0], rest[1]] = word.to_le_bytes().map(Bf16x12);
                let of = [x, y].map(|x| codes[usize::from(exponent(x))]);
                [nibbles[step][i], nibbles[step][PANEL + i]] = of;
                any |= u8::from(of[0] == ESCAPE) | u8::from(of[1] == ESCAPE);
            }
            if any != 0 {
                for element in (0..PAIR).filter(|element| nibbles[step][*element] == ESCAPE) {
                    let entry = escape(pair, element, exponent(weight(pair * PAIR + element)));
                    let place = escapes.next().ok_or(TooManyExponents)?;
                    place.copy_from_slice(&entry.to_le_bytes().map(Bf16x12));
                }
            }
        }
        for (i, out) in block_codes.chunks_exact_mut(2).enumerate() {
            for (step, out) in out.iter_mut().enumerate() {
                *out = Bf16x12(nibbles[step][i] | nibbles[step][PANEL + i] << 4);
            }
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
pub(super) struct Escapes<'p> {
    next: u32,
    rest: &'p [Bf16x12],
}

impl<'p> Escapes<'p> {
    /// All those of a panel.
    ///
    /// # Panics
    /// If the panel has another length than `k` says.
    #[inline(always)]
    pub(super) fn of(k: usize, panel: &'p [Bf16x12]) -> Self {
        assert!(panel.len() == coded_len(k));
        let mut all = Self { next: NO_ESCAPE, rest: &panel[offset(k.next_multiple_of(BLOCK_INPUTS))..] };
        all.advance();
        all
    }

    /// The next one.
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
    fn complete<S: InstructionSet>(&mut self, s: S, even_pair: usize, words: [S::Words; 2]) -> [S::Words; 2] {
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

/// The weights of one column, in order of K, for a tied embedding.
pub(super) fn read_column(k: usize, panel: &[Bf16x12], lane: usize, out: &mut [f32]) {
    let mut escapes = Escapes::of(k, panel);
    for (first, block) in (0..k).step_by(BLOCK_INPUTS).zip(panel[HEADER_BYTES..].chunks_exact(BLOCK_BYTES)) {
        let (rest, codes) = block.split_at(2 * PAIR);
        for step in 0..2 {
            let mut elements = [0_u16; 2];
            for (odd, bits) in elements.iter_mut().enumerate() {
                let (half, word) = (lane / 16, lane % 16 * 2 + odd);
                let rest = &rest[step * PAIR + 2 * word..][..2];
                let rest = u16::from_le_bytes([rest[half].0, rest[1 - half].0]) & REST;
                let code = codes[2 * word + step].0 >> (4 * half) & 15;
                let exponent = if code == ESCAPE { 0 } else { panel[usize::from(code)].0 };
                *bits = rest | u16::from(exponent) << 7;
            }
            while let Some((element, exponent)) = escapes.of_pair(first / 2 + step) {
                if element / 2 == lane {
                    elements[element % 2] |= u16::from(exponent) << 7;
                }
                escapes.advance();
            }
            for (odd, bits) in elements.into_iter().enumerate() {
                if let Some(out) = out.get_mut(first + 2 * step + odd) {
                    *out = f32::from_bits(u32::from(bits) << 16);
                }
            }
        }
    }
}

/// Elements of a panel before a block's first input.
pub(super) const fn offset(input: usize) -> usize {
    HEADER_BYTES + input / BLOCK_INPUTS * BLOCK_BYTES
}

/// Adds the products of MR rows and a slice of the 32 columns of a panel, in the order of bf16.
/// With `KEEP` the weights are left at `keep` as bf16 has them.
///
/// # Safety
/// For each `r < MR`, `a + r * a_stride` is valid for reading the slice's inputs, rounded up to
/// four; with `KEEP`, `keep` for writing so many inputs of 32 columns.
#[inline(always)]
pub(super) unsafe fn tile<S: InstructionSet, const MR: usize, const KEEP: bool>(
    s: S,
    slice: Slice<'_, Bf16x12>,
    escapes: &mut Escapes<'_>,
    (a, a_stride): SliceRows<bf16>,
    acc: &mut [[S::F; 2]; MR],
    keep: *mut bf16,
    ahead: Ahead,
) {
    let block_count = slice.len.div_ceil(BLOCK_INPUTS);
    let blocks = slice.panel[offset(slice.first)..][..block_count * BLOCK_BYTES].as_ptr().cast::<u8>();
    // SAFETY: a panel begins with 16 exponents.
    let table = unsafe { s.load_code_table(&*slice.panel.as_ptr().cast()) };
    let (mut sums, mut left) = (*acc, *escapes);
    let mut bursts = Bursts::cut(ahead, block_count, BLOCK_LINES);
    for block in 0..block_count {
        let pair = slice.first / 2 + 2 * block;
        // SAFETY: the slice has that many blocks, each row their inputs, and `keep` room for them.
        unsafe {
            let rest = blocks.add(block * BLOCK_BYTES);
            let codes = rest.add(2 * PAIR);
            let a = a.add(block * BLOCK_INPUTS);
            let keep = keep.wrapping_add(block * 2 * <bf16 as Element<S>>::KEPT);
            bursts.fetch(s, BLOCK_LINES);
            // Both pairs first, with one look at the escapes: products between the two would wait
            // in registers for the second.
            let words = [
                s.decode_words::<false>(&*rest.cast(), &*codes.cast(), table),
                s.decode_words::<true>(&*rest.add(PAIR).cast(), &*codes.cast(), table),
            ];
            let words = left.complete(s, pair, words);
            for step in 0..2 {
                if KEEP {
                    s.store_dequantized_pairs(keep.add(step * <bf16 as Element<S>>::KEPT), words[step]);
                }
                let columns = s.pairs_of_words(words[step]);
                for r in 0..MR {
                    let row = s.splat_pair(a.add(r * a_stride + 2 * step));
                    sums[r][0] = s.dot_pairs(row, columns[0], sums[r][0]);
                    sums[r][1] = s.dot_pairs(row, columns[1], sums[r][1]);
                }
            }
        }
    }
    (*acc, *escapes) = (sums, left);
}

/// Cache lines of a block.
const BLOCK_LINES: usize = BLOCK_BYTES / 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, SimdOp};
    use crate::kernels::matmul::tests::noise;
    use std::vec;
    use std::vec::Vec;

    /// Leaves a panel's elements as a path keeps them: the coded one's at the third, the raw one's
    /// at the fourth.
    struct Expand<'a>(usize, &'a [Bf16x12], &'a [bf16], [&'a mut [bf16]; 2]);
    impl SimdOp for Expand<'_> {
        /// Elements that were written.
        type Output = usize;
        #[inline(always)]
        fn eval<S: InstructionSet>(self, s: S) -> usize {
            let Self(k, panel, raw, [out, expected]) = self;
            let kept = <bf16 as Element<S>>::KEPT;
            let blocks = k.div_ceil(BLOCK_INPUTS);
            assert!(out.len() >= 2 * blocks * kept && expected.len() == out.len());
            for (step, raw) in raw.chunks_exact(PAIR).enumerate() {
                // SAFETY: a step of 32 columns, and there is room for two steps a block.
                unsafe {
                    let halves = [raw.as_ptr(), raw.as_ptr().add(PAIR / 2)];
                    <bf16 as Element<S>>::keep(s, halves, expected.as_mut_ptr().add(step * kept))
                };
            }
            let row = vec![bf16::ONE; k.next_multiple_of(BLOCK_INPUTS)];
            let slice = Slice { panel, k, first: 0, len: k };
            let ahead = Ahead::share((panel.as_ptr().cast(), panel.len()), 0..1, 1);
            let (mut sums, keep) = ([[s.splat(0.0); 2]], out.as_mut_ptr());
            // SAFETY: `row` and `out` hold the inputs, rounded up.
            unsafe {
                let mut escapes = Escapes::of(k, panel);
                tile::<S, 1, true>(s, slice, &mut escapes, (row.as_ptr(), 0), &mut sums, keep, ahead);
            }
            raw.len() / PAIR * kept
        }
    }

    fn expanded_len(k: usize) -> usize {
        2 * k.next_multiple_of(BLOCK_INPUTS) * PANEL
    }

    fn panel(k: usize, value: impl Fn(usize) -> f32) -> Vec<bf16> {
        let mut panel = vec![bf16::ZERO; k.next_multiple_of(2) * PANEL];
        for (i, x) in panel.iter_mut().enumerate().take(k / 2 * 2 * PANEL) {
            *x = bf16::from_f32(value(i));
        }
        panel
    }

    #[test]
    fn every_path_gives_back_every_bit() {
        for k in [1, 2, 3, 4, 5, 31, 64, 172, 1000] {
            // Normal noise; and with outliers, zeros and rare tiny ones, as far as the escapes go.
            let noisy = panel(k, |i| noise(k as u64, i));
            let odd = panel(k, |i| match i % 701 {
                0 => 1e30,
                1 => -1e-12,
                2..9 => 0.0,
                _ => noise(3, i),
            });
            for raw in [noisy, odd, panel(k, |_| 0.0)] {
                let mut coded = vec![Bf16x12(0xaa); coded_len(k)];
                encode(k, |i| raw[i], &mut coded).expect("few exponents");
                for isa in Isa::available().iter() {
                    let (mut out, mut expected) =
                        (vec![bf16::ONE; expanded_len(k)], vec![bf16::ONE; expanded_len(k)]);
                    let len = isa.run(Expand(k, &coded, &raw, [&mut out, &mut expected]));
                    assert!(out[..len] == expected[..len], "{} k {k}", isa.name());
                    assert!(out[len..].iter().all(|x| x.to_bits() & 0x7f == 0));
                }
                for lane in [0, 7, 15, 16, 31] {
                    let mut column = vec![9.0; k];
                    read_column(k, &coded, lane, &mut column);
                    for (i, x) in column.iter().enumerate() {
                        assert_eq!(*x, raw[i / 2 * PAIR + lane * 2 + i % 2].to_f32(), "k {k} lane {lane}");
                    }
                }
            }
        }
    }

    #[test]
    fn exponents_that_a_first_look_misses_are_found() {
        let k = 256;
        let one_pair = |i: usize| bf16::from_f32(if i / PAIR == 1 { 1e20 } else { 1.0 });
        let mut coded = vec![Bf16x12(0); coded_len(k)];
        encode(k, one_pair, &mut coded).expect("two exponents");
        let mut column = vec![0.0; k];
        read_column(k, &coded, 5, &mut column);
        assert!(column.iter().enumerate().all(|(i, x)| *x == one_pair(i / 2 * PAIR + 10 + i % 2).to_f32()));
    }

    #[test]
    fn what_is_not_worth_coding_is_refused_and_lies_stay_within_bounds() {
        let k = 256;
        let wild = panel(k, |i| f32::from_bits(((i * 7 % 200 + 20) as u32) << 23));
        let mut coded = vec![Bf16x12(0); coded_len(k)];
        assert_eq!(encode(k, |i| wild[i], &mut coded), Err(TooManyExponents));
        // Every code an escape: many more than there are.
        coded.fill(Bf16x12(0xff));
        for isa in Isa::available().iter() {
            let mut out = [vec![bf16::ZERO; expanded_len(k)], vec![bf16::ZERO; expanded_len(k)]];
            isa.run(Expand(k, &coded, &[], out.each_mut().map(|out| &mut out[..])));
        }
        read_column(k, &coded, 3, &mut vec![0.0; k]);
    }
}
