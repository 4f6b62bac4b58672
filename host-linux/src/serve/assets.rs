//! Static files that stand in the program: what pages are made of. Each goes out with its content
//! type, a tag by which a browser asks whether it has changed, and what the page may do.
//!
//! A folder is a list in the program ([`Folder`]); nothing is read from a file system, so a path
//! can name nothing else.
use super::error::ApiError;
use super::exchange::Exchange;
use crate::text::quote::quote;
use std::sync::OnceLock;

/// What every file goes out with. Scripts, styles and answers come from this server alone, and no
/// text becomes HTML or code, even if it were put there. `no-cache` has browsers ask each time
/// whether their copy is the one of this program.
const HEADERS: [(&str, &str); 5] = [
    (
        "Content-Security-Policy",
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
];

/// A file that is served as it is.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its path in its folder, with slashes, such as `view/thread.js`. Its ending is its type.
    pub name: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
}

impl File {
    /// Its media type; none for an ending that no file of a page has.
    pub fn content_type(&self) -> Option<&'static str> {
        let (_, ending) = self.name.rsplit_once('.')?;
        Some(match ending {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            "txt" => "text/plain; charset=utf-8",
            _ => return None,
        })
    }
}

/// Files that are served below one path.
#[derive(Debug)]
pub struct Folder {
    /// All files, in the order in which they were listed.
    pub files: &'static [File],
    /// The tag of each, made when one is wanted.
    tags: OnceLock<Vec<String>>,
}

impl Folder {
    /// A folder of these files; [`folder!`](folder) reads them where the program is built.
    pub const fn new(files: &'static [File]) -> Self {
        Self { files, tags: OnceLock::new() }
    }

    /// The file of this name, with its tag as a header has it.
    fn find(&self, name: &str) -> Option<(&File, &str)> {
        let at = self.files.iter().position(|file| file.name == name)?;
        let tags = self.tags.get_or_init(|| self.files.iter().map(tag).collect());
        Some((&self.files[at], &tags[at]))
    }

    /// Answers with the file of this name, or with 304 where the client has it.
    ///
    /// # Errors
    /// 404 if there is none.
    pub fn send(&self, exchange: &mut Exchange<'_>, name: &str) -> Result<(), ApiError> {
        let Some((file, tag)) = self.find(name) else {
            let message = format!("there is nothing at {}", quote(exchange.path()));
            return Err(ApiError { status: 404, ..ApiError::invalid("", message) });
        };
        let headers: Vec<_> = HEADERS.into_iter().chain([("ETag", tag)]).collect();
        if exchange.header("if-none-match").is_some_and(|tags| lists(tags, tag)) {
            exchange.send(304, None, &[], &headers);
        } else {
            exchange.send(200, file.content_type(), file.bytes, &headers);
        }
        Ok(())
    }

    /// Answers with the file that the client has named in the path of its route.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_chosen(&self, exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
        let name = exchange.path_parameter().to_owned();
        self.send(exchange, &name)
    }
}

/// The files of these names, which stand beside the file that names them, as a [`Folder`].
macro_rules! folder {
    ($($name:literal),+ $(,)?) => {
        $crate::serve::assets::Folder::new(&[
            $($crate::serve::assets::File { name: $name, bytes: include_bytes!($name) }),+
        ])
    };
}
pub(crate) use folder;

/// The tag of a file: the same for the same bytes, and another for others.
fn tag(file: &File) -> String {
    format!("\"{}\"", &blake3::hash(file.bytes).to_hex()[..16])
}

/// Whether a header `If-None-Match` has the tag among its own.
fn lists(tags: &str, tag: &str) -> bool {
    tags.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// Whether whoever asks shows pages: browsers name HTML in `Accept`, other programs do not.
pub fn wants_page(exchange: &Exchange<'_>) -> bool {
    exchange.header("accept").is_some_and(accepts_html)
}

fn accepts_html(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("text/html"));
        let is_none = |part: &str| part.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0_f32);
        is_html && !parts.any(is_none)
    })
}

#[cfg(test)]
pub(super) mod tests;
