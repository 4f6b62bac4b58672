//! The layer operations from which the forward pass is built, each cut into tasks for a pool.
//!
//! How an operation is cut changes no bit. Products are cut into ranges of panels (and rows:
//! [`Cut`]), everything else into rows or (rows, KV head) pairs. An operation says how large it is,
//! so that the pool can run a small one on the calling thread.
#![allow(unsafe_code)]

use super::operands::{OperandRows, SharedOperands};
use super::weights::Embedding;
use crate::cache::planes::KvView;
use crate::cache::{BLOCK, BlockId};
use crate::dtype::bf16_widen;
use crate::isa::Isa;
use crate::kernels::attention::{self, Attend, AttentionOut, Partial};
use crate::kernels::cache_write::{CacheWrite, HeadNorms, Queries, cache_write};
use crate::kernels::matmul::cut::Cut;
use crate::kernels::matmul::product::multiply;
use crate::kernels::matmul::{Activations, Epilogue, Linear};
use crate::kernels::quantize::quantize;
use crate::kernels::rmsnorm::rms_norm;
use crate::kernels::rope::rotation;
use crate::model::rows::{BlockTables, Row};
use crate::pool::{Phase, Pool, Serial};
use crate::tensor::{Shared, operand_stride, padded};

/// Where operations run: the instruction set, the pool, and scratch for its workers.
#[derive(Clone, Copy)]
pub(super) struct Ops<'p> {
    pub(super) isa: Isa,
    pub(super) pool: &'p dyn Pool,
    pub(super) scratch: Scratch<'p>,
}

/// Bytes for each worker's sums and slices of unpacked weights.
#[derive(Clone, Copy)]
pub(super) struct Scratch<'p> {
    /// The bytes of all workers, `[workers, worker_bytes]`.
    bytes: Shared<'p, u8>,
    worker_bytes: usize,
}

impl<'p> Scratch<'p> {
    /// Scratch of `worker_bytes` for each worker.
    pub(super) fn new(bytes: &'p mut [u8], worker_bytes: usize) -> Self {
        Self { bytes: Shared::new(bytes), worker_bytes }
    }
}

/// The rows that an operation takes: `row_of(i)` for `i` below `count`.
#[derive(Clone, Copy)]
pub(super) struct RowSource<'a> {
    pub(super) count: usize,
    pub(super) row_of: &'a (dyn Fn(usize) -> usize + Sync),
}

/// An RMSNorm of rows.
#[derive(Clone, Copy)]
pub(super) struct Norm<'a> {
    /// `[padded(width)]`, zero past `width`.
    pub(super) weight: &'a [f32],
    pub(super) width: usize,
    /// What is added to the mean square.
    pub(super) eps: f32,
}

/// Where a product's results go.
pub(super) struct ProductOutput<'a> {
    /// What is done with each result, over the output from the first row on.
    pub(super) epilogue: Epilogue<'a>,
    /// Elements from one row to the next.
    pub(super) stride: usize,
}

/// Where a layer's keys, values and query operands lie.
#[derive(Clone, Copy)]
pub(super) struct LayerCache<'a> {
    pub(super) kv: KvView<'a>,
    pub(super) layer: usize,
    pub(super) queries: Queries,
}

/// Q, K and V as their product made them.
pub(super) struct Projected<'a> {
    /// `[rows, padded(size)]`; changed in place.
    pub(super) qkv: &'a mut [f32],
    /// Elements of Q, K and V together.
    pub(super) size: usize,
    /// Query heads that share a KV head.
    pub(super) group_size: usize,
}

/// A RoPE table for the rows of a step: `[rows, head_dim / 2]` each.
#[derive(Clone, Copy)]
pub(super) struct Rotation<'a> {
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
}

/// Where attention's results go.
#[derive(Clone, Copy)]
pub(super) struct AttentionOutput<'a> {
    pub(super) out: AttentionOut<'a>,
    /// Elements from one row to the next.
    pub(super) stride: usize,
}

/// The memory that attention's tasks work in.
pub(super) struct AttentionScratch<'a> {
    /// A part for each worker, `[workers, attention::scratch_len]`.
    pub(super) workers: &'a mut [f32],
    /// Partial results of splits, as many as fit.
    pub(super) partials: &'a mut [f32],
}

/// Attention of groups of rows; each group is one sequence's, and a task takes a group under one KV
/// head.
#[derive(Clone, Copy)]
pub(super) struct AttentionTasks<'a> {
    pub(super) groups: &'a [RowGroup],
    pub(super) tables: BlockTables<'a>,
    /// The inputs that all tasks share; each task sets its own rows, KV head and block table.
    pub(super) shared: Attend<'a>,
    pub(super) output: AttentionOutput<'a>,
}

impl<'a> AttentionTasks<'a> {
    fn count(&self) -> usize {
        self.groups.len() * self.shared.kv.layout().kv_head_count
    }

    /// Task `number`, below `count`.
    fn task(&self, number: usize) -> Attend<'a> {
        let kv_heads = self.shared.kv.layout().kv_head_count;
        let group = &self.groups[number / kv_heads];
        Attend {
            kv_head: number % kv_heads,
            table: self.tables.of(group.sequence),
            first_row: group.first_row as usize,
            row_count: group.row_count as usize,
            first_position: group.first_position as usize,
            ..self.shared
        }
    }

    /// Positions that the longest context has.
    fn longest(&self) -> usize {
        self.groups.iter().map(RowGroup::context_len).max().unwrap_or(0)
    }

    /// Floats of scratch that each worker needs.
    fn scratch_len(&self) -> usize {
        attention::scratch_len(self.shared.group_size, self.shared.kv.layout().value_dim())
    }
}

impl Ops<'_> {
    fn run(&self, phase: Phase, tasks: usize, elements: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        if tasks <= 1 {
            Serial.run(phase, tasks, job);
        } else {
            self.pool.run_sized(phase, tasks, elements, job);
        }
    }

    /// Zeroes blocks that were just handed out.
    pub(super) fn zero_blocks(&self, kv: KvView<'_>, blocks: &[BlockId]) {
        let layers = kv.layout().layer_count;
        let elements = blocks.len() * kv.layout().head_dim * kv.layout().kv_head_count * BLOCK * layers;
        self.run(Phase::Embed, layers, elements, &|layer, _| {
            for block in blocks {
                // SAFETY: a task has its layer for itself.
                unsafe { kv.zero(layer, *block as usize) };
            }
        });
    }

    /// Looks up the embedding of each row's token: `x[row] = embedding[token]`.
    pub(super) fn embed(&self, rows: &[Row], embedding: Embedding<'_>, head: &Linear<'_>, x: &mut [f32]) {
        let width = head.inputs();
        let stride = padded(width);
        let x = Shared::new(x);
        self.run(Phase::Embed, rows.len(), rows.len() * width, &|task, _| {
            let token = rows[task].token as usize;
            // SAFETY: a task has its row for itself.
            let out = unsafe { x.part(task * stride, width) };
            match embedding {
                Embedding::Tied => head.read_column(token, out),
                Embedding::F32(table) => out.copy_from_slice(&table[token * width..][..width]),
                Embedding::Bf16(table) => {
                    for (out, e) in out.iter_mut().zip(&table[token * width..][..width]) {
                        *out = bf16_widen(*e);
                    }
                }
            }
        });
    }

    /// The cosines and sines of each row's position, `[rows, head_dim / 2]` each.
    pub(super) fn rotations(&self, rows: &[Row], frequencies: &[f32], cos: &mut [f32], sin: &mut [f32]) {
        let half = frequencies.len();
        let (cos, sin) = (Shared::new(cos), Shared::new(sin));
        // A sine costs tens of elements' time.
        self.run(Phase::Embed, rows.len(), rows.len() * half * 32, &|task, _| {
            // SAFETY: a task has its row for itself.
            let (cos, sin) = unsafe { (cos.part(task * half, half), sin.part(task * half, half)) };
            rotation(frequencies, rows[task].position, cos, sin);
        });
    }

    /// `out[i] = rms_norm(x[row_of(i)]) · w`, as operands.
    pub(super) fn rms_norm(
        &self,
        phase: Phase,
        rows: RowSource<'_>,
        x: &[f32],
        norm: Norm<'_>,
        out: SharedOperands<'_>,
    ) {
        let Norm { weight, width, eps } = norm;
        let stride = padded(width);
        self.run(phase, rows.count, rows.count * width, &|task, _| {
            let x = &x[(rows.row_of)(task) * stride..][..stride];
            // SAFETY: a task has its row for itself.
            let out = unsafe { out.normed_row(task, width) };
            rms_norm(self.isa, x, weight, width, eps, out);
        });
    }

    /// Rotates and rounds the first `count` rows to 8 bits, where that is the format of the
    /// operands.
    pub(super) fn quantize(&self, count: usize, width: usize, operands: &mut OperandRows<'_>) {
        let OperandRows::Int8 { floats, rounded, scales } = operands else { return };
        let (stride, len) = (operand_stride(width), padded(width));
        let (floats, rounded, scales) = (Shared::new(floats), Shared::new(rounded), Shared::new(scales));
        self.run(Phase::Quantize, count, count * width, &|row, _| {
            // SAFETY: a task has its row for itself.
            unsafe {
                let (x, out) = (floats.part(row * stride, len), rounded.part(row * stride, len));
                scales.part(row, 1)[0] = quantize(self.isa, width, x, out);
            }
        });
    }

    /// A matrix product for all rows: one pass over the weight.
    pub(super) fn product(
        &self,
        phase: Phase,
        act: Activations<'_>,
        weight: &Linear<'_>,
        output: ProductOutput<'_>,
    ) {
        let ProductOutput { epilogue, stride } = output;
        let panels = weight.panel_count() / epilogue.panels_per_output();
        let cut = Cut::new(panels, act.count(), self.pool.workers());
        let elements = act.count().saturating_mul(weight.inputs()).saturating_mul(weight.outputs());
        let Scratch { bytes, worker_bytes } = self.scratch;
        self.run(phase, cut.tasks(), elements, &|task, worker| {
            let (panels, rows) = cut.of(task);
            let epilogue = epilogue.after(rows.start * stride);
            // SAFETY: no two tasks have the same panels of the same rows, and a worker has its
            // scratch for itself.
            unsafe {
                let scratch = bytes.part(worker * worker_bytes, worker_bytes);
                multiply(self.isa, act.part(rows), weight, panels, (epilogue, stride), scratch);
            }
        });
    }

    /// Norms of heads, RoPE, query operands and the cache.
    pub(super) fn cache_write(
        &self,
        rows: &[Row],
        tables: BlockTables<'_>,
        cache: LayerCache<'_>,
        projected: Projected<'_>,
        norms: Option<HeadNorms<'_>>,
        rotation: Rotation<'_>,
    ) {
        let LayerCache { kv, layer, queries } = cache;
        let Projected { qkv, size, group_size } = projected;
        let stride = padded(size);
        let half = kv.layout().head_dim / 2;
        let qkv = Shared::new(qkv);
        self.run(Phase::RopeAndCache, rows.len(), rows.len() * size * 4, &|task, _| {
            let position = rows[task].position as usize;
            let write = CacheWrite {
                // SAFETY: a task has its row for itself.
                qkv: unsafe { qkv.part(task * stride, size) },
                norms,
                cos: &rotation.cos[task * half..][..half],
                sin: &rotation.sin[task * half..][..half],
                group_size,
                layer,
                block: tables.of(rows[task].sequence)[position / BLOCK],
                slot: position % BLOCK,
            };
            // SAFETY: the queries were carved for every row of a step; `KvCache::check_apart` found
            // each position written by one row, and nobody reads the cache in this phase.
            unsafe { cache_write(self.isa, kv, queries, task, write) };
        });
    }

    /// Attention of all tasks; a long context's splits go to several workers where there would be
    /// too few tasks for them.
    pub(super) fn attention(&self, tasks: AttentionTasks<'_>, scratch: AttentionScratch<'_>) {
        let (count, value_dim) = (tasks.count(), tasks.shared.kv.layout().value_dim());
        let splits = attention::split_count(tasks.longest());
        let queries = attention::rows_per_task(tasks.shared.group_size) * tasks.shared.group_size;
        let partials = count * splits * attention::partial_len(queries, value_dim);
        let few = count < 2 * self.pool.workers();
        if splits > 1 && few && partials <= scratch.partials.len() {
            self.attention_by_splits(&tasks, splits, scratch);
        } else {
            self.attention_by_groups(&tasks, scratch.workers);
        }
    }

    /// Every split of every task is run by itself, and merged afterwards.
    fn attention_by_splits(&self, tasks: &AttentionTasks<'_>, splits: usize, scratch: AttentionScratch<'_>) {
        let (count, value_dim) = (tasks.count(), tasks.shared.kv.layout().value_dim());
        let queries = attention::rows_per_task(tasks.shared.group_size) * tasks.shared.group_size;
        let part_len = attention::partial_len(queries, value_dim);
        let scratch_len = tasks.scratch_len();
        let (scratch, partials) = (Shared::new(scratch.workers), Shared::new(scratch.partials));
        self.pool.run(Phase::Attention, count * splits, &|task, worker| {
            let a = tasks.task(task / splits);
            let split = task % splits;
            if split >= attention::split_count(a.context_len()) {
                return;
            }
            let count = a.row_count * a.group_size;
            let len = attention::partial_len(count, value_dim);
            let start = (task / splits) * splits * part_len + split * len;
            // SAFETY: a worker has its scratch for itself, and a task its partial. Keys and
            // values were written in the phase before.
            unsafe {
                let scratch = scratch.part(worker * scratch_len, scratch_len);
                let floats = partials.part(start, len);
                let mut partial = Partial::over(floats, count, value_dim);
                attention::attend_split(self.isa, &a, split, scratch, &mut partial);
            }
        });
        let AttentionOutput { out, stride } = tasks.output;
        self.run(Phase::AttentionMerge, count, count * splits * part_len, &|task, _| {
            let a = tasks.task(task);
            // SAFETY: a task has its partials and its rows' heads for itself.
            unsafe {
                let floats = partials.part(task * splits * part_len, splits * part_len);
                attention::merge_splits(self.isa, &a, floats, out, stride);
            }
        });
    }

    /// Every task runs all splits of its rows.
    fn attention_by_groups(&self, tasks: &AttentionTasks<'_>, scratch: &mut [f32]) {
        let layout = *tasks.shared.kv.layout();
        let rows: usize = tasks.groups.iter().map(|group| group.row_count as usize).sum();
        let queries = rows * tasks.shared.group_size * layout.kv_head_count;
        let elements = queries * tasks.longest() * layout.head_dim;
        let (count, scratch_len) = (tasks.count(), tasks.scratch_len());
        let scratch = Shared::new(scratch);
        let AttentionOutput { out, stride } = tasks.output;
        self.run(Phase::Attention, count, elements, &|task, worker| {
            // The longest contexts come last in a prefill: begin with them, so that no worker is
            // left with one.
            let a = tasks.task(count - 1 - task);
            // SAFETY: a worker has its scratch for itself, a task its rows' heads; keys and values
            // were written in the phase before.
            unsafe {
                let scratch = scratch.part(worker * scratch_len, scratch_len);
                attention::attend(self.isa, &a, scratch, out, stride);
            }
        });
    }
}

/// Rows of one sequence that attention takes together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowGroup {
    pub(super) first_row: u32,
    pub(super) row_count: u32,
    pub(super) first_position: u32,
    pub(super) sequence: u32,
}

crate::memory::plain!(RowGroup { first_row, row_count, first_position, sequence });

impl RowGroup {
    fn context_len(&self) -> usize {
        (self.first_position + self.row_count) as usize
    }

    /// How many rows of a sequence one task should take: enough to reuse each key that was read,
    /// but few enough that every worker has a task. A context of several splits has tasks for all
    /// workers in any case.
    pub(super) fn rows_max(rows: &[Row], group_size: usize, kv_heads: usize, workers: usize) -> usize {
        let max = attention::rows_per_task(group_size);
        let longest = rows.iter().map(|row| row.position as usize + 1).max().unwrap_or(0);
        match attention::split_count(longest) {
            0 | 1 => max.min((rows.len() * kv_heads).div_ceil(workers).max(1)),
            _ => max,
        }
    }

    /// Cuts the rows of a step into groups; returns how many.
    pub(super) fn cut(rows: &[Row], rows_max: usize, groups: &mut [RowGroup]) -> usize {
        let mut count = 0;
        for (i, row) in rows.iter().enumerate() {
            if count > 0 {
                let last = &mut groups[count - 1];
                let follows = last.sequence == row.sequence
                    && last.first_position + last.row_count == row.position
                    && (last.row_count as usize) < rows_max;
                if follows {
                    last.row_count += 1;
                    continue;
                }
            }
            groups[count] = RowGroup {
                first_row: i as u32,
                row_count: 1,
                first_position: row.position,
                sequence: row.sequence,
            };
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::super::RowOutput;
    use super::*;

    #[test]
    fn rows_are_cut_into_groups_of_following_positions() {
        let row = |sequence, position| Row { token: 0, position, sequence, output: RowOutput::None };
        let rows = [row(0, 700), row(0, 701), row(0, 702), row(1, 703), row(2, 9), row(2, 11)];
        let mut groups = [RowGroup::default(); 6];
        let count = RowGroup::cut(&rows, 2, &mut groups);
        let seen: [_; 5] = core::array::from_fn(|i| {
            let g = &groups[i];
            (g.first_row, g.row_count, g.sequence, g.context_len())
        });
        assert_eq!(count, 5);
        assert_eq!(RowGroup::rows_max(&rows, 4, 8, 2), 12, "enough for two workers");
        assert_eq!(RowGroup::rows_max(&rows, 4, 1, 2), 3, "one KV head, two workers");
        assert_eq!(RowGroup::rows_max(&rows, 4, 1, 64), 1);
        assert_eq!(RowGroup::rows_max(&[row(0, 1024)], 4, 1, 64), 12, "a context in splits");
        assert_eq!(seen, [(0, 2, 0, 702), (2, 1, 0, 703), (3, 1, 1, 704), (4, 1, 2, 10), (5, 1, 2, 12)]);
    }
}
