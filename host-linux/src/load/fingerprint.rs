//! The hash that names a model: the first part of the key of the verbatim contract.
//!
//! **Source hash**, stored in an image, so that an image and the directory it was packed from
//! agree. BLAKE3 over, in this order and each with its length where it has one:
//! * a domain string, the configuration as the image encodes it (weight format included),
//! * the files beside the weights: `config.json`, tokenizer, template, generation defaults,
//! * every tensor that the model uses, in order of name: name, type, shape, and a leaf per 32 rows:
//!   the BLAKE3 of their bytes. Which shard a tensor lies in does not matter, nor does anything
//!   else about the files.
//!
//! **Fingerprint**: BLAKE3 over the source hash, what is chosen at run time ([`RuntimeChoices`]),
//! and the numerics version. Its first 16 hex digits are the `system_fingerprint` of every
//! response.
use super::plan::Plan;
use blake3::Hasher;
use verbatim_core::dtype::KvFormat;
use verbatim_core::model::ModelConfig;
use verbatim_core::model::image::encode_config;

/// What can change an output bit and is chosen when a model is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeChoices<'a> {
    /// How keys and values are stored.
    pub kv_format: KvFormat,
    /// Elements that share a scale in the KV format; 0 where there are no scales.
    pub kv_group: usize,
    /// Greatest context, prompt and output together.
    pub model_len: usize,
    /// A chat template given in place of the model's own.
    pub chat_template: Option<&'a str>,
}

/// The whole fingerprint.
pub fn fingerprint(source_hash: &[u8; 32], choices: &RuntimeChoices) -> [u8; 32] {
    with_numerics(source_hash, choices, verbatim_core::NUMERICS_VERSION)
}

fn with_numerics(source_hash: &[u8; 32], choices: &RuntimeChoices, version: u32) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(b"verbatim fingerprint 1\n");
    hasher.update(source_hash);
    hasher.update(&u64::from(version).to_le_bytes());
    text(&mut hasher, choices.kv_format.name().as_bytes());
    number(&mut hasher, choices.kv_group);
    number(&mut hasher, choices.model_len);
    optional(&mut hasher, choices.chat_template.map(str::as_bytes));
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
    // How bits are stored that give the same results is no part of the name.
    let (weight_format, head_format) = (config.weight_format.numerics(), config.head_format.numerics());
    hasher.update(&encode_config(&ModelConfig { weight_format, head_format, ..*config }));
    number(&mut hasher, files.len());
    for (name, contents) in files {
        text(&mut hasher, name.as_bytes());
        optional(&mut hasher, *contents);
    }
    number(&mut hasher, plan.sources.len());
    for source in &plan.sources {
        text(&mut hasher, source.name.as_bytes());
        text(&mut hasher, source.dtype.name().as_bytes());
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

    // What is chosen in files and flags, `tests/tests/fingerprint.rs` changes in files and flags.
    #[test]
    fn source_version_and_scales_change_it() {
        let choices =
            RuntimeChoices { kv_format: KvFormat::Bf16, kv_group: 0, model_len: 64, chat_template: None };
        let version = verbatim_core::NUMERICS_VERSION;
        let base = fingerprint(&[7; 32], &choices);
        assert_eq!(base, with_numerics(&[7; 32], &choices, version));
        assert_ne!(base, with_numerics(&[7; 32], &choices, version + 1));
        assert_ne!(base, fingerprint(&[8; 32], &choices));
        assert_ne!(base, fingerprint(&[7; 32], &RuntimeChoices { kv_group: 32, ..choices }));
        let empty = RuntimeChoices { chat_template: Some(""), ..choices };
        assert_ne!(base, fingerprint(&[7; 32], &empty), "an empty template is not none");
    }
}
