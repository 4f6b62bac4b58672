//! The types that the parts of a forward pass share: its limits, a step, and a layer.
use crate::cache::planes::KvView;
use crate::dtype::KvFormat;
use crate::kernels::matmul::product::scratch_bytes;
use crate::memory::{ArenaError, REGION_ALIGN};
use crate::model::ops::Ops;
use crate::model::rows::{BlockTables, Row};
use crate::model::spec::LayerSpec;
use crate::model::weights::LayerWeights;

/// The limits that the activations are sized for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardLimits {
    /// The maximum of rows of a step.
    pub rows: usize,
    /// Rows whose logits are computed at a time.
    pub head_rows: usize,
    /// The maximum of workers of the pool.
    pub workers: usize,
    /// The maximum of positions of a sequence.
    pub model_len: usize,
    /// How keys, values, queries and probabilities are stored.
    pub kv_format: KvFormat,
}

impl ForwardLimits {
    /// Bytes of a worker's scratch for products.
    pub(super) fn product_scratch_bytes(&self) -> usize {
        scratch_bytes(self.rows.max(self.head_rows), 2).next_multiple_of(REGION_ALIGN)
    }
}

/// The elements of a region of `a` times `b`.
pub(super) fn elements(region: &'static str, a: usize, b: usize) -> Result<usize, ArenaError> {
    a.checked_mul(b).ok_or(ArenaError::TooLarge { region })
}

/// One step, as every layer sees it.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    /// Where its operations run.
    pub(super) ops: Ops<'a>,
    /// The rows of all sequences.
    pub(super) rows: &'a [Row],
    /// The KV blocks of their sequences.
    pub(super) tables: BlockTables<'a>,
    /// Keys and values of all layers.
    pub(super) kv: KvView<'a>,
    /// The `eps` that RMSNorms add to the mean square.
    pub(super) eps: f32,
}

/// One layer of the model.
pub(super) struct Layer<'a> {
    /// Its number, from 0.
    pub(super) index: usize,
    /// The description of its attention, feed-forward and norms.
    pub(super) spec: LayerSpec,
    /// Views of its weights in the image.
    pub(super) weights: LayerWeights<'a>,
}
