//! What the tests share: where test data lies, the goldens, and a bare runner of the forward pass.
//!
//! * [`recipe`]: random models from a formula; [`checkpoint`]: their files; [`temporary`]:
//!   directories for them. [`q4_0`]: another engine's rounding, as a yardstick.
//! * [`chat`]: messages as the built-in model's template renders them.
//! * [`choices`]: the choices of answers in one form, whole or streamed. [`cut`]: streams that are
//!   cut and resumed.
//! * [`cluster`]: many replicas in simulation, which `verbatim-sim --cluster` and a test run.
//! * [`data`]: files that are not in the repository; a test that needs one is skipped by name
//!   without it.
//! * [`fixture`]: a tiny model as files, to be spoiled; [`process`]: the program, and requests to
//!   it.
//! * [`hub`]: a hub of models on loopback, and what goes wrong with it.
//! * [`http`]: requests as hostile clients write them, and what they do to good ones.
//! * [`late`]: a runner with a heap and a thread of its own, for what the core may not take for
//!   granted of a device.
//! * [`fuzz`]: what fuzzing checks, for libFuzzer and for a test over its seeds.
//! * [`gguf`]: GGUF files, right or wrong.
//! * [`golden`]: the JSON under `goldens/`, and the models that its recipes make.
//! * [`runner`]: sequences through the forward pass with no engine around it.
//! * [`draws`]: random numbers of a seed; [`mutate`]: spoils bytes and JSON by them.
//! * [`mutants`]: planted bugs, and the copy of the tree in which they are built.
//! * [`pages`]: pages of Markdown, their links and commands.
//! * [`panel`]: curves in a frame, as SVG.
//! * [`pools`]: pools that permute what they are given.
//! * [`sim`]: the simulator, which `verbatim-sim` and a test run.
//! * [`source`]: Rust sources as text, for the test that keeps the tree tidy.
pub mod chat;
pub mod checkpoint;
pub mod choices;
pub mod cluster;
pub mod cut;
pub mod data;
pub mod draws;
pub mod fixture;
pub mod fuzz;
pub mod gguf;
pub mod golden;
pub mod http;
pub mod hub;
pub mod late;
pub mod mutants;
pub mod mutate;
pub mod pages;
pub mod panel;
pub mod pools;
pub mod process;
pub mod q4_0;
pub mod recipe;
pub mod runner;
pub mod sim;
pub mod source;
pub mod temporary;

use verbatim_core::isa::{Available, Isa};

/// The instruction sets of this CPU, with its matrix unit where the system lets a process use it.
pub fn paths() -> Available {
    verbatim::sys::cpu::allow_matrix_unit();
    Isa::available()
}
