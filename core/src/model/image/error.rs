//! The errors of parsing an image: each names the field, what was found and what was expected.
use crate::memory::REGION_ALIGN;
use crate::model::spec::ConfigError;

/// Why bytes are not an image that this version can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The machine stores numbers the other way round.
    BigEndian,
    /// The bytes do not start at a multiple of 64.
    Misaligned {
        /// The address modulo 64.
        found: usize,
    },
    /// The first bytes are not the magic.
    NotAnImage,
    /// The image has another version of the format.
    FormatVersion {
        /// The version that the bytes say.
        found: u64,
        /// The version that this program reads.
        expected: u32,
    },
    /// A number in the header or the tables differs from what it must be.
    Field {
        /// The name of the field, as `config.json` has it where it has one.
        field: &'static str,
        /// What the bytes say.
        found: u64,
        /// What they must say.
        expected: u64,
    },
    /// A number stands for nothing known.
    Unknown {
        /// The name of the field, as `config.json` has it where it has one.
        field: &'static str,
        /// What the bytes say.
        found: u64,
    },
    /// The configuration is impossible, or asks for what is not implemented.
    Config(ConfigError),
    /// An entry of the directory differs from what the configuration implies.
    Directory {
        /// The entry, from 0.
        entry: usize,
        /// `kind`, `layer`, `expert`, `offset` or `bytes`.
        field: &'static str,
        /// What the bytes say.
        found: u64,
        /// What they must say.
        expected: u64,
    },
    /// An aux blob's name is empty, too long, not UTF-8, or not unique.
    AuxName {
        /// The blob, from 0.
        entry: usize,
        /// Bytes that a name may have.
        bytes_max: usize,
    },
    /// The image would not fit the address space.
    TooLarge {
        /// What is too large.
        what: &'static str,
    },
}

impl core::fmt::Display for ImageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BigEndian => write!(f, "images are little-endian and this machine is not"),
            Self::Misaligned { found } => write!(
                f,
                "the image starts {found} bytes past a multiple of {REGION_ALIGN}, expected a multiple of it"
            ),
            Self::NotAnImage => write!(f, "not an image: the first 8 bytes are not \"vbimage\\0\""),
            Self::FormatVersion { found, expected } => write!(
                f,
                "image header: format version: found {found}, expected {expected}: pack the model again"
            ),
            Self::Field { field, found, expected } => {
                write!(f, "image header: {field}: found {found}, expected {expected}")
            }
            Self::Unknown { field, found } => {
                write!(f, "image header: {field}: found {found}, which is unknown")
            }
            Self::Config(error) => write!(f, "image header: {error}"),
            Self::Directory { entry, field, found, expected } => {
                write!(f, "image directory: entry {entry}: {field}: found {found}, expected {expected}")
            }
            Self::AuxName { entry, bytes_max } => write!(
                f,
                "image aux table: entry {entry}: expected a unique name of 1 to {bytes_max} bytes of UTF-8"
            ),
            Self::TooLarge { what } => write!(f, "image: {what} does not fit the address space"),
        }
    }
}

impl core::error::Error for ImageError {}

impl From<ConfigError> for ImageError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
