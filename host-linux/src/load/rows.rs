//! Rows of a checkpoint's tensors: read, hashed, and brought to a type that is packed.
//!
//! A leaf of the source hash is the bytes of 32 rows, as the file has them but in the order of a
//! Hugging Face checkpoint. Blocks become floats only here, a panel's rows at a time, in a buffer
//! that stays in the worker's cache: no more of a model is ever floats.
use super::checkpoint::{Checkpoint, Elements, RowOrder};
use super::error::LoadError;
use super::gguf::blocks::dequantize;
use super::plan::{LEAF_ROWS, Plan, Segment, Source};
use std::sync::{Mutex, PoisonError};
use verbatim_core::isa::Isa;
use verbatim_core::kernels::matmul::source::SourceType;
use verbatim_core::memory::bytes_mut;

/// The memory that a worker keeps from one task to the next.
#[derive(Default)]
pub(super) struct Buffers {
    /// The rows in hand, as the file has them.
    rows: Vec<u8>,
    /// The rows in hand as floats, where they are packed from those.
    floats: Vec<f32>,
    /// A leaf that lies across two panels.
    leaf: Vec<u8>,
    /// Bytes that were read, those of leaves across panels not counted twice.
    pub(super) read_bytes: u64,
}

fn sized<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

/// Reads the rows of a checkpoint.
pub(super) struct RowReader<'p> {
    plan: &'p Plan,
    checkpoint: &'p Checkpoint,
    isa: Isa,
    leaves: Mutex<Vec<[u8; 32]>>,
}

impl<'p> RowReader<'p> {
    pub(super) fn new(plan: &'p Plan, checkpoint: &'p Checkpoint, isa: Isa) -> Self {
        RowReader { plan, checkpoint, isa, leaves: Mutex::new(vec![[0; 32]; plan.leaf_count]) }
    }

    /// The hashes of all leaves, once all rows were read.
    pub(super) fn into_leaves(self) -> Vec<[u8; 32]> {
        self.leaves.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of segments, which have the same width, one after another: their type, and their
    /// bytes. Rows of blocks, and of several types together, come as f32.
    ///
    /// # Panics
    /// If there is no segment.
    pub(super) fn read<'b>(
        &self,
        segments: &[Segment],
        buffers: &'b mut Buffers,
    ) -> Result<(SourceType, &'b [u8]), LoadError> {
        let source = |segment: &Segment| &self.plan.sources[segment.source];
        let row_count: usize = segments.iter().map(|segment| segment.rows).sum();
        let first = source(&segments[0]);
        let is_uniform = segments.iter().all(|segment| source(segment).elements == first.elements);
        let plain = match first.elements {
            Elements::Float(dtype) if is_uniform => Some(dtype),
            _ => None,
        };
        let Buffers { rows, floats, leaf, read_bytes } = buffers;
        let bytes: usize = segments.iter().map(|segment| segment.rows * source(segment).row_bytes()).sum();
        let rows = sized(rows, bytes);
        let mut rest = &mut *rows;
        for segment in segments {
            let (part, after) = rest.split_at_mut(segment.rows * source(segment).row_bytes());
            self.read_segment(*segment, part, leaf)?;
            rest = after;
        }
        *read_bytes += bytes as u64;
        if let Some(dtype) = plain {
            let element_bytes = dtype.element_bytes();
            if !first.is_matrix() {
                reorder(first.order, rows, element_bytes);
            }
            return Ok((dtype, rows));
        }
        let floats = sized(floats, row_count * first.width);
        let (mut from, mut to) = (&*rows, &mut *floats);
        for segment in segments {
            let (part, after) = from.split_at(segment.rows * source(segment).row_bytes());
            let (out, behind) = to.split_at_mut(segment.rows * first.width);
            match source(segment).elements {
                Elements::Blocks(format) => dequantize(self.isa, format, part, out),
                Elements::Float(dtype) => widen(dtype, part, out),
            }
            (from, to) = (after, behind);
        }
        let bytes = bytes_mut(floats);
        if !first.is_matrix() {
            reorder(first.order, bytes, size_of::<f32>());
        }
        Ok((SourceType::F32, bytes))
    }

    /// Rows of one source as the file has them, and the hashes of the leaves that begin in them.
    fn read_segment(&self, segment: Segment, buffer: &mut [u8], leaf: &mut Vec<u8>) -> Result<(), LoadError> {
        let source = &self.plan.sources[segment.source];
        let row_bytes = source.row_bytes();
        self.read_rows(source, segment.first_row, buffer)?;
        let end = segment.first_row + segment.rows;
        let mut first = segment.first_row.next_multiple_of(LEAF_ROWS);
        while first < end {
            let last = (first + LEAF_ROWS).min(source.rows);
            let hash = if last <= end {
                let from = (first - segment.first_row) * row_bytes;
                blake3::hash(&buffer[from..from + (last - first) * row_bytes])
            } else {
                let bytes = sized(leaf, (last - first) * row_bytes);
                self.read_rows(source, first, bytes)?;
                blake3::hash(bytes)
            };
            let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
            leaves[source.leaf + first / LEAF_ROWS] = *hash.as_bytes();
            first = last;
        }
        Ok(())
    }

    /// Fills the buffer with rows from `first` on.
    fn read_rows(&self, source: &Source, first: usize, buffer: &mut [u8]) -> Result<(), LoadError> {
        let file = &self.checkpoint.files[source.file];
        if source.order == RowOrder::Plain || !source.is_matrix() {
            return file.read(source.row_offset(first), buffer);
        }
        let rows = buffer.chunks_exact_mut(source.row_bytes());
        rows.enumerate().try_for_each(|(i, row)| file.read(source.row_offset(first + i), row))
    }
}

/// Floats of a narrower type as f32, which is exact.
fn widen(dtype: SourceType, bytes: &[u8], out: &mut [f32]) {
    let elements = bytes.chunks_exact(dtype.element_bytes()).zip(out);
    match dtype {
        SourceType::F32 => elements.for_each(|(x, out)| *out = f32::from_le_bytes([x[0], x[1], x[2], x[3]])),
        SourceType::F16 => {
            elements.for_each(|(x, out)| *out = half::f16::from_le_bytes([x[0], x[1]]).to_f32())
        }
        SourceType::Bf16 => {
            elements.for_each(|(x, out)| {
                *out = f32::from_bits(u32::from(u16::from_le_bytes([x[0], x[1]])) << 16)
            });
        }
    }
}

/// Puts the elements of a vector into the order of a Hugging Face checkpoint.
fn reorder(order: RowOrder, bytes: &mut [u8], element_bytes: usize) {
    if order == RowOrder::Plain {
        return;
    }
    let in_file = bytes.to_vec();
    for (i, element) in bytes.chunks_exact_mut(element_bytes).enumerate() {
        element.copy_from_slice(&in_file[order.in_file(i) * element_bytes..][..element_bytes]);
    }
}
