//! The image: a packed model as one run of bytes, in memory or in a file.
//!
//! ```text
//! header      512 bytes: magic, versions, lengths, hashes, ModelConfig      (all little-endian)
//! aux table   64 bytes per named blob: name, offset, bytes
//! directory   32 bytes per tensor: kind, layer, expert, offset, bytes
//! aux         tokenizer, template, defaults: opaque to the core, each at a multiple of 64
//! tensors     each at a multiple of 4096: panels, norms, biases, as a step reads them
//! ```
//!
//! The bytes before the first tensor are the image's **head**, which is small and says where
//! everything lies. The tensors are its **body**. Any bytes are valid there, but all CPUs give the
//! same bits only for bodies that a packer wrote, without subnormal numbers. The header has a place
//! for a hash of each ([`HEAD_HASH`], [`BODY_HASH`]), so that a host can check the head when it
//! opens a file, and the body when asked to; the core computes neither.
//!
//! [`ImageLayout`] computes every offset from the configuration and the blobs' sizes alone, for
//! writers and for [`PackedModel::parse`], which only compares the directory with the layout. The
//! core allocates nothing here: a host maps a file or fills memory through [`ImageWriter`], a
//! system without an OS carries the bytes in its own binary. The places in the header and the
//! tables are defined once, in `header`, for reading and writing.
//!
//! Errors name the field, what was found and what was expected. Hostile bytes give an error or a
//! model whose numbers are nonsense, never a panic and never a view out of bounds.
mod error;
mod header;
mod layout;
mod writer;

pub use error::ImageError;
pub use header::{AUX_MAX, AUX_NAME_MAX, BODY_HASH, FORMAT_VERSION, HEAD_HASH, HEADER_BYTES, MAGIC};
pub use layout::{ImageLayout, SegmentPlace, Span, Storage, TensorKind, TensorPlace, gate_up_source};
pub use writer::ImageWriter;

use self::header::{AUX_ENTRY_BYTES, Place, TENSOR_ENTRY_BYTES};
use self::layout::directory_entry;
use super::config::ModelConfig;
use super::weights::{Embedding, LayerWeights, OuterWeights};
use crate::dtype::WeightFormat;
use crate::kernels::matmul::linear::SEGMENTS_MAX;
use crate::kernels::matmul::{Linear, Panels};
use crate::memory::{AnyBits, REGION_ALIGN, cast};

/// Compares a number of the header with what it must be.
fn check(place: Place, found: u64, expected: u64) -> Result<(), ImageError> {
    if found == expected { Ok(()) } else { Err(ImageError::Field { field: place.name, found, expected }) }
}

/// The error of an image that ends before a field does.
fn short(found: u64, expected: usize) -> ImageError {
    ImageError::Field { field: header::TOTAL_BYTES.name, found, expected: expected as u64 }
}

/// Bytes of the head of an image, from its first [`HEADER_BYTES`] and its whole length: what
/// [`HEAD_HASH`] covers.
///
/// It checks only the fields on which all others depend: magic, versions and lengths.
pub fn head_bytes(header: &[u8], total: u64) -> Result<usize, ImageError> {
    if !header.starts_with(&MAGIC) {
        return Err(ImageError::NotAnImage);
    }
    let number = |place: Place| place.number(header, 0).ok_or(short(total, HEADER_BYTES));
    let found = number(header::FORMAT)?;
    if found != u64::from(FORMAT_VERSION) {
        return Err(ImageError::FormatVersion { found, expected: FORMAT_VERSION });
    }
    check(header::NUMERICS, number(header::NUMERICS)?, u64::from(crate::NUMERICS_VERSION))?;
    check(header::TOTAL_BYTES, total, number(header::TOTAL_BYTES)?)?;
    let head = number(header::HEAD_BYTES)?;
    if header.len() < HEADER_BYTES {
        return Err(short(total, HEADER_BYTES));
    }
    usize::try_from(head)
        .ok()
        .filter(|bytes| *bytes >= HEADER_BYTES && head <= total)
        .ok_or(ImageError::Unknown { field: header::HEAD_BYTES.name, found: head })
}

/// Reads the names and sizes of the aux blobs into `aux`; returns those that there are.
fn read_aux<'w, 'a>(
    bytes: &'w [u8],
    aux: &'a mut [(&'w str, usize); AUX_MAX],
) -> Result<&'a [(&'w str, usize)], ImageError> {
    let total = bytes.len() as u64;
    let count = header::AUX_COUNT.number(bytes, 0).ok_or(short(total, HEADER_BYTES))?;
    let known = usize::try_from(count).ok().and_then(|count| aux.get_mut(..count));
    let aux = known.ok_or(ImageError::Unknown { field: header::AUX_COUNT.name, found: count })?;
    for (entry, slot) in aux.iter_mut().enumerate() {
        let at = HEADER_BYTES + entry * AUX_ENTRY_BYTES;
        let name = bytes.get(at..at + AUX_NAME_MAX).ok_or(short(total, at + AUX_ENTRY_BYTES))?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        if name[end..].iter().any(|byte| *byte != 0) {
            return Err(ImageError::AuxName { entry, bytes_max: AUX_NAME_MAX });
        }
        let name = core::str::from_utf8(&name[..end])
            .map_err(|_| ImageError::AuxName { entry, bytes_max: AUX_NAME_MAX })?;
        let size = header::AUX_BYTES.number(bytes, at).ok_or(short(total, at + AUX_ENTRY_BYTES))?;
        let size = usize::try_from(size).map_err(|_| ImageError::TooLarge { what: "an aux blob" })?;
        *slot = (name, size);
    }
    Ok(aux)
}

/// Compares the aux table and the directory with the layout.
fn check_tables(bytes: &[u8], layout: &ImageLayout<'_>) -> Result<(), ImageError> {
    let total = bytes.len() as u64;
    for (entry, (_, span)) in layout.aux().enumerate() {
        let at = HEADER_BYTES + entry * AUX_ENTRY_BYTES;
        let offset = header::AUX_OFFSET.number(bytes, at).ok_or(short(total, at + AUX_ENTRY_BYTES))?;
        check(header::AUX_OFFSET, offset, span.offset as u64)?;
    }
    for (entry, tensor) in layout.tensors().enumerate() {
        let at = layout.directory_offset() + entry * TENSOR_ENTRY_BYTES;
        for (place, expected) in directory_entry(&tensor) {
            let found = place.number(bytes, at).ok_or(short(total, at + TENSOR_ENTRY_BYTES))?;
            if found != expected {
                return Err(ImageError::Directory { entry, field: place.name, found, expected });
            }
        }
    }
    Ok(())
}

/// An image, checked: a model that can run.
#[derive(Clone, Debug)]
pub struct PackedModel<'w> {
    bytes: &'w [u8],
    layout: ImageLayout<'w>,
    source_hash: &'w [u8; 32],
    body_hash: &'w [u8; 32],
    flushed_count: u64,
}

impl<'w> PackedModel<'w> {
    /// Checks the header, the tables and every size; the weights themselves are not read.
    ///
    /// `bytes` must start at a multiple of 64 and be the whole image, no more and no less.
    pub fn parse(bytes: &'w [u8]) -> Result<PackedModel<'w>, ImageError> {
        if cfg!(target_endian = "big") {
            return Err(ImageError::BigEndian);
        }
        let found = bytes.as_ptr() as usize % REGION_ALIGN;
        if found != 0 {
            return Err(ImageError::Misaligned { found });
        }
        let total = bytes.len() as u64;
        let head = head_bytes(bytes, total)?;
        let config = header::config(bytes).ok_or(short(total, HEADER_BYTES))??;
        let mut aux = [("", 0); AUX_MAX];
        let aux = read_aux(bytes, &mut aux)?;
        let layout = ImageLayout::new(&config, aux)?;
        let number = |place: Place| place.number(bytes, 0).ok_or(short(total, HEADER_BYTES));
        check(header::TOTAL_BYTES, total, layout.total_bytes() as u64)?;
        check(header::HEAD_BYTES, head as u64, layout.head_bytes() as u64)?;
        check(header::TENSOR_COUNT, number(header::TENSOR_COUNT)?, layout.tensor_count() as u64)?;
        check_tables(bytes, &layout)?;
        let hash = |place: Place| place.hash(bytes).ok_or(short(total, HEADER_BYTES));
        // Every span lies within `total_bytes`, which is the slice's length; from here on views
        // cannot fail.
        Ok(PackedModel {
            bytes,
            layout,
            source_hash: hash(header::SOURCE_HASH)?,
            body_hash: hash(header::BODY_HASH_PLACE)?,
            flushed_count: number(header::FLUSHED)?,
        })
    }

    /// The configuration that the header holds.
    pub fn config(&self) -> &ModelConfig {
        self.layout.config()
    }

    /// The layout, which says where tensors and blobs lie.
    pub fn layout(&self) -> &ImageLayout<'w> {
        &self.layout
    }

    /// The hash of what the image was packed from.
    pub fn source_hash(&self) -> &'w [u8; 32] {
        self.source_hash
    }

    /// The hash of the body, as its writer stored it; zeros where it did not.
    pub fn body_hash(&self) -> &'w [u8; 32] {
        self.body_hash
    }

    /// Nonzero weights that packing set to zero (`dtype::flush`).
    pub fn flushed_count(&self) -> u64 {
        self.flushed_count
    }

    /// Bytes of all tensors.
    pub fn weight_bytes(&self) -> usize {
        self.layout.weight_bytes()
    }

    /// The blob of that name.
    pub fn aux(&self, name: &str) -> Option<&'w [u8]> {
        let (_, span) = self.layout.aux().find(|(found, _)| *found == name)?;
        self.bytes.get(span.range())
    }

    /// The elements of a tensor; empty where the model has none, which no caller here asks for.
    fn elements<T: AnyBits>(&self, kind: TensorKind, layer: usize) -> &'w [T] {
        let span = self.layout.span(kind, layer);
        let bytes = span.and_then(|span| self.bytes.get(span.range()));
        bytes.and_then(cast).unwrap_or(&[])
    }

    fn optional(&self, kind: TensorKind, layer: usize) -> Option<&'w [f32]> {
        self.layout.span(kind, layer).map(|_| self.elements(kind, layer))
    }

    fn linear(&self, kind: TensorKind, bias: Option<TensorKind>, layer: usize) -> Linear<'w> {
        let config = self.config();
        let Some(Storage::Panels { inputs, .. }) = kind.storage(config) else {
            unreachable!("{kind:?} is stored as panels");
        };
        let bytes: &[u8] = self.elements(kind, layer);
        let mut parts = [(0, Panels::F32(&[])); SEGMENTS_MAX];
        let mut count = 0;
        for (part, segment) in parts.iter_mut().zip(kind.segments(config)) {
            let panels =
                bytes.get(segment.span.range()).and_then(|bytes| Panels::from_bytes(segment.format, bytes));
            *part = (segment.outputs, panels.expect("the layout gave these lengths"));
            count += 1;
        }
        let bias = bias.and_then(|bias| self.optional(bias, layer));
        Linear::of_segments(inputs, &parts[..count], bias).expect("the layout gave these lengths")
    }

    /// The weights of layer `layer`.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn layer(&self, layer: usize) -> LayerWeights<'w> {
        assert!(layer < self.config().layer_count, "no layer {layer}");
        LayerWeights {
            attention_norm: self.elements(TensorKind::AttentionNorm, layer),
            qkv: self.linear(TensorKind::Qkv, Some(TensorKind::QkvBias), layer),
            q_norm: self.optional(TensorKind::QNorm, layer),
            k_norm: self.optional(TensorKind::KNorm, layer),
            attention_output: self.linear(
                TensorKind::AttentionOutput,
                Some(TensorKind::AttentionOutputBias),
                layer,
            ),
            feed_forward_norm: self.elements(TensorKind::FeedForwardNorm, layer),
            gate_up: self.linear(TensorKind::GateUp, Some(TensorKind::GateUpBias), layer),
            down: self.linear(TensorKind::Down, Some(TensorKind::DownBias), layer),
        }
    }

    /// The weights before and after the layers.
    pub fn outer(&self) -> OuterWeights<'w> {
        let embedding = match (self.config().tied_head, self.config().weight_format.of_rows()) {
            (true, _) => Embedding::Tied,
            (false, WeightFormat::F32) => Embedding::F32(self.elements(TensorKind::Embedding, 0)),
            (false, _) => Embedding::Bf16(self.elements(TensorKind::Embedding, 0)),
        };
        OuterWeights {
            embedding,
            final_norm: self.elements(TensorKind::FinalNorm, 0),
            head: self.linear(TensorKind::Head, None, 0),
        }
    }
}

#[cfg(test)]
mod tests;
