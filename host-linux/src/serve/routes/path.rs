//! Paths of routes: with a `/v1` in front or without, and with a part that a client chooses.
use percent_encoding::percent_decode_str;

/// The path of a route.
///
/// A part in braces stands for what the client writes there: `{id}` for one segment, `{id*}` for
/// all that follows, slashes and all. A path has one such part at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// As it stands, and nothing else.
    Plain(&'static str),
    /// A path of the API. OpenAI's clients write `/v1` in front of it, and many tools do not: it
    /// is the same route.
    Api(&'static str),
}

impl Path {
    /// How it is called in logs and metrics, whatever a client wrote.
    pub(super) fn canonical(self) -> &'static str {
        let (Self::Plain(path) | Self::Api(path)) = self;
        path
    }

    /// What a request's path has in place of the part in braces, decoded; empty if there is no
    /// such part; `None` if the path is another one.
    pub(super) fn parameter(self, path: &str) -> Option<String> {
        let value = match self {
            Self::Plain(pattern) => value(pattern, path),
            Self::Api(pattern) => value(without_version(pattern), without_version(path)),
        }?;
        Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
    }
}

/// A path without a leading `/v1`.
fn without_version(path: &str) -> &str {
    path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

fn value<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, rest)) = pattern.split_once('{') else { return (pattern == path).then_some("") };
    let (name, after) = rest.split_once('}')?;
    let value = path.strip_prefix(before)?.strip_suffix(after)?;
    let is_whole = name.ends_with('*') || !value.contains('/');
    (is_whole && !value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::Path::{Api, Plain};

    #[test]
    fn a_version_is_optional_where_a_path_is_of_the_api() {
        for (path, asked, is_it) in [
            (Api("/v1/models"), "/v1/models", true),
            (Api("/v1/models"), "/models", true),
            (Api("/v1/models"), "/v1/v1/models", false),
            (Api("/v1/models"), "/v1models", false),
            (Api("/v1/models"), "/models/", false),
            (Api("/health"), "/v1/health", true),
            (Api("/health"), "/health", true),
            (Api("/health"), "/v2/health", false),
            (Plain("/metrics"), "/metrics", true),
            (Plain("/metrics"), "/v1/metrics", false),
            (Plain("/"), "/", true),
            (Plain("/"), "/v1/", false),
        ] {
            assert_eq!(path.parameter(asked).is_some(), is_it, "{path:?}: {asked}");
        }
    }

    #[test]
    fn a_part_in_braces_is_what_the_client_wrote() {
        let (model, file) = (Api("/v1/models/{model*}"), Api("/v1/files/{id}/content"));
        for (path, asked, expected) in [
            (model, "/v1/models/tiny", Some("tiny")),
            (model, "/models/org/name", Some("org/name")),
            (model, "/models/org%2Fname%20%C3%A9", Some("org/name é")),
            (model, "/v1/models/%FF%", Some("\u{fffd}%")),
            (model, "/v1/models/", None),
            (model, "/v1/models", None),
            (file, "/v1/files/a/content", Some("a")),
            (file, "/files/a%2Fb/content", Some("a/b")),
            (file, "/v1/files/a/b/content", None),
            (file, "/v1/files//content", None),
            (file, "/v1/files/content", None),
        ] {
            assert_eq!(path.parameter(asked).as_deref(), expected, "{asked}");
        }
    }
}
