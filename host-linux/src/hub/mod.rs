//! Models of the Hugging Face Hub: fetched into its standard cache, looked at there, removed.
//!
//! * [`error`]: why something is of no use. [`token`]: who asks. [`settings`]: which hub, which
//!   cache, how patiently. [`watch`]: what somebody who waits hears.
//! * [`verify`]: hashes. `address`: who may know the token. `retry_after`: pauses that are
//!   asked for. `http`: requests and redirects. [`api`]: what the hub says of a repository.
//! * [`choose`]: which files a model needs.
//! * `lock`, [`cache`]: the folders of the cache. `partial`: a file while it comes.
//! * [`wanted`]: a file that is to come. [`download`]: how it does. [`pull`]: a model.
//! * [`scan`]: what lies in the cache. [`card`]: what a README says. [`remove`]: models taken out.
//!
//! The cache is that of `huggingface_hub`, in both directions: what one has fetched the other
//! finds.
//!
//! ```text
//! name ──► list of files ──► choice ──► plan ──► parts over connections ──► hash ──► blob ──► link
//! ```
mod address;
pub mod api;
pub mod cache;
pub mod card;
pub mod choose;
pub mod download;
pub mod error;
mod http;
mod lock;
mod partial;
pub mod pull;
pub mod remove;
mod retry_after;
pub mod scan;
pub mod settings;
pub mod token;
pub mod verify;
pub mod wanted;
pub mod watch;

pub use api::Hub;
pub use error::HubError;
pub use pull::PullPlan;
pub use remove::RemovalPlan;
pub use scan::CachedRepository;
pub use settings::HubSettings;
pub use watch::{Unwatched, Watch};
