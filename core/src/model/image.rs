//! The image: a packed model as one run of bytes, in memory or in a file.
//!
//! ```text
//! header      320 bytes: magic, versions, lengths, hashes, ModelConfig      (all little-endian)
//! aux table   64 bytes per named blob: name, offset, bytes
//! directory   24 bytes per tensor: kind, layer, offset, bytes
//! aux         tokenizer, template, defaults: opaque to the core, each at a multiple of 64
//! tensors     each at a multiple of 4096: panels, norms, biases; in the order in which a step reads them
//! ```
//!
//! What comes before the first tensor is the **head**: small, and it steers everything. The tensors
//! are the **body**: numbers, of which any are valid; the promise that all CPUs give the same bits
//! is for bodies that a packer wrote, without subnormal numbers. The header has a place for a hash
//! of each ([`HEAD_HASH`], [`BODY_HASH`]), so that whoever opens a file can check the head at once
//! and the body when asked; the core computes neither.
//!
//! [`ImageLayout`] computes every offset from the configuration and the blobs' sizes alone, so
//! whoever writes an image and [`PackedModel::parse`] agree, and a parsed directory is only
//! compared with what it must be. The core allocates nothing here: a host maps a file or fills
//! memory through [`ImageWriter`], a system without an OS carries the bytes in its own binary.
//!
//! Errors name the field, what was found and what was expected. Hostile bytes give an error or a
//! model whose numbers are nonsense, never a panic and never a view out of bounds.
mod layout;
mod writer;

pub use layout::{AUX_MAX, AUX_NAME_MAX, ImageLayout, Span, Storage, TensorKind, gate_up_source};
pub use writer::ImageWriter;

use super::config::{Architecture, ConfigError, ModelConfig};
use super::weights::{Embedding, LayerWeights, OuterWeights};
use crate::dtype::WeightFormat;
use crate::kernels::matmul::{Linear, Panels};
use crate::kernels::rope::{RopeConfig, RopeScaling};
use crate::memory::{AnyBits, REGION_ALIGN, cast};

/// The first bytes of every image.
pub const MAGIC: [u8; 8] = *b"vbimage\0";

/// Changes whenever a field or the place of tensors does.
pub const FORMAT_VERSION: u32 = 4;

/// Bytes before the aux table.
pub const HEADER_BYTES: usize = 320;

/// Bytes of an encoded [`ModelConfig`].
pub const CONFIG_BYTES: usize = 8 * CONFIG_FIELDS;

/// Where the header holds the hash of the head, this place itself taken as zeros.
pub const HEAD_HASH: core::ops::Range<usize> = AT_HEAD_HASH..AT_HEAD_HASH + 32;

/// Where the header holds the hash of the body.
pub const BODY_HASH: core::ops::Range<usize> = AT_BODY_HASH..AT_BODY_HASH + 32;

const CONFIG_FIELDS: usize = 19;
const AUX_ENTRY_BYTES: usize = 64;
const TENSOR_ENTRY_BYTES: usize = 24;

// Where the header's fields lie.
const AT_FORMAT: usize = 8;
const AT_NUMERICS: usize = 12;
const AT_TOTAL: usize = 16;
const AT_TENSOR_COUNT: usize = 24;
const AT_AUX_COUNT: usize = 28;
const AT_HEAD_BYTES: usize = 32;
const AT_FLUSHED: usize = 40;
const AT_SOURCE_HASH: usize = 48;
const AT_HEAD_HASH: usize = 80;
const AT_BODY_HASH: usize = 112;
const AT_CONFIG: usize = 144;

const _: () = assert!(AT_CONFIG + CONFIG_BYTES <= HEADER_BYTES);

/// The layer number of a directory entry that belongs to no layer.
const NO_LAYER: u32 = u32::MAX;

/// Why bytes are not an image that this version can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The machine stores numbers the other way round.
    BigEndian,
    /// The bytes do not start at a multiple of 64.
    Misaligned {
        /// The address modulo 64.
        found: usize,
    },
    /// The magic differs.
    NotAnImage,
    /// A number in the header or the tables differs from what it must be.
    Field {
        /// The field.
        field: &'static str,
        /// What the bytes say.
        found: u64,
        /// What they must say.
        expected: u64,
    },
    /// A number stands for nothing known.
    Unknown {
        /// The field.
        field: &'static str,
        /// What the bytes say.
        found: u64,
    },
    /// The configuration cannot be.
    Config(ConfigError),
    /// An entry of the directory differs from what the configuration implies.
    Directory {
        /// The entry, from 0.
        entry: usize,
        /// `kind`, `layer`, `offset` or `bytes`.
        field: &'static str,
        /// What the bytes say.
        found: u64,
        /// What they must say.
        expected: u64,
    },
    /// An aux blob's name is empty, too long, not UTF-8, or not unique.
    AuxName {
        /// The blob, from 0.
        entry: usize,
    },
    /// The image would not fit the address space.
    TooLarge {
        /// What is too large.
        what: &'static str,
    },
}

impl core::fmt::Display for ImageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BigEndian => write!(f, "images are little-endian and this machine is not"),
            Self::Misaligned { found } => write!(
                f,
                "the image starts {found} bytes past a multiple of {REGION_ALIGN}, expected a multiple of it"
            ),
            Self::NotAnImage => write!(f, "not an image: the first 8 bytes are not \"vbimage\\0\""),
            Self::Field { field, found, expected } => {
                write!(f, "image header: {field}: found {found}, expected {expected}")
            }
            Self::Unknown { field, found } => {
                write!(f, "image header: {field}: found {found}, which is unknown")
            }
            Self::Config(error) => write!(f, "image header: {error}"),
            Self::Directory { entry, field, found, expected } => {
                write!(f, "image directory: entry {entry}: {field}: found {found}, expected {expected}")
            }
            Self::AuxName { entry } => write!(
                f,
                "image aux table: entry {entry}: expected a unique name of 1 to {AUX_NAME_MAX} bytes of UTF-8"
            ),
            Self::TooLarge { what } => write!(f, "image: {what} does not fit the address space"),
        }
    }
}

impl core::error::Error for ImageError {}

impl From<ConfigError> for ImageError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    field.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    field.try_into().ok().map(u64::from_le_bytes)
}

fn hash_at(bytes: &[u8], at: usize) -> Option<&[u8; 32]> {
    bytes.get(at..at.checked_add(32)?)?.try_into().ok()
}

/// The configuration as the header holds it: a canonical form, also what a fingerprint may hash.
pub fn encode_config(config: &ModelConfig) -> [u8; CONFIG_BYTES] {
    let (kind, factor, low, high, original) = match config.rope.scaling {
        RopeScaling::None => (0, 0, 0, 0, 0),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => (
            1,
            u64::from(factor.to_bits()),
            u64::from(low_freq_factor.to_bits()),
            u64::from(high_freq_factor.to_bits()),
            u64::from(original_positions),
        ),
    };
    let flags =
        [config.tied_head, config.qkv_bias, config.attention_output_bias, config.mlp_bias, config.qk_norm];
    let flags = flags.iter().enumerate().fold(0, |bits, (i, flag)| bits + (u64::from(*flag) << i));
    let fields: [u64; CONFIG_FIELDS] = [
        config.architecture as u64,
        config.vocab_size as u64,
        config.hidden_size as u64,
        config.intermediate_size as u64,
        config.layer_count as u64,
        config.head_count as u64,
        config.kv_head_count as u64,
        config.head_dim as u64,
        config.position_count as u64,
        u64::from(config.rms_norm_eps.to_bits()),
        config.rope.theta.to_bits(),
        kind,
        factor,
        low,
        high,
        original,
        flags,
        config.weight_format as u64,
        config.head_format as u64,
    ];
    let mut bytes = [0; CONFIG_BYTES];
    for (chunk, field) in bytes.chunks_exact_mut(8).zip(fields) {
        chunk.copy_from_slice(&field.to_le_bytes());
    }
    bytes
}

/// Reads back what [`encode_config`] wrote, and checks it.
fn decode_config(bytes: &[u8; CONFIG_BYTES]) -> Result<ModelConfig, ImageError> {
    let field = |i: usize| u64_at(bytes, i * 8).unwrap_or(0);
    let size = |i: usize, name: &'static str| {
        usize::try_from(field(i)).map_err(|_| ImageError::Unknown { field: name, found: field(i) })
    };
    let number = |i: usize, name: &'static str| {
        u32::try_from(field(i)).map_err(|_| ImageError::Unknown { field: name, found: field(i) })
    };
    let float = |i: usize, name: &'static str| number(i, name).map(f32::from_bits);
    let scaling = match field(11) {
        0 => RopeScaling::None,
        1 => RopeScaling::Llama3 {
            factor: float(12, "rope_scaling.factor")?,
            low_freq_factor: float(13, "rope_scaling.low_freq_factor")?,
            high_freq_factor: float(14, "rope_scaling.high_freq_factor")?,
            original_positions: number(15, "rope_scaling.original_max_position_embeddings")?,
        },
        found => return Err(ImageError::Unknown { field: "rope_scaling", found }),
    };
    let unknown = |i: usize, field_name| ImageError::Unknown { field: field_name, found: field(i) };
    let flags = field(16);
    if flags >> 5 != 0 {
        return Err(unknown(16, "flags"));
    }
    let config = ModelConfig {
        architecture: Architecture::from_u32(number(0, "model_type")?)
            .ok_or_else(|| unknown(0, "model_type"))?,
        vocab_size: size(1, "vocab_size")?,
        hidden_size: size(2, "hidden_size")?,
        intermediate_size: size(3, "intermediate_size")?,
        layer_count: size(4, "num_hidden_layers")?,
        head_count: size(5, "num_attention_heads")?,
        kv_head_count: size(6, "num_key_value_heads")?,
        head_dim: size(7, "head_dim")?,
        position_count: size(8, "max_position_embeddings")?,
        rms_norm_eps: float(9, "rms_norm_eps")?,
        rope: RopeConfig { theta: f64::from_bits(field(10)), scaling },
        tied_head: flags & 1 != 0,
        qkv_bias: flags & 2 != 0,
        attention_output_bias: flags & 4 != 0,
        mlp_bias: flags & 8 != 0,
        qk_norm: flags & 16 != 0,
        weight_format: WeightFormat::from_u32(number(17, "weight format")?)
            .ok_or_else(|| unknown(17, "weight format"))?,
        head_format: WeightFormat::from_u32(number(18, "head format")?)
            .ok_or_else(|| unknown(18, "head format"))?,
    };
    config.check()?;
    Ok(config)
}

fn check(field: &'static str, found: u64, expected: u64) -> Result<(), ImageError> {
    if found == expected { Ok(()) } else { Err(ImageError::Field { field, found, expected }) }
}

fn short(found: u64, expected: usize) -> ImageError {
    ImageError::Field { field: "length in bytes", found, expected: expected as u64 }
}

/// Bytes of the head of an image, from its first [`HEADER_BYTES`] and its whole length: what
/// [`HEAD_HASH`] covers.
///
/// Only what says whether the other fields can be understood is looked at: magic, versions,
/// lengths.
pub fn head_bytes(header: &[u8], total: u64) -> Result<usize, ImageError> {
    if !header.starts_with(&MAGIC) {
        return Err(ImageError::NotAnImage);
    }
    let number = |at| u32_at(header, at).map(u64::from).ok_or(short(total, HEADER_BYTES));
    check("format version", number(AT_FORMAT)?, u64::from(FORMAT_VERSION))?;
    check("numerics version", number(AT_NUMERICS)?, u64::from(crate::NUMERICS_VERSION))?;
    let long = |at| u64_at(header, at).ok_or(short(total, HEADER_BYTES));
    check("length in bytes", total, long(AT_TOTAL)?)?;
    let head = long(AT_HEAD_BYTES)?;
    if header.len() < HEADER_BYTES {
        return Err(short(total, HEADER_BYTES));
    }
    usize::try_from(head)
        .ok()
        .filter(|bytes| *bytes >= HEADER_BYTES && head <= total)
        .ok_or(ImageError::Unknown { field: "length of the head in bytes", found: head })
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
        let short = |expected: usize| short(total, expected);
        let number = |at| u32_at(bytes, at).map(u64::from).ok_or(short(HEADER_BYTES));
        let config = bytes.get(AT_CONFIG..AT_CONFIG + CONFIG_BYTES).and_then(|bytes| bytes.try_into().ok());
        let config = decode_config(config.ok_or(short(HEADER_BYTES))?)?;

        let aux_count = number(AT_AUX_COUNT)?;
        if aux_count > AUX_MAX as u64 {
            return Err(ImageError::Unknown { field: "number of aux blobs", found: aux_count });
        }
        let mut aux = [("", 0); AUX_MAX];
        for (entry, slot) in aux[..aux_count as usize].iter_mut().enumerate() {
            let at = HEADER_BYTES + entry * AUX_ENTRY_BYTES;
            let name = bytes.get(at..at + AUX_NAME_MAX).ok_or(short(at + AUX_ENTRY_BYTES))?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            if name[end..].iter().any(|byte| *byte != 0) {
                return Err(ImageError::AuxName { entry });
            }
            let name = core::str::from_utf8(&name[..end]).map_err(|_| ImageError::AuxName { entry })?;
            let size = u64_at(bytes, at + AUX_NAME_MAX + 8).ok_or(short(at + AUX_ENTRY_BYTES))?;
            let size = usize::try_from(size).map_err(|_| ImageError::TooLarge { what: "an aux blob" })?;
            *slot = (name, size);
        }
        let layout = ImageLayout::new(&config, &aux[..aux_count as usize])?;
        check("length in bytes", total, layout.total_bytes() as u64)?;
        check("length of the head in bytes", head as u64, layout.head_bytes() as u64)?;
        check("number of tensors", number(AT_TENSOR_COUNT)?, layout.tensor_count() as u64)?;
        for (entry, (_, span)) in layout.aux().enumerate() {
            let at = HEADER_BYTES + entry * AUX_ENTRY_BYTES + AUX_NAME_MAX;
            let offset = u64_at(bytes, at).ok_or(short(at + 16))?;
            check("offset of an aux blob", offset, span.offset as u64)?;
        }
        for (entry, (kind, layer, span)) in layout.tensors().enumerate() {
            let at = layout.directory_offset() + entry * TENSOR_ENTRY_BYTES;
            let compare = |field, found: Option<u64>, expected: u64| match found {
                Some(found) if found == expected => Ok(()),
                Some(found) => Err(ImageError::Directory { entry, field, found, expected }),
                None => Err(short(at + TENSOR_ENTRY_BYTES)),
            };
            let layer = layer.map_or(NO_LAYER, |layer| layer as u32);
            compare("kind", u32_at(bytes, at).map(u64::from), kind as u64)?;
            compare("layer", u32_at(bytes, at + 4).map(u64::from), u64::from(layer))?;
            compare("offset", u64_at(bytes, at + 8), span.offset as u64)?;
            compare("bytes", u64_at(bytes, at + 16), span.bytes as u64)?;
        }
        // Every span lies within `total_bytes`, which is the slice's length; from here on views
        // cannot fail.
        Ok(PackedModel {
            bytes,
            layout,
            source_hash: hash_at(bytes, AT_SOURCE_HASH).ok_or(short(HEADER_BYTES))?,
            body_hash: hash_at(bytes, AT_BODY_HASH).ok_or(short(HEADER_BYTES))?,
            flushed_count: u64_at(bytes, AT_FLUSHED).ok_or(short(HEADER_BYTES))?,
        })
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        self.layout.config()
    }

    /// Where everything lies.
    pub fn layout(&self) -> &ImageLayout<'w> {
        &self.layout
    }

    /// The hash of what the image was packed from.
    pub fn fingerprint(&self) -> &'w [u8; 32] {
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
        let Some(Storage::Panels { outputs, inputs }) = kind.storage(config) else {
            unreachable!("{kind:?} is stored as panels");
        };
        let panels = Panels::from_bytes(kind.format(config), self.elements(kind, layer));
        let bias = bias.and_then(|bias| self.optional(bias, layer));
        panels
            .and_then(|panels| Linear::new(outputs, inputs, panels, bias))
            .expect("the layout gave these lengths")
    }

    /// The weights of block `layer`.
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

    /// What lies around the blocks.
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
