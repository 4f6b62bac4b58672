//! The page at `/`, where one talks to the model: its files, which the folder has beside this one
//! and `README.md` tells of, and who gets it.
//!
//! A browser that opens `/` gets the page, and every other program what it has always got there:
//! whether the server is alive.
use super::api::health;
use super::assets::{Folder, folder, wants_page};
use super::error::ApiError;
use super::exchange::Exchange;

/// What the page is made of; other pages may use its files.
pub static FILES: Folder = folder![
    "index.html",
    "style.css",
    "icon.svg",
    "answer.js",
    "api.js",
    "app.js",
    "bits.js",
    "chat.js",
    "check.js",
    "composer.js",
    "dom.js",
    "settings.js",
    "sha256.js",
    "share.js",
    "store.js",
    "tree.js",
    "render/blocks.js",
    "render/highlight.js",
    "render/inline.js",
    "render/markdown.js",
    "render/math.js",
    "vendor/LICENSES.txt",
    "vendor/temml.js",
    "view/message.js",
    "view/parameters.js",
    "view/raw.js",
    "view/sidebar.js",
    "view/thread.js",
];

/// `GET /`: the page for browsers, and the state of the server for all others.
pub fn root(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    exchange.add_header("Vary", "Accept");
    if wants_page(exchange) { FILES.send(exchange, "index.html") } else { health::handle(exchange) }
}

/// `GET /page/{file*}`: one of the page's files.
pub fn file(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    FILES.send_chosen(exchange)
}

#[cfg(test)]
mod tests {
    use super::FILES;
    use crate::serve::assets::tests::check_folder;

    #[test]
    fn the_page_is_whole_and_small() {
        check_folder(&[("page", &FILES)], &["", "dashboard", "openapi.json"], 300 << 10);
    }
}
