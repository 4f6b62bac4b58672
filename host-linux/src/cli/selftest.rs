//! `verbatim selftest`: do the bits hold on this CPU?
use super::args::SelftestArgs;
use crate::sys::cpu::{allow_matrix_unit, worker_count};
use crate::sys::memory::AlignedMemory;
use crate::sys::pool::FutexPool;
use verbatim_core::isa::Isa;
use verbatim_core::pool::{Pool, Serial};
use verbatim_core::selftest;

/// Runs the core's self-test on every instruction set, on one thread and on the pool.
pub(super) fn selftest(args: &SelftestArgs) -> Result<(), String> {
    allow_matrix_unit();
    let workers = worker_count(args.threads).workers.min(64);
    let pool = FutexPool::new(workers).map_err(|error| format!("--threads: {error}"))?;
    let bytes = selftest::memory_bytes(workers).map_err(|error| error.to_string())?;
    let mut memory = AlignedMemory::new(bytes).map_err(|error| format!("{bytes} bytes: {error}"))?;
    println!("expected      {:#018x}", selftest::EXPECTED);
    let mut wrong = Vec::new();
    for isa in Isa::available().iter() {
        for (pool, threads) in [(&Serial as &dyn Pool, 1), (&pool, workers)] {
            let hash = selftest::run(*isa, pool, memory.as_mut_slice()).map_err(|error| error.to_string())?;
            println!(
                "{:13} {hash:#018x} on {threads} thread{}",
                isa.name(),
                if threads == 1 { "" } else { "s" }
            );
            if hash != selftest::EXPECTED {
                wrong.push(isa.name());
            }
        }
    }
    if wrong.is_empty() {
        println!("ok: every instruction set gives the stored bits");
        Ok(())
    } else {
        Err(format!("the bits differ on {}", wrong.join(", ")))
    }
}
