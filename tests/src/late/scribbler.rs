//! Spoils whatever crosses the seam as soon as it may be spoiled.
use std::collections::VecDeque;
use verbatim_core::cache::BlockId;
use verbatim_core::cache::planes::BlockCopy;
use verbatim_core::model::{
    BlockTables, DeviceLost, HeadOutput, HeadWants, Row, RowOutput, Runner, StepKind,
};
use verbatim_core::tensor::Rows;

/// Hands copies of what it is given to another runner, and overwrites them when the call has
/// returned: a runner that keeps a pointer into a host's slice, as an asynchronous copy does, reads
/// rubbish. What the runner lends is handed on as a copy too, which the next call overwrites.
/// Overwritten buffers stay allocated for a while, so that a late reader finds the rubbish and not
/// somebody else's memory.
#[derive(Debug)]
pub struct Scribbler<R> {
    inner: R,
    spoiled: VecDeque<Slices>,
    logits: Vec<f32>,
    hidden: Vec<f32>,
}

/// Copies of what one call was given.
#[derive(Debug, Default)]
struct Slices {
    copies: Vec<BlockCopy>,
    rows: Vec<Row>,
    tables: Vec<BlockId>,
    fresh: Vec<BlockId>,
    head_rows: Vec<u32>,
}

impl Slices {
    fn scribble(&mut self) {
        const RUBBISH: u32 = 0xdead_beef;
        self.copies.fill(BlockCopy { from: RUBBISH, to: RUBBISH });
        let output = RowOutput::Hidden;
        self.rows.fill(Row { token: RUBBISH, position: RUBBISH, sequence: RUBBISH, output });
        self.tables.fill(RUBBISH);
        self.fresh.fill(RUBBISH);
        self.head_rows.fill(RUBBISH);
    }
}

/// Calls whose buffers stay allocated.
const KEPT: usize = 16;

impl<R: Runner> Scribbler<R> {
    /// Stands before a runner.
    pub fn new(inner: R) -> Self {
        Self { inner, spoiled: VecDeque::new(), logits: Vec::new(), hidden: Vec::new() }
    }

    /// Makes a call with slices of which nothing is left when it has returned.
    fn with<T>(&mut self, mut slices: Slices, call: impl FnOnce(&mut Self, &Slices) -> T) -> T {
        self.logits.fill(f32::NAN);
        self.hidden.fill(f32::NAN);
        let result = call(self, &slices);
        slices.scribble();
        self.spoiled.push_back(slices);
        if self.spoiled.len() > KEPT {
            self.spoiled.pop_front();
        }
        result
    }
}

impl<R: Runner> Runner for Scribbler<R> {
    fn copy_blocks(&mut self, copies: &[BlockCopy]) {
        let slices = Slices { copies: copies.to_vec(), ..Slices::default() };
        self.with(slices, |this, slices| this.inner.copy_blocks(&slices.copies));
    }

    fn layers(&mut self, kind: StepKind, rows: &[Row], tables: BlockTables<'_>, fresh: &[BlockId]) {
        let slices = Slices {
            rows: rows.to_vec(),
            tables: tables.ids.to_vec(),
            fresh: fresh.to_vec(),
            ..Slices::default()
        };
        self.with(slices, |this, slices| {
            let tables = BlockTables { ids: &slices.tables, stride: tables.stride };
            this.inner.layers(kind, &slices.rows, tables, &slices.fresh);
        });
    }

    fn head(&mut self, kind: StepKind, rows: &[u32], wants: HeadWants) -> Result<HeadOutput<'_>, DeviceLost> {
        let slices = Slices { head_rows: rows.to_vec(), ..Slices::default() };
        let count = rows.len();
        let widths = self.with(slices, |this, slices| {
            let lent = this.inner.head(kind, &slices.head_rows, wants)?;
            // New buffers each time: what was lent before lies elsewhere.
            this.logits = (0..count).flat_map(|i| lent.logits.row(i).iter().copied()).collect();
            let hidden = if wants.hidden { count } else { 0 };
            this.hidden = (0..hidden).flat_map(|i| lent.hidden.row(i).iter().copied()).collect();
            Ok((lent.logits.width(), lent.hidden.width()))
        });
        let (vocab, width) = widths?;
        Ok(HeadOutput {
            logits: Rows::new(&self.logits, vocab, vocab),
            hidden: Rows::new(&self.hidden, width, width),
        })
    }
}
