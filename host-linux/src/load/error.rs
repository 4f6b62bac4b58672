//! Why a model could not be loaded: one line, naming the file, the field or tensor, what was found
//! and what was expected.
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use verbatim_core::model::ImageError;

/// Why a model could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The operating system refused.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried: `open`, `read`, `write`, …
        action: &'static str,
        /// The error that it gave.
        error: io::Error,
    },
    /// A file is not what it should be as a whole.
    Malformed {
        /// The file that is malformed.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A field of a JSON file.
    Field {
        /// The JSON file that has the field.
        path: PathBuf,
        /// The name of the field.
        field: String,
        /// The value that it holds.
        found: String,
        /// The values that it may hold.
        expected: String,
    },
    /// A tensor is missing, mis-shaped, or not known.
    Tensor {
        /// The file, or the directory where no file has it.
        path: PathBuf,
        /// The name of the tensor.
        name: String,
        /// The shape or type that was found.
        found: String,
        /// The shape or type that was expected.
        expected: String,
    },
    /// A weight is NaN, infinite, or too large for the format.
    NonFinite {
        /// The file that holds the tensor.
        path: PathBuf,
        /// The name of the tensor.
        name: String,
        /// The row of the weight (0 in a vector).
        row: usize,
        /// The column of the weight.
        column: usize,
        /// The weight, as it was read.
        value: f32,
        /// What weights are packed as.
        format: &'static str,
    },
    /// The exponents of a tensor are too many for 12-bit bf16, which was asked for.
    NotCodable {
        /// The file that holds the tensor.
        path: PathBuf,
        /// The name of the tensor.
        name: String,
    },
    /// A file became shorter while it was read.
    Shrunk {
        /// The file that became shorter.
        path: PathBuf,
    },
    /// No file and no cached model has this name.
    NotFound {
        /// The name, as it was given.
        model: String,
        /// The places that were tried, with what was missing there.
        looked: Vec<PathBuf>,
    },
    /// An image cannot be used, or a model does not fit one.
    Image {
        /// The file, or the model's directory.
        path: PathBuf,
        /// What is wrong with the image.
        error: ImageError,
    },
}

impl LoadError {
    pub(crate) fn io(path: &Path, action: &'static str, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, error }
    }

    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), what: what.into() }
    }

    pub(crate) fn field(
        path: &Path,
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Field {
            path: path.to_owned(),
            field: field.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    pub(crate) fn tensor(
        path: &Path,
        name: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Tensor {
            path: path.to_owned(),
            name: name.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    pub(crate) fn image(path: &Path, error: ImageError) -> Self {
        Self::Image { path: path.to_owned(), error }
    }
}

/// Makes text from a file one line of bounded length.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut line: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        line.push('…');
    }
    // The quotes of JSON are wanted as they are.
    line.replace("\\\"", "\"").replace("\\'", "'")
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, action, error } => write!(f, "{}: cannot {action}: {error}", path.display()),
            Self::Malformed { path, what } => write!(f, "{}: {what}", path.display()),
            Self::Field { path, field, found, expected } => {
                let (field, found) = (shorten(field), shorten(found));
                write!(f, "{}: {field}: found {found}, expected {expected}", path.display())
            }
            Self::Tensor { path, name, found, expected } => {
                let (name, found) = (shorten(name), shorten(found));
                write!(f, "{}: tensor {name}: found {found}, expected {expected}", path.display())
            }
            Self::NonFinite { path, name, row, column, value, format } => {
                let what = match value {
                    value if value.is_nan() => "NaN".to_owned(),
                    value if value.is_infinite() => "infinity".to_owned(),
                    value => format!("{value:e}, too large for {format},"),
                };
                write!(f, "{}: {what} in tensor {} at [{row}, {column}]", path.display(), shorten(name))
            }
            Self::NotCodable { path, name } => {
                write!(f, "{}: tensor {name}: its exponents are too many to be compressed", path.display())
            }
            Self::Shrunk { path } => {
                write!(f, "{}: the file became shorter while it was read", path.display())
            }
            Self::NotFound { model, looked } => {
                write!(f, "no model {}: looked for", shorten(model))?;
                for (i, path) in looked.iter().enumerate() {
                    write!(f, "{} {}", if i == 0 { "" } else { "," }, path.display())?;
                }
                Ok(())
            }
            Self::Image { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Image { error, .. } => Some(error),
            _ => None,
        }
    }
}
