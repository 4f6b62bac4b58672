//! Intel's matrix unit (AMX): registers of 16 rows of 64 bytes, tiles, and products of whole tiles.
//!
//! `tdpbusd` adds to each of 16 × 16 sums the products of 64 unsigned bytes of a row and 64 signed
//! ones of a column, exactly modulo 2^32: eight times what AVX512-VNNI does in as many cycles, and
//! the same integers, so the same bits. A tile of columns is what 16 steps of K of half a panel are
//! in memory (`[K/4][32][4]`), 128 bytes from row to row: no other layout is needed.
//!
//! For bf16 the unit is no use here: `tdpbf16ps` adds even and odd elements of a tile's whole depth
//! apart, another order of additions.
//!
//! The state of the tiles is 8 KiB, which an operating system saves only for processes that asked;
//! see [`Isa::allow_matrix_unit`](super::Isa::allow_matrix_unit).
use super::matrix::ByteRows;
use core::arch::asm;
use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};

static ALLOWED: AtomicBool = AtomicBool::new(false);

/// Notes that the unit may be used; see
/// [`Isa::allow_matrix_unit`](super::Isa::allow_matrix_unit).
pub(super) fn allow() {
    ALLOWED.store(true, Ordering::Relaxed);
}

/// Proof that the CPU has AMX-TILE and AMX-INT8 with tiles of 16 rows of 64 bytes, and that they
/// may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrix(());

impl Matrix {
    /// The proof, where CPUID and XCR0 report the unit (`cpu_has`) and its use was allowed.
    pub(super) fn new(cpu_has: bool) -> Option<Self> {
        (cpu_has && ALLOWED.load(Ordering::Relaxed)).then_some(Self(()))
    }

    /// Takes this thread's unit until the result is dropped.
    ///
    /// # Safety
    /// No other [`Tiles`] is alive on this thread.
    #[inline(always)]
    pub(crate) unsafe fn tiles(self) -> Tiles {
        Tiles { shape: Shape { rows: [0; 2], quads: 0 }, stays: PhantomData }
    }
}

/// Rows of a tile.
const ROWS: usize = 16;
/// Steps of K, of four inputs each, of a tile.
const QUADS: usize = 16;
/// Bytes of a step of 32 columns.
const STEP_BYTES: usize = 128;
/// Bytes of the sums of a row.
const SUMS_BYTES: usize = 128;

/// The shape that tiles are configured for: rows of the upper and of the lower tile, and steps of
/// K.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    rows: [usize; 2],
    quads: usize,
}

/// The 64 bytes of a tile configuration that `ldtilecfg` reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// The unit in use: tiles 0 to 3 are the sums of two times 16 rows and two times 16 columns, 4 and
/// 5 the rows, 6 and 7 the columns. Dropping it gives their state back, which a change of threads
/// would save.
pub(crate) struct Tiles {
    shape: Shape,
    /// Tile state belongs to one thread, so this type is not `Send`.
    stays: PhantomData<*mut ()>,
}

impl Drop for Tiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: `Matrix` proves the instruction.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

// What tiles hold passes from one of these blocks to the next, as with the C intrinsics that name
// tiles by number: compilers keep blocks that are not pure in order, and nothing else in a program
// uses tiles unless it is told to.
macro_rules! load {
    ($tile:literal, $from:expr, $stride:expr) => {
        asm!(concat!("tileloadd tmm", $tile, ", [{} + {} * 1]"), in(reg) $from, in(reg) $stride,
            options(readonly, nostack, preserves_flags))
    };
}
macro_rules! store {
    ($tile:literal, $to:expr, $stride:expr) => {
        asm!(concat!("tilestored [{} + {} * 1], tmm", $tile), in(reg) $to, in(reg) $stride,
            options(nostack, preserves_flags))
    };
}
macro_rules! multiply {
    ($sums:literal, $rows:literal, $columns:literal) => {
        asm!(
            concat!("tdpbusd tmm", $sums, ", tmm", $rows, ", tmm", $columns),
            options(nomem, nostack, preserves_flags)
        )
    };
}

impl Tiles {
    /// `sums[r] = from[r] + Σ rows[r] · columns` over `quads` steps of K of 32 columns, for all
    /// rows, whose sums lie one behind the other; `from` is the sums of the first row, and how many
    /// bytes after it those of the next are. Meanwhile it fetches memory that is needed next:
    /// where, and how many bytes.
    ///
    /// # Safety
    /// Each row is valid for reading `4 * quads` bytes, `columns` for `128 * quads`, `from` for 128
    /// bytes a row, `sums` for writing as many; `from` may be `sums`.
    #[inline(always)]
    pub(crate) unsafe fn add_products(
        &mut self,
        rows: ByteRows,
        (columns, quads): (*const u8, usize),
        from: (*const u8, usize),
        sums: *mut u8,
        next: (*const u8, usize),
    ) {
        let deep = quads / QUADS;
        let mut from = from;
        // SAFETY: the function's own conditions; the parts of K follow each other.
        unsafe {
            if deep > 0 {
                self.add_depth(rows, (columns, QUADS, deep), from, sums, next);
                from = (sums.cast_const(), SUMS_BYTES);
            }
            let left = quads % QUADS;
            if left > 0 {
                let rows = ByteRows { data: rows.data.add(deep * QUADS * 4), ..rows };
                let columns = columns.add(deep * QUADS * STEP_BYTES);
                let next = if deep > 0 { (next.0, 0) } else { next };
                self.add_depth(rows, (columns, left, 1), from, sums, next);
            }
        }
    }

    /// [`Tiles::add_products`] for `depth` times `quads` steps of K.
    ///
    /// # Safety
    /// As [`Tiles::add_products`]; `quads` is at most 16.
    #[inline(always)]
    unsafe fn add_depth(
        &mut self,
        rows: ByteRows,
        (columns, quads, depth): (*const u8, usize, usize),
        (from, from_stride): (*const u8, usize),
        sums: *mut u8,
        next: (*const u8, usize),
    ) {
        let mut row = 0;
        while row < rows.count {
            let left = rows.count - row;
            let (above, below) = (left.min(ROWS), left.saturating_sub(ROWS).min(ROWS));
            self.configure(Shape { rows: [above, below], quads });
            let lines = Lines::share(next, (row, above + below), rows.count, depth);
            // SAFETY: the rows `row..row + above + below` exist.
            unsafe {
                let data = rows.data.add(row * rows.stride);
                let columns = (columns, quads, depth);
                let from = (from.add(row * from_stride), from_stride);
                let sums = sums.add(row * SUMS_BYTES);
                if below > 0 {
                    add_block::<true>((data, rows.stride), columns, from, sums, lines);
                } else {
                    add_block::<false>((data, rows.stride), columns, from, sums, lines);
                }
            }
            row += above + below;
        }
    }

    /// Shapes the tiles, if they are not so already; what they held is lost.
    #[inline(always)]
    fn configure(&mut self, shape: Shape) {
        if self.shape == shape {
            return;
        }
        self.shape = shape;
        let [above, below] = shape.rows.map(|rows| rows as u8);
        let (quads, depth) = (shape.quads as u8, 4 * shape.quads as u16);
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].copy_from_slice(&[64, 64, 64, 64, depth, depth, 64, 64]);
        config.rows[..8].copy_from_slice(&[above, above, below, below, above, below, quads, quads]);
        for (rows, bytes) in config.rows.iter().zip(&mut config.row_bytes) {
            // A tile that is not used has neither.
            *bytes = if *rows > 0 { *bytes } else { 0 };
        }
        // SAFETY: 64 bytes, of palette 1, within what `Matrix` proves.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(readonly, nostack, preserves_flags))
        };
    }
}

/// Sums of at most 16 rows (`TWO`: at most 32, the first 16 whole) over `depth` times `quads` steps
/// of K.
///
/// # Safety
/// The tiles are shaped for them; memory as [`Tiles::add_products`] says.
#[inline(always)]
unsafe fn add_block<const TWO: bool>(
    (rows, stride): (*const u8, usize),
    (columns, quads, depth): (*const u8, usize, usize),
    (from, from_stride): (*const u8, usize),
    sums: *mut u8,
    mut lines: Lines,
) {
    // SAFETY: the caller vouches for memory and shape; nothing but this module uses tiles.
    unsafe {
        load!("0", from, from_stride);
        load!("1", from.add(64), from_stride);
        if TWO {
            load!("2", from.add(ROWS * from_stride), from_stride);
            load!("3", from.add(ROWS * from_stride + 64), from_stride);
        }
        for step in 0..depth {
            let rows = rows.add(step * 4 * quads);
            let columns = columns.add(step * STEP_BYTES * quads);
            load!("6", columns, STEP_BYTES);
            load!("4", rows, stride);
            multiply!("0", "4", "6");
            load!("7", columns.add(64), STEP_BYTES);
            multiply!("1", "4", "7");
            if TWO {
                load!("5", rows.add(ROWS * stride), stride);
                multiply!("2", "5", "6");
                multiply!("3", "5", "7");
            }
            lines.fetch();
        }
        store!("0", sums, SUMS_BYTES);
        store!("1", sums.add(64), SUMS_BYTES);
        if TWO {
            store!("2", sums.add(ROWS * SUMS_BYTES), SUMS_BYTES);
            store!("3", sums.add(ROWS * SUMS_BYTES + 64), SUMS_BYTES);
        }
    }
}

/// From one fetch to the next: every fourth line, and the hardware brings those between.
const FETCH_BYTES: usize = 256;

/// Cache lines that are fetched a few at a time.
#[derive(Clone, Copy)]
struct Lines {
    next: *const u8,
    each: usize,
}

impl Lines {
    /// What `count` of `all` rows, from `row` on, fetch of `bytes` in `times` times.
    #[inline(always)]
    fn share(
        (from, bytes): (*const u8, usize),
        (row, count): (usize, usize),
        all: usize,
        times: usize,
    ) -> Self {
        let each = (bytes * count / all).div_ceil(FETCH_BYTES * times);
        Self { next: from.wrapping_add(bytes * row / all), each }
    }

    #[inline(always)]
    fn fetch(&mut self) {
        for _ in 0..self.each {
            // SAFETY: a prefetch cannot fault.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.next.cast()) };
            self.next = self.next.wrapping_add(FETCH_BYTES);
        }
    }
}
