//! Panics of the libraries that turn text into ids and back, as errors of the one request that met
//! them.
use super::error::{TextError, TextPart};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs one call of a library on a request's text. A panic was reported by the hook and becomes an
/// error. What the libraries keep between calls are caches behind locks that forgive a panic.
pub(super) fn caught<T>(part: TextPart, call: impl FnOnce() -> Result<T, TextError>) -> Result<T, TextError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(TextError::Panicked(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_its_part() {
        assert_eq!(caught(TextPart::Tokenizer, || Ok(3)), Ok(3));
        let panics = caught(TextPart::Template, || -> Result<(), TextError> { panic!("on this input") });
        assert_eq!(panics, Err(TextError::Panicked(TextPart::Template)));
        assert!(panics.unwrap_err().to_string().starts_with("the chat template failed on this input"));
    }
}
