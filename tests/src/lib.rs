//! What the tests share: where test data lies, the goldens, and a bare runner of the forward pass.
//!
//! * [`data`]: files that are not in the repository; a test that needs one is skipped by name without it.
//! * [`golden`]: the JSON under `goldens/`, and the models that its recipes make.
//! * [`runner`]: sequences through the forward pass with no engine around it.
//! * [`pools`]: pools that permute what they are given.
pub mod data;
pub mod golden;
pub mod pools;
pub mod runner;
