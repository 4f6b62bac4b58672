//! The first half of a layer: `x += o_proj(attention(q, k, v))`.
//!
//! One product makes Q, K and V side by side. Heads are normalised where the family has it, Q and K
//! are rotated, and what is rounded to the KV format goes into the cache (K, V) and into the query
//! operands (Q). Attention reads each row's blocks up to its own position.
use super::rotations::Rotations;
use super::step::{ForwardLimits, Layer, Step, elements};
use crate::kernels::attention::{self, Attend};
use crate::kernels::cache_write::{HeadNorms, Queries, query_len};
use crate::kernels::matmul::Epilogue;
use crate::memory::{ArenaError, Carver};
use crate::model::config::ModelConfig;
use crate::model::operands::{OperandRows, QueryOperands};
use crate::model::ops::{
    AttentionOutput, AttentionScratch, AttentionTasks, LayerCache, ProductOutput, Projected, RowGroup,
};
use crate::model::spec::AttentionSpec;
use crate::pool::Phase;
use crate::tensor::{Shared, operand_stride, padded};

/// Splits of a long context go to several workers while their partial results fit in this many
/// floats.
const PARTIAL_FLOATS_MAX: usize = 1 << 22;

/// The activations of attention, those of one layer after another.
#[derive(Debug)]
pub(super) struct AttentionBuffers<'s> {
    /// Rows that the buffers have room for.
    row_capacity: usize,
    /// Q, K and V side by side, `[rows, padded(qkv_size)]`.
    qkv: &'s mut [f32],
    /// Q in the KV format, `[kv_heads][rows][group][query_len]`.
    queries: QueryOperands<'s>,
    /// What attention gives, as operands of the output product, `[rows, q_size]`.
    attended: OperandRows<'s>,
    /// Rows of one sequence that attention takes together, `[rows]`, of which the step has
    /// `group_count`.
    groups: &'s mut [RowGroup],
    group_count: usize,
    /// Scores, probabilities and sums, `[workers, scratch_len]`.
    scratch: &'s mut [f32],
    /// Partial results of splits of long contexts.
    partials: &'s mut [f32],
}

impl<'s> AttentionBuffers<'s> {
    /// Carves the buffers. All layers of a model have the same sizes, so the first one tells them.
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        config: &ModelConfig,
        limits: &ForwardLimits,
    ) -> Result<Self, ArenaError> {
        let rows = limits.rows;
        let spec = config.layer(0).attention;
        let format = config.weight_format.operands();
        let layout = config.kv_layout(limits.kv_format, 1);
        let group = spec.group_size();
        let scratch = attention::scratch_len(group, layout.value_dim());
        let part = attention::partial_len(attention::rows_per_task(group) * group, layout.value_dim());
        // Splits are only spread while tasks are fewer than twice the workers (`Ops::attention`).
        let splits = attention::split_count(limits.model_len);
        let spread = elements("attention partials", 2 * limits.workers * part, splits)?;
        let partials = if limits.workers > 1 && limits.model_len > attention::SPLIT {
            spread.min(PARTIAL_FLOATS_MAX)
        } else {
            0
        };
        let query_elements = spec.head_count * query_len(limits.kv_format, spec.head_dim);
        Ok(Self {
            row_capacity: rows,
            qkv: carver.carve("Q, K and V", elements("Q, K and V", rows, padded(spec.qkv_size()))?)?,
            queries: QueryOperands::carve(
                carver,
                limits.kv_format,
                elements("query operands", rows, query_elements)?,
            )?,
            attended: OperandRows::carve(carver, "attention output", format, rows, spec.q_size())?,
            groups: carver.carve("row groups", rows)?,
            group_count: 0,
            scratch: carver
                .carve("attention scratch", elements("attention scratch", limits.workers, scratch)?)?,
            partials: carver.carve("attention partials", partials)?,
        })
    }

    /// Cuts the rows of a step into groups, which are the same for every layer.
    pub(super) fn cut_rows(&mut self, step: &Step<'_>, spec: &AttentionSpec) {
        let workers = step.ops.pool.workers();
        let rows_max = RowGroup::rows_max(step.rows, spec.group_size(), spec.kv_head_count, workers);
        self.group_count = RowGroup::cut(step.rows, rows_max, self.groups);
    }

    /// `x += o_proj(attention(normed))`; `x` is `[rows, padded(hidden)]`.
    pub(super) fn run(
        &mut self,
        step: &Step<'_>,
        layer: &Layer<'_>,
        rotations: &Rotations<'_>,
        normed: &OperandRows<'_>,
        x: &mut [f32],
    ) {
        let (ops, count) = (step.ops, step.rows.len());
        let (spec, weights) = (&layer.spec.attention, &layer.weights);
        let (hidden, q_size, qkv_size) = (weights.qkv.inputs(), spec.q_size(), spec.qkv_size());

        let to_qkv =
            ProductOutput { epilogue: Epilogue::Store(Shared::new(self.qkv)), stride: padded(qkv_size) };
        ops.product(Phase::Qkv, normed.rows(count, hidden), &weights.qkv, to_qkv);

        let queries = Queries { start: self.queries.start(), row_capacity: self.row_capacity };
        let cache = LayerCache { kv: step.kv, layer: layer.index, queries };
        let projected = Projected { qkv: self.qkv, size: qkv_size, group_size: spec.group_size() };
        let norms = weights.q_norm.zip(weights.k_norm);
        let norms = norms.map(|(q, k)| HeadNorms { q, k, eps: step.eps });
        ops.cache_write(step.rows, step.tables, cache, projected, norms, rotations.of(spec.rope));

        let tasks = AttentionTasks {
            groups: &self.groups[..self.group_count],
            tables: step.tables,
            shared: Attend {
                kv: step.kv,
                layer: layer.index,
                queries,
                group_size: spec.group_size(),
                scale: spec.scale,
                window: spec.window,
                soft_cap: spec.soft_cap,
                // These four are each task's own.
                kv_head: 0,
                table: &[],
                first_row: 0,
                row_count: 0,
                first_position: 0,
            },
            output: AttentionOutput {
                out: self.attended.output().attention(),
                stride: operand_stride(q_size),
            },
        };
        ops.attention(tasks, AttentionScratch { workers: self.scratch, partials: self.partials });
        ops.quantize(count, q_size, &mut self.attended);

        let to_x = ProductOutput { epilogue: Epilogue::Add(Shared::new(x)), stride: padded(hidden) };
        ops.product(
            Phase::AttentionOutput,
            self.attended.rows(count, q_size),
            &weights.attention_output,
            to_x,
        );
    }
}
