//! `tokenizer_config.json` and `generation_config.json` of what a GGUF file says.
use super::special::SpecialIds;
use super::vocabulary::Vocabulary;
use crate::load::error::LoadError;
use crate::load::gguf::metadata::Metadata;
use serde_json::{Map, Value, json};

/// The key of the chat template; of named ones, with a dot and the name behind it.
const TEMPLATE: &str = "tokenizer.chat_template";
/// Bytes of a chat template at most, as of one beside a checkpoint.
const TEMPLATE_BYTES_MAX: usize = 4 << 20;

/// The texts of special tokens, by the names that templates know them by, and the chat template.
pub(super) fn tokenizer_config(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
    ids: &SpecialIds,
) -> Result<Vec<u8>, LoadError> {
    let mut config = Map::new();
    for (name, id) in [
        ("bos_token", ids.bos),
        ("eos_token", ids.eos),
        ("unk_token", ids.unknown),
        ("pad_token", ids.padding),
    ] {
        if let Some(id) = id {
            config.insert(name.to_owned(), Value::from(vocabulary.text(id)));
        }
    }
    if let Some(template) = templates(metadata)? {
        config.insert("chat_template".to_owned(), template);
    }
    Ok(Value::Object(config).to_string().into_bytes())
}

/// The chat template, or the list of named ones where there are any.
fn templates(metadata: &Metadata) -> Result<Option<Value>, LoadError> {
    let text = |key: &str| match metadata.text(key)? {
        Some(text) if text.len() > TEMPLATE_BYTES_MAX => {
            Err(metadata.error(key, format!("a template of at most {TEMPLATE_BYTES_MAX} bytes")))
        }
        text => Ok(text),
    };
    let default = text(TEMPLATE)?;
    let keys = metadata.iter().map(|(key, _)| key);
    let names = keys.filter_map(|key| key.strip_prefix(TEMPLATE)?.strip_prefix('.'));
    let mut named = Vec::new();
    for name in names {
        let template = text(&format!("{TEMPLATE}.{name}"))?;
        named.push(json!({"name": name, "template": template}));
    }
    if named.is_empty() {
        return Ok(default.map(Value::from));
    }
    let default = default.map(|template| json!({"name": "default", "template": template}));
    Ok(Some(default.into_iter().chain(named).collect()))
}

/// What ends a turn, and how tokens are drawn by default.
pub(super) fn generation_config(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
    ids: &SpecialIds,
) -> Result<Vec<u8>, LoadError> {
    let mut config = Map::new();
    config.insert("eos_token_id".to_owned(), Value::from(ids.ends(vocabulary)));
    config.insert("bos_token_id".to_owned(), Value::from(ids.bos));
    let number = |key: &str, is_valid: fn(f64) -> bool, expected: &str| {
        let number = metadata.float(key)?;
        if number.is_some_and(|x| !is_valid(x)) { Err(metadata.error(key, expected)) } else { Ok(number) }
    };
    let temperature = number("general.sampling.temp", |x| x >= 0.0, "a number of at least 0")?;
    let top_p = number("general.sampling.top_p", |x| x > 0.0 && x <= 1.0, "a number above 0 and at most 1")?;
    config.insert("temperature".to_owned(), Value::from(temperature));
    config.insert("top_p".to_owned(), Value::from(top_p));
    let top_k = "general.sampling.top_k";
    let expected = "an integer from 0 to 4294967295";
    let k = metadata.unsigned(top_k)?.map(u32::try_from).transpose();
    let k = k.map_err(|_| metadata.error(top_k, expected))?;
    config.insert("top_k".to_owned(), Value::from(k));
    config.retain(|_, value| !value.is_null());
    Ok(Value::Object(config).to_string().into_bytes())
}
