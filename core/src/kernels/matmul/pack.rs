//! From the rows of a checkpoint's weight to one panel.
//!
//! A panel of 32 output columns is 32 contiguous rows of the checkpoint, transposed: [`pack_panel`]
//! takes the rows as little-endian bytes of any alignment, 32 elements of each at a time (a cache
//! line of a bf16 row), converts them in a tile that stays in the first-level cache, and writes the
//! tile out in whole cache lines. Rows of bf16 that are operands already, which a look at their
//! extremes tells, go to the panel without the tile.
//!
//! | from | to bf16 | to f32 | to int8 and int4 |
//! |---|---|---|---|
//! | bf16 | exact | exact | scaled by the row's greatest magnitude, rounded to nearest even |
//! | f16 | rounded to nearest even | exact | the same |
//! | f32 | rounded to nearest even | exact | the same |
//!
//! For int8 and int4 a row is [rotated](crate::kernels::rotation::rows) first, and again for the
//! second of the two passes: 256 elements at a time, in L1. A bf16 weight is an operand: below
//! 2^-50 it is flushed to +0, and the nonzero weights that this touched are counted. A weight that
//! is not finite, or not any more once rounded or rotated, is an error. [`pack_f32`],
//! [`pack_bf16`], [`pack_int8`] and [`pack_int4`](super::int4::pack_int4) say the same one element
//! at a time.
use super::int4::{self, GROUP, column_scale_of};
use super::panel::{INT8_TAIL, PANEL, panel_len};
use crate::dtype::{FLUSH_BELOW, Int8, WeightFormat, bf16_operand, int8_scale, nearest_int};
use crate::isa::{InstructionSet, Isa, LANES, SimdOp};
use crate::kernels::rotation;
use crate::kernels::rotation::rows::{ROTATABLE_BELOW, rotated_block};
use half::bf16;

/// Packs 32 rows (columns of the product) of `k` elements each into an f32 panel.
///
/// `row(lane)` gives the elements of a row, or `None` past the last one; `panel` is `[k][32]`.
///
/// # Panics
/// If a slice has another length than `k` says.
pub fn pack_f32<'a>(panel: &mut [f32], k: usize, row: impl Fn(usize) -> Option<&'a [f32]>) {
    assert_eq!(panel.len(), panel_len(WeightFormat::F32, k));
    for lane in 0..PANEL {
        let source = row(lane);
        assert!(source.is_none_or(|s| s.len() == k));
        for i in 0..k {
            panel[i * PANEL + lane] = source.map_or(0.0, |s| s[i]);
        }
    }
}

/// Packs 32 rows of `k` elements each into a bf16 panel, flushed and rounded as operands are.
///
/// Returns how many nonzero elements the flush set to zero.
///
/// # Panics
/// If a slice has another length than `k` says.
pub fn pack_bf16<'a>(panel: &mut [bf16], k: usize, row: impl Fn(usize) -> Option<&'a [f32]>) -> usize {
    assert_eq!(panel.len(), panel_len(WeightFormat::Bf16, k));
    panel.fill(bf16::ZERO);
    let mut flushed = 0;
    for lane in 0..PANEL {
        let Some(source) = row(lane) else { continue };
        assert_eq!(source.len(), k);
        for (i, x) in source.iter().enumerate() {
            let operand = bf16_operand(*x);
            flushed += usize::from(operand.to_bits() == 0 && *x != 0.0);
            panel[(i / 2) * 2 * PANEL + lane * 2 + i % 2] = operand;
        }
    }
    flushed
}

/// Packs 32 rows of `k` elements each into an int8 panel: each row rotated, then scaled so that its
/// greatest magnitude is 127.
///
/// `value(lane, i)` is an element of a row, 0 past the last one; magnitudes are below
/// [`ROTATABLE_BELOW`].
///
/// # Panics
/// If the panel has another length than `k` says.
pub fn pack_int8(panel: &mut [Int8], k: usize, value: impl Fn(usize, usize) -> f32) {
    assert_eq!(panel.len(), panel_len(WeightFormat::Int8, k));
    panel.fill(Int8(0));
    let (weights, tail) = panel.split_at_mut(k.next_multiple_of(4) * PANEL);
    for lane in 0..PANEL {
        let block = |start: usize| rotated_block(start, k, |i| value(lane, i));
        let (scale, inverse) = int8_scale(greatest_of((0..k).step_by(rotation::rows::BLOCK).map(block)));
        let mut sum = 0;
        for start in (0..k).step_by(rotation::rows::BLOCK) {
            for (i, x) in (start..k).zip(block(start)) {
                let q = nearest_int(x * inverse) as i8;
                sum += i32::from(q);
                weights[(i / 4) * 4 * PANEL + lane * 4 + i % 4] = Int8(q as u8);
            }
        }
        for i in 0..4 {
            tail[lane * 4 + i] = Int8(sum.wrapping_mul(-128).to_le_bytes()[i]);
            tail[(PANEL + lane) * 4 + i] = Int8(scale.to_le_bytes()[i]);
        }
    }
}

/// The greatest magnitude in the blocks of a row.
pub(super) fn greatest_of(blocks: impl Iterator<Item = [f32; rotation::rows::BLOCK]>) -> f32 {
    blocks.flatten().fold(0.0, |max: f32, x| max.max(x.abs()))
}

/// What the elements of a checkpoint are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the documentation
pub enum SourceType {
    F32,
    F16,
    Bf16,
}

impl SourceType {
    /// As models and their fingerprints name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes an element takes.
    pub const fn element_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// One element, widened exactly. `bytes` are the element's own.
    fn widen(self, bytes: &[u8]) -> f32 {
        match self {
            Self::F32 => F32::widen(F32::read(bytes)),
            Self::F16 => F16::widen(F16::read(bytes)),
            Self::Bf16 => Bf16::widen(Bf16::read(bytes)),
        }
    }
}

/// A weight that is infinite, NaN, or too large for the format it is packed to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NonFinite {
    /// The row of those given.
    pub lane: usize,
    /// The element in the row.
    pub k: usize,
    /// Its value in the checkpoint.
    pub value: f32,
}

/// Elements of a row taken at a time.
const CHUNK: usize = 32;

/// A type of the checkpoint. Every method is straight-line, so that loops over a chunk become
/// vectors.
trait Element {
    const BYTES: usize;
    type Raw: Copy;
    fn read(bytes: &[u8]) -> Self::Raw;
    fn widen(x: Self::Raw) -> f32;
    /// Bits of the bf16 operand; NaN and infinity have all exponent bits set.
    #[inline(always)]
    fn operand(x: Self::Raw) -> u16 {
        let x = Self::widen(x);
        let bits = x.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        // A NaN whose rounding would carry out of the exponent; which NaN it is does not matter, it
        // is an error.
        let rounded = if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0 } else { rounded };
        if bits & 0x7fff_ffff < FLUSH_BELOW.to_bits() { 0 } else { rounded }
    }
    /// Whether it is +0 or −0.
    fn is_zero(x: Self::Raw) -> bool;
    /// Whether the bytes of rows are those of their operands, all of them finite. It may say no.
    #[inline(always)]
    fn are_operands(_rows: &[u8]) -> bool {
        false
    }
}

struct F32;
struct F16;
struct Bf16;

impl Element for F32 {
    const BYTES: usize = 4;
    type Raw = u32;
    #[inline(always)]
    fn read(bytes: &[u8]) -> u32 {
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
    #[inline(always)]
    fn widen(x: u32) -> f32 {
        f32::from_bits(x)
    }
    #[inline(always)]
    fn is_zero(x: u32) -> bool {
        x << 1 == 0
    }
}

impl Element for F16 {
    const BYTES: usize = 2;
    type Raw = u16;
    #[inline(always)]
    fn read(bytes: &[u8]) -> u16 {
        u16::from_le_bytes([bytes[0], bytes[1]])
    }
    #[inline(always)]
    fn widen(x: u16) -> f32 {
        let magnitude = u32::from(x & 0x7fff);
        // Exponent bias 15 becomes 127; an f16 subnormal m·2^-24 is (1 + m/1024)·2^-14 − 2^-14,
        // exactly.
        let normal = (magnitude << 13) + ((127 - 15) << 23);
        let subnormal =
            f32::from_bits((magnitude << 13) + ((127 - 14) << 23)) - f32::from_bits((127 - 14) << 23);
        let special = (magnitude << 13) | 0x7f80_0000;
        let bits = if magnitude < 0x400 { subnormal.to_bits() } else { normal };
        let bits = if magnitude >= 0x7c00 { special } else { bits };
        f32::from_bits(bits | u32::from(x & 0x8000) << 16)
    }
    #[inline(always)]
    fn is_zero(x: u16) -> bool {
        x << 1 == 0
    }
}

impl Element for Bf16 {
    const BYTES: usize = 2;
    type Raw = u16;
    #[inline(always)]
    fn read(bytes: &[u8]) -> u16 {
        u16::from_le_bytes([bytes[0], bytes[1]])
    }
    #[inline(always)]
    fn widen(x: u16) -> f32 {
        f32::from_bits(u32::from(x) << 16)
    }
    #[inline(always)]
    fn operand(x: u16) -> u16 {
        if x & 0x7fff < (FLUSH_BELOW.to_bits() >> 16) as u16 { 0 } else { x }
    }
    #[inline(always)]
    fn are_operands(rows: &[u8]) -> bool {
        const LEAST: u16 = (FLUSH_BELOW.to_bits() >> 16) as u16;
        let (mut greatest, mut least, mut signed) = ([0_u16; CHUNK], [u16::MAX; CHUNK], [0_i16; CHUNK]);
        let (chunks, rest) = rows.as_chunks::<{ 2 * CHUNK }>();
        for chunk in chunks {
            for (i, bytes) in chunk.chunks_exact(2).enumerate() {
                let x = Self::read(bytes);
                greatest[i] = greatest[i].max(x & 0x7fff);
                // Zero is less than nothing, and −0 the least of all.
                least[i] = least[i].min((x & 0x7fff).wrapping_sub(1));
                signed[i] = signed[i].min(x as i16);
            }
        }
        rest.is_empty()
            && greatest.iter().all(|x| *x < 0x7f80)
            && least.iter().all(|x| *x >= LEAST - 1)
            && signed.iter().all(|x| *x > i16::MIN)
    }
    #[inline(always)]
    fn is_zero(x: u16) -> bool {
        x << 1 == 0
    }
}

/// A chunk as bf16 operands. Where an element of any chunk was flushed or is not finite, its place
/// in `rare` is not 0.
#[inline(always)]
fn operands<E: Element>(bytes: &[u8], out: &mut [u8; 2 * CHUNK], rare: &mut [u16; CHUNK]) {
    for ((out, rare), bytes) in out.chunks_exact_mut(2).zip(rare).zip(bytes.chunks_exact(E::BYTES)) {
        let raw = E::read(bytes);
        let x = E::operand(raw);
        out.copy_from_slice(&x.to_le_bytes());
        *rare |= u16::from((x == 0) & !E::is_zero(raw)) | u16::from(x & 0x7f80 == 0x7f80);
    }
}

/// Counts what [`operands`] found: it is rare, so the common pass has no sums to carry.
#[cold]
#[inline(never)]
fn count<E: Element>(bytes: &[u8], found: &mut Found) {
    for bytes in bytes.chunks_exact(E::BYTES) {
        let raw = E::read(bytes);
        let x = E::operand(raw);
        found.flushed += usize::from((x == 0) & !E::is_zero(raw));
        found.bad |= x & 0x7f80 == 0x7f80;
    }
}

/// A chunk as bits of f32. Where an element of any chunk is not finite, its place in `bad` is not
/// 0.
#[inline(always)]
fn floats<E: Element>(bytes: &[u8], out: &mut [u32; CHUNK], bad: &mut [u32; CHUNK]) {
    for ((x, bad), bytes) in out.iter_mut().zip(bad).zip(bytes.chunks_exact(E::BYTES)) {
        *x = E::widen(E::read(bytes)).to_bits();
        *bad |= u32::from(*x & 0x7f80_0000 == 0x7f80_0000);
    }
}

/// Whether a place is not 0.
#[inline(always)]
fn any<T: Copy + Default + core::ops::BitOr<Output = T> + PartialEq>(places: &[T; CHUNK]) -> bool {
    places.iter().fold(T::default(), |any, x| any | *x) != T::default()
}

/// The chunk of a row that starts at element `start`; past the row's end zeros.
#[inline(always)]
fn chunk<'a, E: Element>(row: &'a [u8], start: usize, tail: &'a mut [u8; CHUNK * 4]) -> &'a [u8] {
    let rest = &row[start * E::BYTES..];
    if rest.len() >= CHUNK * E::BYTES {
        return &rest[..CHUNK * E::BYTES];
    }
    tail.fill(0);
    tail[..rest.len()].copy_from_slice(rest);
    &tail[..CHUNK * E::BYTES]
}

/// What a pass over elements found.
#[derive(Clone, Copy, Default)]
struct Found {
    flushed: usize,
    bad: bool,
}

struct PackOp<'p, 'a> {
    format: WeightFormat,
    panel: &'p mut [u8],
    source: SourceType,
    /// One row after another, 32 at most.
    rows: &'a [u8],
    row_bytes: usize,
}

impl PackOp<'_, '_> {
    #[inline(always)]
    fn bf16<E: Element, S: InstructionSet>(self, simd: S) -> Found {
        let mut found = Found::default();
        let mut tail = [0; CHUNK * 4];
        let mut tile = [[0_u8; 64]; PANEL];
        // Whole tiles of rows that are operands already go straight to the panel.
        let plain = self.rows.len() == PANEL * self.row_bytes && E::are_operands(self.rows);
        for (block, out) in self.panel.chunks_mut(TILE_BYTES).enumerate() {
            if plain
                && (block + 1) * 64 <= self.row_bytes
                && let Ok(out) = (&mut *out).try_into()
            {
                write_whole_tile(simd, out, &self.rows[block * 64..], self.row_bytes);
                continue;
            }
            let mut rare = [0; CHUNK];
            for (lanes, row) in tile.iter_mut().zip(self.rows.chunks_exact(self.row_bytes)) {
                operands::<E>(chunk::<E>(row, block * CHUNK, &mut tail), lanes, &mut rare);
            }
            if any(&rare) {
                for row in self.rows.chunks_exact(self.row_bytes) {
                    count::<E>(chunk::<E>(row, block * CHUNK, &mut tail), &mut found);
                }
            }
            write_tile(simd, out, tile.as_flattened(), 64);
        }
        found
    }

    #[inline(always)]
    fn f32<E: Element, S: InstructionSet>(self, simd: S) -> Found {
        let mut bad = [0; CHUNK];
        let mut tail = [0; CHUNK * 4];
        let mut tiles = [[[0_u8; 64]; PANEL]; 2];
        for (block, out) in self.panel.chunks_mut(2 * TILE_BYTES).enumerate() {
            for (lane, row) in self.rows.chunks_exact(self.row_bytes).enumerate() {
                let mut bits = [0; CHUNK];
                floats::<E>(chunk::<E>(row, block * CHUNK, &mut tail), &mut bits, &mut bad);
                for (tile, bits) in tiles.iter_mut().zip(bits.chunks_exact(LANES)) {
                    put_words(&mut tile[lane], bits);
                }
            }
            for (out, tile) in out.chunks_mut(TILE_BYTES).zip(&tiles) {
                write_tile(simd, out, tile.as_flattened(), 64);
            }
        }
        Found { flushed: 0, bad: any(&bad) }
    }
}

impl PackOp<'_, '_> {
    /// The part of a row that starts at `start`, a multiple of the block, rotated; zeros past the
    /// row's end. `most` becomes the greatest of itself and the row's elements, as the bits of
    /// their magnitudes.
    #[inline(always)]
    fn rotated<E: Element, S: InstructionSet>(
        simd: S,
        row: &[u8],
        start: usize,
        most: &mut [u32; CHUNK],
    ) -> Block {
        let mut tail = [0; CHUNK * 4];
        let len = (row.len() / E::BYTES - start).min(rotation::rows::BLOCK);
        let mut block = [0.0; rotation::rows::BLOCK];
        for (i, out) in block[..len.next_multiple_of(CHUNK)].chunks_exact_mut(CHUNK).enumerate() {
            let bytes = chunk::<E>(row, start + i * CHUNK, &mut tail);
            for ((x, most), bytes) in out.iter_mut().zip(&mut *most).zip(bytes.chunks_exact(E::BYTES)) {
                *x = E::widen(E::read(bytes));
                // Magnitudes are ordered as their bits are, infinity and NaN behind all numbers.
                *most = (*most).max(x.to_bits() & 0x7fff_ffff);
            }
        }
        rotation::rows::rotate(simd, &mut block[..len]);
        block
    }

    /// The greatest magnitude of each row once it is rotated, or `None` where an element cannot be.
    #[inline(always)]
    fn greatest<E: Element, S: InstructionSet>(&self, simd: S, k: usize) -> Option<[f32; PANEL]> {
        let mut greatest = [0.0; PANEL];
        let mut most = [0; CHUNK];
        for (greatest, row) in greatest.iter_mut().zip(self.rows.chunks_exact(self.row_bytes)) {
            let mut max = [0.0_f32; CHUNK];
            for start in (0..k).step_by(rotation::rows::BLOCK) {
                let block = Self::rotated::<E, S>(simd, row, start, &mut most);
                for x in block.chunks_exact(CHUNK) {
                    for (max, x) in max.iter_mut().zip(x) {
                        *max = if x.abs() > *max { x.abs() } else { *max };
                    }
                }
            }
            *greatest = max.into_iter().fold(0.0, f32::max);
        }
        most.iter().all(|bits| *bits < ROTATABLE_BELOW.to_bits()).then_some(greatest)
    }

    /// K.
    #[inline(always)]
    fn inputs<E: Element>(&self) -> usize {
        self.row_bytes / E::BYTES
    }

    #[inline(always)]
    fn int8<E: Element, S: InstructionSet>(self, simd: S) -> Found {
        let k = self.inputs::<E>();
        let Some(greatest) = self.greatest::<E, S>(simd, k) else { return Found { flushed: 0, bad: true } };
        let mut sums = [0_i32; PANEL];
        let mut bytes = [[0_u8; rotation::rows::BLOCK]; PANEL];
        let inverses = greatest.map(|max| int8_scale(max).1);
        let (weights, panel_tail) = self.panel.split_at_mut(k.next_multiple_of(4) * PANEL);
        for (number, out) in weights.chunks_mut(rotation::rows::BLOCK * PANEL).enumerate() {
            let rows = self.rows.chunks_exact(self.row_bytes);
            for (lane, (bytes, row)) in bytes.iter_mut().zip(rows).enumerate() {
                let block = Self::rotated::<E, S>(simd, row, number * rotation::rows::BLOCK, &mut [0; CHUNK]);
                for (byte, x) in bytes.iter_mut().zip(block) {
                    let q = nearest_int(x * inverses[lane]);
                    sums[lane] += q;
                    *byte = q as u8;
                }
            }
            for (i, out) in out.chunks_mut(TILE_BYTES).enumerate() {
                write_tile(simd, out, &bytes.as_flattened()[64 * i..], rotation::rows::BLOCK);
            }
        }
        write_tail(panel_tail, &sums, greatest.map(|max| int8_scale(max).0));
        Found::default()
    }

    #[inline(always)]
    fn int4<E: Element, S: InstructionSet>(self, simd: S) -> Found {
        const GROUPS: usize = rotation::rows::BLOCK / GROUP;
        let k = self.inputs::<E>();
        let Some(greatest) = self.greatest::<E, S>(simd, k) else { return Found { flushed: 0, bad: true } };
        let mut sums = [0_i32; PANEL];
        // Groups of all columns, transposed: columns are lanes here too.
        let mut groups = [[[0.0_f32; PANEL]; GROUP]; GROUPS];
        let (weights, panel_tail) = self.panel.split_at_mut(k.div_ceil(int4::BLOCK) * int4::BLOCK_BYTES);
        weights.fill(0);
        for start in (0..k).step_by(rotation::rows::BLOCK) {
            for (lane, row) in self.rows.chunks_exact(self.row_bytes).enumerate() {
                let block = Self::rotated::<E, S>(simd, row, start, &mut [0; CHUNK]);
                let (_, inverse) = column_scale_of(greatest[lane]);
                for (group, x) in groups.as_flattened_mut().iter_mut().zip(block) {
                    group[lane] = x * inverse;
                }
            }
            for (i, group) in groups.iter().take((k - start).div_ceil(GROUP)).enumerate() {
                int4::write_group(weights, start / GROUP + i, group, &mut sums);
            }
        }
        write_tail(panel_tail, &sums, greatest.map(|max| column_scale_of(max).0));
        Found::default()
    }
}

/// A block of a row.
type Block = [f32; rotation::rows::BLOCK];

/// Writes where the sums of the columns start, and their scales.
#[inline(always)]
fn write_tail(tail: &mut [u8], sums: &[i32; PANEL], scales: [f32; PANEL]) {
    assert_eq!(tail.len(), INT8_TAIL);
    for lane in 0..PANEL {
        let start = sums[lane].wrapping_mul(-128);
        tail[lane * 4..][..4].copy_from_slice(&start.to_le_bytes());
        tail[(PANEL + lane) * 4..][..4].copy_from_slice(&scales[lane].to_le_bytes());
    }
}

/// Bytes of a tile: 16 words of 4 bytes for each of the 32 rows.
const TILE_BYTES: usize = PANEL * 4 * LANES;

/// Sixteen words as their bytes.
#[inline(always)]
fn put_words(out: &mut [u8; 64], words: &[u32]) {
    for (bytes, word) in out.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

/// Writes a tile transposed: 32 words of 4 bytes for each of its columns, as many columns as `out`
/// takes. Row `i` of the tile are the 64 bytes at `i * stride`.
#[inline(always)]
fn write_tile<S: InstructionSet>(simd: S, out: &mut [u8], rows: &[u8], stride: usize) {
    if let Ok(out) = out.try_into() {
        write_whole_tile(simd, out, rows, stride);
    } else {
        let mut whole = [0; TILE_BYTES];
        write_whole_tile(simd, &mut whole, rows, stride);
        out.copy_from_slice(&whole[..out.len()]);
    }
}

/// The same for a whole tile.
#[inline(always)]
fn write_whole_tile<S: InstructionSet>(simd: S, out: &mut [u8; TILE_BYTES], rows: &[u8], stride: usize) {
    const LINE: usize = PANEL * 4;
    assert!(rows.len() >= (PANEL - 1) * stride + 64);
    for half in 0..2 {
        // SAFETY: 16 of 32 rows, the last of which ends within `rows`; 16 lines of 128 bytes, of
        // which these rows fill the first half or the second. One is borrowed to be read, the other
        // to be written.
        unsafe {
            let rows = rows.as_ptr().add(half * LANES * stride);
            simd.store_transposed(rows, stride, out.as_mut_ptr().add(half * LINE / 2), LINE);
        }
    }
}

impl SimdOp for PackOp<'_, '_> {
    type Output = Found;
    #[inline(always)]
    fn eval<S: InstructionSet>(self, simd: S) -> Found {
        match (self.format, self.source) {
            (WeightFormat::Bf16Coded, _) => unreachable!("panels are packed as bf16, then coded"),
            (WeightFormat::Bf16, SourceType::Bf16) => self.bf16::<Bf16, S>(simd),
            (WeightFormat::Bf16, SourceType::F16) => self.bf16::<F16, S>(simd),
            (WeightFormat::Bf16, SourceType::F32) => self.bf16::<F32, S>(simd),
            (WeightFormat::F32, SourceType::Bf16) => self.f32::<Bf16, S>(simd),
            (WeightFormat::F32, SourceType::F16) => self.f32::<F16, S>(simd),
            (WeightFormat::F32, SourceType::F32) => self.f32::<F32, S>(simd),
            (WeightFormat::Int8, SourceType::Bf16) => self.int8::<Bf16, S>(simd),
            (WeightFormat::Int8, SourceType::F16) => self.int8::<F16, S>(simd),
            (WeightFormat::Int8, SourceType::F32) => self.int8::<F32, S>(simd),
            (WeightFormat::Int4, SourceType::Bf16) => self.int4::<Bf16, S>(simd),
            (WeightFormat::Int4, SourceType::F16) => self.int4::<F16, S>(simd),
            (WeightFormat::Int4, SourceType::F32) => self.int4::<F32, S>(simd),
        }
    }
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
) -> Result<usize, NonFinite> {
    assert!(format != WeightFormat::Bf16Coded, "panels are packed as bf16, then coded");
    assert_eq!(panel.len(), panel_len(format, k) * format.element_bytes());
    let row_bytes = k * source.element_bytes();
    assert!(k > 0 && rows.len() <= PANEL * row_bytes && rows.len().is_multiple_of(row_bytes));
    let found = isa.run(PackOp { format, panel, source, rows, row_bytes });
    if found.bad {
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            find_bad(format, source, row, lane)?;
        }
    }
    Ok(found.flushed)
}

struct ConvertOp<'p, 'a> {
    format: WeightFormat,
    out: &'p mut [u8],
    source: SourceType,
    bytes: &'a [u8],
}

impl ConvertOp<'_, '_> {
    #[inline(always)]
    fn convert<E: Element>(self) -> Found {
        let mut found = Found::default();
        let mut tail = [0; CHUNK * 4];
        let element_bytes = self.format.element_bytes();
        for (block, out) in self.out.chunks_mut(CHUNK * element_bytes).enumerate() {
            let bytes = chunk::<E>(self.bytes, block * CHUNK, &mut tail);
            if self.format == WeightFormat::Bf16 {
                let (mut operand, mut rare) = ([0; 2 * CHUNK], [0; CHUNK]);
                operands::<E>(bytes, &mut operand, &mut rare);
                if any(&rare) {
                    count::<E>(bytes, &mut found);
                }
                out.copy_from_slice(&operand[..out.len()]);
            } else {
                let (mut bits, mut bad) = ([0; CHUNK], [0; CHUNK]);
                floats::<E>(bytes, &mut bits, &mut bad);
                found.bad |= any(&bad);
                for (out, bits) in out.chunks_exact_mut(4).zip(bits) {
                    out.copy_from_slice(&bits.to_le_bytes());
                }
            }
        }
        found
    }
}

impl SimdOp for ConvertOp<'_, '_> {
    type Output = Found;
    #[inline(always)]
    fn eval<S: InstructionSet>(self, _simd: S) -> Found {
        match self.source {
            SourceType::Bf16 => self.convert::<Bf16>(),
            SourceType::F16 => self.convert::<F16>(),
            SourceType::F32 => self.convert::<F32>(),
        }
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
    assert!(format == format.of_rows() && out.len().is_multiple_of(format.element_bytes()));
    assert_eq!(bytes.len(), out.len() / format.element_bytes() * source.element_bytes());
    let found = isa.run(ConvertOp { format, out, source, bytes });
    if found.bad {
        find_bad(format, source, bytes, 0)?;
    }
    Ok(found.flushed)
}

/// The first element that is not finite, or might not be once it is rounded or rotated.
#[cold]
fn find_bad(format: WeightFormat, source: SourceType, row: &[u8], lane: usize) -> Result<(), NonFinite> {
    for (k, bytes) in row.chunks_exact(source.element_bytes()).enumerate() {
        let value = source.widen(bytes);
        let packed = match format {
            WeightFormat::Bf16 | WeightFormat::Bf16Coded => bf16_operand(value).to_f32(),
            WeightFormat::F32 => value,
            WeightFormat::Int8 | WeightFormat::Int4 if value.abs() < ROTATABLE_BELOW => value,
            WeightFormat::Int8 | WeightFormat::Int4 => f32::INFINITY,
        };
        if !packed.is_finite() {
            return Err(NonFinite { lane, k, value });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
