//! The forward pass: it takes rows, writes their keys and values to the cache, and computes logits
//! for the rows that asked.
//!
//! A layer is `x += attention(norm(x))` (`attention`), then `x += down(silu(gate(norm(x))) ·
//! up(norm(x)))` (`feed_forward`); the head is `logits = head(norm(x))`. Every product takes all
//! rows of the step at once: one pass over each weight, whichever sequences the rows belong to.
//!
//! [`ModelConfig::layer`] describes a layer; the operations are those of `model::ops`.
mod attention;
mod feed_forward;
mod rotations;
mod step;

pub use step::ForwardLimits;

use self::attention::AttentionBuffers;
use self::feed_forward::FeedForwardBuffers;
use self::rotations::Rotations;
use self::step::{Layer, Step, elements};
use super::ModelConfig;
use super::image::PackedModel;
use super::operands::{OperandRows, SharedOperands};
use super::ops::{Norm, Ops, ProductOutput, RowSource, Scratch};
use super::rows::{HeadWants, StepRows};
use crate::cache::{BLOCK, KvCache};
use crate::isa::Isa;
use crate::kernels::matmul::Epilogue;
use crate::memory::{ArenaError, Carver};
use crate::pool::{Phase, Pool};
use crate::tensor::{Rows, Shared, operand_stride, padded};

/// The activations of a step.
#[derive(Debug)]
pub struct Forward<'s> {
    limits: ForwardLimits,
    /// The residual stream, `[rows, padded(hidden)]`.
    x: &'s mut [f32],
    /// `norm(x)`, as operands of products, `[rows, hidden]`.
    normed: OperandRows<'s>,
    attention: AttentionBuffers<'s>,
    feed_forward: FeedForwardBuffers<'s>,
    rotations: Rotations<'s>,
    /// Sums and unpacked weights of the product that each worker is at, `[workers,
    /// product_scratch_bytes]`.
    product_scratch: &'s mut [u8],
    /// `norm(x)` of the rows that asked for logits, `[head_rows, operand_stride(hidden)]`.
    hidden: &'s mut [f32],
    /// The hidden states as operands, `[head_rows, hidden]`.
    head_operands: OperandRows<'s>,
    /// The logits of the rows that asked, `[head_rows, padded(vocab)]`.
    logits: &'s mut [f32],
    vocab_size: usize,
    hidden_size: usize,
}

impl<'s> Forward<'s> {
    /// Carves the activations from `carver`, for steps within `limits`.
    pub fn carve(
        carver: &mut impl Carver<'s>,
        config: &ModelConfig,
        limits: &ForwardLimits,
    ) -> Result<Self, ArenaError> {
        let (rows, head_rows) = (limits.rows, limits.head_rows);
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        let format = config.weight_format.operands();
        let head_format = config.head_format.operands();
        let scratch = elements("product scratch", limits.workers, limits.product_scratch_bytes())?;
        Ok(Self {
            limits: *limits,
            x: carver.carve("residual stream", elements("residual stream", rows, padded(hidden))?)?,
            normed: OperandRows::carve(carver, "normed rows", format, rows, hidden)?,
            attention: AttentionBuffers::carve(carver, config, limits)?,
            feed_forward: FeedForwardBuffers::carve(carver, config, limits)?,
            rotations: Rotations::carve(carver, config, limits)?,
            product_scratch: carver.carve("product scratch", scratch)?,
            hidden: carver
                .carve("hidden states", elements("hidden states", head_rows, operand_stride(hidden))?)?,
            head_operands: OperandRows::carve(carver, "head rows", head_format, head_rows, hidden)?,
            logits: carver.carve("logits", elements("logits", head_rows, padded(vocab))?)?,
            vocab_size: vocab,
            hidden_size: hidden,
        })
    }

    /// Runs all layers for the rows of a step.
    ///
    /// # Panics
    /// If there are more rows, workers or positions than the limits say, an id is out of range, or
    /// two rows write the same position of the same block.
    pub fn layers(
        &mut self,
        isa: Isa,
        pool: &dyn Pool,
        model: &PackedModel<'_>,
        kv: &mut KvCache<'_>,
        step: StepRows<'_>,
    ) {
        let StepRows { rows, tables, fresh } = step;
        let config = model.config();
        assert!(rows.len() <= self.limits.rows && pool.workers() <= self.limits.workers);
        assert!(rows.iter().all(|row| (row.token as usize) < config.vocab_size));
        kv.check_apart(rows.iter().map(|row| {
            let position = row.position as usize;
            (tables.of(row.sequence)[position / BLOCK], position % BLOCK)
        }));
        let scratch = Scratch::new(self.product_scratch, self.limits.product_scratch_bytes());
        let ops = Ops { isa, pool, scratch };
        let step = Step { ops, rows, tables, kv: kv.view(), eps: config.rms_norm_eps };
        let norm = |weight| Norm { weight, width: config.hidden_size, eps: step.eps };
        let all = RowSource { count: rows.len(), row_of: &|row| row };
        let outer = model.outer();

        ops.zero_blocks(step.kv, fresh);
        ops.embed(rows, outer.embedding, &outer.head, self.x);
        self.rotations.compute(&step, config);
        self.attention.cut_rows(&step, &config.layer(0).attention);
        for index in 0..config.layer_count {
            let layer = Layer { index, spec: config.layer(index), weights: model.layer(index) };
            let attention_norm = norm(layer.weights.attention_norm);
            let feed_forward_norm = norm(layer.weights.feed_forward_norm);

            // x += attention(norm(x))
            ops.rms_norm(Phase::AttentionNorm, all, self.x, attention_norm, self.normed.output());
            self.attention.run(&step, &layer, &self.rotations, &self.normed, self.x);

            // x += feed_forward(norm(x))
            ops.rms_norm(Phase::FeedForwardNorm, all, self.x, feed_forward_norm, self.normed.output());
            self.feed_forward.run(&step, &layer, &self.normed, self.x);
        }
    }

    /// The last norm and, where logits are wanted, the head, for up to `head_rows` of the step's
    /// rows, named by their index; results are read with [`Forward::logits`] and
    /// [`Forward::hidden`], whichever were wanted, until the next call.
    ///
    /// # Panics
    /// If there are more rows than the limits say.
    pub fn head(
        &mut self,
        isa: Isa,
        pool: &dyn Pool,
        model: &PackedModel<'_>,
        rows: &[u32],
        wants: HeadWants,
    ) {
        assert!(rows.len() <= self.limits.head_rows);
        let (config, outer) = (model.config(), model.outer());
        let scratch = Scratch::new(self.product_scratch, self.limits.product_scratch_bytes());
        let ops = Ops { isa, pool, scratch };
        let norm = Norm { weight: outer.final_norm, width: config.hidden_size, eps: config.rms_norm_eps };
        let asked = RowSource { count: rows.len(), row_of: &|i| rows[i] as usize };

        // logits = head(norm(x))
        if wants.hidden {
            let hidden = SharedOperands::F32(Shared::new(self.hidden));
            ops.rms_norm(Phase::HeadNorm, asked, self.x, norm, hidden);
        }
        if !wants.logits {
            return;
        }
        ops.rms_norm(Phase::HeadNorm, asked, self.x, norm, self.head_operands.output());
        let to_logits = ProductOutput {
            epilogue: Epilogue::Store(Shared::new(self.logits)),
            stride: padded(config.vocab_size),
        };
        let operands = self.head_operands.rows(rows.len(), config.hidden_size);
        ops.product(Phase::Head, operands, &outer.head, to_logits);
    }

    /// The logits of the last [`Forward::head`] call, `[head_rows, vocab]`.
    pub fn logits(&self) -> Rows<'_, f32> {
        Rows::padded(self.logits, self.vocab_size)
    }

    /// The hidden states after the last norm of the last [`Forward::head`] call that wanted them,
    /// `[head_rows, hidden]`.
    pub fn hidden(&self) -> Rows<'_, f32> {
        Rows::operands(self.hidden, self.hidden_size)
    }
}
