//! The types that tensors of GGUF files have, and which of them are served.
use super::blocks::BlockFormat;
use crate::load::checkpoint::Elements;
use verbatim_core::kernels::matmul::source::SourceType;

/// A type of elements, as GGUF numbers it.
#[derive(Debug, PartialEq)]
pub struct TensorType {
    /// The number that files have for it.
    pub number: u32,
    /// The name that other tools print.
    pub name: &'static str,
    /// Elements that are stored together, next to each other in a row; 1 for plain numbers.
    pub block_elements: u64,
    /// Bytes that these take.
    pub block_bytes: u64,
    /// What its elements are for the packer; `None` is a type that is refused.
    pub elements: Option<Elements>,
}

const fn float(number: u32, name: &'static str, source: SourceType) -> TensorType {
    let block_bytes = source.element_bytes() as u64;
    TensorType { number, name, block_elements: 1, block_bytes, elements: Some(Elements::Float(source)) }
}

const fn blocks(number: u32, format: BlockFormat) -> TensorType {
    TensorType {
        number,
        name: format.name(),
        block_elements: format.block_elements() as u64,
        block_bytes: format.block_bytes() as u64,
        elements: Some(Elements::Blocks(format)),
    }
}

const fn refused(number: u32, name: &'static str, block_elements: u64, block_bytes: u64) -> TensorType {
    TensorType { number, name, block_elements, block_bytes, elements: None }
}

/// The types that files have, in order of number. Numbers that are missing were given up.
pub static TYPES: [TensorType; 35] = [
    float(0, "F32", SourceType::F32),
    float(1, "F16", SourceType::F16),
    blocks(2, BlockFormat::Q4_0),
    blocks(3, BlockFormat::Q4_1),
    blocks(6, BlockFormat::Q5_0),
    blocks(7, BlockFormat::Q5_1),
    blocks(8, BlockFormat::Q8_0),
    refused(9, "Q8_1", 32, 36),
    blocks(10, BlockFormat::Q2K),
    blocks(11, BlockFormat::Q3K),
    blocks(12, BlockFormat::Q4K),
    blocks(13, BlockFormat::Q5K),
    blocks(14, BlockFormat::Q6K),
    refused(15, "Q8_K", 256, 292),
    refused(16, "IQ2_XXS", 256, 66),
    refused(17, "IQ2_XS", 256, 74),
    refused(18, "IQ3_XXS", 256, 98),
    refused(19, "IQ1_S", 256, 50),
    blocks(20, BlockFormat::Iq4Nl),
    refused(21, "IQ3_S", 256, 110),
    refused(22, "IQ2_S", 256, 82),
    blocks(23, BlockFormat::Iq4Xs),
    refused(24, "I8", 1, 1),
    refused(25, "I16", 1, 2),
    refused(26, "I32", 1, 4),
    refused(27, "I64", 1, 8),
    refused(28, "F64", 1, 8),
    refused(29, "IQ1_M", 256, 56),
    float(30, "BF16", SourceType::Bf16),
    refused(34, "TQ1_0", 256, 54),
    refused(35, "TQ2_0", 256, 66),
    blocks(39, BlockFormat::Mxfp4),
    blocks(40, BlockFormat::Nvfp4),
    refused(41, "Q1_0", 128, 18),
    refused(42, "Q2_0", 64, 18),
];

impl TensorType {
    /// The type of that number in files.
    pub fn of_number(number: u32) -> Option<&'static Self> {
        TYPES.iter().find(|kind| kind.number == number)
    }
}
