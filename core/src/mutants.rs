//! Realistic bugs, each a small change in the function that it names, for the simulator to find. They exist only under
//! `--cfg mutants`; elsewhere [`mutant!`](crate::mutant) is the constant `false`.
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

macro_rules! mutants {
    ($($name:ident = $label:literal, $doc:literal;)*) => {
        /// A bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Mutant { $(#[doc = $doc] $name,)* }

        impl Mutant {
            /// All of them.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

            /// Its name on a command line.
            pub fn name(self) -> &'static str {
                match self { $(Mutant::$name => $label,)* }
            }

            /// What it does.
            pub fn story(self) -> &'static str {
                match self { $(Mutant::$name => $doc,)* }
            }
        }
    };
}

mutants! {
    BlockBoundary = "block-boundary", "A block is published one position before it is full.";
    StaleTable = "stale-table", "A preempted sequence takes up the blocks of its old table.";
    KSplit = "k-split", "The sum of a norm is cut in two where there is more than one worker.";
    NoiseStream = "noise-stream", "Random numbers come from a stream, not from the position.";
    HashOnly = "hash-only", "Blocks of one hash are taken for the same text.";
    Generation = "generation", "A block's parent is known by its number alone.";
    DraftUnchecked = "draft-unchecked", "Every guess counts as right.";
    CancelLeak = "cancel-leak", "A cancelled sequence keeps its last block.";
    HitPosition = "hit-position", "After a prefix hit the first position is left out.";
    BatchScale = "batch-scale", "Activations are rounded with the greatest scale so far, not the row's.";
    CopySkipped = "copy-skipped", "A block that others hold is written into.";
    MinTokens = "min-tokens", "Stop ids are drawn before min_tokens.";
    FreshBlocks = "fresh-blocks", "Blocks are handed out as they are.";
    DraftMask = "draft-mask", "Rows of guesses are not masked.";
    DraftPenalties = "draft-penalties", "Penalties of a row do not count the guesses before it.";
    DeliveredTwice = "delivered-twice", "A prompt's outputs come again after a preemption.";
    WarmEcho = "warm-echo", "A prompt with outputs uses the cache.";
    DraftPublished = "draft-published", "A block that guesses fill is published before they are verified.";
    CancelledPlan = "cancelled-plan", "A plan outlives the request that it computes.";
    SaltIgnored = "salt-ignored", "Prefixes are shared whatever the salt.";
    EarlyRefusal = "early-refusal", "A request is refused while there is room for it.";
    PriorityIgnored = "priority-ignored", "Everyone is served in order of arrival.";
    GuessesFirst = "guesses-first", "Guesses take the rows that prompts wait for.";
    FullCache = "full-cache", "A text that fills the KV cache waits for one block more to copy into.";
}

/// The number of the one that is on, plus one.
static ON: AtomicU32 = AtomicU32::new(0);
static STREAM: AtomicU64 = AtomicU64::new(0);
static WORKERS: AtomicUsize = AtomicUsize::new(1);
static GREATEST: AtomicU32 = AtomicU32::new(0);

/// Switches one on, or all off; returns what was on.
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

/// The greatest of the numbers seen in this step, none negative; begins anew with `None`.
pub(crate) fn greatest(x: Option<f32>) -> f32 {
    // The bits of floats that are not negative have their order.
    match x {
        Some(x) => f32::from_bits(GREATEST.fetch_max(x.to_bits(), Ordering::Relaxed).max(x.to_bits())),
        None => f32::from_bits(GREATEST.swap(0, Ordering::Relaxed)),
    }
}
