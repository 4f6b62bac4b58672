//! The model: its configuration ([`config`]), its layers' description ([`spec`]), the table of
//! [`families`], its packed weights ([`image`], [`weights`]) and the forward pass ([`forward`])
//! over rows ([`rows`]). A step is computed behind the trait in [`runner`], by the CPU or by a
//! device.
pub mod config;
pub mod families;
pub mod forward;
pub mod image;
mod operands;
mod ops;
pub mod rows;
pub mod runner;
pub mod spec;
pub mod weights;

pub use crate::kernels::rope::{RopeConfig, RopeScaling};
pub use config::{FormatMix, ModelConfig};
pub use families::{Architecture, FAMILIES, Family};
pub use forward::{Forward, ForwardLimits};
pub use image::{ImageError, ImageLayout, ImageWriter, PackedModel};
pub use rows::{BlockTables, HeadWants, Row, RowOutput, StepRows};
pub use runner::cpu::CpuRunner;
pub use runner::{
    DeviceLost, DraftCache, DraftModel, DraftModelSize, HeadOutput, Runner, RunnerLimits, RunnerMemory,
    StepKind,
};
pub use spec::{ConfigError, LayerFeatures, LayerSpec};
pub use weights::{Embedding, LayerWeights, OuterWeights};

#[cfg(test)]
pub(crate) mod tests;
