//! The tensors of a checkpoint, whatever its files are: where each lies, and what its elements are.
use super::folder::SourceFile;
use super::gguf::blocks::BlockFormat;
use std::collections::BTreeMap;
use std::path::PathBuf;
use verbatim_core::kernels::matmul::source::SourceType;

/// What the elements of a tensor are in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elements {
    /// Floating-point numbers, each by itself.
    Float(SourceType),
    /// Blocks of codes and scales, from which f32 is made.
    Blocks(BlockFormat),
}

impl Elements {
    /// As fingerprints and people name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float(source) => source.name(),
            Self::Blocks(format) => format.name(),
        }
    }

    /// Bytes of a row of `width` elements, which are whole blocks.
    pub const fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Float(source) => width * source.element_bytes(),
            Self::Blocks(format) => width / format.block_elements() * format.block_bytes(),
        }
    }
}

/// The order in which a file has the rows of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// The order of a Hugging Face checkpoint.
    Plain,
    /// For a RoPE that rotates neighbouring rows: in each head, row `i` of the first half stands
    /// before row `i` of the second one.
    Neighbours {
        /// Rows of a head, an even number.
        head_dim: usize,
    },
}

impl RowOrder {
    /// Where a file has the row that a Hugging Face checkpoint has at `row`.
    pub fn in_file(self, row: usize) -> usize {
        match self {
            Self::Plain => row,
            Self::Neighbours { head_dim } => {
                let (head, row) = (row / head_dim, row % head_dim);
                let half = head_dim / 2;
                head * head_dim + 2 * (row % half) + row / half
            }
        }
    }
}

/// How the files of a checkpoint name their tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As Hugging Face's transformers does.
    HuggingFace,
    /// As llama.cpp does in GGUF files.
    Gguf,
}

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    /// The file that holds it, an index into [`Checkpoint::files`].
    pub file: usize,
    /// Bytes from the file's start.
    pub offset: u64,
    /// What its elements are; `None` if they are of a type that cannot be packed.
    pub elements: Option<Elements>,
    /// The type of its elements in the words of the file.
    pub type_name: String,
    /// The lengths of its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The order of its rows, or of its elements if it is a vector.
    pub order: RowOrder,
}

/// All tensors of a model.
#[derive(Debug)]
pub struct Checkpoint {
    /// The path of the folder or file, which messages name.
    pub directory: PathBuf,
    /// The files: of several, in the order in which they were opened.
    pub files: Vec<SourceFile>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorEntry>,
    /// Whose names these are.
    pub naming: Naming,
    /// Whether it was saved without a head, which generating would take.
    pub is_bare: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_the_halves_in_turns() {
        let order = RowOrder::Neighbours { head_dim: 6 };
        let found: Vec<_> = (0..12).map(|row| order.in_file(row)).collect();
        assert_eq!(found, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        assert!((0..12).all(|row| RowOrder::Plain.in_file(row) == row));
    }

    #[test]
    fn rows_of_blocks_are_whole_blocks() {
        assert_eq!(Elements::Blocks(BlockFormat::Q4_0).row_bytes(64), 36);
        assert_eq!(Elements::Blocks(BlockFormat::Q6K).row_bytes(512), 420);
        assert_eq!(Elements::Float(SourceType::F16).row_bytes(3), 6);
        assert_eq!(Elements::Blocks(BlockFormat::Q6K).name(), "Q6_K");
    }
}
