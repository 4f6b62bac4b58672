//! The header of one GGUF file: version, metadata, and where its tensors lie.
//!
//! ```text
//! "GGUF"  version: u32  tensor count: u64  key count: u64
//! each key:     name: string  type: u32  value
//! each tensor:  name: string  dimension count: u32  dimensions: u64 …  type: u32  offset: u64
//! padding to the alignment, and then the tensors' bytes, each at its offset from here
//! ```
//!
//! Integers are little-endian; a string is its length in 64 bits and UTF-8. Dimensions stand
//! innermost first. Nothing that a header says is believed before it was compared with the length
//! of the file, so that a header takes memory in proportion to its own bytes, which are bounded.
use super::cursor::{Cursor, HEADER_BYTES_MAX};
use super::metadata::Metadata;
use super::tensor_type::TensorType;
use super::value::{NumberType, Numbers, Texts, Value};
use crate::load::error::{LoadError, shorten};
use crate::load::folder::{GGUF_MAGIC, SourceFile};
use std::collections::BTreeSet;

/// Keys of a file, at most.
const KEYS_MAX: u64 = 1 << 16;
/// Bytes of a key, at most: the format's own bound.
const KEY_BYTES_MAX: u64 = (1 << 16) - 1;
/// Tensors of a file, at most.
const TENSORS_MAX: u64 = 1 << 16;
/// Bytes of a tensor's name, at most: four times the format's own bound.
const NAME_BYTES_MAX: u64 = 256;
/// Dimensions of a tensor, at most: the format's own bound.
const DIMENSIONS_MAX: u32 = 4;
/// Where tensors begin, unless the file says otherwise: at multiples of this.
const ALIGNMENT: u64 = 32;

/// The header of a file, checked against the file's length.
#[derive(Debug)]
pub struct Header {
    /// What the file says about the model, or about its place among its shards.
    pub metadata: Metadata,
    /// The tensors in the order of their bytes, which do not overlap.
    pub tensors: Vec<TensorInfo>,
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// The name, as the file has it.
    pub name: String,
    /// The lengths of its dimensions, outermost first, each at least 1.
    pub shape: Vec<usize>,
    /// What its elements are.
    pub kind: &'static TensorType,
    /// Bytes from the file's start.
    pub offset: u64,
    /// Bytes that it takes in the file.
    pub bytes: u64,
}

/// Reads the header of a file that begins as GGUF files do.
pub fn read_header(file: &SourceFile) -> Result<Header, LoadError> {
    let mut cursor = Cursor::new(file);
    let (tensor_count, key_count) = counts(&mut cursor)?;
    let mut metadata = Metadata::new(&file.path);
    let mut buffer = Vec::new();
    for number in 0..key_count {
        cursor.field = format!("key {number}");
        let key = cursor.text(KEY_BYTES_MAX, &mut buffer)?.to_owned();
        cursor.field.clone_from(&key);
        let value = value(&mut cursor, &mut buffer)?;
        if let Some(before) = metadata.insert(key, value) {
            return Err(cursor.error(format!("the key once more, after {before}"), "each key once"));
        }
    }
    let alignment = metadata.unsigned("general.alignment")?.unwrap_or(ALIGNMENT);
    if !(alignment.is_power_of_two() && (8..=1 << 16).contains(&alignment)) {
        return Err(metadata.error("general.alignment", "a power of two from 8 to 65536"));
    }
    let mut tensors = Vec::new();
    for number in 0..tensor_count {
        cursor.field = format!("tensor {number}");
        tensors.push(tensor(&mut cursor, &mut buffer, alignment)?);
    }
    place(file, &mut tensors, cursor.position().next_multiple_of(alignment))?;
    Ok(Header { metadata, tensors })
}

/// The numbers of tensors and keys, of a version that is read here.
fn counts(cursor: &mut Cursor) -> Result<(u64, u64), LoadError> {
    "magic".clone_into(&mut cursor.field);
    let magic = cursor.magic()?;
    if magic != GGUF_MAGIC {
        return Err(cursor.error(format!("bytes {magic:02x?}"), "\"GGUF\""));
    }
    "version".clone_into(&mut cursor.field);
    match cursor.word()? {
        2 | 3 => {}
        1 => {
            let expected = "2 or 3: convert the model again, or have a newer tool write the file anew";
            return Err(cursor.error("1", expected));
        }
        version if (2..=3).contains(&version.swap_bytes()) => {
            let found = format!("{}, big-endian", version.swap_bytes());
            return Err(cursor.error(found, "a little-endian file"));
        }
        version => return Err(cursor.error(version.to_string(), "2 or 3")),
    }
    let mut count = |field: &str, max: u64| {
        field.clone_into(&mut cursor.field);
        let count = cursor.long()?;
        if count > max {
            return Err(cursor.error(count.to_string(), format!("at most {max}")));
        }
        Ok(count)
    };
    Ok((count("tensor count", TENSORS_MAX)?, count("key count", KEYS_MAX)?))
}

/// What the number of a value's type means.
enum ValueType {
    Number(NumberType),
    Text,
    List,
}

fn value_type(cursor: &mut Cursor) -> Result<ValueType, LoadError> {
    use NumberType::{Flag, Float, Signed, Unsigned};
    Ok(match cursor.word()? {
        0 => ValueType::Number(Unsigned(1)),
        1 => ValueType::Number(Signed(1)),
        2 => ValueType::Number(Unsigned(2)),
        3 => ValueType::Number(Signed(2)),
        4 => ValueType::Number(Unsigned(4)),
        5 => ValueType::Number(Signed(4)),
        6 => ValueType::Number(Float(4)),
        7 => ValueType::Number(Flag),
        8 => ValueType::Text,
        9 => ValueType::List,
        10 => ValueType::Number(Unsigned(8)),
        11 => ValueType::Number(Signed(8)),
        12 => ValueType::Number(Float(8)),
        number => return Err(cursor.error(format!("a value of type {number}"), "a type from 0 to 12")),
    })
}

const WRONG_FLAG: &str = "a truth value in a byte that is 0 or 1";

fn value(cursor: &mut Cursor, buffer: &mut Vec<u8>) -> Result<Value, LoadError> {
    match value_type(cursor)? {
        ValueType::Number(kind) => {
            let mut bytes = [0; 8];
            let bytes = &mut bytes[..kind.bytes()];
            cursor.fill(bytes)?;
            kind.read(bytes).ok_or_else(|| cursor.error(bytes[0].to_string(), WRONG_FLAG))
        }
        ValueType::Text => Ok(Value::Text(cursor.text(HEADER_BYTES_MAX, buffer)?.to_owned())),
        ValueType::List => list(cursor, buffer),
    }
}

/// A list, whose elements are all of one type and no lists.
fn list(cursor: &mut Cursor, buffer: &mut Vec<u8>) -> Result<Value, LoadError> {
    match (value_type(cursor)?, cursor.long()?) {
        (ValueType::Number(kind), count) => {
            let bytes = count.saturating_mul(kind.bytes() as u64);
            let numbers = Numbers::new(kind, cursor.bytes(bytes)?);
            Ok(Value::Numbers(numbers.ok_or_else(|| cursor.error("another byte in a list", WRONG_FLAG))?))
        }
        (ValueType::Text, count) => {
            // Each takes the eight bytes of its length at least.
            cursor.expect(count.saturating_mul(8))?;
            let mut texts = Texts::default();
            for _ in 0..count {
                texts.push(cursor.text(HEADER_BYTES_MAX, buffer)?);
            }
            Ok(Value::Texts(texts))
        }
        (ValueType::List, _) => Err(cursor.error("a list of lists", "a list of strings or numbers")),
    }
}

/// A tensor, whose offset is still from the beginning of the tensors' bytes.
fn tensor(cursor: &mut Cursor, buffer: &mut Vec<u8>, alignment: u64) -> Result<TensorInfo, LoadError> {
    let name = cursor.text(NAME_BYTES_MAX, buffer)?.to_owned();
    cursor.field = format!("tensor {}", shorten(&name));
    let dimension_count = cursor.word()?;
    if !(1..=DIMENSIONS_MAX).contains(&dimension_count) {
        return Err(cursor.error(format!("{dimension_count} dimensions"), "1 to 4"));
    }
    let mut shape = Vec::new();
    let mut element_count = 1_u64;
    for _ in 0..dimension_count {
        let size = cursor.long()?;
        let product = element_count.checked_mul(size).filter(|count| (1..1 << 48).contains(count));
        element_count = product.ok_or_else(|| {
            cursor.error(format!("a dimension of {size}"), "at least 1, and less than 2^48 elements in all")
        })?;
        shape.push(size as usize);
    }
    shape.reverse();
    let number = cursor.word()?;
    let kind = TensorType::of_number(number).ok_or_else(|| {
        cursor.error(format!("elements of type {number}"), "a type that is known: the file may be newer")
    })?;
    let width = shape[shape.len() - 1] as u64;
    if !width.is_multiple_of(kind.block_elements) {
        let expected = format!("a multiple of {}, as {} has them", kind.block_elements, kind.name);
        return Err(cursor.error(format!("rows of {width} elements"), expected));
    }
    let bytes = element_count / kind.block_elements * kind.block_bytes;
    let offset = cursor.long()?;
    if !offset.is_multiple_of(alignment) {
        return Err(cursor.error(format!("offset {offset}"), format!("a multiple of {alignment}")));
    }
    Ok(TensorInfo { name, shape, kind, offset, bytes })
}

/// Puts tensors in the order of their bytes, which begin at `start`, and checks that they lie in
/// the file, apart from each other, each with a name of its own.
fn place(file: &SourceFile, tensors: &mut [TensorInfo], start: u64) -> Result<(), LoadError> {
    let mut names = BTreeSet::new();
    for tensor in tensors.iter_mut() {
        if !names.insert(tensor.name.clone()) {
            return Err(LoadError::tensor(&file.path, &tensor.name, "it twice", "it once"));
        }
        let offset = tensor.offset.checked_add(start);
        let is_within = |offset: &u64| offset.checked_add(tensor.bytes).is_some_and(|end| end <= file.len);
        tensor.offset = offset.filter(is_within).ok_or_else(|| {
            let found = format!("{} bytes from byte {} + {start} on", tensor.bytes, tensor.offset);
            LoadError::tensor(&file.path, &tensor.name, found, format!("all in a file of {}", file.len))
        })?;
    }
    tensors.sort_by_key(|tensor| tensor.offset);
    for pair in tensors.windows(2) {
        let [before, tensor] = pair else { unreachable!("windows of two") };
        if before.offset + before.bytes > tensor.offset {
            let found = format!("bytes of {}", shorten(&before.name));
            return Err(LoadError::tensor(&file.path, &tensor.name, found, "bytes of its own"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
