//! The reasons for which a row of logits yields no token.

/// Why no token could be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleError {
    /// A logit is NaN or infinite: the model or its weights are broken.
    NonFinite,
    /// Mask and bans together leave no token of the vocabulary.
    MaskEmpty,
}
