//! A hub of models on loopback, as the Hugging Face Hub answers, with a second server that large
//! files are fetched from; and what goes wrong with either.
//!
//! * [`repository`]: what it holds. [`server`]: HTTP, and faults. [`proxy`]: a proxy before it,
//!   of HTTP. [`socks`]: one of SOCKS.
pub mod proxy;
pub mod repository;
pub mod server;
pub mod socks;

pub use repository::{Access, Repository};
pub use server::{Does, FakeHub, Seen, Side};
