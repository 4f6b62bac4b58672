//! The cosines and sines of a step's rows, for each RoPE table that some layer uses.
//!
//! A layer without rotation has a table too, whose frequencies are zero: `x · 1 − y · 0` is `x`.
use super::step::{ForwardLimits, Step, elements};
use crate::kernels::rope::frequencies;
use crate::memory::{ArenaError, Carver};
use crate::model::config::ModelConfig;
use crate::model::ops::Rotation;
use crate::model::spec::ROPE_TABLES;

/// Tables `0..ROPE_TABLES` are the model's; the one behind them does not rotate.
const UNROTATED: usize = ROPE_TABLES;

/// The RoPE tables of a step.
#[derive(Debug)]
pub(super) struct Rotations<'s> {
    /// Pairs of a head, `head_dim / 2`.
    half: usize,
    /// Rows that the tables have room for.
    row_capacity: usize,
    /// The frequencies of each table, `[tables, head_dim / 2]`.
    frequencies: &'s mut [f32],
    /// The cosines of each row's position, `[tables, rows, head_dim / 2]`.
    cos: &'s mut [f32],
    /// The sines of each row's position, `[tables, rows, head_dim / 2]`.
    sin: &'s mut [f32],
    /// Whether the frequencies were computed, which the first step does: a carver that only counts
    /// bytes cannot.
    ready: bool,
}

/// Tables up to the last that some layer uses.
fn table_count(config: &ModelConfig) -> usize {
    let tables = (0..config.layer_count).map(|layer| config.layer(layer).attention.rope.unwrap_or(UNROTATED));
    tables.max().map_or(0, |last| last + 1)
}

impl<'s> Rotations<'s> {
    /// Carves room for the rows of a step.
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        config: &ModelConfig,
        limits: &ForwardLimits,
    ) -> Result<Self, ArenaError> {
        let half = config.head_dim / 2;
        let count = table_count(config);
        Ok(Self {
            half,
            row_capacity: limits.rows,
            frequencies: carver.carve("RoPE frequencies", count * half)?,
            cos: carver.carve("RoPE cosines", elements("RoPE cosines", limits.rows, count * half)?)?,
            sin: carver.carve("RoPE sines", elements("RoPE sines", limits.rows, count * half)?)?,
            ready: false,
        })
    }

    /// Computes the tables for the positions of a step.
    pub(super) fn compute(&mut self, step: &Step<'_>, config: &ModelConfig) {
        let tables = config.rope_tables();
        let row_len = self.row_capacity * self.half;
        for (table, frequencies_of) in self.frequencies.chunks_exact_mut(self.half).enumerate() {
            match tables.get(table) {
                Some(rope) if !self.ready => frequencies(rope, frequencies_of),
                Some(_) => {}
                None => frequencies_of.fill(0.0),
            }
            let cos = &mut self.cos[table * row_len..][..row_len];
            let sin = &mut self.sin[table * row_len..][..row_len];
            step.ops.rotations(step.rows, frequencies_of, cos, sin);
        }
        self.ready = true;
    }

    /// The table that a layer names.
    pub(super) fn of(&self, table: Option<usize>) -> Rotation<'_> {
        let row_len = self.row_capacity * self.half;
        let start = table.unwrap_or(UNROTATED) * row_len;
        Rotation { cos: &self.cos[start..][..row_len], sin: &self.sin[start..][..row_len] }
    }
}
