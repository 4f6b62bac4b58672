//! Values of GGUF metadata, as they are kept: lists of strings in one buffer, lists of numbers as
//! the file's bytes, so that a vocabulary of a quarter of a million tokens stays a few megabytes.
use crate::load::error::shorten;
use std::fmt;

/// A value of GGUF metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An unsigned integer of 8 to 64 bits.
    Unsigned(u64),
    /// A signed integer of 8 to 64 bits.
    Signed(i64),
    /// A float of 32 or 64 bits; either is exact here.
    Float(f64),
    /// One of the two truth values.
    Flag(bool),
    /// A string, which is UTF-8.
    Text(String),
    /// A list of strings.
    Texts(Texts),
    /// A list of integers, floats or truth values.
    Numbers(Numbers),
}

/// A list of strings, one behind the other in one buffer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    buffer: String,
    /// Where each string ends in the buffer.
    ends: Vec<u32>,
}

impl Texts {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at an index; `None` past the end.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.buffer[start..end])
    }

    /// The strings in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).expect("it is below the length"))
    }

    /// Adds a string.
    ///
    /// # Panics
    /// If all strings together have 2^32 bytes or more; the reader of a header stops far below.
    pub(super) fn push(&mut self, text: &str) {
        self.buffer.push_str(text);
        self.ends.push(u32::try_from(self.buffer.len()).expect("a header is far below 4 GiB"));
    }
}

/// The type of a number in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    /// An integer without a sign of this many bytes: 1, 2, 4 or 8.
    Unsigned(u8),
    /// An integer with a sign of this many bytes: 1, 2, 4 or 8.
    Signed(u8),
    /// A float of this many bytes: 4 or 8.
    Float(u8),
    /// A truth value in one byte, 0 or 1.
    Flag,
}

impl NumberType {
    /// Bytes that a number of this type takes in the file.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Unsigned(bytes) | Self::Signed(bytes) | Self::Float(bytes) => bytes as usize,
            Self::Flag => 1,
        }
    }

    /// The number in these bytes, little-endian; `None` for a truth value that is neither 0 nor 1.
    pub(super) fn read(self, bytes: &[u8]) -> Option<Value> {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let unused = 64 - 8 * bytes.len() as u32;
        let unsigned = u64::from_le_bytes(word);
        Some(match self {
            Self::Unsigned(_) => Value::Unsigned(unsigned),
            // Shifted up and down again, the sign fills the bytes that the number does not have.
            Self::Signed(_) => Value::Signed((unsigned << unused) as i64 >> unused),
            Self::Float(4) => Value::Float(f64::from(f32::from_bits(unsigned as u32))),
            Self::Float(_) => Value::Float(f64::from_bits(unsigned)),
            Self::Flag if unsigned > 1 => return None,
            Self::Flag => Value::Flag(unsigned == 1),
        })
    }
}

/// A list of numbers, as the bytes that the file has for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    kind: NumberType,
    bytes: Vec<u8>,
}

impl Numbers {
    /// Numbers of a type from their bytes; `None` where a truth value is neither 0 nor 1.
    ///
    /// # Panics
    /// If the bytes are not whole numbers.
    pub(super) fn new(kind: NumberType, bytes: Vec<u8>) -> Option<Self> {
        assert!(bytes.len().is_multiple_of(kind.bytes()));
        let is_wrong = kind == NumberType::Flag && bytes.iter().any(|byte| *byte > 1);
        (!is_wrong).then_some(Self { kind, bytes })
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.kind.bytes()
    }

    /// Whether there is no number.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The type of each number.
    pub fn kind(&self) -> NumberType {
        self.kind
    }

    /// The numbers in their order, each as a value of its own.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value> {
        let kind = self.kind;
        let read = move |bytes| kind.read(bytes).expect("truth values were checked");
        self.bytes.chunks_exact(kind.bytes()).map(read)
    }
}

/// As errors quote it: lists by their length, strings briefly.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(n) => n.fmt(f),
            Self::Signed(n) => n.fmt(f),
            Self::Float(x) => x.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => write!(f, "\"{}\"", shorten(text)),
            Self::Texts(texts) => write!(f, "a list of {} strings", texts.len()),
            Self::Numbers(numbers) => write!(f, "a list of {} numbers", numbers.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_give_back_what_they_were_made_of() {
        let mut texts = Texts::default();
        assert!(texts.is_empty() && texts.get(0).is_none());
        for text in ["a", "", "日本"] {
            texts.push(text);
        }
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["a", "", "日本"]);
        assert_eq!((texts.len(), texts.get(3)), (3, None));

        let signed = Numbers::new(NumberType::Signed(2), vec![0xff, 0xff, 2, 0]).unwrap();
        assert!(signed.iter().eq([Value::Signed(-1), Value::Signed(2)]));
        let floats = Numbers::new(NumberType::Float(4), 1.5_f32.to_le_bytes().to_vec()).unwrap();
        assert!(floats.iter().eq([Value::Float(1.5)]));
        assert_eq!(Numbers::new(NumberType::Flag, vec![0, 1, 2]), None);
        assert_eq!(NumberType::Unsigned(8).read(&[0xff; 8]), Some(Value::Unsigned(u64::MAX)));
        assert_eq!(NumberType::Signed(8).read(&[0xff; 8]), Some(Value::Signed(-1)));
        assert_eq!(NumberType::Float(8).read(&0.1_f64.to_le_bytes()), Some(Value::Float(0.1)));
    }

    #[test]
    fn long_values_are_quoted_briefly() {
        let text = Value::Text("x".repeat(1000)).to_string();
        assert!(text.starts_with("\"xxx") && text.chars().count() <= 102, "{text}");
        let mut texts = Texts::default();
        texts.push("a");
        assert_eq!(Value::Texts(texts).to_string(), "a list of 1 strings");
    }
}
