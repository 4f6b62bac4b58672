//! The token by which the hub knows who asks.
use super::error::HubError;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// Bytes of a token, at most.
const TOKEN_MAX: usize = 4096;

/// A secret, and where it was found. Its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    secret: String,
    /// Where it was found: the name of a variable, or a file.
    pub source: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.source)
    }
}

impl Token {
    /// Reads a token as it stands in a variable or a file, with blanks around it; `None` if there
    /// is nothing else. An error is what could not be part of a header.
    pub fn parse(text: &str, source: &str) -> Result<Option<Self>, HubError> {
        let secret = text.trim();
        if secret.is_empty() {
            return Ok(None);
        }
        if secret.len() > TOKEN_MAX || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let what = format!("expected a token of at most {TOKEN_MAX} letters and digits in one line");
            return Err(HubError::setting(source, what));
        }
        Ok(Some(Self { secret: secret.to_owned(), source: source.to_owned() }))
    }

    /// The value of the header that carries it.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.secret)
    }

    /// The token of `HF_TOKEN` (or its old name), else of the file to which logging in to the hub
    /// writes it: `HF_TOKEN_PATH`, else `token` in `home`.
    pub fn find(
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<&Path>,
    ) -> Result<Option<Self>, HubError> {
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            if let Some(value) = variable(name) {
                let text = value.to_str().ok_or_else(|| HubError::setting(name, "is no UTF-8"))?;
                if let Some(token) = Self::parse(text, name)? {
                    return Ok(Some(token));
                }
            }
        }
        let disabled = variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value));
        let path = variable("HF_TOKEN_PATH").map(Into::into).or_else(|| Some(home?.join("token")));
        let Some(path) = path.filter(|path| !disabled && path.is_file()) else { return Ok(None) };
        let mut text = String::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(1 << 16).read_to_string(&mut text));
        read.map_err(|error| HubError::io(&path, "read", error))?;
        Self::parse(&text, &path.display().to_string())
    }
}

/// Whether a variable's value switches something on, as Hugging Face's own library reads it.
pub(super) fn is_true(value: &OsString) -> bool {
    let value = value.to_string_lossy().to_ascii_uppercase();
    matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    #[test]
    fn a_variable_comes_before_the_file() {
        let directory = TemporaryDirectory::new("token");
        let home = directory.path();
        let find = |pairs: &[(&str, &str)]| {
            let of = |name: &str| pairs.iter().find(|(found, _)| *found == name).map(|(_, v)| (*v).into());
            Token::find(of, Some(home)).map(|found| found.map(|token| (token.header(), token.source)))
        };
        assert_eq!(find(&[]).unwrap(), None);
        std::fs::write(home.join("token"), "hf_file\n").unwrap();
        let of_file = Some(("Bearer hf_file".to_owned(), home.join("token").display().to_string()));
        assert_eq!(find(&[]).unwrap(), of_file);
        assert_eq!(find(&[("HF_TOKEN", " ")]).unwrap(), of_file, "an empty variable is none");
        let given = find(&[("HF_TOKEN", " hf_given ")]).unwrap();
        assert_eq!(given, Some(("Bearer hf_given".to_owned(), "HF_TOKEN".to_owned())));
        assert_eq!(find(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).unwrap(), None);
        std::fs::write(home.join("other"), "hf_other").unwrap();
        let other = home.join("other").display().to_string();
        assert_eq!(find(&[("HF_TOKEN_PATH", &other)]).unwrap().unwrap().0, "Bearer hf_other");
    }

    #[test]
    fn a_token_is_one_word_and_is_not_shown() {
        let error = Token::parse("a\r\nHost: b", "HF_TOKEN").unwrap_err().to_string();
        assert!(error.starts_with("HF_TOKEN: expected a token") && !error.contains("Host"), "{error}");
        assert!(Token::parse(&"x".repeat(TOKEN_MAX + 1), "HF_TOKEN").is_err());
        let token = Token::parse("hf_secret", "HF_TOKEN").unwrap();
        assert_eq!(format!("{token:?}"), "Some(Token(HF_TOKEN))");
    }
}
