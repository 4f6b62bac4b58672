//! How long loading takes: a checkpoint packed from a cold and a warm page cache, beside a plain
//! copy in turns with it; and its image, mapped and copied, with and without the weights' hash, and
//! what small pages cost a decode.
use super::model::{ModelChoice, load, peak_bytes};
use super::report::{Line, Report};
use super::speed::{Case, run};
use std::path::{Path, PathBuf};
use std::time::Instant;
use verbatim::load::image_file::write_image;
use verbatim::load::{Folder, ImageAccess, LoadedModel, WeightChoice};
use verbatim::sys::cpu::worker_count;
use verbatim::sys::memory::AlignedMemory;
use verbatim::sys::pool::FutexPool;
use verbatim_core::isa::Isa;
use verbatim_core::pool::{Phase, Pool};
use verbatim_core::tensor::Shared;

const COPY_BYTES: usize = 512 << 20;
/// How often each side of a comparison is measured, in turns. The best counts, since other users of
/// a machine only ever slow it down.
const TURNS: usize = 5;
/// Seconds in which a mapped image is to be open.
const OPEN_BAR_S: f64 = 0.1;
/// The share of a copy's bandwidth at which bf16 weights are to be packed.
const PACK_BAR: f64 = 0.5;

/// Bytes copied a second, to fresh memory, on all workers.
fn copy_rate(from: &AlignedMemory, pool: &dyn Pool) -> Result<f64, String> {
    let mut to = AlignedMemory::new(COPY_BYTES).map_err(|error| error.to_string())?;
    let out = Shared::new(to.as_mut_slice());
    let (from, parts) = (from.as_slice(), 64);
    let start = Instant::now();
    pool.run(Phase::Load, parts, &|part, _| {
        let len = COPY_BYTES / parts;
        // SAFETY: the parts do not overlap.
        unsafe { out.part(part * len, len) }.copy_from_slice(&from[part * len..][..len]);
    });
    Ok(COPY_BYTES as f64 / start.elapsed().as_secs_f64())
}

/// The files of a directory, or the one file that the path is.
fn files_at(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    } else {
        vec![path.to_owned()]
    }
}

/// Asks the kernel to forget what it holds of the files.
fn forget(path: &Path) {
    for file in files_at(path).iter().filter_map(|file| std::fs::File::open(file).ok()) {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open; advice changes nothing but what is cached.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
}

/// Makes the peak of resident memory what is resident now.
fn forget_peak() {
    // Where the system does not allow it, the peak is that of the whole run.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Loads the model and returns the seconds that it took.
fn timed(
    path: &Path,
    choice: WeightChoice,
    access: ImageAccess,
    pool: &dyn Pool,
) -> Result<(LoadedModel, f64), String> {
    let start = Instant::now();
    let loaded = load(path, choice, access, pool)?;
    Ok((loaded, start.elapsed().as_secs_f64()))
}

fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "DOES NOT HOLD" }
}

/// A file that is removed when the value is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Measures packing, if the path is a checkpoint, and then opening the image.
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
    if Folder::of_checkpoint(&path).is_none() {
        return image(&report, &path, choice, &pool);
    }
    let packed = packing(&report, &path, choice, &pool)?;
    let file = Temporary(std::env::temp_dir().join(format!("verbatim-bench-load-{}.vb", std::process::id())));
    let start = Instant::now();
    write_image(&packed, &file.0, &pool).map_err(|error| error.to_string())?;
    let bytes = packed.image().len() as f64;
    drop(packed);
    let seconds = start.elapsed().as_secs_f64();
    report.line(
        &Line::new("image written and synced", bytes / seconds / 1e9, "GB/s").note(format!("{seconds:.2} s")),
    );
    image(&report, &file.0, choice, &pool)
}

/// Measures packing a checkpoint into memory.
fn packing(
    report: &Report,
    path: &Path,
    choice: WeightChoice,
    pool: &FutexPool,
) -> Result<LoadedModel, String> {
    let is_of_weights = |path: &PathBuf| path.extension().is_some_and(|e| e == "safetensors" || e == "gguf");
    let files = files_at(path).into_iter().filter(is_of_weights);
    let source = files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum::<u64>() as f64;
    let access = ImageAccess::default();
    forget(path);
    forget_peak();
    let (loaded, cold) = timed(path, choice, access, pool)?;
    let (weights, peak) = (loaded.model().weight_bytes() as f64, peak_bytes());
    let format = loaded.model().config().weight_format;
    drop(loaded);
    let mut from = AlignedMemory::new(COPY_BYTES).map_err(|error| error.to_string())?;
    from.as_mut_slice().fill(1);
    let (mut copy, mut warm, mut last) = (0.0_f64, f64::MAX, None);
    for _ in 0..TURNS {
        copy = copy.max(copy_rate(&from, pool)?);
        // Of two models at once the second would be packed into memory that the kernel has to look
        // for.
        drop(last.take());
        let (loaded, seconds) = timed(path, choice, access, pool)?;
        warm = warm.min(seconds);
        last = Some(loaded);
    }
    report.section(&format!("checkpoint of {:.2} GB, packed as {}", source / 1e9, format.name()));
    report.line(&Line::new("copy, memory to fresh memory", copy / 1e9, "GB/s"));
    let line = |name, seconds: f64| {
        Line::new(name, source / seconds / 1e9, "GB/s").limit(copy / 1e9).note(format!("{seconds:.2} s"))
    };
    report.line(&line("packed from a cold page cache", cold));
    let mut packed = line("packed from a warm page cache", warm);
    if format.name() == "bf16" {
        let holds = verdict(source / warm >= PACK_BAR * copy);
        packed.note = format!("{}; at least {PACK_BAR} of a copy: {holds}", packed.note);
    }
    report.line(&packed);
    report.line(&Line::new("peak memory over weights", peak / weights, "x"));
    last.ok_or_else(|| "nothing was loaded".to_owned())
}

/// Measures an image in every way that it can be opened.
fn image(report: &Report, path: &Path, choice: WeightChoice, pool: &FutexPool) -> Result<(), String> {
    let bytes = std::fs::metadata(path).map_or(0, |data| data.len()) as f64;
    report.section(&format!("image of {:.2} GB", bytes / 1e9));
    // The page cache has it from here on.
    let copied = load(path, choice, ImageAccess { copy: true, verify: false }, pool)?;
    drop(copied);
    for (name, copy, verify) in [
        ("mapped", false, false),
        ("mapped, verified", false, true),
        ("copied", true, false),
        ("copied, verified", true, true),
    ] {
        forget_peak();
        let before = peak_bytes();
        let mut best = f64::MAX;
        for _ in 0..TURNS {
            best = best.min(timed(path, choice, ImageAccess { copy, verify }, pool)?.1);
        }
        let resident = format!("resident {:.3} GB more", (peak_bytes() - before) / 1e9);
        let line = if copy || verify {
            Line::new(format!("{name}: warm"), bytes / best / 1e9, "GB/s")
                .note(format!("{best:.3} s; {resident}"))
        } else {
            let holds = verdict(best <= OPEN_BAR_S);
            Line::new(format!("{name}: warm"), best * 1e3, "ms")
                .note(format!("at most {} ms: {holds}; {resident}", OPEN_BAR_S * 1e3))
        };
        report.line(&line);
    }
    let (mapped, _) = timed(path, choice, ImageAccess { copy: false, verify: false }, pool)?;
    let (copied, _) = timed(path, choice, ImageAccess { copy: true, verify: false }, pool)?;
    let case = Case { rounds: 1, ..Case::one(16, 24) };
    let mut best = [0.0_f64; 2];
    let isa = Isa::detect();
    let mut first = 0.0;
    for turn in 0..TURNS {
        for (best, loaded) in best.iter_mut().zip([&mapped, &copied]) {
            let speed = run(loaded, isa, pool, &case)?;
            *best = best.max(1.0 / speed.decode);
            if turn == 0 && std::ptr::eq(loaded, &raw const mapped) {
                first = speed.prompt_s();
            }
        }
    }
    report.line(
        &Line::new("mapped: a first prefill of 16", first, "s").note("every page of the weights is touched"),
    );
    report.line(&Line::new("mapped: decode", best[0], "tokens/s").peer("copied, huge pages", best[1]));
    Ok(())
}
