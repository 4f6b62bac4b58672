//! What the tests share: where test data lies, the goldens, and a bare runner of the forward pass.
//!
//! * [`chat`]: messages as the built-in model's template renders them.
//! * [`data`]: files that are not in the repository; a test that needs one is skipped by name
//!   without it.
//! * [`fixture`]: a tiny model as files, to be spoiled; [`process`]: the program, and requests to
//!   it.
//! * [`late`]: a runner with a heap and a thread of its own, for what the core may not take for
//!   granted of a device.
//! * [`golden`]: the JSON under `goldens/`, and the models that its recipes make.
//! * [`runner`]: sequences through the forward pass with no engine around it.
//! * [`draws`]: random numbers of a seed; [`mutate`]: spoils bytes and JSON by them.
//! * [`pools`]: pools that permute what they are given.
//! * [`sim`]: the simulator, which `verbatim-sim` and a test run.
pub mod chat;
pub mod data;
pub mod draws;
pub mod fixture;
pub mod golden;
pub mod late;
pub mod mutate;
pub mod pools;
pub mod process;
pub mod runner;
pub mod sim;

use verbatim_core::isa::{Available, Isa};

/// The paths of this CPU, with its matrix unit where the system lets a process use it.
pub fn paths() -> Available {
    verbatim::cpu::allow_matrix_unit();
    Isa::available()
}
