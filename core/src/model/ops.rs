//! The layer operations: what the forward pass is written in, cut into tasks for a pool.
//!
//! This is the seam for a device: another implementation of these few operations, with the same
//! bits or a numerics version of its own, runs the same forward pass.
//!
//! How an operation is cut changes no bit. Products are cut into ranges of panels (and rows:
//! [`Cut`]), everything else into rows or (rows, KV head) pairs. An operation says how large it is,
//! so that the pool can run a small one on the calling thread.
use super::operands::{OperandRows, SharedOperands};
use super::weights::Embedding;
use crate::cache::planes::KvView;
use crate::cache::{BLOCK, BlockId};
use crate::dtype::bf16_widen;
use crate::isa::Isa;
use crate::kernels::attention::{self, Attend, AttentionOut, Partial};
use crate::kernels::cache_write::{CacheWrite, Queries, cache_write};
use crate::kernels::matmul::cut::Cut;
use crate::kernels::matmul::product::multiply;
use crate::kernels::matmul::{Activations, Epilogue, Linear};
use crate::kernels::quantize::quantize;
use crate::kernels::rmsnorm::rms_norm;
use crate::kernels::rope::rotation;
use crate::model::rows::{BlockTables, Row};
use crate::pool::{Phase, Pool, Serial};
use crate::tensor::{Shared, operand_stride, padded};

/// Where operations run.
#[derive(Clone, Copy)]
pub(super) struct Ops<'p> {
    pub(super) isa: Isa,
    pub(super) pool: &'p dyn Pool,
    /// Bytes for each worker's sums and slices of unpacked weights, and how many.
    pub(super) scratch: (Shared<'p, u8>, usize),
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

    /// `x[row] = embedding[token]`
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

    /// `out[i] = rms_norm(x[source(i)]) · w`, as operands.
    pub(super) fn rms_norm(
        &self,
        phase: Phase,
        (count, source): (usize, &(dyn Fn(usize) -> usize + Sync)),
        x: &[f32],
        (w, width, eps): (&[f32], usize, f32),
        out: SharedOperands<'_>,
    ) {
        let stride = padded(width);
        self.run(phase, count, count * width, &|task, _| {
            let x = &x[source(task) * stride..][..stride];
            // SAFETY: a task has its row for itself.
            let out = unsafe { out.normed_row(task, width) };
            rms_norm(self.isa, x, w, width, eps, out);
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
        (epilogue, out_stride): (Epilogue<'_>, usize),
    ) {
        let panels = weight.panel_count() / epilogue.panels_per_output();
        let cut = Cut::new(panels, act.count(), self.pool.workers());
        let elements = act.count() * weight.inputs() * weight.outputs();
        let (scratch, len) = self.scratch;
        self.run(phase, cut.tasks(), elements, &|task, worker| {
            let (panels, rows) = cut.of(task);
            let epilogue = epilogue.after(rows.start * out_stride);
            // SAFETY: no two tasks have the same panels of the same rows, and a worker has its
            // scratch for itself.
            unsafe {
                let scratch = scratch.part(worker * len, len);
                multiply(self.isa, act.part(rows), weight, panels, (epilogue, out_stride), scratch);
            }
        });
    }

    /// Norms of heads, RoPE, query operands and the cache.
    pub(super) fn cache_write(
        &self,
        rows: &[Row],
        tables: BlockTables<'_>,
        (kv, layer, queries): (KvView<'_>, usize, Queries),
        (qkv, qkv_size, group_size): (&mut [f32], usize, usize),
        norms: Option<(&[f32], &[f32], f32)>,
        (cos, sin): (&[f32], &[f32]),
    ) {
        let stride = padded(qkv_size);
        let half = kv.layout().head_dim / 2;
        let qkv = Shared::new(qkv);
        self.run(Phase::RopeAndCache, rows.len(), rows.len() * qkv_size * 4, &|task, _| {
            let position = rows[task].position as usize;
            let write = CacheWrite {
                // SAFETY: a task has its row for itself.
                qkv: unsafe { qkv.part(task * stride, qkv_size) },
                norms,
                cos: &cos[task * half..][..half],
                sin: &sin[task * half..][..half],
                group_size,
                layer,
                block: tables.of(rows[task].sequence)[position / BLOCK],
                slot: position % BLOCK,
            };
            // SAFETY: the queries were carved for every row of a step; a row's position is written
            // by its own task alone, and nobody reads the cache in this phase.
            unsafe { cache_write(self.isa, kv, queries, task, write) };
        });
    }

    /// Attention of groups of rows; each group is one sequence's.
    pub(super) fn attention(
        &self,
        groups: &[RowGroup],
        tables: BlockTables<'_>,
        of: Attend<'_>,
        scratch: &mut [f32],
        partials: &mut [f32],
        (out, stride): (AttentionOut<'_>, usize),
    ) {
        let layout = *of.kv.layout();
        let scratch_len = attention::scratch_len(of.group_size, layout.value_dim());
        let scratch = Shared::new(scratch);
        let attend_of = |task: usize| {
            let group = &groups[task / layout.kv_head_count];
            Attend {
                kv_head: task % layout.kv_head_count,
                table: tables.of(group.sequence),
                first_row: group.first_row as usize,
                row_count: group.row_count as usize,
                first_position: group.first_position as usize,
                ..of
            }
        };
        let tasks = groups.len() * layout.kv_head_count;
        let longest = groups.iter().map(RowGroup::context_len).max().unwrap_or(0);
        let splits = attention::split_count(longest);
        let queries = attention::rows_per_task(of.group_size) * of.group_size;
        let part_len = attention::partial_len(queries, layout.value_dim());
        let few = tasks < 2 * self.pool.workers();
        if splits > 1 && few && tasks * splits * part_len <= partials.len() {
            let partials = Shared::new(partials);
            self.pool.run(Phase::Attention, tasks * splits, &|task, worker| {
                let a = attend_of(task / splits);
                let split = task % splits;
                if split >= attention::split_count(a.context_len()) {
                    return;
                }
                let count = a.row_count * a.group_size;
                let len = attention::partial_len(count, layout.value_dim());
                let start = (task / splits) * splits * part_len + split * len;
                // SAFETY: a worker has its scratch for itself, and a task its partial. Keys and
                // values were written in the phase before.
                unsafe {
                    let scratch = scratch.part(worker * scratch_len, scratch_len);
                    let floats = partials.part(start, len);
                    let mut partial = Partial::over(floats, count, layout.value_dim());
                    attention::attend_split(self.isa, &a, split, scratch, &mut partial);
                }
            });
            self.run(Phase::AttentionMerge, tasks, tasks * splits * part_len, &|task, _| {
                let a = attend_of(task);
                // SAFETY: a task has its partials and its rows' heads for itself.
                unsafe {
                    let floats = partials.part(task * splits * part_len, splits * part_len);
                    attention::merge_splits(self.isa, &a, floats, out, stride);
                }
            });
            return;
        }
        let rows: usize = groups.iter().map(|group| group.row_count as usize).sum();
        let elements = rows * of.group_size * layout.kv_head_count * longest * layout.head_dim;
        self.run(Phase::Attention, tasks, elements, &|task, worker| {
            // The longest contexts come last in a prefill: begin with them, so that no worker is
            // left with one.
            let a = attend_of(tasks - 1 - task);
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

// SAFETY: numbers.
unsafe impl crate::memory::Plain for RowGroup {}

impl RowGroup {
    fn context_len(&self) -> usize {
        (self.first_position + self.row_count) as usize
    }

    /// How many rows of a sequence one task should take: as many as use each key well, fewer where
    /// workers would be left without, which in a long context its splits see to.
    pub(super) fn rows_most(rows: &[Row], group_size: usize, kv_heads: usize, workers: usize) -> usize {
        let most = attention::rows_per_task(group_size);
        let longest = rows.iter().map(|row| row.position as usize + 1).max().unwrap_or(0);
        match attention::split_count(longest) {
            0 | 1 => most.min((rows.len() * kv_heads).div_ceil(workers).max(1)),
            _ => most,
        }
    }

    /// Cuts the rows of a step into groups; returns how many.
    pub(super) fn cut(rows: &[Row], rows_most: usize, groups: &mut [RowGroup]) -> usize {
        let mut count = 0;
        for (i, row) in rows.iter().enumerate() {
            if count > 0 {
                let last = &mut groups[count - 1];
                let follows = last.sequence == row.sequence
                    && last.first_position + last.row_count == row.position
                    && (last.row_count as usize) < rows_most;
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
        assert_eq!(RowGroup::rows_most(&rows, 4, 8, 2), 12, "enough for two workers");
        assert_eq!(RowGroup::rows_most(&rows, 4, 1, 2), 3, "one KV head, two workers");
        assert_eq!(RowGroup::rows_most(&rows, 4, 1, 64), 1);
        assert_eq!(RowGroup::rows_most(&[row(0, 1024)], 4, 1, 64), 12, "a context in splits");
        assert_eq!(seen, [(0, 2, 0, 702), (2, 1, 0, 703), (3, 1, 1, 704), (4, 1, 2, 10), (5, 1, 2, 12)]);
    }
}
