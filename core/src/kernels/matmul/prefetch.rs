//! Fetching memory that is needed soon, in bursts, while a tile computes.
//!
//! Memory is then read all the time, not between computations. What is fetched, and how far ahead,
//! `product` says; the distance is a matter of the CPU (`Isa::fetch_ahead`).
use crate::isa::Simd;
use core::ops::Range;

/// Memory that a tile fetches while it computes.
#[derive(Clone, Copy)]
pub struct Ahead {
    next: *const u8,
    bytes: usize,
}

impl Ahead {
    /// An empty piece of memory, of which nothing is fetched.
    pub const NOTHING: Self = Self { next: core::ptr::null(), bytes: 0 };

    /// `bytes` bytes from `next` on. Any address is allowed, since a prefetch cannot fault.
    #[inline(always)]
    pub fn new(next: *const u8, bytes: usize) -> Self {
        Self { next, bytes }
    }

    /// The address of the first byte, and the number of bytes.
    #[inline(always)]
    pub fn parts(self) -> (*const u8, usize) {
        (self.next, self.bytes)
    }

    /// The share of the tile with these rows, where `count` rows together fetch it all.
    #[inline(always)]
    pub fn share(self, rows: Range<usize>, count: usize) -> Self {
        let next = self.next.wrapping_add(self.bytes * rows.start / count);
        Self { next, bytes: self.bytes * rows.len() / count }
    }

    /// Cuts the memory into `fetches` fetches, at most a line apart, so that a panel's tables
    /// beside its blocks do not shift the bursts.
    #[inline(always)]
    pub fn cut(self, fetches: usize) -> Self {
        Self { next: self.next, bytes: (self.bytes / fetches).min(64) }
    }

    /// Fetches the next line of those that [`Ahead::cut`] made.
    #[inline(always)]
    pub fn fetch<S: Simd>(&mut self, s: S) {
        s.prefetch(self.next);
        self.next = self.next.wrapping_add(self.bytes);
    }
}

/// Steps of K between bursts.
pub const FETCH_STEPS: usize = 8;
/// Steps of K between bursts where rows are widened a slice at a time: two bursts at once are 3 to
/// 5% faster there.
pub const WIDE_FETCH_STEPS: usize = 2 * FETCH_STEPS;

/// Bytes that a tile fetches at once: what [`FETCH_STEPS`] steps of 32 columns take. A single
/// tile's bursts begin at multiples of it, so that none lies across two OS pages: the hardware
/// reads on from what is fetched, but not into the next page.
pub const BURST_BYTES: usize = BURST_LINES * 64;
const BURST_LINES: usize = 2 * FETCH_STEPS;
const _: () = assert!(4096_usize.is_multiple_of(BURST_BYTES));

/// Fetches in bursts of as many as [`BURST_BYTES`] has lines, one for each line of the blocks that
/// a tile reads.
pub struct Bursts {
    ahead: Ahead,
    /// Lines of blocks that no burst was for yet, and at first one less than a burst's: the first
    /// burst comes before the first block, the last fetches what is left.
    due: usize,
}

impl Bursts {
    /// The bursts of a tile that reads blocks of `lines` cache lines in all.
    #[inline(always)]
    pub fn cut(ahead: Ahead, lines: usize) -> Self {
        Self { ahead: ahead.cut(lines), due: BURST_LINES - 1 }
    }

    /// Fetches the bursts that are due before the tile reads the next `lines` lines.
    #[inline(always)]
    pub fn fetch<S: Simd>(&mut self, s: S, lines: usize) {
        self.due += lines;
        while self.due >= BURST_LINES {
            self.due -= BURST_LINES;
            for _ in 0..BURST_LINES {
                self.ahead.fetch(s);
            }
        }
    }
}
