//! The planted bugs of this build and the switch between them, in a copy of the tree only.
//!
//! `mutants!` with the list of bugs follows; it is written from the patches.
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

macro_rules! mutants {
    ($($name:ident = $label:literal, $doc:literal;)*) => {
        /// A planted bug, switched on by its number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Mutant { $(#[doc = $doc] $name,)* }

        impl Mutant {
            /// All planted bugs, in the order of their names.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

            /// The bug's name on a command line.
            pub fn name(self) -> &'static str {
                match self { $(Mutant::$name => $label,)* }
            }

            /// What the bug does, in a sentence.
            pub fn story(self) -> &'static str {
                match self { $(Mutant::$name => $doc,)* }
            }
        }
    };
}

/// The number of the bug that is on, plus one; 0 when none is.
static ON: AtomicU32 = AtomicU32::new(0);
static STREAM: AtomicU64 = AtomicU64::new(0);
static WORKERS: AtomicUsize = AtomicUsize::new(1);
static GREATEST: AtomicU32 = AtomicU32::new(0);

/// Switches one bug on, or all off; returns what was on.
pub fn set(mutant: Option<Mutant>) -> Option<Mutant> {
    let was = ON.swap(mutant.map_or(0, |mutant| mutant as u32 + 1), Ordering::Relaxed);
    Mutant::ALL.get((was as usize).wrapping_sub(1)).copied()
}

pub(crate) fn is_on(mutant: Mutant) -> bool {
    ON.load(Ordering::Relaxed) == mutant as u32 + 1
}

/// Notes the workers of the pool that computes.
pub(crate) fn set_workers(workers: usize) {
    WORKERS.store(workers, Ordering::Relaxed);
}

/// Workers of the pool that computes.
pub(crate) fn workers() -> usize {
    WORKERS.load(Ordering::Relaxed)
}

/// The next number of a stream.
pub(crate) fn next_of_stream() -> u64 {
    STREAM.fetch_add(1, Ordering::Relaxed)
}

/// The greatest of the numbers seen since the last `None`, none of which is negative.
pub(crate) fn greatest(x: Option<f32>) -> f32 {
    // Floats that are not negative are in the order of their bits.
    match x {
        Some(x) => f32::from_bits(GREATEST.fetch_max(x.to_bits(), Ordering::Relaxed).max(x.to_bits())),
        None => f32::from_bits(GREATEST.swap(0, Ordering::Relaxed)),
    }
}
