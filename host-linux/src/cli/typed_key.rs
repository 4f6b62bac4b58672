//! A key of a server's API, as it was typed.

/// A key. Whoever shows flags, or what is known of a server, does not show it.
#[derive(Clone)]
pub(in crate::cli) struct TypedKey(String);

impl TypedKey {
    /// The key in plain text.
    pub(in crate::cli) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for TypedKey {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for TypedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TypedKey")
    }
}
