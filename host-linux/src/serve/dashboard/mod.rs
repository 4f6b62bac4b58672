//! The page at `/dashboard`, where one watches the scheduler: its files, which the folder has
//! beside this one and `README.md` tells of. What they show comes from `/dashboard/events`.
use super::assets::{Folder, folder};
use super::error::ApiError;
use super::exchange::Exchange;

/// What the page is made of, beside files of the page at `/`.
static FILES: Folder = folder![
    "index.html",
    "style.css",
    "app.js",
    "format.js",
    "model.js",
    "stream.js",
    "view/blocks.js",
    "view/canvas.js",
    "view/figures.js",
    "view/log.js",
    "view/meters.js",
    "view/sequences.js",
    "view/server.js",
    "view/steps.js",
];

/// `GET /dashboard`: the page.
pub fn index(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    FILES.send(exchange, "index.html")
}

/// `GET /dashboard/{file*}`: one of its files.
pub fn file(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    FILES.send_chosen(exchange)
}

#[cfg(test)]
mod tests {
    use super::FILES;
    use crate::serve::assets::tests::check_folder;
    use crate::serve::page;

    #[test]
    fn the_dashboard_is_whole_and_small() {
        let folders = [("dashboard", &FILES), ("page", &page::FILES)];
        check_folder(&folders, &[""], 60 << 10);
    }
}
