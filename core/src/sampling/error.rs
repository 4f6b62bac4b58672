//! Why there is no token.

/// Why no token could be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleError {
    /// A logit is NaN or infinite.
    NonFinite,
    /// The mask allows no token.
    MaskEmpty,
}
