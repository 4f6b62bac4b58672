//! Models of the Hugging Face Hub on the command line: `pull`, `list`, `show` and `rm`, and what is
//! done about a model that is not there yet.
//!
//! * [`flags`]: of these commands. [`told`]: why one fails, with what to do about it. [`bar`]: how
//!   a download goes. [`ask`]: a question on a terminal.
//! * One file a command: [`pull`], [`list`], [`show`], [`rm`]. [`missing`]: models that other
//!   commands name and the cache does not have.
mod ask;
mod bar;
pub(super) mod flags;
pub(super) mod list;
pub(super) mod missing;
pub(super) mod pull;
pub(super) mod rm;
pub(super) mod show;
mod told;
