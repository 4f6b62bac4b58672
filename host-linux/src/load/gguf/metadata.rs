//! The metadata of a GGUF file: values by key, read with errors that name the file and the key.
use super::value::{Numbers, Texts, Value};
use crate::load::error::LoadError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a GGUF file says about its model: the keys of its header and their values.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    path: PathBuf,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// Metadata without a key, of the file at `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), values: BTreeMap::new() }
    }

    /// The file, which errors name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a key, if the file has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The keys with their values, in order of key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Gives a key a value; the one that it had before is returned.
    pub(crate) fn insert(&mut self, key: String, value: Value) -> Option<Value> {
        self.values.insert(key, value)
    }

    /// An error about a key: what was found, and what was expected.
    pub fn error(&self, key: &str, expected: impl Into<String>) -> LoadError {
        let found = self.get(key).map_or("nothing".to_owned(), Value::to_string);
        LoadError::field(&self.path, key, found, expected)
    }

    fn optional<'m, T>(
        &'m self,
        key: &str,
        expected: &str,
        read: impl Fn(&'m Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let read = |value| read(value).ok_or_else(|| self.error(key, expected));
        self.get(key).map(read).transpose()
    }

    /// The value of a key that holds a string.
    pub fn text(&self, key: &str) -> Result<Option<&str>, LoadError> {
        self.optional(key, "a string", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The value of a key that holds an integer of at least 0, of whatever type.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, LoadError> {
        self.optional(key, "an integer of at least 0", |value| match value {
            Value::Unsigned(n) => Some(*n),
            Value::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        })
    }

    /// The value of a key that holds a finite number: a float, or an integer.
    pub fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.optional(key, "a finite number", |value| match value {
            Value::Float(x) => Some(*x).filter(|x| x.is_finite()),
            Value::Unsigned(n) => Some(*n as f64),
            Value::Signed(n) => Some(*n as f64),
            _ => None,
        })
    }

    /// The value of a key that holds a truth value.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        self.optional(key, "true or false", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    /// The value of a key that holds a list of strings.
    pub fn texts(&self, key: &str) -> Result<Option<&Texts>, LoadError> {
        self.optional(key, "a list of strings", |value| match value {
            Value::Texts(texts) => Some(texts),
            _ => None,
        })
    }

    /// The value of a key that holds a list of integers.
    pub fn integers<'m>(
        &'m self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = i64> + use<'m>>, LoadError> {
        let numbers = self.numbers(key, "a list of integers below 2^63", |value| integer(value).is_some())?;
        let read = |value| integer(&value).expect("every number was looked at");
        Ok(numbers.map(|numbers| numbers.iter().map(read)))
    }

    /// The value of a key that holds a list of floats, each rounded to 32 bits where it has 64.
    pub fn floats<'m>(
        &'m self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = f32> + use<'m>>, LoadError> {
        let float = |value: &Value| if let Value::Float(x) = value { Some(*x as f32) } else { None };
        let numbers = self.numbers(key, "a list of floats", move |value| float(value).is_some())?;
        let read = move |value| float(&value).expect("every number was looked at");
        Ok(numbers.map(|numbers| numbers.iter().map(read)))
    }

    /// A list of numbers which are all of a kind.
    fn numbers<'m>(
        &'m self,
        key: &str,
        expected: &str,
        is_of_kind: impl Fn(&Value) -> bool,
    ) -> Result<Option<&'m Numbers>, LoadError> {
        self.optional(key, expected, |value| match value {
            Value::Numbers(numbers) => Some(numbers).filter(|list| list.iter().all(|x| is_of_kind(&x))),
            _ => None,
        })
    }
}

/// The integer that a value holds, if it is one below 2^63.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Unsigned(n) => i64::try_from(*n).ok(),
        Value::Signed(n) => Some(*n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::NumberType;
    use super::*;

    fn metadata() -> Metadata {
        let mut metadata = Metadata::new(Path::new("m.gguf"));
        let mut texts = Texts::default();
        texts.push("a");
        let numbers = |kind, bytes| Value::Numbers(Numbers::new(kind, bytes).unwrap());
        for (key, value) in [
            ("text", Value::Text("llama".to_owned())),
            ("size", Value::Unsigned(7)),
            ("negative", Value::Signed(-1)),
            ("float", Value::Float(0.5)),
            ("nan", Value::Float(f64::NAN)),
            ("flag", Value::Flag(true)),
            ("texts", Value::Texts(texts)),
            ("types", numbers(NumberType::Signed(4), vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])),
            ("large", numbers(NumberType::Unsigned(8), vec![0xff; 8])),
            ("scores", numbers(NumberType::Float(4), 2.5_f32.to_le_bytes().to_vec())),
        ] {
            assert_eq!(metadata.insert(key.to_owned(), value), None);
        }
        metadata
    }

    #[test]
    fn values_are_read_by_type() {
        let metadata = metadata();
        assert_eq!(metadata.text("text").unwrap(), Some("llama"));
        assert_eq!(metadata.unsigned("size").unwrap(), Some(7));
        assert_eq!(metadata.float("float").unwrap(), Some(0.5));
        assert_eq!(metadata.float("negative").unwrap(), Some(-1.0));
        assert_eq!(metadata.flag("flag").unwrap(), Some(true));
        assert_eq!(metadata.texts("texts").unwrap().map(Texts::len), Some(1));
        assert!(metadata.integers("types").unwrap().unwrap().eq([1, -1]));
        assert!(metadata.floats("scores").unwrap().unwrap().eq([2.5]));
        assert_eq!(metadata.text("absent").unwrap(), None);
        assert!(metadata.integers("absent").unwrap().is_none());
        assert_eq!(metadata.iter().count(), 10);
    }

    #[test]
    fn errors_name_the_file_the_key_and_the_value() {
        let metadata = metadata();
        let told = |error: LoadError| error.to_string();
        assert_eq!(
            told(metadata.unsigned("negative").unwrap_err()),
            "m.gguf: negative: found -1, expected an integer of at least 0"
        );
        assert_eq!(told(metadata.text("size").unwrap_err()), "m.gguf: size: found 7, expected a string");
        assert_eq!(
            told(metadata.float("nan").unwrap_err()),
            "m.gguf: nan: found NaN, expected a finite number"
        );
        assert_eq!(
            told(metadata.integers("large").err().unwrap()),
            "m.gguf: large: found a list of 1 numbers, expected a list of integers below 2^63"
        );
        assert_eq!(
            told(metadata.floats("types").err().unwrap()),
            "m.gguf: types: found a list of 2 numbers, expected a list of floats"
        );
        assert_eq!(told(metadata.error("absent", "1")), "m.gguf: absent: found nothing, expected 1");
    }
}
