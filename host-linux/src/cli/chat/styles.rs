//! Codes by which a terminal changes its style. [`PLAIN`] alone takes any of them back.

/// Bold, for headings and what matters.
pub(super) const BOLD: &str = "\x1b[1m";
/// Dim text, for what stands beside an answer.
pub(super) const DIM: &str = "\x1b[2m";
/// Italic, for quotations and emphasis.
pub(super) const ITALIC: &str = "\x1b[3m";
/// Bold and italic at once.
pub(super) const BOLD_ITALIC: &str = "\x1b[1;3m";
/// Bold and underlined text, for the greatest headings.
pub(super) const UNDERLINED: &str = "\x1b[1;4m";
/// Code, in a colour of its own.
pub(super) const CODE: &str = "\x1b[36m";
/// Text as it is without a style.
pub(super) const PLAIN: &str = "\x1b[0m";
