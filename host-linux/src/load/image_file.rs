//! An image in a file: written once, then loaded without packing.
//!
//! An image is read, not mapped: in anonymous memory the weights get huge pages, a file that shrinks is an error
//! instead of a signal, nobody can change a weight under a running model, and its hash is checked on the way.
//!
//! The payload hash is the BLAKE3 of the header (with zeros in the hash's own place) and of the BLAKE3s of every
//! mebibyte after it.
use super::error::LoadError;
use super::folder::Folder;
use super::generation_config::GenerationDefaults;
use super::pack::{AUX_FILES, Compress, LoadedModel, Progress, WeightChoice, generation_defaults};
use crate::memory::AlignedMemory;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use verbatim_core::dtype::WeightFormat;
use verbatim_core::model::image::{HEADER_BYTES, MAGIC, PAYLOAD_HASH, PackedModel};
use verbatim_core::pool::{Phase, Pool};

const LEAF_BYTES: usize = 1 << 20;

/// Whether the file at `path` begins as an image does.
pub fn is_image(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    is_file && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == MAGIC
}

fn payload_hash(header: &[u8], leaves: &[[u8; 32]]) -> [u8; 32] {
    let mut header = header.to_vec();
    header[PAYLOAD_HASH].fill(0);
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"verbatim image 1\n");
    hasher.update(&header);
    hasher.update(leaves.as_flattened());
    *hasher.finalize().as_bytes()
}

/// Writes a model's image. The file appears under its name only when it is complete.
pub fn write_image(model: &LoadedModel, path: &Path) -> Result<(), LoadError> {
    let (header, rest) = model.image().split_at(HEADER_BYTES);
    let leaves: Vec<_> = rest.chunks(LEAF_BYTES).map(|leaf| *blake3::hash(leaf).as_bytes()).collect();
    let hash = payload_hash(header, &leaves);
    let mut header = header.to_vec();
    header[PAYLOAD_HASH].copy_from_slice(&hash);

    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(&header)?;
        file.write_all(rest)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&partial);
        LoadError::io(path, "write", error)
    })
}

/// Loads an image from a file, all workers reading.
pub fn load_image(
    path: &Path,
    weights: WeightChoice,
    pool: &dyn Pool,
    progress: &dyn Progress,
) -> Result<LoadedModel, LoadError> {
    let open = |error| LoadError::io(path, "open", error);
    if !is_image(path) {
        File::open(path).map_err(open)?;
        return Err(LoadError::malformed(path, "is neither a model directory nor an image"));
    }
    let file = File::open(path).map_err(open)?;
    let len = file.metadata().map_err(open)?.len();
    let too_large = || LoadError::malformed(path, format!("has {len} bytes, more than memory can address"));
    let size = usize::try_from(len).map_err(|_| too_large())?;
    let read_error = |error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => LoadError::Shrunk { path: path.to_owned() },
        _ => LoadError::io(path, "read", error),
    };
    let mut memory =
        AlignedMemory::new(size).map_err(|error| LoadError::io(path, "get memory for the weights", error))?;
    if size < HEADER_BYTES {
        return Err(LoadError::malformed(path, format!("has {len} bytes, expected at least {HEADER_BYTES}")));
    }
    let (header, rest) = memory.as_mut_slice().split_at_mut(HEADER_BYTES);
    file.read_exact_at(header, 0).map_err(read_error)?;
    let leaves: Vec<_> = rest.chunks_mut(LEAF_BYTES).map(|out| Mutex::new((out, [0; 32]))).collect();
    let done = AtomicU64::new(0);
    let failure = Mutex::new(None);
    pool.run(Phase::Load, leaves.len(), &|number, _worker| {
        let mut leaf = leaves[number].lock().unwrap_or_else(PoisonError::into_inner);
        let (out, hash) = &mut *leaf;
        let offset = HEADER_BYTES + number * LEAF_BYTES;
        match file.read_exact_at(out, offset as u64) {
            Ok(()) => *hash = *blake3::hash(out).as_bytes(),
            Err(error) => *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
        }
        let read = out.len() as u64;
        progress.advance(done.fetch_add(read, Ordering::Relaxed) + read, len - HEADER_BYTES as u64);
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(read_error(error));
    }
    let leaves: Vec<[u8; 32]> =
        leaves.into_iter().map(|leaf| leaf.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect();
    let computed = payload_hash(header, &leaves);

    let model = PackedModel::parse(memory.as_slice()).map_err(|error| LoadError::image(path, error))?;
    if *model.payload_hash() != [0; 32] && *model.payload_hash() != computed {
        return Err(LoadError::malformed(
            path,
            "is damaged: its contents do not have the hash in its header",
        ));
    }
    let config = *model.config();
    let found = [("weight format", config.weight_format), ("head format", config.head_format)];
    for ((field, found), wanted) in found.into_iter().zip([weights.format, weights.head.or(weights.format)]) {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found.numerics()) {
            return Err(LoadError::field(path, field, found.name(), wanted.name()));
        }
        let other = match (weights.compress, found) {
            (Compress::On, WeightFormat::Bf16) => WeightFormat::Bf16Coded,
            (Compress::Off, WeightFormat::Bf16Coded) => WeightFormat::Bf16,
            _ => continue,
        };
        return Err(LoadError::field(path, field, found.name(), other.name()));
    }
    let files: Vec<_> =
        AUX_FILES.iter().map(|(name, _)| (*name, model.aux(name).map(<[u8]>::to_vec))).collect();
    let generation = match model.aux("config.json") {
        Some(_) => generation_defaults(path, &files)?,
        None => GenerationDefaults::default(),
    };
    Ok(LoadedModel { memory, path: path.to_owned(), generation, notes: Vec::new() })
}

/// Loads whatever is at `path`: a model directory, or an image.
pub fn load(
    path: &Path,
    weights: WeightChoice,
    pool: &dyn Pool,
    progress: &dyn Progress,
) -> Result<LoadedModel, LoadError> {
    if path.is_dir() {
        super::load_model(&Folder::from(path), weights, pool, progress)
    } else {
        load_image(path, weights, pool, progress)
    }
}
