//! `generation_config.json`: where generation ends, and how tokens are drawn by default.
use super::config::{Fields, SourceConfig, parse_object};
use super::error::LoadError;
use std::path::Path;

/// The defaults of a model. What is absent in the file is `None` here, and the API's own default
/// applies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Ids that end a generation.
    pub eos_ids: Vec<u32>,
    /// The id that begins a text.
    pub bos_id: Option<u32>,
    /// The key `temperature`, if the model has it.
    pub temperature: Option<f32>,
    /// The key `top_p`, if the model has it.
    pub top_p: Option<f32>,
    /// `top_k`; 0 is off.
    pub top_k: Option<u32>,
}

/// Reads the bytes of a `generation_config.json`, if there is one; what it does not say about the
/// end and the beginning of a text, `config.json` may.
pub fn parse_generation_config(
    path: &Path,
    bytes: Option<&[u8]>,
    config: &SourceConfig,
) -> Result<GenerationDefaults, LoadError> {
    let mut defaults = GenerationDefaults {
        eos_ids: config.eos_ids.clone(),
        bos_id: config.bos_id,
        ..GenerationDefaults::default()
    };
    if let Some(bytes) = bytes {
        let map = parse_object(path, bytes)?;
        let fields = Fields { path, prefix: "", map: &map };
        if let Some(ids) = fields.ids("eos_token_id")? {
            defaults.eos_ids = ids;
        }
        defaults.bos_id = fields.id("bos_token_id")?.or(defaults.bos_id);
        let within = |key: &str, valid: fn(f32) -> bool, expected: &str| {
            let number = fields.number(key)?.map(|x| x as f32);
            if number.is_some_and(|x| !valid(x)) { Err(fields.error(key, expected)) } else { Ok(number) }
        };
        defaults.temperature =
            within("temperature", |x| x.is_finite() && x >= 0.0, "a number of at least 0")?;
        defaults.top_p = within("top_p", |x| x > 0.0 && x <= 1.0, "a number above 0 and at most 1")?;
        let id = |value: &serde_json::Value| value.as_u64().and_then(|n| n.try_into().ok());
        defaults.top_k = fields.optional("top_k", "an integer of at least 0", id)?;
    }
    let vocab_size = config.model.vocab_size;
    let ids = defaults.eos_ids.iter().chain(&defaults.bos_id);
    if let Some(id) = ids.into_iter().find(|id| **id as usize >= vocab_size) {
        let expected = format!("token ids below vocab_size ({vocab_size})");
        return Err(LoadError::field(path, "eos_token_id and bos_token_id", id.to_string(), expected));
    }
    Ok(defaults)
}

#[cfg(test)]
mod tests {
    use super::super::config::parse_config;
    use super::*;

    fn parse(text: Option<&str>) -> Result<GenerationDefaults, String> {
        let config = br#"{"model_type":"llama","hidden_size":64,"intermediate_size":8,"num_hidden_layers":1,
            "num_attention_heads":4,"vocab_size":512,"eos_token_id":2,"bos_token_id":1}"#;
        let config = parse_config(Path::new("config.json"), config).unwrap();
        let path = Path::new("generation_config.json");
        parse_generation_config(path, text.map(str::as_bytes), &config).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_file_says_comes_first() {
        let defaults =
            parse(Some(r#"{"eos_token_id":[3,4],"temperature":0.5,"top_p":0.9,"top_k":20}"#)).unwrap();
        let expected = GenerationDefaults {
            eos_ids: vec![3, 4],
            bos_id: Some(1),
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(20),
        };
        assert_eq!(defaults, expected);
        assert_eq!(parse(None).unwrap().eos_ids, [2]);
        assert_eq!(parse(Some(r#"{"eos_token_id":null,"temperature":null}"#)).unwrap(), parse(None).unwrap());
    }

    #[test]
    fn bad_values_are_named() {
        for (text, message) in [
            ("[]", "generation_config.json: is not a JSON object"),
            (
                "{",
                "generation_config.json: is not valid JSON: EOF while parsing an object at line 1 column 1",
            ),
            (
                r#"{"eos_token_id":"</s>"}"#,
                "generation_config.json: eos_token_id: found \"</s>\", expected a token id or a list of token ids",
            ),
            (
                r#"{"eos_token_id":[1,-1]}"#,
                "generation_config.json: eos_token_id: found [1,-1], expected a token id or a list of token ids",
            ),
            (
                r#"{"eos_token_id":512}"#,
                "generation_config.json: eos_token_id and bos_token_id: found 512, expected token ids below \
                 vocab_size (512)",
            ),
            (
                r#"{"temperature":-1}"#,
                "generation_config.json: temperature: found -1, expected a number of at least 0",
            ),
            (
                r#"{"top_p":1.5}"#,
                "generation_config.json: top_p: found 1.5, expected a number above 0 and at most 1",
            ),
            (
                r#"{"top_k":1.5}"#,
                "generation_config.json: top_k: found 1.5, expected an integer of at least 0",
            ),
        ] {
            assert_eq!(parse(Some(text)).unwrap_err(), message);
        }
    }
}
