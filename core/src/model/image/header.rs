//! The header of an image, its aux table and its directory: each number by name, with one
//! definition from which it is both written and read.
//!
//! A [`Place`] is a number or a hash at an offset. The configuration is a table of fields
//! ([`CONFIG_FIELDS`]), one word of 64 bits each, in the table's order from [`CONFIG`] on; a new
//! field is one line there. Words that are no value of their field are refused by its name.
use super::super::config::{FormatMix, ModelConfig};
use super::super::families::{Architecture, FAMILIES};
use super::super::spec::{Activation, LayerFeatures, LayerPattern, NormPlacement};
use super::error::ImageError;
use crate::dtype::WeightFormat;
use crate::kernels::rope::{RopeConfig, RopeScaling};
use core::ops::Range;

/// The first bytes of every image.
pub const MAGIC: [u8; 8] = *b"vbimage\0";

/// The version of the format, which changes with every change of a field or of where tensors lie.
pub const FORMAT_VERSION: u32 = 6;

/// Bytes of the header, before the aux table. What no field takes is zero.
pub const HEADER_BYTES: usize = 512;

/// Aux blobs that an image can carry.
pub const AUX_MAX: usize = 8;

/// Bytes of an aux blob's name.
pub const AUX_NAME_MAX: usize = 48;

/// Where the header holds the hash of the head, this place itself taken as zeros.
pub const HEAD_HASH: Range<usize> = HEAD_HASH_PLACE.range();

/// Where the header holds the hash of the body.
pub const BODY_HASH: Range<usize> = BODY_HASH_PLACE.range();

/// A number or a hash at a place of the header, or of an entry of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The name of the number in error messages.
    pub(super) name: &'static str,
    /// Bytes from the start of the header or entry to this place.
    pub(super) offset: usize,
    /// 4 or 8 for a number, 32 for a hash.
    bytes: usize,
}

impl Place {
    const fn at(offset: usize, bytes: usize, name: &'static str) -> Self {
        Self { name, offset, bytes }
    }

    /// The place just behind another.
    const fn after(before: Self, bytes: usize, name: &'static str) -> Self {
        Self::at(before.offset + before.bytes, bytes, name)
    }

    const fn range(self) -> Range<usize> {
        self.offset..self.offset + self.bytes
    }

    /// The number here in an entry that starts at `start`; `None` if the bytes end before it does.
    pub(super) fn number(self, bytes: &[u8], start: usize) -> Option<u64> {
        let field = bytes.get(start.checked_add(self.offset)?..)?.get(..self.bytes)?;
        let mut word = [0; 8];
        word.get_mut(..self.bytes)?.copy_from_slice(field);
        Some(u64::from_le_bytes(word))
    }

    /// The hash here; `None` if the bytes end before it does.
    pub(super) fn hash(self, bytes: &[u8]) -> Option<&[u8; 32]> {
        bytes.get(self.range())?.try_into().ok()
    }

    /// Writes a number here, in an entry that starts at `start`.
    pub(super) fn put(self, bytes: &mut [u8], start: usize, number: u64) {
        let word = number.to_le_bytes();
        bytes[start + self.offset..][..self.bytes].copy_from_slice(&word[..self.bytes]);
    }

    /// Writes a hash here.
    pub(super) fn put_hash(self, bytes: &mut [u8], hash: &[u8; 32]) {
        bytes[self.range()].copy_from_slice(hash);
    }
}

// The places of the header, behind the magic.
pub(super) const FORMAT: Place = Place::at(MAGIC.len(), 4, "format version");
pub(super) const NUMERICS: Place = Place::after(FORMAT, 4, "numerics version");
pub(super) const TOTAL_BYTES: Place = Place::after(NUMERICS, 8, "length in bytes");
pub(super) const TENSOR_COUNT: Place = Place::after(TOTAL_BYTES, 4, "number of tensors");
pub(super) const AUX_COUNT: Place = Place::after(TENSOR_COUNT, 4, "number of aux blobs");
pub(super) const HEAD_BYTES: Place = Place::after(AUX_COUNT, 8, "length of the head in bytes");
pub(super) const FLUSHED: Place = Place::after(HEAD_BYTES, 8, "number of flushed weights");
pub(super) const SOURCE_HASH: Place = Place::after(FLUSHED, 32, "source hash");
const HEAD_HASH_PLACE: Place = Place::after(SOURCE_HASH, 32, "hash of the head");
pub(super) const BODY_HASH_PLACE: Place = Place::after(HEAD_HASH_PLACE, 32, "hash of the body");
const CONFIG: usize = BODY_HASH_PLACE.range().end;
const _: () = assert!(CONFIG + CONFIG_FIELDS.len() * 8 <= HEADER_BYTES);

// The places of an entry of the aux table, behind the blob's name.
pub(super) const AUX_OFFSET: Place = Place::at(AUX_NAME_MAX, 8, "offset of an aux blob");
pub(super) const AUX_BYTES: Place = Place::after(AUX_OFFSET, 8, "bytes of an aux blob");
/// Bytes of an entry of the aux table.
pub(super) const AUX_ENTRY_BYTES: usize = AUX_BYTES.range().end;

// The places of an entry of the directory: which tensor, of which layer, of which expert; and where
// it lies.
pub(super) const TENSOR_KIND: Place = Place::at(0, 4, "kind");
pub(super) const TENSOR_LAYER: Place = Place::after(TENSOR_KIND, 4, "layer");
pub(super) const TENSOR_EXPERT: Place = Place::after(TENSOR_LAYER, 8, "expert");
pub(super) const TENSOR_OFFSET: Place = Place::after(TENSOR_EXPERT, 8, "offset");
pub(super) const TENSOR_BYTES: Place = Place::after(TENSOR_OFFSET, 8, "bytes");
/// Bytes of an entry of the directory.
pub(super) const TENSOR_ENTRY_BYTES: usize = TENSOR_BYTES.range().end;

/// The layer or expert of a directory entry that belongs to none.
pub(super) const NONE: u64 = u32::MAX as u64;

/// A value that is stored as one word of 64 bits.
trait Word: Sized {
    fn to_word(&self) -> u64;

    /// The value of a word; `None` if it is the word of no value.
    fn from_word(word: u64) -> Option<Self>;
}

impl Word for usize {
    fn to_word(&self) -> u64 {
        *self as u64
    }
    fn from_word(word: u64) -> Option<Self> {
        word.try_into().ok()
    }
}

impl Word for u32 {
    fn to_word(&self) -> u64 {
        u64::from(*self)
    }
    fn from_word(word: u64) -> Option<Self> {
        word.try_into().ok()
    }
}

impl Word for bool {
    fn to_word(&self) -> u64 {
        u64::from(*self)
    }
    fn from_word(word: u64) -> Option<Self> {
        [false, true].get(usize::try_from(word).ok()?).copied()
    }
}

impl Word for f32 {
    fn to_word(&self) -> u64 {
        u64::from(self.to_bits())
    }
    fn from_word(word: u64) -> Option<Self> {
        Some(Self::from_bits(word.try_into().ok()?))
    }
}

impl Word for f64 {
    fn to_word(&self) -> u64 {
        self.to_bits()
    }
    fn from_word(word: u64) -> Option<Self> {
        Some(Self::from_bits(word))
    }
}

/// Values of 32 bits: the word has a bit above them that says that there is one.
impl<T: Word> Word for Option<T> {
    fn to_word(&self) -> u64 {
        self.as_ref().map_or(0, |value| (1 << 32) | value.to_word())
    }
    fn from_word(word: u64) -> Option<Self> {
        match word >> 32 {
            0 => (word == 0).then_some(None),
            1 => T::from_word(word & u64::from(u32::MAX)).map(Some),
            _ => None,
        }
    }
}

impl Word for Architecture {
    fn to_word(&self) -> u64 {
        u64::from(*self as u32)
    }
    fn from_word(word: u64) -> Option<Self> {
        Self::from_u32(word.try_into().ok()?)
    }
}

impl Word for WeightFormat {
    fn to_word(&self) -> u64 {
        u64::from(*self as u32)
    }
    fn from_word(word: u64) -> Option<Self> {
        Self::from_u32(word.try_into().ok()?)
    }
}

impl Word for Activation {
    fn to_word(&self) -> u64 {
        u64::from(*self as u32)
    }
    fn from_word(word: u64) -> Option<Self> {
        [Self::Silu, Self::GeluTanh].get(usize::try_from(word).ok()?).copied()
    }
}

impl Word for NormPlacement {
    fn to_word(&self) -> u64 {
        u64::from(*self as u32)
    }
    fn from_word(word: u64) -> Option<Self> {
        [Self::Before, Self::After, Self::Both].get(usize::try_from(word).ok()?).copied()
    }
}

/// 0 is uniform; `check` refuses every 0th layer.
impl Word for LayerPattern {
    fn to_word(&self) -> u64 {
        match self {
            Self::Uniform => 0,
            Self::EveryNth(n) => u64::from(*n),
        }
    }
    fn from_word(word: u64) -> Option<Self> {
        let n = word.try_into().ok()?;
        Some(if n == 0 { Self::Uniform } else { Self::EveryNth(n) })
    }
}

/// The words of a scaling: its kind, then its numbers, zeros where it has none.
fn scaling_word(scaling: &RopeScaling, number: usize) -> u64 {
    match scaling {
        RopeScaling::None => 0,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => {
            let original = original_positions.to_word();
            [1, factor.to_word(), low_freq_factor.to_word(), high_freq_factor.to_word(), original][number]
        }
    }
}

/// Sets what [`scaling_word`] gave; the kind comes first.
fn set_scaling_word(scaling: &mut RopeScaling, number: usize, word: u64) -> Option<()> {
    match (scaling, number) {
        (scaling, 0) => {
            let (low_freq_factor, high_freq_factor) = (0.0, 0.0);
            *scaling = match word {
                0 => RopeScaling::None,
                1 => RopeScaling::Llama3 {
                    factor: 0.0,
                    low_freq_factor,
                    high_freq_factor,
                    original_positions: 0,
                },
                _ => return None,
            };
        }
        (RopeScaling::None, _) => return (word == 0).then_some(()),
        (RopeScaling::Llama3 { factor, .. }, 1) => *factor = Word::from_word(word)?,
        (RopeScaling::Llama3 { low_freq_factor, .. }, 2) => *low_freq_factor = Word::from_word(word)?,
        (RopeScaling::Llama3 { high_freq_factor, .. }, 3) => *high_freq_factor = Word::from_word(word)?,
        (RopeScaling::Llama3 { original_positions, .. }, _) => *original_positions = Word::from_word(word)?,
    }
    Some(())
}

/// A field of the configuration: what messages call it, and its word.
struct ConfigField {
    name: &'static str,
    get: fn(&ModelConfig) -> u64,
    /// `None` if the word is no value of the field.
    set: fn(&mut ModelConfig, u64) -> Option<()>,
}

/// A field with a value of its own.
macro_rules! field {
    ($name:literal, $($path:tt)+) => {
        ConfigField {
            name: $name,
            get: |config| config.$($path)+.to_word(),
            set: |config, word| Word::from_word(word).map(|value| config.$($path)+ = value),
        }
    };
}

/// One of the words of a RoPE's scaling.
macro_rules! scaling {
    ($name:literal, $number:literal, $($path:tt)+) => {
        ConfigField {
            name: $name,
            get: |config| scaling_word(&config.$($path)+, $number),
            set: |config, word| set_scaling_word(&mut config.$($path)+, $number, word),
        }
    };
}

/// The configuration in an image: one word each, in this order.
const CONFIG_FIELDS: &[ConfigField] = &[
    field!("model_type", architecture),
    field!("vocab_size", vocab_size),
    field!("hidden_size", hidden_size),
    field!("intermediate_size", intermediate_size),
    field!("num_hidden_layers", layer_count),
    field!("num_attention_heads", head_count),
    field!("num_key_value_heads", kv_head_count),
    field!("head_dim", head_dim),
    field!("max_position_embeddings", position_count),
    field!("rms_norm_eps", rms_norm_eps),
    field!("rope_theta", rope.theta),
    scaling!("rope_scaling", 0, rope.scaling),
    scaling!("rope_scaling.factor", 1, rope.scaling),
    scaling!("rope_scaling.low_freq_factor", 2, rope.scaling),
    scaling!("rope_scaling.high_freq_factor", 3, rope.scaling),
    scaling!("rope_scaling.original_max_position_embeddings", 4, rope.scaling),
    field!("tie_word_embeddings", tied_head),
    field!("biases of Q, K and V", qkv_bias),
    field!("bias of the attention output", attention_output_bias),
    field!("mlp_bias", mlp_bias),
    field!("norms of heads", qk_norm),
    field!("weight format", weight_format),
    field!("head format", head_format),
    field!("format of the values", mix.value),
    field!("format of the attention output", mix.attention_output),
    field!("format of down", mix.down),
    field!("layer pattern", features.pattern),
    field!("window of layer kind 0", features.kinds[0].window),
    field!("RoPE table of layer kind 0", features.kinds[0].rope),
    field!("window of layer kind 1", features.kinds[1].window),
    field!("RoPE table of layer kind 1", features.kinds[1].rope),
    field!("second rope_theta", features.second_rope.theta),
    scaling!("second rope_scaling", 0, features.second_rope.scaling),
    scaling!("second rope_scaling.factor", 1, features.second_rope.scaling),
    scaling!("second rope_scaling.low_freq_factor", 2, features.second_rope.scaling),
    scaling!("second rope_scaling.high_freq_factor", 3, features.second_rope.scaling),
    scaling!("second rope_scaling.original_max_position_embeddings", 4, features.second_rope.scaling),
    field!("place of norms", features.norms.placement),
    field!("norms that add one", features.norms.adds_one),
    field!("hidden_act", features.activation),
    field!("gate of the feed-forward", features.gate),
    field!("attention scale", features.attention_scale),
    field!("attn_logit_softcapping", features.soft_cap),
];

/// A configuration that reading fills: every field of it is in [`CONFIG_FIELDS`].
const UNREAD: ModelConfig = ModelConfig {
    architecture: FAMILIES[0].architecture,
    vocab_size: 0,
    hidden_size: 0,
    intermediate_size: 0,
    layer_count: 0,
    head_count: 0,
    kv_head_count: 0,
    head_dim: 0,
    position_count: 0,
    rms_norm_eps: 0.0,
    rope: RopeConfig { theta: 0.0, scaling: RopeScaling::None },
    tied_head: false,
    qkv_bias: false,
    attention_output_bias: false,
    mlp_bias: false,
    qk_norm: false,
    features: LayerFeatures::PLAIN,
    weight_format: WeightFormat::F32,
    head_format: WeightFormat::F32,
    mix: FormatMix::NONE,
};

/// Writes the configuration into a header.
pub(super) fn put_config(header: &mut [u8], config: &ModelConfig) {
    for (i, field) in CONFIG_FIELDS.iter().enumerate() {
        config_place(i).put(header, 0, (field.get)(config));
    }
}

/// Reads back and checks what [`put_config`] wrote; `None` if the bytes end before it does.
pub(super) fn config(header: &[u8]) -> Option<Result<ModelConfig, ImageError>> {
    let mut config = UNREAD;
    for (i, field) in CONFIG_FIELDS.iter().enumerate() {
        let found = config_place(i).number(header, 0)?;
        if (field.set)(&mut config, found).is_none() {
            return Some(Err(ImageError::Unknown { field: field.name, found }));
        }
    }
    Some(config.check().map(|()| config).map_err(ImageError::Config))
}

/// The place of a field of the configuration, by its number in the table.
const fn config_place(number: usize) -> Place {
    Place::at(CONFIG + 8 * number, 8, "configuration")
}

/// The place of the field of the configuration with that name.
#[cfg(test)]
pub(super) fn config_offset(name: &str) -> usize {
    config_place(CONFIG_FIELDS.iter().position(|field| field.name == name).expect("a field")).offset
}
