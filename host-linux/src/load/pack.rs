//! A model directory to an image in memory: every tensor read, hashed and packed in one pass over
//! all workers.
//!
//! The image's tensors are cut into tasks of about a mebibyte of source. A task reads 32 rows at a
//! time into its worker's buffer, which stays in the second-level cache, hashes them, and packs
//! them into their panel. Tasks own disjoint slices of the image, so the result does not depend on
//! who runs them.
use super::checkpoint::Checkpoint;
use super::choice::{COMPRESS_BYTES_MIN, Compress, WeightChoice, no_gain};
use super::config::{SourceConfig, parse_config};
use super::embedding_config::{MODULES, POOLING, TEXTS};
use super::error::LoadError;
use super::fingerprint::source_hash;
use super::folder::Folder;
use super::generation_config::{GenerationDefaults, parse_generation_config};
use super::gguf;
use super::model::{LoadedModel, Progress};
use super::note::{LoadNote, NotCompressed, rounding};
use super::opened::OpenedModel;
use super::plan::{LEAF_ROWS, Parts, Plan, Segment, Source};
use super::rows::{Buffers, RowReader};
use super::stored::stored_weights;
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
    let directory = folder.path();
    let OpenedModel { beside: files, checkpoint } = open(folder)?;
    let SourceConfig { mut model, .. } = config_of(directory, &files)?;
    let generation = generation_defaults(directory, &files)?;
    // It serves embeddings; a head that nothing was trained for has to come from somewhere.
    model.tied_head |= checkpoint.is_bare;
    let plan = Plan::new(&model, &checkpoint)?;
    weights.apply(plan.own_format(), &mut model);
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
    let stored = stored_weights(&plan, &model);
    Ok(LoadedModel { memory, path: directory.to_owned(), generation, notes, stored })
}

/// Opens the one model in a folder: a checkpoint of Hugging Face's, or a GGUF file.
pub(in crate::load) fn open(folder: &Folder) -> Result<OpenedModel, LoadError> {
    folder.check_readable()?;
    if let Some(names) = gguf::find(folder)? {
        return gguf::open(folder, &names);
    }
    let mut beside = Vec::new();
    for (i, (name, most)) in AUX_FILES.into_iter().enumerate() {
        let bytes = folder.read_small(name, most)?;
        if i < AUX_FILES_AT_FIRST || bytes.is_some() {
            beside.push((name, bytes));
        }
    }
    // What is wrong with the configuration is told before what is wrong with the weights.
    config_of(folder.path(), &beside)?;
    Ok(OpenedModel { beside, checkpoint: Checkpoint::open(folder)? })
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
        let leaves = packer.rows.into_leaves();
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
pub(in crate::load) fn config_of(
    directory: &Path,
    files: &[(&'static str, Option<Vec<u8>>)],
) -> Result<SourceConfig, LoadError> {
    let bytes = files.iter().find(|(name, _)| *name == "config.json").and_then(|(_, bytes)| bytes.as_ref());
    let bytes =
        bytes.ok_or_else(|| LoadError::malformed(directory, "has no config.json and no GGUF file"))?;
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
    /// The format of its panels, rows or numbers.
    format: WeightFormat,
    out: Mutex<&'a mut [u8]>,
}

struct Packer<'p> {
    plan: &'p Plan,
    checkpoint: &'p Checkpoint,
    layout: &'p ImageLayout<'p>,
    isa: Isa,
    rows: RowReader<'p>,
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'p> Packer<'p> {
    fn new(plan: &'p Plan, checkpoint: &'p Checkpoint, layout: &'p ImageLayout<'p>) -> Self {
        let isa = Isa::detect();
        Packer { plan, checkpoint, layout, isa, rows: RowReader::new(plan, checkpoint, isa) }
    }

    fn storage(&self, kind: TensorKind) -> Storage {
        kind.storage(self.layout.config()).expect("the plan holds only what the model has")
    }

    /// The runs of units of one size that a tensor is made of: bytes of the run, bytes of a unit,
    /// which is a panel, a group of 32 rows, or a whole vector, and its format.
    fn runs(&self, kind: TensorKind) -> Vec<(usize, usize, WeightFormat)> {
        let config = self.layout.config();
        let rows = config.weight_format.of_rows();
        match self.storage(kind) {
            Storage::Panels { inputs, .. } => kind
                .segments(config)
                .map(|segment| (segment.span.bytes, segment.panel_bytes(inputs), segment.format))
                .collect(),
            Storage::Rows { rows: count, width } => {
                let row_bytes = width * rows.element_bytes();
                vec![(count * row_bytes, LEAF_ROWS * row_bytes, rows)]
            }
            Storage::Vector { padded, .. } => {
                let bytes = padded * size_of::<f32>();
                vec![(bytes, bytes, WeightFormat::F32)]
            }
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
            let (mut left, mut first) = (out, 0);
            for (bytes, unit_bytes, format) in self.runs(*kind) {
                let (out, after) = std::mem::take(&mut left).split_at_mut(bytes);
                left = after;
                let units = (TASK_BYTES / unit_bytes).max(1);
                for (i, out) in out.chunks_mut(units * unit_bytes).enumerate() {
                    tasks.push(Task { tensor, first: first + i * units, format, out: Mutex::new(out) });
                }
                first += bytes.div_ceil(unit_bytes);
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
            buffers.read_bytes = 0;
            let parts = (parts, task.format);
            let result = match self.storage(*kind) {
                Storage::Panels { inputs, .. } => self.pack_panels(parts, inputs, task.first, out, buffers),
                Storage::Rows { .. } => self.convert_rows(parts, task.first, out, buffers),
                Storage::Vector { len, .. } => {
                    let converted = self.convert_vector(parts.0, out, buffers);
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
            let read = buffers.read_bytes;
            let done = done.fetch_add(read, Ordering::Relaxed) + read;
            progress.advance(done.min(total), total);
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(flushed.into_inner()),
        }
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
    ) -> Result<usize, LoadError> {
        let mut flushed = 0;
        let panel_bytes = panel_len(format, inputs) * format.element_bytes();
        for (i, panel) in out.chunks_exact_mut(panel_bytes).enumerate() {
            let segments = self.plan.segments(parts, first + i);
            let Some(segment) = segments.first() else { continue };
            let (dtype, rows) = self.rows.read(&segments, buffers)?;
            let packed = pack_panel(self.isa, format, panel, inputs, dtype, rows);
            flushed += packed.map_err(|error| match error {
                PackError::NonFinite(bad) => self.non_finite_in(&segments, bad, format),
                PackError::TooManyExponents => {
                    let source = &self.plan.sources[segment.source];
                    let path = self.checkpoint.files[source.file].path.clone();
                    LoadError::NotCodable { path, name: source.name.clone() }
                }
            })?;
        }
        Ok(flushed)
    }

    fn convert_rows(
        &self,
        (parts, format): (&Parts, WeightFormat),
        first: usize,
        out: &mut [u8],
        buffers: &mut Buffers,
    ) -> Result<usize, LoadError> {
        let Parts::Stack(list) = parts else { unreachable!("rows are not paired") };
        let number = list[0];
        let source = &self.plan.sources[number];
        let mut flushed = 0;
        for (i, out) in out.chunks_mut(LEAF_ROWS * source.width * format.element_bytes()).enumerate() {
            let first_row = (first + i) * LEAF_ROWS;
            let rows = out.len() / (source.width * format.element_bytes());
            let segment = Segment { source: number, first_row, rows };
            let (dtype, bytes) = self.rows.read(&[segment], buffers)?;
            flushed += convert(self.isa, format, out, dtype, bytes).map_err(|bad| {
                self.non_finite(source, (first_row + bad.k / source.width, bad.k % source.width), bad, format)
            })?;
        }
        Ok(flushed)
    }

    /// Norms and biases: always f32, several sources one after another or alternating by panels.
    fn convert_vector(
        &self,
        parts: &Parts,
        out: &mut [u8],
        buffers: &mut Buffers,
    ) -> Result<usize, LoadError> {
        const SIZE: usize = size_of::<f32>();
        let mut take = |number: usize, out: &mut [u8]| {
            let source = &self.plan.sources[number];
            let whole = Segment { source: number, first_row: 0, rows: 1 };
            let (dtype, bytes) = self.rows.read(&[whole], buffers)?;
            convert(self.isa, WeightFormat::F32, out, dtype, bytes)
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
