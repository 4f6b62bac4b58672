//! The second half of a layer: `x += down(silu(gate(y)) · up(y))` (Shazeer, 2020).
//!
//! Gate and up are one product, whose epilogue applies the gate; `LayerSpec::check` refuses other
//! activations and a feed-forward without a gate.
use super::step::{ForwardLimits, Layer, Step};
use crate::kernels::matmul::Epilogue;
use crate::memory::{ArenaError, Carver};
use crate::model::config::ModelConfig;
use crate::model::operands::OperandRows;
use crate::model::ops::ProductOutput;
use crate::pool::Phase;
use crate::tensor::{Shared, operand_stride, padded};

/// The activations of the feed-forward, those of one layer after another.
#[derive(Debug)]
pub(super) struct FeedForwardBuffers<'s> {
    /// `silu(gate) · up`, `[rows, width]`.
    gated: OperandRows<'s>,
}

impl<'s> FeedForwardBuffers<'s> {
    /// Carves the buffers. All layers of a model have the same sizes, so the first one tells them.
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        config: &ModelConfig,
        limits: &ForwardLimits,
    ) -> Result<Self, ArenaError> {
        let format = config.weight_format.operands();
        let width = config.layer(0).feed_forward.width;
        Ok(Self { gated: OperandRows::carve(carver, "feed-forward", format, limits.rows, width)? })
    }

    /// `x += down(silu(gate(normed)) · up(normed))`; `x` is `[rows, padded(hidden)]`.
    pub(super) fn run(
        &mut self,
        step: &Step<'_>,
        layer: &Layer<'_>,
        normed: &OperandRows<'_>,
        x: &mut [f32],
    ) {
        let (ops, count) = (step.ops, step.rows.len());
        let weights = &layer.weights;
        let (hidden, width) = (weights.gate_up.inputs(), layer.spec.feed_forward.width);

        let to_gated =
            ProductOutput { epilogue: self.gated.output().swiglu(), stride: operand_stride(width) };
        ops.product(Phase::GateUp, normed.rows(count, hidden), &weights.gate_up, to_gated);
        ops.quantize(count, width, &mut self.gated);

        let to_x = ProductOutput { epilogue: Epilogue::Add(Shared::new(x)), stride: padded(hidden) };
        ops.product(Phase::Down, self.gated.rows(count, width), &weights.down, to_x);
    }
}
