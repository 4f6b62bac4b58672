//! How long loading takes: from a cold and a warm page cache, beside a plain copy of as many bytes in the same run.
use super::model::{ModelChoice, load, peak_bytes};
use super::report::{Line, Report};
use std::path::Path;
use std::time::Instant;
use verbatim::cpu::worker_count;
use verbatim::load::WeightChoice;
use verbatim::memory::AlignedMemory;
use verbatim::pool::FutexPool;
use verbatim_core::pool::{Phase, Pool};
use verbatim_core::tensor::Shared;

const COPY_BYTES: usize = 512 << 20;

/// Bytes copied a second, fresh memory to fresh memory, on all workers: the best of a few rounds.
fn copy_rate(pool: &dyn Pool) -> Result<f64, String> {
    let mut from = AlignedMemory::new(COPY_BYTES).map_err(|error| error.to_string())?;
    from.as_mut_slice().fill(1);
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let mut to = AlignedMemory::new(COPY_BYTES).map_err(|error| error.to_string())?;
        let out = Shared::new(to.as_mut_slice());
        let (from, parts) = (from.as_slice(), 64);
        let start = Instant::now();
        pool.run(Phase::Load, parts, &|part, _| {
            let len = COPY_BYTES / parts;
            // SAFETY: the parts do not overlap.
            unsafe { out.part(part * len, len) }.copy_from_slice(&from[part * len..][..len]);
        });
        best = best.max(COPY_BYTES as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Asks the kernel to forget what it holds of the files.
fn forget(path: &Path) {
    let files = if path.is_dir() {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    } else {
        vec![path.to_owned()]
    };
    for file in files.iter().filter_map(|file| std::fs::File::open(file).ok()) {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open; advice changes nothing but what is cached.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
}

/// Prints cold and warm loads.
pub(crate) fn report(
    model: &ModelChoice,
    choice: WeightChoice,
    threads: Option<usize>,
    json: bool,
) -> Result<(), String> {
    let path = model.resolve()?;
    let workers = worker_count(threads).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let report = Report::new("load", json, workers);
    let copy = copy_rate(&pool)?;
    report.line(&Line::new("copy, memory to fresh memory", copy / 1e9, "GB/s"));
    let source: u64 = if path.is_dir() {
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        let weights = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "safetensors"));
        weights.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum()
    } else {
        std::fs::metadata(&path).map_or(0, |data| data.len())
    };
    forget(&path);
    let mut weights = 0.0;
    for (name, rounds) in [("from a cold page cache", 1), ("from a warm page cache", 3)] {
        let mut best = f64::MAX;
        for _ in 0..rounds {
            let start = Instant::now();
            let loaded = load(&path, choice, &pool)?;
            best = best.min(start.elapsed().as_secs_f64());
            weights = loaded.model().weight_bytes() as f64;
        }
        let note = format!("{best:.2} s");
        report.line(&Line::new(name, source as f64 / best / 1e9, "GB/s").limit(copy / 1e9).note(note));
    }
    report.line(&Line::new("peak memory over weights", peak_bytes() / weights, "x"));
    Ok(())
}
