//! How a model's hidden states become an embedding, as sentence-transformers writes it down beside
//! a checkpoint: `modules.json`, `1_Pooling/config.json` and `sentence_bert_config.json`, and the
//! sizes in `config.json`.
use serde_json::Value;

/// The modules that a text passes through, and where their settings lie.
pub(super) const MODULES: &str = "modules.json";
/// The settings of the module that pools.
pub(super) const POOLING: &str = "1_Pooling/config.json";
/// What is done to a text before it is tokens.
pub(super) const TEXTS: &str = "sentence_bert_config.json";

/// Which hidden states of a prompt its embedding is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// All of them, averaged.
    Mean,
    /// That of the last token.
    Last,
    /// That of the first token.
    Cls,
}

impl Pooling {
    /// All kinds, in the order in which they are named to users.
    pub const ALL: [Self; 3] = [Self::Mean, Self::Last, Self::Cls];

    /// How users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Last => "last",
            Self::Cls => "cls",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pooling| pooling.name() == name)
    }
}

/// Lengths to which an embedding may be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimensions {
    /// None: it was not trained for it.
    Whole,
    /// Any (a Matryoshka model).
    Any,
    /// Those in this list, and no others.
    Listed(Vec<usize>),
}

/// What sentence-transformers' files say that becomes of a model's hidden states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingConfig {
    /// Which hidden states count.
    pub pooling: Pooling,
    /// Whether an embedding is scaled to length 1.
    pub normalizes: bool,
    /// Lengths to which it may be cut.
    pub dimensions: Dimensions,
}

impl EmbeddingConfig {
    /// Reads what the files beside a checkpoint say. `given` stands in place of their pooling; with
    /// it and without files, embeddings are scaled to length 1. The error says in a sentence why
    /// the model makes no embeddings.
    pub fn read<'f>(file: impl Fn(&str) -> Option<&'f [u8]>, given: Option<Pooling>) -> Result<Self, String> {
        let json = |name: &str| {
            let parse =
                |bytes| serde_json::from_slice(bytes).map_err(|error| format!("{name}: not JSON: {error}"));
            file(name).map(parse).transpose()
        };
        let dimensions = dimensions(&json("config.json")?.unwrap_or(Value::Null));
        json(TEXTS)?.map_or(Ok(()), |settings| texts_come_as_they_are(&settings))?;
        let modules: Option<Value> = json(MODULES)?;
        let own = json(POOLING)?.map(|settings| pooling(&settings)).transpose();
        let pooling = match (given, own) {
            (Some(given), _) => given,
            (None, own) => own?.ok_or("it has no files of sentence-transformers that say how, and no pooling was chosen (option pooling)")?,
        };
        let normalizes = match modules {
            Some(modules) => normalizes(&modules)?,
            // Pooling alone, as older models have it, leaves lengths as they are.
            None => file(POOLING).is_none(),
        };
        Ok(Self { pooling, normalizes, dimensions })
    }
}

/// The pooling of `1_Pooling/config.json`: one flag for each kind, of which one is set, or the name
/// of the kind.
fn pooling(settings: &Value) -> Result<Pooling, String> {
    const FLAGS: [(&str, &str, Pooling); 3] = [
        ("mean", "pooling_mode_mean_tokens", Pooling::Mean),
        ("lasttoken", "pooling_mode_lasttoken", Pooling::Last),
        ("cls", "pooling_mode_cls_token", Pooling::Cls),
    ];
    let map = settings.as_object().ok_or_else(|| format!("{POOLING}: not an object"))?;
    let is_set = |(name, value): (&String, &Value)| {
        (name.starts_with("pooling_mode_") && value.as_bool() == Some(true)).then(|| name.clone())
    };
    let mut set: Vec<String> = map.iter().filter_map(is_set).collect();
    set.extend(map.get("pooling_mode").and_then(Value::as_str).map(str::to_owned));
    let known = |found: &String| FLAGS.iter().find(|(name, flag, _)| found == name || found == flag);
    match set.as_slice() {
        [one] => match known(one) {
            Some((_, _, pooling)) => Ok(*pooling),
            None => Err(format!("{POOLING}: {one} is not supported; the option pooling names another")),
        },
        _ => Err(format!("{POOLING}: found {} kinds of pooling, expected one", set.len())),
    }
}

/// An error if texts are changed before they are tokens, which would give other vectors.
fn texts_come_as_they_are(settings: &Value) -> Result<(), String> {
    if settings.get("do_lower_case").and_then(Value::as_bool) == Some(true) {
        return Err(format!("{TEXTS}: do_lower_case is not supported"));
    }
    if settings.pointer("/modality_config/message").is_some_and(|message| !message.is_null()) {
        return Err(format!("{TEXTS}: texts as messages through the chat template are not supported"));
    }
    Ok(())
}

/// Whether the modules scale embeddings; an error if one of them does something else to them.
fn normalizes(modules: &Value) -> Result<bool, String> {
    let list = modules.as_array().ok_or_else(|| format!("{MODULES}: not a list"))?;
    let mut normalizes = false;
    for module in list {
        let field = |name: &str| module.get(name).and_then(Value::as_str).unwrap_or_default();
        match (field("type").rsplit('.').next().unwrap_or_default(), field("path")) {
            ("Transformer", "") | ("Pooling", "1_Pooling") => {}
            ("Normalize", _) => normalizes = true,
            (kind, path) => return Err(format!("{MODULES}: the module {kind} at {path:?} is not supported")),
        }
    }
    Ok(normalizes)
}

/// What `config.json` says of the lengths that it was trained for.
fn dimensions(config: &Value) -> Dimensions {
    let listed = config.get("matryoshka_dimensions").and_then(Value::as_array);
    let listed =
        listed.map(|list| list.iter().filter_map(|size| usize::try_from(size.as_u64()?).ok()).collect());
    match (listed, config.get("is_matryoshka").and_then(Value::as_bool)) {
        (Some(listed), _) => Dimensions::Listed(listed),
        (None, Some(true)) => Dimensions::Any,
        (None, _) => Dimensions::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(files: &[(&str, &str)], given: Option<Pooling>) -> Result<EmbeddingConfig, String> {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        EmbeddingConfig::read(|name| files.get(name).map(|text| text.as_bytes()), given)
    }

    const TRANSFORMER: &str =
        r#"{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"}"#;
    const POOLS: &str =
        r#"{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"}"#;
    const SCALES: &str =
        r#"{"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}"#;

    #[test]
    fn what_the_files_say_is_done() {
        let modules = format!("[{TRANSFORMER},{POOLS},{SCALES}]");
        let last = r#"{"word_embedding_dimension":1024,"pooling_mode_cls_token":false,
            "pooling_mode_mean_tokens":false,"pooling_mode_lasttoken":true,"include_prompt":true}"#;
        let files = [("modules.json", modules.as_str()), ("1_Pooling/config.json", last)];
        let expected =
            EmbeddingConfig { pooling: Pooling::Last, normalizes: true, dimensions: Dimensions::Whole };
        assert_eq!(read(&files, None), Ok(expected.clone()));
        assert_eq!(
            read(&files, Some(Pooling::Mean)),
            Ok(EmbeddingConfig { pooling: Pooling::Mean, ..expected })
        );
        let modules = format!("[{TRANSFORMER},{POOLS}]");
        let files = [
            ("modules.json", modules.as_str()),
            ("1_Pooling/config.json", r#"{"pooling_mode":"cls"}"#),
            ("sentence_bert_config.json", r#"{"do_lower_case":false,"modality_config":{"text":{}}}"#),
        ];
        let found = read(&files, None).unwrap();
        assert_eq!((found.pooling, found.normalizes), (Pooling::Cls, false));
    }

    #[test]
    fn without_files_it_must_be_chosen() {
        assert!(read(&[], None).unwrap_err().contains("no files of sentence-transformers"));
        let found = read(&[], Some(Pooling::Last)).unwrap();
        assert_eq!((found.pooling, found.normalizes), (Pooling::Last, true));
        let mean = ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens":true}"#);
        assert!(!read(&[mean], None).unwrap().normalizes);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let mean = ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens":true}"#);
        let dense = format!(r#"[{TRANSFORMER},{POOLS},{{"path":"2_Dense","type":"a.models.Dense"}}]"#);
        let messages = r#"{"modality_config":{"text":{},"message":{"format":"flat"}}}"#;
        for (files, word) in [
            (
                vec![("1_Pooling/config.json", r#"{"pooling_mode_max_tokens":true}"#)],
                "pooling_mode_max_tokens",
            ),
            (vec![("1_Pooling/config.json", "{}")], "found 0 kinds"),
            (vec![("1_Pooling/config.json", "[]")], "not an object"),
            (vec![mean, ("modules.json", "{")], "not JSON"),
            (vec![mean, ("modules.json", "{}")], "not a list"),
            (vec![mean, ("modules.json", &dense)], "Dense"),
            (vec![mean, ("sentence_bert_config.json", r#"{"do_lower_case":true}"#)], "do_lower_case"),
            (vec![mean, ("sentence_bert_config.json", messages)], "chat template"),
        ] {
            let error = read(&files, None).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn lengths_are_those_of_the_configuration() {
        let of = |config: &str| read(&[("config.json", config)], Some(Pooling::Last)).unwrap().dimensions;
        assert_eq!(of(r#"{"is_matryoshka":true}"#), Dimensions::Any);
        assert_eq!(
            of(r#"{"is_matryoshka":true,"matryoshka_dimensions":[32,64]}"#),
            Dimensions::Listed(vec![32, 64])
        );
        assert_eq!(of("{}"), Dimensions::Whole);
    }

    #[test]
    fn kinds_have_names() {
        for pooling in Pooling::ALL {
            assert_eq!(Pooling::from_name(pooling.name()), Some(pooling));
        }
        assert_eq!(Pooling::from_name("max"), None);
    }
}
