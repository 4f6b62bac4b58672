//! The forward pass: rows in, keys and values in the cache, logits for rows that asked.
//!
//! A block is `x += attention(norm(x))`, `x += down(silu(gate(norm x)) · up(norm x))`; the head is
//! `logits = head(norm x)`. Every product takes all rows of the step at once: one pass over each
//! weight, whoever the rows belong to.
use super::ModelConfig;
use super::image::PackedModel;
use super::operands::{OperandRows, QueryOperands, SharedOperands};
use super::ops::{Ops, RowGroup};
use super::rows::{BlockTables, Row};
use crate::cache::{BlockId, KvCache};
use crate::dtype::KvFormat;
use crate::isa::Isa;
use crate::kernels::attention::{self, Attend};
use crate::kernels::cache_write::{Queries, query_len};
use crate::kernels::matmul::Epilogue;
use crate::kernels::matmul::product::scratch_bytes;
use crate::kernels::rope::frequencies;
use crate::memory::{ArenaError, Carver, REGION_ALIGN};
use crate::pool::{Phase, Pool};
use crate::tensor::{Rows, Shared, operand_stride, padded};

/// What the activations are sized for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardLimits {
    /// Rows of a step.
    pub rows: usize,
    /// Rows whose logits are computed at a time.
    pub head_rows: usize,
    /// Workers of the pool.
    pub workers: usize,
    /// Positions of a sequence.
    pub model_len: usize,
    /// How keys, values, queries and probabilities are stored.
    pub kv_format: KvFormat,
}

/// Splits of a long context go to several workers while their partial results fit in this many
/// floats.
const PARTIAL_FLOATS_MAX: usize = 1 << 22;

/// Bytes of a worker's scratch for products.
fn product_scratch_bytes(limits: &ForwardLimits) -> usize {
    scratch_bytes(limits.rows.max(limits.head_rows), 2).next_multiple_of(REGION_ALIGN)
}

/// The activations of a step.
#[derive(Debug)]
pub struct Forward<'s> {
    limits: ForwardLimits,
    /// The residual stream, `[rows, padded(hidden)]`.
    x: &'s mut [f32],
    /// `norm(x)`, `[rows, hidden]`.
    normed: OperandRows<'s>,
    /// Q, K and V, `[rows, padded(qkv_size)]`.
    qkv: &'s mut [f32],
    /// `[kv_heads][rows][group][query_len]`
    queries: QueryOperands<'s>,
    /// `[rows, q_size]`
    attended: OperandRows<'s>,
    /// `silu(gate) · up`, `[rows, intermediate]`.
    gated: OperandRows<'s>,
    /// `[head_dim / 2]`
    frequencies: &'s mut [f32],
    /// `[rows, head_dim / 2]`
    cos: &'s mut [f32],
    /// `[rows, head_dim / 2]`
    sin: &'s mut [f32],
    groups: &'s mut [RowGroup],
    attention_scratch: &'s mut [f32],
    attention_partials: &'s mut [f32],
    /// Sums and unpacked weights of the product that each worker is at.
    product_scratch: &'s mut [u8],
    /// `[head_rows, operand_stride(hidden)]`
    hidden: &'s mut [f32],
    /// `[head_rows, hidden]`
    head_operands: OperandRows<'s>,
    /// `[head_rows, padded(vocab)]`
    logits: &'s mut [f32],
    vocab_size: usize,
    hidden_size: usize,
    ready: bool,
}

impl<'s> Forward<'s> {
    /// Carves the activations.
    pub fn carve(
        carver: &mut impl Carver<'s>,
        config: &ModelConfig,
        limits: &ForwardLimits,
    ) -> Result<Self, ArenaError> {
        let (rows, head_rows) = (limits.rows, limits.head_rows);
        let format = config.weight_format.operands();
        let times = |region, a: usize, b: usize| a.checked_mul(b).ok_or(ArenaError::TooLarge { region });
        let half = config.head_dim / 2;
        let layout = config.kv_layout(limits.kv_format, 1);
        let group = config.group_size();
        let scratch = attention::scratch_len(group, layout.value_dim());
        let part = attention::partial_len(attention::rows_per_task(group) * group, layout.value_dim());
        // Splits are only spread while tasks are fewer than twice the workers (`Ops::attention`).
        let spread =
            times("attention partials", 2 * limits.workers * part, attention::split_count(limits.model_len))?;
        let partials = if limits.workers > 1 && limits.model_len > attention::SPLIT {
            spread.min(PARTIAL_FLOATS_MAX)
        } else {
            0
        };
        Ok(Self {
            limits: *limits,
            x: carver
                .carve("residual stream", times("residual stream", rows, padded(config.hidden_size))?)?,
            normed: OperandRows::carve(carver, "normed rows", format, rows, config.hidden_size)?,
            qkv: carver.carve("Q, K and V", times("Q, K and V", rows, padded(config.qkv_size()))?)?,
            queries: QueryOperands::carve(
                carver,
                limits.kv_format,
                times(
                    "query operands",
                    rows,
                    config.head_count * query_len(limits.kv_format, config.head_dim),
                )?,
            )?,
            attended: OperandRows::carve(carver, "attention output", format, rows, config.q_size())?,
            gated: OperandRows::carve(carver, "feed-forward", format, rows, config.intermediate_size)?,
            frequencies: carver.carve("RoPE frequencies", half)?,
            cos: carver.carve("RoPE cosines", times("RoPE cosines", rows, half)?)?,
            sin: carver.carve("RoPE sines", times("RoPE sines", rows, half)?)?,
            groups: carver.carve("row groups", rows)?,
            attention_scratch: carver
                .carve("attention scratch", times("attention scratch", limits.workers, scratch)?)?,
            attention_partials: carver.carve("attention partials", partials)?,
            product_scratch: carver.carve(
                "product scratch",
                times("product scratch", limits.workers, product_scratch_bytes(limits))?,
            )?,
            hidden: carver.carve(
                "hidden states",
                times("hidden states", head_rows, operand_stride(config.hidden_size))?,
            )?,
            head_operands: OperandRows::carve(
                carver,
                "head rows",
                config.head_format.operands(),
                head_rows,
                config.hidden_size,
            )?,
            logits: carver.carve("logits", times("logits", head_rows, padded(config.vocab_size))?)?,
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            ready: false,
        })
    }

    /// Runs all layers for the rows of a step. Rows of a sequence stand together, in ascending
    /// positions, and their positions have blocks; `fresh_blocks` were handed out since the last
    /// step and are zeroed first.
    ///
    /// # Panics
    /// If there are more rows, workers or positions than the limits say, or an id is out of range.
    pub fn layers(
        &mut self,
        isa: Isa,
        pool: &dyn Pool,
        model: &PackedModel<'_>,
        kv: &mut KvCache<'_>,
        rows: &[Row],
        tables: BlockTables<'_>,
        fresh_blocks: &[BlockId],
    ) {
        let config = model.config();
        assert!(rows.len() <= self.limits.rows && pool.workers() <= self.limits.workers);
        assert!(rows.iter().all(|row| (row.token as usize) < config.vocab_size));
        let ops = Ops {
            isa,
            pool,
            scratch: (Shared::new(self.product_scratch), product_scratch_bytes(&self.limits)),
        };
        let (eps, hidden, group_size) = (config.rms_norm_eps, config.hidden_size, config.group_size());
        let (count, all) = (rows.len(), |row: usize| row);
        if !self.ready {
            frequencies(&config.rope, self.frequencies);
            self.ready = true;
        }
        let kv = kv.view();
        let outer = model.outer();
        ops.zero_blocks(kv, fresh_blocks);
        ops.embed(rows, outer.embedding, &outer.head, self.x);
        ops.rotations(rows, self.frequencies, self.cos, self.sin);
        let rows_most = RowGroup::rows_most(rows, group_size, config.kv_head_count, pool.workers());
        let group_count = RowGroup::cut(rows, rows_most, self.groups);
        let groups = &self.groups[..group_count];
        let queries = Queries { start: self.queries.start(), row_capacity: self.limits.rows };
        let scale = 1.0 / libm::sqrtf(config.head_dim as f32);
        for layer in 0..config.layer_count {
            let w = model.layer(layer);

            // x += o_proj(attention(norm(x)))
            let norm = (w.attention_norm, hidden, eps);
            ops.rms_norm(Phase::AttentionNorm, (count, &all), self.x, norm, self.normed.output());
            let qkv = (Epilogue::Store(Shared::new(self.qkv)), padded(config.qkv_size()));
            ops.product(Phase::Qkv, self.normed.rows(count, hidden), &w.qkv, qkv);
            let head_norms = w.q_norm.zip(w.k_norm).map(|(q, k)| (q, k, eps));
            let projected = (&mut *self.qkv, config.qkv_size(), group_size);
            let rotation = (&*self.cos, &*self.sin);
            ops.cache_write(rows, tables, (kv, layer, queries), projected, head_norms, rotation);
            let of = Attend {
                kv,
                layer,
                queries,
                group_size,
                scale,
                kv_head: 0,
                table: &[],
                first_row: 0,
                row_count: 0,
                first_position: 0,
            };
            let out = (self.attended.output().attention(), operand_stride(config.q_size()));
            ops.attention(groups, tables, of, self.attention_scratch, self.attention_partials, out);
            ops.quantize(count, config.q_size(), &mut self.attended);
            let attended = self.attended.rows(count, config.q_size());
            let residual = (Epilogue::Add(Shared::new(self.x)), padded(hidden));
            ops.product(Phase::AttentionOutput, attended, &w.attention_output, residual);

            // x += down(silu(gate(norm(x))) · up(norm(x)))
            let norm = (w.feed_forward_norm, hidden, eps);
            ops.rms_norm(Phase::FeedForwardNorm, (count, &all), self.x, norm, self.normed.output());
            let stride = operand_stride(config.intermediate_size);
            let gated = (self.gated.output().swiglu(), stride);
            ops.product(Phase::GateUp, self.normed.rows(count, hidden), &w.gate_up, gated);
            ops.quantize(count, config.intermediate_size, &mut self.gated);
            let gated = self.gated.rows(count, config.intermediate_size);
            ops.product(Phase::Down, gated, &w.down, (Epilogue::Add(Shared::new(self.x)), padded(hidden)));
        }
    }

    /// The last norm and the head, for up to `head_rows` of the step's rows, named by their index;
    /// results are read with [`Forward::logits`] and [`Forward::hidden`] until the next call.
    ///
    /// # Panics
    /// If there are more rows than the limits say.
    pub fn head(&mut self, isa: Isa, pool: &dyn Pool, model: &PackedModel<'_>, rows: &[u32]) {
        assert!(rows.len() <= self.limits.head_rows);
        let (config, outer) = (model.config(), model.outer());
        let ops = Ops {
            isa,
            pool,
            scratch: (Shared::new(self.product_scratch), product_scratch_bytes(&self.limits)),
        };
        let width = config.hidden_size;
        let row_of = |i: usize| rows[i] as usize;
        let norm = (outer.final_norm, width, config.rms_norm_eps);
        let hidden = SharedOperands::F32(Shared::new(self.hidden));
        ops.rms_norm(Phase::HeadNorm, (rows.len(), &row_of), self.x, norm, hidden);
        let operands = self.head_operands.output();
        ops.rms_norm(Phase::HeadNorm, (rows.len(), &row_of), self.x, norm, operands);
        let logits = (Epilogue::Store(Shared::new(self.logits)), padded(config.vocab_size));
        ops.product(Phase::Head, self.head_operands.rows(rows.len(), width), &outer.head, logits);
    }

    /// The logits of the last [`Forward::head`] call: each row exactly as long as the vocabulary.
    pub fn logits(&mut self) -> LogitRows<'_> {
        LogitRows {
            stride: padded(self.vocab_size),
            vocab_size: self.vocab_size,
            data: Shared::new(self.logits),
        }
    }

    /// The logits of the last [`Forward::head`] call, `[head_rows, vocab]`, to be read by several
    /// tasks.
    pub fn logit_rows(&self) -> Rows<'_, f32> {
        Rows::padded(self.logits, self.vocab_size)
    }

    /// The hidden states after the last norm of the last [`Forward::head`] call, `[head_rows,
    /// hidden]`.
    pub fn hidden_rows(&self) -> Rows<'_, f32> {
        Rows::operands(self.hidden, self.hidden_size)
    }

    /// The hidden state after the last norm of row `i` of the last [`Forward::head`] call.
    pub fn hidden(&self, i: usize) -> &[f32] {
        &self.hidden[i * operand_stride(self.hidden_size)..][..self.hidden_size]
    }
}

/// Rows of logits, for tasks that sample.
#[derive(Clone, Copy, Debug)]
pub struct LogitRows<'a> {
    data: Shared<'a, f32>,
    stride: usize,
    vocab_size: usize,
}

impl<'a> LogitRows<'a> {
    /// Row `i`.
    ///
    /// # Safety
    /// No other task has the row while the slice lives.
    pub unsafe fn row(&self, i: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.data.part(i * self.stride, self.vocab_size) }
    }
}
