//! `verbatim selftest`: do the bits hold on this CPU?
use super::args::SelftestArgs;
use super::output;
use crate::sys::cpu::{allow_matrix_unit, worker_count};
use crate::sys::memory::AlignedMemory;
use crate::sys::pool::FutexPool;
use verbatim_core::isa::Isa;
use verbatim_core::pool::{Pool, Serial};
use verbatim_core::selftest;

/// Runs the core's self-test on every instruction set, on one thread and on the pool.
pub(super) fn selftest(args: &SelftestArgs) -> Result<(), String> {
    output::line(format_args!("expected      {:#018x}", selftest::EXPECTED))?;
    let wrong = wrong_sets(args.threads, |isa, hash, threads| {
        let plural = if threads == 1 { "" } else { "s" };
        output::line(format_args!("{:13} {hash:#018x} on {threads} thread{plural}", isa.name()))
    })?;
    if wrong.is_empty() {
        output::line("ok: every instruction set gives the stored bits")
    } else {
        Err(format!("the bits differ on {}", wrong.join(", ")))
    }
}

/// The instruction sets that give other bits than those stored, each once; `say` hears the hash of
/// each set on a number of threads, and its error ends this.
pub(super) fn wrong_sets(
    threads: Option<usize>,
    mut say: impl FnMut(Isa, u64, usize) -> Result<(), String>,
) -> Result<Vec<&'static str>, String> {
    allow_matrix_unit();
    let workers = worker_count(threads).workers.min(64);
    let pool = FutexPool::new(workers).map_err(|error| format!("--threads: {error}"))?;
    let bytes = selftest::memory_bytes(workers).map_err(|error| error.to_string())?;
    let mut memory = AlignedMemory::new(bytes).map_err(|error| format!("{bytes} bytes: {error}"))?;
    let mut wrong = Vec::new();
    for isa in Isa::available().iter() {
        for (pool, threads) in [(&Serial as &dyn Pool, 1), (&pool, workers)] {
            let hash = selftest::run(*isa, pool, memory.as_mut_slice()).map_err(|error| error.to_string())?;
            say(*isa, hash, threads)?;
            if hash != selftest::EXPECTED && wrong.last() != Some(&isa.name()) {
                wrong.push(isa.name());
            }
        }
    }
    Ok(wrong)
}
