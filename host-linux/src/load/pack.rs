//! A model directory to an image in memory: every tensor read, hashed and packed in one pass over
//! all workers.
//!
//! The image's tensors are cut into tasks of about a mebibyte of source. A task reads 32 rows at a
//! time into its worker's buffer, which stays in the second-level cache, hashes them, and packs
//! them into their panel. Tasks own disjoint slices of the image, so the result does not depend on
//! who runs them.
use super::choice::{COMPRESS_BYTES_MIN, Compress, WeightChoice, no_gain};
use super::config::{SourceConfig, parse_config};
use super::embedding_config::{MODULES, POOLING, TEXTS};
use super::error::LoadError;
use super::fingerprint::source_hash;
use super::folder::Folder;
use super::generation_config::{GenerationDefaults, parse_generation_config};
use super::model::{LoadedModel, Progress};
use super::note::{LoadNote, NotCompressed, rounding};
use super::plan::{LEAF_ROWS, Parts, Plan, Segment, Source};
use super::safetensors::Checkpoint;
use crate::sys::memory::{AlignedMemory, WeightMemory};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use verbatim_core::dtype::WeightFormat;
use verbatim_core::isa::Isa;
use verbatim_core::kernels::matmul::pack::{NonFinite, PackError, convert, pack_panel};
use verbatim_core::kernels::matmul::panel_len;
use verbatim_core::memory::cast_mut;
use verbatim_core::model::ModelConfig;
use verbatim_core::model::image::{
    ImageLayout, ImageWriter, PackedModel, Storage, TensorKind, gate_up_source,
};
use verbatim_core::pool::{Phase, Pool};

/// The files beside the weights: hashed, and carried by the image.
pub const AUX_FILES: [(&str, u64); 9] = [
    ("config.json", 4 << 20),
    ("generation_config.json", 4 << 20),
    ("tokenizer.json", 256 << 20),
    ("tokenizer_config.json", 64 << 20),
    ("special_tokens_map.json", 4 << 20),
    ("chat_template.jinja", 4 << 20),
    (MODULES, 4 << 20),
    (POOLING, 4 << 20),
    (TEXTS, 4 << 20),
];

/// How many of these every source hash has an entry for, there or not. The later ones have one only
/// where they are there, so that a model without them keeps its hash.
const AUX_FILES_AT_FIRST: usize = 6;

/// Bytes of source in a task, about.
const TASK_BYTES: usize = 1 << 20;

/// Loads the checkpoint in a folder.
pub fn load_model(
    folder: &Folder,
    weights: WeightChoice,
    pool: &dyn Pool,
    progress: &dyn Progress,
) -> Result<LoadedModel, LoadError> {
    folder.check_readable()?;
    let directory = folder.path();
    let mut files = Vec::new();
    for (i, (name, most)) in AUX_FILES.into_iter().enumerate() {
        let bytes = folder.read_small(name, most)?;
        if i < AUX_FILES_AT_FIRST || bytes.is_some() {
            files.push((name, bytes));
        }
    }
    let SourceConfig { mut model, .. } = config_of(directory, &files)?;
    let generation = generation_defaults(directory, &files)?;
    let checkpoint = Checkpoint::open(folder)?;
    // It serves embeddings; a head that nothing was trained for has to come from somewhere.
    model.tied_head |= checkpoint.is_bare;
    let plan = Plan::new(&model, &checkpoint)?;
    model.weight_format = weights.format.unwrap_or_else(|| plan.own_format());
    model.head_format = weights.head.unwrap_or(model.weight_format);
    let contents: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_deref())).collect();
    let source = Sources { directory, contents: &contents, checkpoint: &checkpoint, plan: &plan };
    let mut notes = notes(&plan, model.weight_format);
    let chosen = in_12_bits(&model, weights, directory, &mut notes)?;
    let memory = match source.pack(&chosen, pool, progress) {
        Err(LoadError::NotCodable { name, .. }) if weights.compress == Compress::Auto => {
            notes.push(LoadNote::NotCompressed(NotCompressed::TooManyExponents { tensor: name }));
            source.pack(&model, pool, progress)?
        }
        packed => packed?,
    };
    let memory = WeightMemory::Own(memory);
    Ok(LoadedModel { memory, path: directory.to_owned(), generation, notes })
}

/// The model with its bf16 weights in 12 bits, where that is chosen.
fn in_12_bits(
    model: &ModelConfig,
    weights: WeightChoice,
    directory: &Path,
    notes: &mut Vec<LoadNote>,
) -> Result<ModelConfig, LoadError> {
    let of = |format| if format == WeightFormat::Bf16 { WeightFormat::Bf16x12 } else { format };
    let in_12_bits =
        ModelConfig { weight_format: of(model.weight_format), head_format: of(model.head_format), ..*model };
    let wanted = match weights.compress {
        Compress::Off => false,
        Compress::On => true,
        Compress::Auto if in_12_bits == *model => false,
        Compress::Auto => {
            let plain = ImageLayout::new(model, &[]).map_err(|error| LoadError::image(directory, error))?;
            if plain.weight_bytes() < COMPRESS_BYTES_MIN {
                return Ok(*model);
            }
            let why_not = match ImageLayout::new(&in_12_bits, &[]) {
                Err(error) => Some(NotCompressed::Image(error)),
                Ok(_) => no_gain(weights).map(NotCompressed::NoGain),
            };
            let pays = why_not.is_none();
            notes.extend(why_not.map(LoadNote::NotCompressed));
            pays
        }
    };
    Ok(if wanted { in_12_bits } else { *model })
}

/// What a model is packed from.
struct Sources<'s> {
    directory: &'s Path,
    contents: &'s [(&'static str, Option<&'s [u8]>)],
    checkpoint: &'s Checkpoint,
    plan: &'s Plan,
}

impl Sources<'_> {
    /// The image, in memory of its own.
    fn pack(
        &self,
        model: &ModelConfig,
        pool: &dyn Pool,
        progress: &dyn Progress,
    ) -> Result<AlignedMemory, LoadError> {
        let image_error = |error| LoadError::image(self.directory, error);
        let aux: Vec<(&str, usize)> =
            self.contents.iter().filter_map(|(name, bytes)| Some((*name, (*bytes)?.len()))).collect();
        let layout = ImageLayout::new(model, &aux).map_err(image_error)?;
        let mut memory = AlignedMemory::new(layout.total_bytes())
            .map_err(|error| LoadError::io(self.directory, "get memory for the weights", error))?;

        let packer = Packer::new(self.plan, self.checkpoint, &layout);
        let tasks = packer.tasks(memory.as_mut_slice());
        let flushed = packer.run(&tasks, pool, progress)?;
        drop(tasks);
        let leaves = packer.leaves.into_inner().unwrap_or_else(PoisonError::into_inner);
        let hash = source_hash(model, self.contents, self.plan, &leaves);

        let mut writer = ImageWriter::new(&layout, memory.as_mut_slice()).map_err(image_error)?;
        for (name, bytes) in self.contents {
            if let (Some(slot), Some(bytes)) = (writer.aux_mut(name), bytes) {
                slot.copy_from_slice(bytes);
            }
        }
        writer.header(&hash, flushed);
        PackedModel::parse(memory.as_slice()).map_err(image_error)?;
        Ok(memory)
    }
}

/// `config.json` among the files.
fn config_of(directory: &Path, files: &[(&'static str, Option<Vec<u8>>)]) -> Result<SourceConfig, LoadError> {
    let bytes = files.iter().find(|(name, _)| *name == "config.json").and_then(|(_, bytes)| bytes.as_ref());
    let bytes = bytes.ok_or_else(|| LoadError::malformed(directory, "has no config.json"))?;
    parse_config(&directory.join("config.json"), bytes)
}

/// The defaults that the files give.
pub(crate) fn generation_defaults(
    directory: &Path,
    files: &[(&'static str, Option<Vec<u8>>)],
) -> Result<GenerationDefaults, LoadError> {
    let config = config_of(directory, files)?;
    let name = "generation_config.json";
    let bytes = files.iter().find(|(found, _)| *found == name).and_then(|(_, bytes)| bytes.as_deref());
    parse_generation_config(&directory.join(name), bytes, &config)
}

fn notes(plan: &Plan, format: WeightFormat) -> Vec<LoadNote> {
    let types = plan.matrix_types();
    let mut notes = Vec::new();
    if format.numerics() == WeightFormat::Bf16 {
        for (from, significant_bits) in [("f16", 11), ("f32", 24)] {
            if types.contains(from) {
                notes.push(LoadNote::RoundedToBf16 { from, significant_bits });
            }
        }
    }
    if rounding(format).is_some() {
        notes.push(LoadNote::Quantized(format));
    }
    notes
}

/// Part of a tensor of the image, and its bytes.
struct Task<'a> {
    /// The index of the tensor in [`Plan::tensors`].
    tensor: usize,
    /// The first panel, or the first group of 32 rows.
    first: usize,
    out: Mutex<&'a mut [u8]>,
}

struct Packer<'p> {
    plan: &'p Plan,
    checkpoint: &'p Checkpoint,
    layout: &'p ImageLayout<'p>,
    isa: Isa,
    leaves: Mutex<Vec<[u8; 32]>>,
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker's memory: the rows in hand, and a leaf that lies across two panels.
#[derive(Default)]
struct Buffers {
    rows: Vec<u8>,
    leaf: Vec<u8>,
}

fn sized(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

impl<'p> Packer<'p> {
    fn new(plan: &'p Plan, checkpoint: &'p Checkpoint, layout: &'p ImageLayout<'p>) -> Self {
        let leaves = Mutex::new(vec![[0; 32]; plan.leaf_count]);
        Packer { plan, checkpoint, layout, isa: Isa::detect(), leaves }
    }

    fn format(&self, kind: TensorKind) -> WeightFormat {
        kind.format(self.layout.config())
    }

    fn storage(&self, kind: TensorKind) -> Storage {
        kind.storage(self.layout.config()).expect("the plan holds only what the model has")
    }

    /// Bytes of the image that one panel, or one group of 32 rows, takes; a vector is taken whole.
    fn unit_bytes(&self, kind: TensorKind) -> usize {
        match self.storage(kind) {
            Storage::Panels { inputs, .. } => {
                let format = self.format(kind);
                panel_len(format, inputs) * format.element_bytes()
            }
            Storage::Rows { width, .. } => LEAF_ROWS * width * self.format(kind).of_rows().element_bytes(),
            Storage::Vector { padded, .. } => padded * size_of::<f32>(),
        }
    }

    /// Cuts the image's memory along its tensors, and tensors into tasks.
    fn tasks<'a>(&self, image: &'a mut [u8]) -> Vec<Task<'a>> {
        let (mut rest, mut at) = (image, 0);
        let mut tasks = Vec::new();
        for (tensor, (kind, layer, _)) in self.plan.tensors.iter().enumerate() {
            let span = self.layout.span(*kind, *layer).expect("the plan holds only what the model has");
            let (out, after) =
                std::mem::take(&mut rest).split_at_mut(span.offset - at).1.split_at_mut(span.bytes);
            (rest, at) = (after, span.range().end);
            let unit_bytes = self.unit_bytes(*kind);
            let units = (TASK_BYTES / unit_bytes).max(1);
            for (i, out) in out.chunks_mut(units * unit_bytes).enumerate() {
                tasks.push(Task { tensor, first: i * units, out: Mutex::new(out) });
            }
        }
        tasks
    }

    /// Runs the tasks; the number of flushed weights, or the error of the first task that has one.
    fn run(&self, tasks: &[Task], pool: &dyn Pool, progress: &dyn Progress) -> Result<u64, LoadError> {
        let buffers: Vec<_> = (0..pool.workers()).map(|_| Mutex::new(Buffers::default())).collect();
        let total = self.plan.sources.iter().map(Source::bytes).sum();
        let (done, flushed) = (AtomicU64::new(0), AtomicU64::new(0));
        // A task is skipped only when an earlier one failed, so the first failure is always the one
        // told.
        let first_failed = AtomicUsize::new(usize::MAX);
        let failure = Mutex::new(None);
        pool.run(Phase::Load, tasks.len(), &|number, worker| {
            if number > first_failed.load(Ordering::Relaxed) {
                return;
            }
            let task = &tasks[number];
            let (kind, _, parts) = &self.plan.tensors[task.tensor];
            let buffers = &mut lock(&buffers[worker]);
            let out = &mut **lock(&task.out);
            // The kernel clears a huge page when it is first written: now, before the cache holds
            // what is to be packed.
            for at in [0, out.len().saturating_sub(1)] {
                if let Some(byte) = out.get_mut(at) {
                    *byte = std::hint::black_box(0);
                }
            }
            let mut read = 0;
            let parts = (parts, self.format(*kind));
            let result = match self.storage(*kind) {
                Storage::Panels { inputs, .. } => {
                    self.pack_panels(parts, inputs, task.first, out, buffers, &mut read)
                }
                Storage::Rows { .. } => self.convert_rows(parts, task.first, out, buffers, &mut read),
                Storage::Vector { len, .. } => {
                    let converted = self.convert_vector(parts.0, out, buffers, &mut read);
                    if kind.is_norm() && self.layout.config().features.norms.adds_one {
                        let weights: &mut [f32] = cast_mut(out).expect("a vector is of f32");
                        weights[..len].iter_mut().for_each(|weight| *weight += 1.0);
                    }
                    converted
                }
            };
            match result {
                Ok(count) => flushed.fetch_add(count as u64, Ordering::Relaxed),
                Err(error) => {
                    first_failed.fetch_min(number, Ordering::Relaxed);
                    let mut failure = lock(&failure);
                    if failure.as_ref().is_none_or(|(other, _)| number < *other) {
                        *failure = Some((number, error));
                    }
                    return;
                }
            };
            let done = done.fetch_add(read, Ordering::Relaxed) + read;
            progress.advance(done.min(total), total);
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(flushed.into_inner()),
        }
    }

    /// Reads rows of a source, and hashes the leaves that begin in them.
    fn read_rows(&self, segment: Segment, buffer: &mut [u8], leaf: &mut Vec<u8>) -> Result<(), LoadError> {
        let source = &self.plan.sources[segment.source];
        let file = &self.checkpoint.files[source.file];
        let row_bytes = source.row_bytes();
        file.read(source.row_offset(segment.first_row), buffer)?;
        let end = segment.first_row + segment.rows;
        let mut first = segment.first_row.next_multiple_of(LEAF_ROWS);
        while first < end {
            let last = (first + LEAF_ROWS).min(source.rows);
            let hash = if last <= end {
                let from = (first - segment.first_row) * row_bytes;
                blake3::hash(&buffer[from..from + (last - first) * row_bytes])
            } else {
                let bytes = sized(leaf, (last - first) * row_bytes);
                file.read(source.row_offset(first), bytes)?;
                blake3::hash(bytes)
            };
            lock(&self.leaves)[source.leaf + first / LEAF_ROWS] = *hash.as_bytes();
            first = last;
        }
        Ok(())
    }

    fn non_finite(
        &self,
        source: &Source,
        (row, column): (usize, usize),
        bad: NonFinite,
        format: WeightFormat,
    ) -> LoadError {
        LoadError::NonFinite {
            path: self.checkpoint.files[source.file].path.clone(),
            name: source.name.clone(),
            row,
            column,
            value: bad.value,
            format: format.name(),
        }
    }

    /// [`Packer::non_finite`] for a row of a panel, which is one of these segments' rows.
    fn non_finite_in(&self, segments: &[Segment], bad: NonFinite, format: WeightFormat) -> LoadError {
        let mut lane = bad.lane;
        for segment in segments {
            if lane < segment.rows {
                let source = &self.plan.sources[segment.source];
                return self.non_finite(source, (segment.first_row + lane, bad.k), bad, format);
            }
            lane -= segment.rows;
        }
        unreachable!("a lane lies in one of the segments")
    }

    fn pack_panels(
        &self,
        (parts, format): (&Parts, WeightFormat),
        inputs: usize,
        first: usize,
        out: &mut [u8],
        buffers: &mut Buffers,
        read: &mut u64,
    ) -> Result<usize, LoadError> {
        let mut flushed = 0;
        let panel_bytes = panel_len(format, inputs) * format.element_bytes();
        for (i, panel) in out.chunks_exact_mut(panel_bytes).enumerate() {
            let segments = self.plan.segments(parts, first + i);
            let Some(segment) = segments.first() else { continue };
            let dtype = self.plan.sources[segment.source].dtype;
            let row_bytes = inputs * dtype.element_bytes();
            let row_count: usize = segments.iter().map(|segment| segment.rows).sum();
            let rows = sized(&mut buffers.rows, row_count * row_bytes);
            let mut start = 0;
            for segment in &segments {
                let bytes = &mut rows[start..][..segment.rows * row_bytes];
                self.read_rows(*segment, bytes, &mut buffers.leaf)?;
                start += bytes.len();
            }
            let packed = pack_panel(self.isa, format, panel, inputs, dtype, rows);
            flushed += packed.map_err(|error| match error {
                PackError::NonFinite(bad) => self.non_finite_in(&segments, bad, format),
                PackError::TooManyExponents => {
                    let source = &self.plan.sources[segment.source];
                    let path = self.checkpoint.files[source.file].path.clone();
                    LoadError::NotCodable { path, name: source.name.clone() }
                }
            })?;
            *read += start as u64;
        }
        Ok(flushed)
    }

    fn convert_rows(
        &self,
        (parts, format): (&Parts, WeightFormat),
        first: usize,
        out: &mut [u8],
        buffers: &mut Buffers,
        read: &mut u64,
    ) -> Result<usize, LoadError> {
        let Parts::Stack(list) = parts else { unreachable!("rows are not paired") };
        let number = list[0];
        let source = &self.plan.sources[number];
        let format = format.of_rows();
        let mut flushed = 0;
        for (i, out) in out.chunks_mut(LEAF_ROWS * source.width * format.element_bytes()).enumerate() {
            let first_row = (first + i) * LEAF_ROWS;
            let rows = out.len() / (source.width * format.element_bytes());
            let bytes = sized(&mut buffers.rows, rows * source.row_bytes());
            self.read_rows(Segment { source: number, first_row, rows }, bytes, &mut buffers.leaf)?;
            flushed += convert(self.isa, format, out, source.dtype, bytes).map_err(|bad| {
                self.non_finite(source, (first_row + bad.k / source.width, bad.k % source.width), bad, format)
            })?;
            *read += bytes.len() as u64;
        }
        Ok(flushed)
    }

    /// Norms and biases: always f32, several sources one after another or alternating by panels.
    fn convert_vector(
        &self,
        parts: &Parts,
        out: &mut [u8],
        buffers: &mut Buffers,
        read: &mut u64,
    ) -> Result<usize, LoadError> {
        const SIZE: usize = size_of::<f32>();
        let mut take = |number: usize, out: &mut [u8]| {
            let source = &self.plan.sources[number];
            let bytes = sized(&mut buffers.rows, source.row_bytes());
            let whole = Segment { source: number, first_row: 0, rows: 1 };
            self.read_rows(whole, bytes, &mut buffers.leaf)?;
            *read += bytes.len() as u64;
            convert(self.isa, WeightFormat::F32, out, source.dtype, bytes)
                .map_err(|bad| self.non_finite(source, (0, bad.k), bad, WeightFormat::F32))
        };
        match parts {
            Parts::Stack(list) => {
                let mut start = 0;
                for number in list {
                    let len = self.plan.sources[*number].width * SIZE;
                    take(*number, &mut out[start..start + len])?;
                    start += len;
                }
            }
            Parts::Paired(gate, up) => {
                let width = self.plan.sources[*gate].width;
                let mut both = [vec![0; width * SIZE], vec![0; width * SIZE]];
                take(*gate, &mut both[0])?;
                take(*up, &mut both[1])?;
                for (n, x) in out.chunks_exact_mut(SIZE).enumerate() {
                    let (is_up, at) = gate_up_source(n);
                    if at < width {
                        x.copy_from_slice(&both[usize::from(is_up)][at * SIZE..][..SIZE]);
                    }
                }
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
#[allow(unsafe_code)] // a pool for tests: `Pool` is an unsafe trait
pub(super) mod tests;
