//! Choices for speed alone: by instruction set (how products use its registers) and by model of CPU
//! (how far ahead memory is fetched, whether 12-bit weights pay). No bit depends on them.

/// How matrix products use the registers and instructions of one instruction set.
///
/// Columns of weights that several tiles of rows need are *dequantized* once: unpacked from fewer
/// bits, and *widened* where the instruction set multiplies wider numbers than are stored. They
/// wait in the first-level cache. `pairs_factor` and `quads_factor` say what that takes.
#[derive(Clone, Copy, Debug)]
pub struct Strategy {
    /// Rows whose sums are in registers at a time, beside two vectors of columns.
    pub tile_rows: usize,
    /// Rows that are multiplied while columns are dequantized for the tiles that follow: fewer, for
    /// the registers that dequantizing takes.
    pub dequantizing_rows: usize,
    /// Whether registers hold a tile's sums and its rows, but not two columns beside them: columns
    /// are then loaded one at a time.
    pub columns_one_by_one: bool,
    /// Whether rows of bf16 are widened, too, once for a tile, before they meet columns that are
    /// dequantized or, in some tiles, a panel's.
    pub widens_rows: bool,
    /// Bytes of a dequantized step of 32 columns of bf16 pairs, as a multiple of the 128 bytes of
    /// its bf16: 1 where an instruction multiplies bf16, 2 where they are widened first.
    pub pairs_factor: usize,
    /// Bytes of a dequantized step of 32 columns of 8-bit quads, as a multiple of its 128 bytes.
    pub quads_factor: usize,
    /// Whether a single row multiplies 4-bit weights as they are stored, and the sums are scaled.
    pub int4_scales_sums: bool,
}

impl Strategy {
    /// The strategy that multiplies everything as it is stored; `tile_sizes!` fills in the rows of
    /// a tile.
    pub(super) const AS_STORED: Self = Self {
        tile_rows: 0,
        dequantizing_rows: 0,
        columns_one_by_one: false,
        widens_rows: false,
        pairs_factor: 1,
        quads_factor: 1,
        int4_scales_sums: false,
    };
}

/// The choices that differ by the model of the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuning {
    /// The distance in bytes from what a kernel reads to what it prefetches meanwhile. With 0 it
    /// fetches lines that it is reading anyway, which leaves prefetching to the hardware.
    pub(super) fetch_ahead: usize,
    /// The number of concurrent sequences up to which 12-bit bf16 weights are known to pay.
    pub(super) bf16_12_sequences: usize,
}

/// The usual distance of prefetches: more than the bytes in flight to a core at full bandwidth
/// (bandwidth times latency, some 6 KiB).
const FETCHED_AHEAD: usize = 8192;

impl Tuning {
    /// Instruction sets that look up bytes, not words: with AVX2 one sequence is 1.38 times as fast
    /// on Zen 3 but 0.77 on Zen 1, eight are 0.73.
    pub(super) const NARROW: Self = Self { fetch_ahead: FETCHED_AHEAD, bf16_12_sequences: 0 };

    /// AVX-512 on a CPU of which nothing more is known. With 12-bit weights eight and sixteen
    /// sequences are 0.86 and 0.90 times as fast on Zen 4, 0.95 and 0.96 on a Xeon; four are no
    /// slower on either.
    pub(super) const AVX512: Self = Self { fetch_ahead: FETCHED_AHEAD, bf16_12_sequences: 4 };

    /// AVX-512 on Zen 4. Fetches go into L2 there (AVX2's into L1), which is slower than leaving
    /// them to the hardware, by a quarter and more.
    #[allow(dead_code)] // for x86-64 alone
    pub(super) const ZEN4: Self = Self { fetch_ahead: 0, ..Self::AVX512 };

    /// AVX-512 on Zen 5, where any number of sequences gains from 12 bits.
    #[allow(dead_code)] // for x86-64 alone
    pub(super) const ZEN5: Self = Self { bf16_12_sequences: usize::MAX, ..Self::AVX512 };
}
