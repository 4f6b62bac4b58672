//! Writes safetensors files: checkpoints as tests need them, right or wrong.
use std::io::Write;
use std::path::Path;

/// A tensor of a checkpoint that a test writes.
#[derive(Clone, Debug)]
pub struct TensorData {
    /// The name, as Hugging Face writes it.
    pub name: String,
    /// The element type: `F32`, `F16` or `BF16`.
    pub dtype: &'static str,
    /// Rows, then columns, of a matrix.
    pub shape: Vec<usize>,
    /// The elements in row-major order, little-endian.
    pub bytes: Vec<u8>,
}

impl TensorData {
    /// From f32 values, rounded to nearest even where `dtype` is narrower.
    pub fn new(name: &str, dtype: &'static str, shape: &[usize], values: &[f32]) -> Self {
        let bytes = match dtype {
            "BF16" => values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect(),
            "F16" => values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        Self { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
    }
}

/// A safetensors file with the tensors in the order given, into `out`.
pub fn safetensors_to(out: &mut impl Write, tensors: &[TensorData]) -> std::io::Result<()> {
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.bytes.len();
        let entry = serde_json::json!({
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end],
        });
        header.insert(tensor.name.clone(), entry);
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    tensors.iter().try_for_each(|tensor| out.write_all(&tensor.bytes))
}

/// Writes a safetensors file with the tensors in the order given.
pub fn write_safetensors(path: &Path, tensors: &[TensorData]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    safetensors_to(&mut file, tensors)?;
    file.flush()
}
