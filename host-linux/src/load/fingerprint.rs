//! The hash that names a model: the first part of the key of the verbatim contract.
//!
//! **Source hash**, stored in an image, so that an image and the directory it was packed from
//! agree. BLAKE3 over, in this order and each with its length where it has one:
//! * a domain string, the configuration as `Encoding` writes it (weight formats included),
//! * the files beside the weights: `config.json`, tokenizer, template, generation defaults,
//! * every tensor that the model uses, in order of name: name, type, shape, and a leaf per 32 rows:
//!   the BLAKE3 of their bytes. Which shard a tensor lies in does not matter, nor does anything
//!   else about the files.
//!
//! **Fingerprint**: BLAKE3 over the source hash, what is chosen at run time ([`RuntimeChoices`]),
//! and the versions of numerics and grammars. Its first 16 hex digits are the `system_fingerprint`
//! of every response.
use super::embedding_config::Pooling;
use super::plan::Plan;
use crate::grammar::version::GRAMMAR_VERSION;
use blake3::Hasher;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::model::spec::{LayerKind, LayerNorms, LayerPattern};
use verbatim_core::model::{FormatMix, LayerFeatures, ModelConfig, RopeConfig, RopeScaling};

/// What can change an output bit and is chosen when a model is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeChoices<'a> {
    /// How keys and values are stored.
    pub kv_format: KvFormat,
    /// Elements that share a scale in the KV format; 0 where it has no scales.
    pub kv_group: usize,
    /// Max positions of a context, prompt and output together.
    pub model_len: usize,
    /// A chat template given in place of the model's own.
    pub chat_template: Option<&'a str>,
    /// A pooling given in place of the model's own.
    pub pooling: Option<Pooling>,
    /// The name of a way to write calls, given in place of what the template tells.
    pub tool_parser: Option<&'a str>,
    /// The name of a way to mark reasoning, or "off", given in place of what the template tells.
    pub reasoning_parser: Option<&'a str>,
}

#[cfg(test)]
impl RuntimeChoices<'_> {
    /// Choices of a small context, with nothing given in place of what the model has.
    pub(super) const PLAIN: Self = Self {
        kv_format: KvFormat::Bf16,
        kv_group: 0,
        model_len: 64,
        chat_template: None,
        pooling: None,
        tool_parser: None,
        reasoning_parser: None,
    };
}

/// All 32 bytes of the fingerprint of a model that is served with these choices.
pub fn fingerprint(source_hash: &[u8; 32], choices: &RuntimeChoices) -> [u8; 32] {
    let versions = Versions { numerics: verbatim_core::NUMERICS_VERSION, grammar: GRAMMAR_VERSION };
    with_versions(source_hash, choices, versions)
}

/// What can change an output bit and is chosen when Verbatim is built.
#[derive(Clone, Copy, Debug)]
struct Versions {
    numerics: u32,
    grammar: u32,
}

fn with_versions(source_hash: &[u8; 32], choices: &RuntimeChoices, versions: Versions) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(b"verbatim fingerprint 1\n");
    hasher.update(source_hash);
    hasher.update(&u64::from(versions.numerics).to_le_bytes());
    text(&mut hasher, choices.kv_format.name().as_bytes());
    number(&mut hasher, choices.kv_group);
    number(&mut hasher, choices.model_len);
    optional(&mut hasher, choices.chat_template.map(str::as_bytes));
    // Later choices follow only where they were made: without them a fingerprint stays as it was.
    if let Some(pooling) = choices.pooling {
        text(&mut hasher, b"pooling");
        text(&mut hasher, pooling.name().as_bytes());
    }
    for (flag, name) in [("tool", choices.tool_parser), ("reasoning", choices.reasoning_parser)] {
        if let Some(name) = name {
            text(&mut hasher, flag.as_bytes());
            text(&mut hasher, name.as_bytes());
        }
    }
    if versions.grammar > 1 {
        text(&mut hasher, b"grammar");
        hasher.update(&u64::from(versions.grammar).to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// `vb-` and 16 hex digits: what responses carry as `system_fingerprint`.
pub fn short_form(fingerprint: &[u8; 32]) -> String {
    let digits: String = fingerprint[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("vb-{digits}")
}

/// The hash of what a model is packed from. `files`: name and contents of each file beside the
/// weights.
pub(crate) fn source_hash(
    config: &ModelConfig,
    files: &[(&str, Option<&[u8]>)],
    plan: &Plan,
    leaves: &[[u8; 32]],
) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(b"verbatim source 1\n");
    hasher.update(&Encoding::of(config).0);
    number(&mut hasher, files.len());
    for (name, contents) in files {
        text(&mut hasher, name.as_bytes());
        optional(&mut hasher, *contents);
    }
    number(&mut hasher, plan.sources.len());
    for source in &plan.sources {
        text(&mut hasher, source.name.as_bytes());
        text(&mut hasher, source.elements.name().as_bytes());
        number(&mut hasher, source.shape.len());
        for size in &source.shape {
            number(&mut hasher, *size);
        }
        for leaf in &leaves[source.leaf..][..source.leaf_count()] {
            hasher.update(leaf);
        }
    }
    *hasher.finalize().as_bytes()
}

/// A configuration as the source hash takes it: little-endian words of 64 bits.
///
/// **The first release's fields come first, in its order, all of them**, so that a model which an
/// earlier release could serve keeps its hash. **A later field follows only where it differs from
/// its default**, as two words: its number, complemented, and its value. A new field with its
/// default value therefore changes no fingerprint. What follows in the hash is a small count, which
/// no complemented number equals, so two configurations never have the same bytes.
///
/// This is apart from the header of an image, which may change with each version of the format.
struct Encoding(Vec<u8>);

impl Encoding {
    fn of(config: &ModelConfig) -> Self {
        // Every field is named, so that a new one does not compile before it has a place here.
        let ModelConfig {
            architecture,
            vocab_size,
            hidden_size,
            intermediate_size,
            layer_count,
            head_count,
            kv_head_count,
            head_dim,
            position_count,
            rms_norm_eps,
            rope,
            tied_head,
            qkv_bias,
            attention_output_bias,
            mlp_bias,
            qk_norm,
            features,
            weight_format,
            head_format,
            mix,
        } = *config;
        let flags = [tied_head, qkv_bias, attention_output_bias, mlp_bias, qk_norm];
        let flags = flags.iter().enumerate().fold(0, |bits, (i, flag)| bits | (u64::from(*flag) << i));
        let mut encoding = Self(Vec::new());
        encoding.word(u64::from(architecture as u32));
        let sizes = [vocab_size, hidden_size, intermediate_size, layer_count];
        let heads = [head_count, kv_head_count, head_dim, position_count];
        for size in sizes.into_iter().chain(heads) {
            encoding.word(size as u64);
        }
        encoding.word(u64::from(rms_norm_eps.to_bits()));
        for word in rope_words(&rope) {
            encoding.word(word);
        }
        encoding.word(flags);
        // Formats that give the same results are one format here, however they are stored.
        encoding.word(u64::from(weight_format.numerics() as u32));
        encoding.word(u64::from(head_format.numerics() as u32));
        // Here the first release's fields end.
        let defaults = feature_words(&LayerFeatures::PLAIN);
        for (word, default) in feature_words(&features).into_iter().zip(defaults) {
            encoding.later(word, default);
        }
        for (word, default) in mix_words(&mix).into_iter().zip(mix_words(&FormatMix::NONE)) {
            encoding.later(word, default);
        }
        encoding
    }

    /// A field that came later: nothing where it has its default value.
    fn later(&mut self, (number, value): (u64, u64), (_, default): (u64, u64)) {
        if value != default {
            self.word(!number);
            self.word(value);
        }
    }

    fn word(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }
}

/// The formats of products that have one of their own, by number, behind those of
/// [`feature_words`].
fn mix_words(mix: &FormatMix) -> [(u64, u64); 3] {
    // Every field is named, so that a new one does not compile before it has a number here.
    let FormatMix { value, attention_output, down } = *mix;
    let word = |format: Option<WeightFormat>| format.map_or(0, |format| 1 + format.numerics() as u64);
    [(17, word(value)), (18, word(attention_output)), (19, word(down))]
}

/// The later fields of a configuration, by number; a number is never used for another field.
fn feature_words(features: &LayerFeatures) -> [(u64, u64); 17] {
    // Every field is named, so that a new one does not compile before it has a number here.
    let LayerFeatures {
        pattern,
        kinds,
        second_rope,
        norms: LayerNorms { placement, adds_one },
        activation,
        gate,
        attention_scale,
        soft_cap,
    } = *features;
    // Some values are above all values of 32 bits, so that none of them is `None`.
    let optional = |x: Option<u32>| x.map_or(0, |x| (1 << 32) | u64::from(x));
    let every_nth = match pattern {
        LayerPattern::Uniform => 0,
        LayerPattern::EveryNth(n) => u64::from(n),
    };
    let [LayerKind { window: window_0, rope: rope_0 }, LayerKind { window: window_1, rope: rope_1 }] = kinds;
    let [theta, scaling, factor, low, high, original] = rope_words(&second_rope);
    let words = [
        every_nth,
        optional(window_0),
        optional(rope_0),
        optional(window_1),
        optional(rope_1),
        theta,
        scaling,
        factor,
        low,
        high,
        original,
        u64::from(placement as u32),
        u64::from(adds_one),
        u64::from(activation as u32),
        u64::from(gate),
        optional(attention_scale.map(f32::to_bits)),
        optional(soft_cap.map(f32::to_bits)),
    ];
    std::array::from_fn(|i| (i as u64, words[i]))
}

/// RoPE's base, the kind of its scaling, and the four numbers of that kind, zeros where it has
/// none.
fn rope_words(rope: &RopeConfig) -> [u64; 6] {
    let bits = |x: f32| u64::from(x.to_bits());
    let theta = rope.theta.to_bits();
    match rope.scaling {
        RopeScaling::None => [theta, 0, 0, 0, 0, 0],
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => {
            let original = u64::from(original_positions);
            [theta, 1, bits(factor), bits(low_freq_factor), bits(high_freq_factor), original]
        }
    }
}

fn number(hasher: &mut Hasher, n: usize) {
    hasher.update(&(n as u64).to_le_bytes());
}

fn text(hasher: &mut Hasher, bytes: &[u8]) {
    number(hasher, bytes.len());
    hasher.update(bytes);
}

fn optional(hasher: &mut Hasher, bytes: Option<&[u8]>) {
    hasher.update(&[u8::from(bytes.is_some())]);
    text(hasher, bytes.unwrap_or(&[]));
}

#[cfg(test)]
mod tests {
    use super::*;

    use verbatim_core::model::FAMILIES;
    use verbatim_core::model::spec::{Activation, NormPlacement};

    const CONFIG: ModelConfig = ModelConfig {
        architecture: FAMILIES[3].architecture,
        vocab_size: 50,
        hidden_size: 48,
        intermediate_size: 70,
        layer_count: 3,
        head_count: 4,
        kv_head_count: 2,
        head_dim: 10,
        position_count: 128,
        rms_norm_eps: 1e-5,
        rope: RopeConfig { theta: 5e5, scaling: RopeScaling::None },
        tied_head: true,
        qkv_bias: false,
        attention_output_bias: true,
        mlp_bias: false,
        qk_norm: true,
        features: LayerFeatures::PLAIN,
        weight_format: WeightFormat::Int4,
        head_format: WeightFormat::Int8,
        mix: FormatMix::NONE,
    };

    /// Written out, so that no change of the code moves these bytes unseen.
    #[test]
    fn the_first_releases_fields_are_encoded_as_it_did() {
        let words = [
            3,
            50,
            48,
            70,
            3,
            4,
            2,
            10,
            128,
            0x3727_c5ac,
            0x411e_8480_0000_0000,
            0,
            0,
            0,
            0,
            0,
            0b10101,
            WeightFormat::Int4 as u64,
            WeightFormat::Int8 as u64,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        assert_eq!(Encoding::of(&CONFIG).0, bytes);
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_positions: 8192,
        };
        let scaled = ModelConfig { rope: RopeConfig { scaling, ..CONFIG.rope }, ..CONFIG };
        let expected = [1, 0x4100_0000, 0x3f80_0000, 0x4080_0000, 8192];
        let expected: Vec<u8> = expected.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        assert_eq!(Encoding::of(&scaled).0[11 * 8..16 * 8], expected);
    }

    #[test]
    fn a_later_field_is_encoded_where_it_is_not_its_default() {
        let plain = LayerFeatures::PLAIN;
        let kind = |window, rope| LayerKind { window, rope };
        let theta = RopeConfig { theta: 1e6, ..plain.second_rope };
        let norms = |placement, adds_one| LayerNorms { placement, adds_one };
        let changed = [
            LayerFeatures { pattern: LayerPattern::EveryNth(2), ..plain },
            LayerFeatures { pattern: LayerPattern::EveryNth(3), ..plain },
            LayerFeatures { kinds: [kind(Some(0), Some(0)), plain.kinds[1]], ..plain },
            LayerFeatures { kinds: [kind(None, Some(1)), plain.kinds[1]], ..plain },
            LayerFeatures { kinds: [kind(None, None), plain.kinds[1]], ..plain },
            LayerFeatures { kinds: [plain.kinds[0], kind(Some(0), Some(0))], ..plain },
            LayerFeatures { kinds: [plain.kinds[0], kind(None, None)], ..plain },
            LayerFeatures { second_rope: theta, ..plain },
            LayerFeatures { norms: norms(NormPlacement::After, false), ..plain },
            LayerFeatures { norms: norms(NormPlacement::Before, true), ..plain },
            LayerFeatures { activation: Activation::GeluTanh, ..plain },
            LayerFeatures { gate: false, ..plain },
            LayerFeatures { attention_scale: Some(0.0), ..plain },
            LayerFeatures { soft_cap: Some(0.0), ..plain },
        ];
        let base = Encoding::of(&CONFIG).0;
        let encoded = changed.map(|features| Encoding::of(&ModelConfig { features, ..CONFIG }).0);
        for (i, bytes) in encoded.iter().enumerate() {
            // Behind the first release's bytes, which stay, a complemented number and a value.
            assert_eq!((&bytes[..base.len()], bytes.len()), (&base[..], base.len() + 16), "{i}");
            let number = u64::from_le_bytes(bytes[base.len()..][..8].try_into().unwrap());
            assert!(number > u64::from(u32::MAX), "{i}: no count of files");
            assert!(encoded[..i].iter().all(|earlier| earlier != bytes), "{i}");
        }
    }

    // What is chosen in files and flags, `tests/tests/fingerprint.rs` changes in files and flags.
    #[test]
    fn source_version_and_scales_change_it() {
        let choices = RuntimeChoices::PLAIN;
        let version = verbatim_core::NUMERICS_VERSION;
        let base = fingerprint(&[7; 32], &choices);
        let of = |numerics, grammar| with_versions(&[7; 32], &choices, Versions { numerics, grammar });
        assert_eq!(base, of(version, GRAMMAR_VERSION));
        assert_eq!(base, of(version, 1), "fingerprints of the first version of grammars have none");
        assert_ne!(base, of(version + 1, GRAMMAR_VERSION));
        assert_ne!(base, of(version, 2));
        assert_ne!(of(version, 3), of(version, 2));
        assert_ne!(base, fingerprint(&[8; 32], &choices));
        assert_ne!(base, fingerprint(&[7; 32], &RuntimeChoices { kv_group: 32, ..choices }));
        let (tool, reasoning) = (Some("mistral"), Some("mistral"));
        let tool = RuntimeChoices { tool_parser: tool, ..choices };
        let reasoning = RuntimeChoices { reasoning_parser: reasoning, ..choices };
        assert_ne!(base, fingerprint(&[7; 32], &tool));
        assert_ne!(fingerprint(&[7; 32], &reasoning), fingerprint(&[7; 32], &tool));
        let empty = RuntimeChoices { chat_template: Some(""), ..choices };
        assert_ne!(base, fingerprint(&[7; 32], &empty), "an empty template is not none");
    }
}
