//! The CPU's vector instructions as one abstraction: sixteen lanes of `f32`.
//!
//! [`Simd`] is implemented by zero-sized proofs, one per instruction set; holding one means that
//! this CPU has the instructions, so the operations are safe to call. A kernel is written once,
//! generic over `Simd` or one of its extensions, and entered through [`Isa::run`], which calls it
//! inside a function compiled for that instruction set. All implementations give the same bits,
//! operation by operation: that is what makes the answers independent of the CPU.
//!
//! * [`simd`]: the general operations, and tiles of rows.
//! * [`dot`], [`dequantized`], [`grouped`], [`bf16_12`]: what matrix products need beside them, and
//!   what one weight format needs.
//! * [`slices`]: safe loads and stores.
//! * [`tuning`]: what is chosen for speed alone.
//! * [`portable`], `avx2`, `avx512`, `neon`: the instruction sets; `amx`: a unit beside one.
//!
//! [`Isa`] is chosen once, by [`Isa::detect`] from CPUID and XCR0, or by name.
//!
//! To see that inlining went wrong: a kernel that is ten times too slow has a `call` in its inner
//! loop; every function between [`Isa::run`] and the operations must be `#[inline(always)]`.
#![allow(unsafe_code)]

pub mod bf16_12;
pub mod dequantized;
pub mod dot;
pub mod grouped;
pub mod instruction_set;
pub(crate) mod matrix;
pub mod portable;
pub mod simd;
pub mod slices;
pub mod tuning;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod amx;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub mod avx2;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub mod avx512;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub mod neon;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod x86_detect;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub(crate) use amx::{Matrix, Tiles};
pub use instruction_set::{InstructionSet, SimdOp};
pub use portable::Portable;
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
pub(crate) use portable::no_matrix::{Matrix, Tiles};
pub use simd::{LANES, RowTile, Simd};
use tuning::Tuning;

/// The instruction set in use: a proof that the CPU has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa {
    level: Level,
    tuning: Tuning,
    /// The matrix unit that [`Isa::matrix`] gives to products.
    matrix: Option<Matrix>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // which levels can be made depends on the target
enum Level {
    Portable,
    Avx2,
    Avx512,
    Avx512Bf16,
    Neon,
}

impl core::fmt::Debug for Isa {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether this CPU is a Zen 4, which computes 512 bits in two cycles, and which prefetches into L2
/// make slower.
pub fn is_zen4() -> bool {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    return x86_detect::features().zen4;
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    false
}

impl Isa {
    /// Scalar code in sixteen virtual lanes, which runs everywhere; with a soft fused multiply-add
    /// unless the target is compiled for one.
    pub const PORTABLE: Isa = Isa::at(Level::Portable);

    const fn at(level: Level) -> Isa {
        let tuning = match level {
            Level::Portable | Level::Avx2 | Level::Neon => Tuning::NARROW,
            Level::Avx512 | Level::Avx512Bf16 => Tuning::AVX512,
        };
        Isa { level, tuning, matrix: None }
    }

    /// The fastest instruction set that this CPU and its operating system allow.
    pub fn detect() -> Isa {
        *Self::available().last()
    }

    /// The instruction sets that this CPU allows, slowest first.
    pub fn available() -> Available {
        #[cfg(test)]
        tests::allow_matrix_unit();
        #[allow(unused_mut)] // nothing is added where the target has no instruction set
        let mut list = Available { isas: [Isa::PORTABLE; 5], count: 1 };
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
        {
            let cpu = x86_detect::features();
            if cpu.avx2_fma {
                list.push(Isa::at(Level::Avx2));
            }
            if cpu.avx2_fma && cpu.avx512 {
                let tuning = match cpu {
                    x86_detect::Features { zen4: true, .. } => Tuning::ZEN4,
                    x86_detect::Features { zen5: true, .. } => Tuning::ZEN5,
                    _ => Tuning::AVX512,
                };
                let [fma, dot] =
                    [Level::Avx512, Level::Avx512Bf16].map(|level| Isa { tuning, ..Isa::at(level) });
                // On Intel's the dot product had half the throughput of two FMAs (a Xeon with AMX).
                match (cpu.avx512_bf16, cpu.intel) {
                    (true, true) => [dot, fma].into_iter().for_each(|isa| list.push(isa)),
                    (true, false) => [fma, dot].into_iter().for_each(|isa| list.push(isa)),
                    (false, _) => list.push(fma),
                }
                if let Some(matrix) = Matrix::new(cpu.amx_int8) {
                    list.push(Isa { matrix: Some(matrix), ..*list.last() });
                }
            }
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        list.push(Isa::at(Level::Neon));
        list
    }

    /// Says that the CPU's matrix unit may be used, if it has one: [`Isa::available`] lists the
    /// instruction set with it from then on.
    ///
    /// # Safety
    /// The operating system gives the unit's state to every thread that will run a kernel. On Linux
    /// a process asks for that by `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`; on bare
    /// metal it is a matter of XCR0 and XFD. Without it the first product is an invalid
    /// instruction.
    pub unsafe fn allow_matrix_unit() {
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
        amx::allow();
    }

    /// The instruction set of that name, where this CPU has it: `portable`, `avx2`, `avx512` (the
    /// best of those that begin so), `avx512-fma` (without a bf16 dot product), `avx512-bf16`
    /// (with), `avx512-amx` (with the matrix unit, and the better of those two), `neon`, `auto`.
    pub fn from_name(name: &str) -> Option<Isa> {
        if name == "auto" {
            return Some(Self::detect());
        }
        Self::available().iter().rev().copied().find(|isa| isa.name() == name || isa.family() == name)
    }

    /// The instruction set's name, which `from_name` takes.
    pub fn name(self) -> &'static str {
        match self.level {
            _ if self.matrix.is_some() => "avx512-amx",
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512-fma",
            Level::Avx512Bf16 => "avx512-bf16",
            Level::Neon => "neon",
        }
    }

    fn family(self) -> &'static str {
        match self.level {
            Level::Avx512 | Level::Avx512Bf16 => "avx512",
            _ => self.name(),
        }
    }

    /// The number of concurrent sequences up to which 12-bit bf16 weights are known to pay: a
    /// single sequence decodes faster, that many decode at most 3% slower, and prompts are at most
    /// 4% slower in any case (`verbatim-bench bars`). `usize::MAX` where any number pays, 0 where
    /// none is known to. Rows of draft tokens are not counted. Only speed depends on this.
    pub fn bf16_12_sequences(self) -> usize {
        self.tuning.bf16_12_sequences
    }

    /// The distance in bytes from what a kernel reads to what it prefetches meanwhile; 0 leaves
    /// prefetching to the hardware. Only speed depends on it.
    pub(crate) fn fetch_ahead(self) -> usize {
        self.tuning.fetch_ahead
    }

    /// The unit that multiplies whole tiles of bytes, where there is one. The rest is done by
    /// the vectors beside it, whose sums are 16 `i32`.
    pub(crate) fn matrix(self) -> Option<Matrix> {
        self.matrix
    }

    /// Runs `op` compiled for this instruction set.
    #[inline]
    pub fn run<O: SimdOp>(self, op: O) -> O::Output {
        match self.level {
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            // SAFETY: this level is only made after `features` saw the instructions.
            Level::Avx2 => unsafe { avx2::enter(op) },
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            // SAFETY: as above.
            Level::Avx512 => unsafe { avx512::enter_fma(op) },
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            // SAFETY: as above; this level has all instructions of `Avx512` too.
            Level::Avx512Bf16 => unsafe {
                if const { O::MULTIPLIES_PAIRS } { avx512::enter_bf16(op) } else { avx512::enter_fma(op) }
            },
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Level::Neon => neon::enter(op),
            _ => op.eval(Portable),
        }
    }
}

/// The instruction sets of one CPU, slowest first: at least the portable one.
#[derive(Clone, Copy, Debug)]
pub struct Available {
    isas: [Isa; 5],
    count: usize,
}

impl Available {
    #[allow(dead_code)] // unused where the target has no instruction set
    fn push(&mut self, isa: Isa) {
        self.isas[self.count] = isa;
        self.count += 1;
    }

    /// The fastest instruction set of this CPU.
    pub fn last(&self) -> &Isa {
        &self.isas[self.count - 1]
    }
}

impl core::ops::Deref for Available {
    type Target = [Isa];
    fn deref(&self) -> &[Isa] {
        &self.isas[..self.count]
    }
}

#[cfg(test)]
mod tests;
