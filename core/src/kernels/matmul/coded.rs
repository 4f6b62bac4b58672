//! bf16 weights in 12 bits, losslessly: decode reads three quarters of the bytes and multiplies the same bits.
//!
//! A trained weight's sign and mantissa look like noise, but its exponent is one of a few: the 15 most frequent exponents of a panel
//! cover all but a few weights in ten thousand. So a weight is stored as 8 bits of sign and mantissa and a 4-bit code, an index
//! into the panel's table of exponents; code 15 says that the exponent is the next byte of the panel's escapes.
//! (That trained exponents hold under 3 bits: Zhang et al., "DFloat11", arXiv 2504.11651. Codes of a fixed length, unlike
//! theirs, are decoded by one table look-up in a register, in the K loop.)
//!
//! ```text
//! header    64 bytes: the 16 exponents (the last one is unused), zeros
//! blocks    [ceil(K / 4)] of 192 bytes, two pairs of inputs:
//!             sign and mantissa  [2][64]  one pair of all 32 columns after the other
//!             codes              [64]     the first pair's in the low halves, the second's in the high ones
//! escapes   one byte each, in the order of the weights; room for one in 256, whole cache lines
//! ```
//!
//! The 64 weights of a pair of inputs stand in the order in which interleaving registers yields them: sixteen bytes after sixteen,
//! eight of the first 16 columns, eight of the second ([`position`]). Weights whose escapes do not fit cannot be coded:
//! [`encode`] says so, and the model is kept as it is.
use super::micro::Ahead;
use super::panel::PANEL;
use super::weight::{Slice, SliceRows};
use crate::dtype::Coded;
use crate::isa::{Escapes, Simd};
use half::bf16;

const HEADER_BYTES: usize = 64;
/// Inputs of a block.
pub(super) const BLOCK_INPUTS: usize = 4;
const BLOCK_BYTES: usize = 3 * 64;
/// Weights of a pair of inputs.
const PAIR: usize = 2 * PANEL;
/// What says that an exponent is escaped.
const ESCAPE: u8 = 15;

/// Bytes of a panel of `k` inputs.
pub const fn coded_len(k: usize) -> usize {
    HEADER_BYTES + k.div_ceil(BLOCK_INPUTS) * BLOCK_BYTES + escape_room(k)
}

/// Escapes that a panel has room for.
const fn escape_room(k: usize) -> usize {
    (k * PANEL / 256 + 1).next_multiple_of(64)
}

/// Where the weight of a column, the even or the odd one of a pair, stands among the 64.
const fn position(lane: usize, odd: usize) -> usize {
    let word = lane % 16 * 2 + odd;
    word / 8 * 16 + lane / 16 * 8 + word % 8
}

/// The panel's escapes do not fit: too many different exponents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyExponents;

/// Codes a bf16 panel; `weight(i)` is its element `i` in the order `[ceil(k / 2)][32][2]`.
///
/// # Panics
/// If `out` has another length than `k` says.
#[inline(always)]
pub fn encode(k: usize, weight: impl Fn(usize) -> bf16, out: &mut [Coded]) -> Result<(), TooManyExponents> {
    assert!(out.len() == coded_len(k));
    let pair_count = k.div_ceil(2);
    let exponent = |x: bf16| (x.to_bits() >> 7) as u8;
    // Of many pairs of inputs every fourth is asked: what those do not show is rare.
    let asked = if pair_count > 64 { 4 } else { 1 };
    let mut counts = [[0_u32; 256]; 2];
    for first in (0..pair_count * PAIR).step_by(asked * PAIR) {
        for i in (first..first + PAIR).step_by(2) {
            counts[0][usize::from(exponent(weight(i)))] += 1;
            counts[1][usize::from(exponent(weight(i + 1)))] += 1;
        }
    }
    let mut codes = [ESCAPE; 256];
    out[..HEADER_BYTES].fill(Coded(0));
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
        out[usize::from(code)] = Coded(best as u8);
    }
    let (head, escapes) = out.split_at_mut(offset(k.next_multiple_of(BLOCK_INPUTS)));
    let blocks = &mut head[HEADER_BYTES..];
    escapes.fill(Coded(0));
    let mut escape_count = 0;
    for (number, block) in blocks.chunks_exact_mut(BLOCK_BYTES).enumerate() {
        let (rest, block_codes) = block.split_at_mut(2 * PAIR);
        let mut nibbles = [[0; PAIR]; 2];
        for (step, nibbles) in nibbles.iter_mut().enumerate() {
            let rest = &mut rest[step * PAIR..][..PAIR];
            let pair = 2 * number + step;
            if pair == pair_count {
                // A block with one pair: the other is zeros, and a code that any table has.
                rest.fill(Coded(0));
                nibbles.fill(0);
                continue;
            }
            let mut any = 0;
            for lane in 0..PANEL {
                for odd in 0..2 {
                    let (x, at) = (weight(pair * PAIR + 2 * lane + odd), position(lane, odd));
                    rest[at] = Coded((x.to_bits() >> 8 & 0x80 | x.to_bits() & 0x7f) as u8);
                    nibbles[at] = codes[usize::from(exponent(x))];
                    any |= u8::from(nibbles[at] == ESCAPE);
                }
            }
            if any != 0 {
                for at in (0..PAIR).filter(|at| nibbles[*at] == ESCAPE) {
                    if escape_count == escape_room(k) {
                        return Err(TooManyExponents);
                    }
                    let (lane, odd) = column(at);
                    escapes[escape_count] = Coded(exponent(weight(pair * PAIR + 2 * lane + odd)));
                    escape_count += 1;
                }
            }
        }
        for (at, out) in block_codes.iter_mut().enumerate() {
            *out = Coded(nibbles[0][at] | nibbles[1][at] << 4);
        }
    }
    Ok(())
}

/// The column at a [`position`], and whether it is the odd one of its pair.
const fn column(at: usize) -> (usize, usize) {
    let word = at / 16 * 8 + at % 8;
    (at % 16 / 8 * 16 + word / 2, word % 2)
}

/// The weights of one column, in order of K, for a tied embedding.
pub(super) fn read_column(k: usize, panel: &[Coded], lane: usize, out: &mut [f32]) {
    let escapes = &panel[offset(k.next_multiple_of(BLOCK_INPUTS))..];
    let mut seen = 0;
    for (first, block) in (0..k).step_by(BLOCK_INPUTS).zip(panel[HEADER_BYTES..].chunks_exact(BLOCK_BYTES)) {
        let (rest, codes) = block.split_at(2 * PAIR);
        for step in 0..2 {
            let code = |at: usize| codes[at].0 >> (4 * step) & 15;
            let escapes_before = |at: usize| (0..at).filter(|at| code(*at) == ESCAPE).count();
            for odd in 0..2 {
                let (input, at) = (first + 2 * step + odd, position(lane, odd));
                let exponent = if code(at) == ESCAPE {
                    escapes.get(seen + escapes_before(at)).map_or(0, |e| e.0)
                } else {
                    panel[usize::from(code(at))].0
                };
                if let Some(out) = out.get_mut(input) {
                    let rest = u16::from(rest[step * PAIR + at].0);
                    let bits = (rest & 0x80) << 8 | u16::from(exponent) << 7 | rest & 0x7f;
                    *out = f32::from_bits(u32::from(bits) << 16);
                }
            }
            seen += escapes_before(PAIR);
        }
    }
}

/// Elements of a panel before a block's first input.
pub(super) const fn offset(input: usize) -> usize {
    HEADER_BYTES + input / BLOCK_INPUTS * BLOCK_BYTES
}

/// The escapes of a panel.
///
/// # Panics
/// If the panel has another length than `k` says.
#[inline(always)]
pub(super) fn escapes(k: usize, panel: &[Coded]) -> Escapes {
    assert!(panel.len() == coded_len(k));
    let escapes = &panel[offset(k.next_multiple_of(BLOCK_INPUTS))..];
    let start = escapes.as_ptr().cast::<u8>();
    // SAFETY: the bytes of the slice.
    unsafe { Escapes::new(start, start.add(escapes.len())) }
}

/// Adds the products of MR rows and a slice of the 32 columns of a panel, in the order of bf16. With `KEEP` the weights are left at
/// `keep` as bf16 has them.
///
/// # Safety
/// For each `r < MR`, `a + r * a_stride` is valid for reading the slice's inputs, rounded up to four; with `KEEP`, `keep` for writing
/// so many inputs of 32 columns. `escapes` are the panel's.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const MR: usize, const KEEP: bool>(
    s: S,
    slice: Slice<'_, Coded>,
    escapes: &mut Escapes,
    (a, a_stride): SliceRows<bf16>,
    acc: &mut [[S::F; 2]; MR],
    keep: *mut bf16,
    ahead: Ahead,
) {
    let block_count = slice.len.div_ceil(BLOCK_INPUTS);
    let blocks = slice.panel[offset(slice.first)..][..block_count * BLOCK_BYTES].as_ptr().cast::<u8>();
    // SAFETY: a panel begins with 16 exponents.
    let table = unsafe { s.load_code_table(slice.panel.as_ptr().cast()) };
    let (mut sums, mut left) = (*acc, *escapes);
    let mut ahead = ahead.cut(block_count * 4);
    for block in 0..block_count {
        // SAFETY: the slice has that many blocks, each row their inputs, and `keep` room for them.
        unsafe {
            let rest = blocks.add(block * BLOCK_BYTES);
            let codes = rest.add(2 * PAIR);
            let a = a.add(block * BLOCK_INPUTS);
            let keep = keep.wrapping_add(block * 2 * PAIR);
            let words = s.decode_words::<false>(rest, codes, table, &mut left);
            if KEEP {
                s.store_words(keep, words);
            }
            ahead.fetch(s);
            ahead.fetch(s);
            let columns = s.pairs_of_words(words);
            for r in 0..MR {
                let row = s.splat_pair(a.add(r * a_stride));
                sums[r][0] = s.dot_pairs(row, columns[0], sums[r][0]);
                sums[r][1] = s.dot_pairs(row, columns[1], sums[r][1]);
            }
            let words = s.decode_words::<true>(rest.add(PAIR), codes, table, &mut left);
            if KEEP {
                s.store_words(keep.add(PAIR), words);
            }
            ahead.fetch(s);
            ahead.fetch(s);
            let columns = s.pairs_of_words(words);
            for r in 0..MR {
                let row = s.splat_pair(a.add(r * a_stride + 2));
                sums[r][0] = s.dot_pairs(row, columns[0], sums[r][0]);
                sums[r][1] = s.dot_pairs(row, columns[1], sums[r][1]);
            }
        }
    }
    (*acc, *escapes) = (sums, left);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, SimdOp};
    use crate::kernels::matmul::tests::noise;
    use std::vec;
    use std::vec::Vec;

    struct Expand<'a>(usize, &'a [Coded], &'a mut [bf16]);
    impl SimdOp for Expand<'_> {
        type Output = ();
        #[inline(always)]
        fn eval<S: Simd>(self, s: S) {
            let Self(k, panel, out) = self;
            assert_eq!(out.len(), expanded_len(k));
            let row = vec![bf16::ONE; k.next_multiple_of(BLOCK_INPUTS)];
            let slice = Slice { panel, k, first: 0, len: k };
            let ahead = Ahead::share((panel.as_ptr().cast(), panel.len()), 0..1, 1);
            let mut sums = [[s.splat(0.0); 2]];
            // SAFETY: `row` and `out` hold the inputs, rounded up.
            unsafe {
                let mut escapes = escapes(k, panel);
                tile::<S, 1, true>(
                    s,
                    slice,
                    &mut escapes,
                    (row.as_ptr(), 0),
                    &mut sums,
                    out.as_mut_ptr(),
                    ahead,
                );
            }
        }
    }

    fn expanded_len(k: usize) -> usize {
        k.next_multiple_of(BLOCK_INPUTS) * PANEL
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
                let mut coded = vec![Coded(0xaa); coded_len(k)];
                encode(k, |i| raw[i], &mut coded).expect("few exponents");
                for isa in Isa::available().iter() {
                    let mut out = vec![bf16::ONE; expanded_len(k)];
                    isa.run(Expand(k, &coded, &mut out));
                    assert!(out[..raw.len()] == raw, "{} k {k}", isa.name());
                    assert!(out[raw.len()..].iter().all(|x| x.to_bits() & 0x7f == 0));
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
    fn what_is_not_worth_coding_is_refused_and_lies_stay_within_bounds() {
        let k = 256;
        let wild = panel(k, |i| f32::from_bits(((i * 7 % 200 + 20) as u32) << 23));
        let mut coded = vec![Coded(0); coded_len(k)];
        assert_eq!(encode(k, |i| wild[i], &mut coded), Err(TooManyExponents));
        // Every code an escape: many more than there are.
        coded.fill(Coded(0xff));
        for isa in Isa::available().iter() {
            isa.run(Expand(k, &coded, &mut vec![bf16::ZERO; expanded_len(k)]));
        }
        read_column(k, &coded, 3, &mut vec![0.0; k]);
    }
}
