//! Writing an image into memory that the caller lends.
//!
//! A host that packs a large model in parallel takes the spans from the layout, splits the memory
//! along them and only calls [`ImageWriter::header`] at the end. [`ImageWriter::fill`] is the plain
//! way, an element at a time: for small models, tests, and systems without a loader.
use super::error::ImageError;
use super::header::{
    self, AUX_ENTRY_BYTES, FORMAT_VERSION, HEADER_BYTES, MAGIC, TENSOR_ENTRY_BYTES, put_config,
};
use super::layout::{ImageLayout, Storage, TensorKind, directory_entry, gate_up_source};
use crate::dtype::{WeightFormat, bf16_operand};
use crate::kernels::matmul::pack::pack_values;
use crate::kernels::matmul::panel::PANEL;
use crate::kernels::matmul::source::float::Values;
use crate::memory::{AnyBits, REGION_ALIGN, cast_mut};
use half::bf16;

/// An image being written.
#[derive(Debug)]
pub struct ImageWriter<'a, 'n> {
    layout: &'a ImageLayout<'n>,
    bytes: &'a mut [u8],
    flushed_count: u64,
}

impl<'a, 'n> ImageWriter<'a, 'n> {
    /// Takes the memory: as many bytes as the layout says, from a multiple of 64.
    pub fn new(layout: &'a ImageLayout<'n>, bytes: &'a mut [u8]) -> Result<Self, ImageError> {
        let found = bytes.as_ptr() as usize % REGION_ALIGN;
        if found != 0 {
            return Err(ImageError::Misaligned { found });
        }
        if bytes.len() != layout.total_bytes() {
            return Err(ImageError::Field {
                field: "length in bytes",
                found: bytes.len() as u64,
                expected: layout.total_bytes() as u64,
            });
        }
        Ok(Self { layout, bytes, flushed_count: 0 })
    }

    /// The elements of a tensor; `None` if the model has none, or `T` does not divide it.
    pub fn tensor_mut<T: AnyBits>(&mut self, kind: TensorKind, layer: usize) -> Option<&mut [T]> {
        let span = self.layout.span(kind, layer)?;
        cast_mut(self.bytes.get_mut(span.range())?)
    }

    /// The bytes of an aux blob.
    pub fn aux_mut(&mut self, name: &str) -> Option<&mut [u8]> {
        let (_, span) = self.layout.aux().find(|(found, _)| *found == name)?;
        self.bytes.get_mut(span.range())
    }

    /// Writes a whole tensor from `value(row, column)`, padding included; nothing if the model has
    /// no such tensor.
    ///
    /// Rows and columns are those of the checkpoint: `[outputs, inputs]`, where the outputs of
    /// `Qkv` are Q, K and V one after another and those of `GateUp` all of gate, then all of up. A
    /// vector is one row.
    ///
    /// # Panics
    /// If a weight of panels is not finite, or the format is [`WeightFormat::Bf16x12`] and the
    /// exponents are too many for it.
    pub fn fill(&mut self, kind: TensorKind, layer: usize, value: impl Fn(usize, usize) -> f32) {
        let config = *self.layout.config();
        let Some(storage) = kind.storage(&config) else { return };
        let intermediate = config.intermediate_size;
        // The row of the checkpoint that output `n` takes.
        let source = |n: usize| match kind {
            TensorKind::GateUp | TensorKind::GateUpBias => {
                let (up, row) = gate_up_source(n);
                (row < intermediate).then_some(if up { intermediate + row } else { row })
            }
            _ => Some(n),
        };
        match (storage, config.weight_format.of_rows()) {
            (Storage::Vector { len, .. }, _) => {
                let Some(out) = self.tensor_mut::<f32>(kind, layer) else { return };
                for (i, x) in out.iter_mut().enumerate() {
                    *x = source(i).filter(|_| i < len).map_or(0.0, |i| value(0, i));
                }
            }
            (Storage::Rows { width, .. }, WeightFormat::F32) => {
                let Some(out) = self.tensor_mut::<f32>(kind, layer) else { return };
                for (i, x) in out.iter_mut().enumerate() {
                    *x = value(i / width, i % width);
                }
            }
            (Storage::Rows { width, .. }, _) => {
                let mut flushed = 0;
                let Some(out) = self.tensor_mut::<bf16>(kind, layer) else { return };
                for (i, x) in out.iter_mut().enumerate() {
                    *x = operand(value(i / width, i % width), &mut flushed);
                }
                self.flushed_count += flushed;
            }
            (Storage::Panels { outputs, inputs }, _) => {
                let Some(out) = self.tensor_mut::<u8>(kind, layer) else { return };
                let (mut flushed, mut number) = (0, 0);
                for segment in kind.segments(&config) {
                    let panels = out[segment.span.range()].chunks_exact_mut(segment.panel_bytes(inputs));
                    for panel in panels {
                        let at = |lane: usize, k: usize| {
                            source(number * PANEL + lane).map_or(0.0, |row| value(row, k))
                        };
                        let count = PANEL.min(outputs - number * PANEL);
                        let rows = Values { count, inputs, value: &at };
                        let packed = pack_values(segment.format, panel, &rows);
                        flushed += packed.expect("weights that can be packed");
                        number += 1;
                    }
                }
                self.flushed_count += flushed as u64;
            }
        }
    }

    /// Writes the header and the tables: the last step. `flushed_count` is added to what
    /// [`ImageWriter::fill`] counted. The hashes of head and body are left to the host, and zeros
    /// until then.
    pub fn header(self, source_hash: &[u8; 32], flushed_count: u64) {
        let Self { layout, bytes, flushed_count: counted } = self;
        bytes[..layout.directory_offset()].fill(0);
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        header::FORMAT.put(bytes, 0, u64::from(FORMAT_VERSION));
        header::NUMERICS.put(bytes, 0, u64::from(crate::NUMERICS_VERSION));
        header::TOTAL_BYTES.put(bytes, 0, layout.total_bytes() as u64);
        header::TENSOR_COUNT.put(bytes, 0, layout.tensor_count() as u64);
        header::AUX_COUNT.put(bytes, 0, layout.aux().count() as u64);
        header::HEAD_BYTES.put(bytes, 0, layout.head_bytes() as u64);
        header::FLUSHED.put(bytes, 0, counted.saturating_add(flushed_count));
        header::SOURCE_HASH.put_hash(bytes, source_hash);
        put_config(bytes, layout.config());
        for (entry, (name, span)) in layout.aux().enumerate() {
            let at = HEADER_BYTES + entry * AUX_ENTRY_BYTES;
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
            header::AUX_OFFSET.put(bytes, at, span.offset as u64);
            header::AUX_BYTES.put(bytes, at, span.bytes as u64);
        }
        for (entry, tensor) in layout.tensors().enumerate() {
            let at = layout.directory_offset() + entry * TENSOR_ENTRY_BYTES;
            for (place, number) in directory_entry(&tensor) {
                place.put(bytes, at, number);
            }
        }
    }
}

fn operand(x: f32, flushed: &mut u64) -> bf16 {
    let operand = bf16_operand(x);
    *flushed += u64::from(operand.to_bits() == 0 && x != 0.0);
    operand
}
