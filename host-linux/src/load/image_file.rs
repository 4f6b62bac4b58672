//! An image in a file: written once, then served without packing.
//!
//! A file is **mapped** unless told otherwise: its weights are the page cache's pages, nothing of
//! them is read before a step needs it, and processes that serve the same file share them.
//! **Copied**, it is read into anonymous memory by all workers: that takes a moment and memory of
//! its own, gives huge pages, and is then apart from the file.
//!
//! Two hashes in the header (BLAKE3) say whether the file is what was written:
//! * the head's, over everything before the first tensor (with zeros in this hash's own place):
//!   header, tables, configuration, tokenizer. Checked whenever a file is opened.
//! * the body's, over the BLAKE3s of every mebibyte of the tensors, so that all workers can take
//!   part. Checked when asked ([`ImageAccess::verify`]), for it reads the whole file. The head's
//!   hash covers it.
//!
//! **Whoever serves a mapped file owes** that nobody writes to it or cuts it while it is served. A
//! new model goes into a new file, put in place by a rename, as [`NewImage`] does; the old one then
//! lives on until its last server ends. A file that is written nevertheless gives other weights,
//! one that is cut ends the server (`SIGBUS`). The head is a private copy also then, so that other
//! bytes of the file are other numbers and lead no read astray. A copied file is immune from when
//! it is loaded.
use super::choice::{Compress, WeightChoice, no_gain};
use super::error::LoadError;
use super::folder::Folder;
use super::generation_config::GenerationDefaults;
use super::model::{LoadedModel, Progress};
use super::note::LoadNote;
use super::pack::{AUX_FILES, generation_defaults, lock};
use crate::sys::memory::{AlignedMemory, WeightMemory};
use crate::sys::mmap::MappedFile;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use verbatim_core::dtype::WeightFormat;
use verbatim_core::model::ModelConfig;
use verbatim_core::model::image::{
    BODY_HASH, HEAD_HASH, HEADER_BYTES, ImageError, MAGIC, PackedModel, head_bytes,
};
use verbatim_core::pool::{Phase, Pool};

const LEAF_BYTES: usize = 1 << 20;

/// Bytes that an image head may have: more than the largest files that an image carries take
/// together.
const HEAD_BYTES_MAX: usize = 512 << 20;

/// How the file of an image is used. It says nothing about a checkpoint, which is packed and so
/// read and hashed whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageAccess {
    /// Whether the file is read into memory; otherwise it is mapped.
    pub copy: bool,
    /// Whether the hash of the weights is checked, which reads the whole file.
    pub verify: bool,
}

fn head_hash(head: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"verbatim image head 1\n");
    hasher.update(&head[..HEAD_HASH.start]);
    hasher.update(&[0; 32]);
    hasher.update(&head[HEAD_HASH.end..]);
    *hasher.finalize().as_bytes()
}

fn body_hash(leaves: &[[u8; 32]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"verbatim image body 1\n");
    hasher.update(leaves.as_flattened());
    *hasher.finalize().as_bytes()
}

fn unlocked<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The file that a new image will be, found to be writable before anything is packed.
#[derive(Debug)]
pub struct NewImage {
    path: PathBuf,
    partial: PathBuf,
}

impl NewImage {
    /// Checks that an image can be written to `path`. A file that is there will be replaced.
    pub fn at(path: &Path) -> Result<NewImage, LoadError> {
        let what = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Some("is a directory, expected the name of a file to write"),
            Ok(metadata) if !metadata.is_file() => Some("is there and is not a regular file"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(LoadError::malformed(path, what));
        }
        let Some(name) = path.file_name() else {
            return Err(LoadError::malformed(path, "is not the name of a file"));
        };
        let mut name = name.to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let new = NewImage { path: path.to_owned(), partial: path.with_file_name(name) };
        // Made and removed at once: nothing is left behind if the packing is interrupted.
        File::create(&new.partial)
            .and_then(|_| std::fs::remove_file(&new.partial))
            .map_err(|error| LoadError::io(path, "write", error))?;
        Ok(new)
    }

    /// Writes a model's image. The file appears under its name only when it is complete.
    pub fn write(&self, model: &LoadedModel, pool: &dyn Pool) -> Result<(), LoadError> {
        let (head, body) = model.image().split_at(model.model().layout().head_bytes());
        let leaves: Vec<_> = body.chunks(LEAF_BYTES).map(|leaf| (leaf, Mutex::new([0; 32]))).collect();
        pool.run(Phase::Load, leaves.len(), &|number, _worker| {
            let (leaf, hash) = &leaves[number];
            *lock(hash) = *blake3::hash(leaf).as_bytes();
        });
        let leaves: Vec<_> = leaves.into_iter().map(|(_, hash)| unlocked(hash)).collect();
        let mut head = head.to_vec();
        head[BODY_HASH].copy_from_slice(&body_hash(&leaves));
        let hash = head_hash(&head);
        head[HEAD_HASH].copy_from_slice(&hash);
        let write = || {
            let mut file = File::create(&self.partial)?;
            file.write_all(&head)?;
            file.write_all(body)?;
            file.sync_all()?;
            std::fs::rename(&self.partial, &self.path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&self.partial);
            LoadError::io(&self.path, "write", error)
        })
    }
}

/// Writes a model's image to a file.
pub fn write_image(model: &LoadedModel, path: &Path, pool: &dyn Pool) -> Result<(), LoadError> {
    NewImage::at(path)?.write(model, pool)
}

fn read_error(path: &Path, action: &'static str, error: std::io::Error) -> LoadError {
    match error.kind() {
        ErrorKind::UnexpectedEof => LoadError::Shrunk { path: path.to_owned() },
        _ => LoadError::io(path, action, error),
    }
}

/// An open file that begins as an image does.
struct ImageFile<'p> {
    path: &'p Path,
    file: File,
    len: usize,
    /// Bytes of the image head, at most `len`.
    head: usize,
}

impl<'p> ImageFile<'p> {
    /// Opens a file and reads its header, whose lengths are those of the file.
    fn open(path: &'p Path) -> Result<Self, LoadError> {
        let open = |error| LoadError::io(path, "open", error);
        let neither =
            || LoadError::malformed(path, "is neither a model directory, nor a GGUF file, nor an image");
        // Asked before it is opened: opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(open)?.is_file() {
            return Err(neither());
        }
        let file = File::open(path).map_err(open)?;
        let len = file.metadata().map_err(open)?.len();
        let mut magic = [0; MAGIC.len()];
        if len < MAGIC.len() as u64 {
            return Err(neither());
        }
        file.read_exact_at(&mut magic, 0).map_err(|error| read_error(path, "read", error))?;
        if magic != MAGIC {
            return Err(neither());
        }
        if len < HEADER_BYTES as u64 {
            let what = format!("has {len} bytes, expected at least {HEADER_BYTES}");
            return Err(LoadError::malformed(path, what));
        }
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(|error| read_error(path, "read", error))?;
        let head = head_bytes(&header, len).map_err(|error| LoadError::image(path, error))?;
        if head > HEAD_BYTES_MAX {
            let field = "length of the head in bytes";
            return Err(LoadError::field(path, field, head.to_string(), format!("at most {HEAD_BYTES_MAX}")));
        }
        let too_large = ImageError::TooLarge { what: "the image" };
        let len = usize::try_from(len).map_err(|_| LoadError::image(path, too_large))?;
        Ok(Self { path, file, len, head })
    }

    /// Memory for the image, of which the image head is read.
    fn memory(&self, copy: bool) -> Result<WeightMemory, LoadError> {
        if !copy {
            let mapped = MappedFile::served(&self.file, self.len, self.head);
            let mapped = mapped.map_err(|error| read_error(self.path, "map", error))?;
            return Ok(WeightMemory::Mapped(mapped));
        }
        let mut memory = AlignedMemory::new(self.len)
            .map_err(|error| LoadError::io(self.path, "get memory for the weights", error))?;
        let read = self.file.read_exact_at(&mut memory.as_mut_slice()[..self.head], 0);
        read.map_err(|error| read_error(self.path, "read", error))?;
        Ok(WeightMemory::Own(memory))
    }

    /// Reads the body with all workers, into `out` if there is one, and compares its hash with
    /// `expected` if there is one.
    fn read_body(
        &self,
        out: Option<&mut [u8]>,
        expected: Option<[u8; 32]>,
        pool: &dyn Pool,
        progress: &dyn Progress,
    ) -> Result<(), LoadError> {
        let total = self.len - self.head;
        // Without a place to read to, every worker has a buffer.
        let is_kept = out.is_some();
        let mut buffers = vec![0; if is_kept { 0 } else { LEAF_BYTES * pool.workers() }];
        let places = out.unwrap_or(&mut buffers).chunks_mut(LEAF_BYTES);
        let places: Vec<_> = places.map(Mutex::new).collect();
        let hashes: Vec<_> = (0..total.div_ceil(LEAF_BYTES)).map(|_| Mutex::new([0; 32])).collect();
        let done = AtomicU64::new(0);
        let failure = Mutex::new(None);
        pool.run(Phase::Load, hashes.len(), &|number, worker| {
            let start = number * LEAF_BYTES;
            let len = LEAF_BYTES.min(total - start);
            let place = &mut lock(&places[if is_kept { number } else { worker }])[..len];
            match self.file.read_exact_at(place, (self.head + start) as u64) {
                Ok(()) if expected.is_some() => *lock(&hashes[number]) = *blake3::hash(place).as_bytes(),
                Ok(()) => {}
                Err(error) => *lock(&failure) = Some(error),
            }
            progress.advance(done.fetch_add(len as u64, Ordering::Relaxed) + len as u64, total as u64);
        });
        if let Some(error) = unlocked(failure) {
            return Err(read_error(self.path, "read", error));
        }
        let hashes: Vec<_> = hashes.into_iter().map(unlocked).collect();
        if expected.is_some_and(|expected| expected != body_hash(&hashes)) {
            return Err(self.damaged("body"));
        }
        Ok(())
    }

    fn damaged(&self, part: &str) -> LoadError {
        LoadError::malformed(
            self.path,
            format!("is damaged: its {part} does not have the hash in its header; pack the model again"),
        )
    }
}

/// Compares an image's formats with those that are chosen; whether any is of 12 bits.
fn check_formats(path: &Path, config: &ModelConfig, weights: WeightChoice) -> Result<bool, LoadError> {
    let formats = |config: &ModelConfig| {
        let [value, output, down] = config.mix.formats(config.weight_format);
        [
            ("weight format", config.weight_format),
            ("head format", config.head_format),
            ("format of the values", value),
            ("format of the attention output", output),
            ("format of down", down),
        ]
    };
    let mut chosen = *config;
    weights.apply(config.weight_format.numerics(), &mut chosen);
    let found = formats(config);
    for ((field, found), (_, wanted)) in found.into_iter().zip(formats(&chosen)) {
        let is_chosen = weights.format.is_some() || (field == "head format" && weights.head.is_some());
        if is_chosen && wanted.numerics() != found.numerics() {
            return Err(LoadError::field(path, field, found.name(), wanted.name()));
        }
        let other = match (weights.compress, found) {
            (Compress::On, WeightFormat::Bf16) => WeightFormat::Bf16x12,
            (Compress::Off, WeightFormat::Bf16x12) => WeightFormat::Bf16,
            _ => continue,
        };
        return Err(LoadError::field(path, field, found.name(), other.name()));
    }
    Ok(found.iter().any(|(_, format)| *format == WeightFormat::Bf16x12))
}

/// Loads an image from a file.
pub fn load_image(
    path: &Path,
    weights: WeightChoice,
    access: ImageAccess,
    pool: &dyn Pool,
    progress: &dyn Progress,
) -> Result<LoadedModel, LoadError> {
    let file = ImageFile::open(path)?;
    let mut memory = file.memory(access.copy)?;
    let head = &memory.as_slice()[..file.head];
    if head[HEAD_HASH] != head_hash(head) {
        return Err(file.damaged("head"));
    }
    let model = PackedModel::parse(memory.as_slice()).map_err(|error| LoadError::image(path, error))?;
    let config = *model.config();
    let is_coded = check_formats(path, &config, weights)?;
    let mut notes = Vec::new();
    if is_coded && weights.compress == Compress::Auto {
        notes.extend(no_gain(weights).map(LoadNote::Compressed));
    }
    let files: Vec<_> =
        AUX_FILES.iter().map(|(name, _)| (*name, model.aux(name).map(<[u8]>::to_vec))).collect();
    let generation = match model.aux("config.json") {
        Some(_) => generation_defaults(path, &files)?,
        None => GenerationDefaults::default(),
    };
    let expected = access.verify.then_some(*model.body_hash());
    let out = match &mut memory {
        WeightMemory::Own(memory) => Some(&mut memory.as_mut_slice()[file.head..]),
        WeightMemory::Mapped(_) => None,
    };
    if out.is_some() || expected.is_some() {
        file.read_body(out, expected, pool, progress)?;
    }
    // Cut since it was opened: better told now than by a signal.
    let len = file.file.metadata().map_err(|error| LoadError::io(path, "open", error))?.len();
    if len < file.len as u64 {
        return Err(LoadError::Shrunk { path: path.to_owned() });
    }
    Ok(LoadedModel { memory, path: path.to_owned(), generation, notes, stored: Vec::new() })
}

/// Loads whatever is at `path`: a model directory, a GGUF file, or an image.
pub fn load(
    path: &Path,
    weights: WeightChoice,
    access: ImageAccess,
    pool: &dyn Pool,
    progress: &dyn Progress,
) -> Result<LoadedModel, LoadError> {
    match Folder::of_checkpoint(path) {
        Some(folder) => super::load_model(&folder, weights, pool, progress),
        None => load_image(path, weights, access, pool, progress),
    }
}

#[cfg(test)]
mod tests;
