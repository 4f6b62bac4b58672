//! One sequence through the forward pass with no engine around it: for goldens of the model alone.
use verbatim_core::cache::{BLOCK, BlockId, KvCache};
use verbatim_core::dtype::KvFormat;
use verbatim_core::isa::Isa;
use verbatim_core::memory::{Arena, Carver, Layout, REGION_ALIGN};
use verbatim_core::model::{BlockTables, Forward, ForwardLimits, HeadWants, Row, RowOutput, StepRows};
use verbatim_core::model::{ModelConfig, PackedModel};
use verbatim_core::pool::Pool;

/// How a sequence is run.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The instruction set that computes.
    pub isa: Isa,
    /// The threads that run the tasks.
    pub pool: &'a dyn Pool,
    /// How keys and values are stored.
    pub kv_format: KvFormat,
    /// Rows of a step, at most.
    pub chunk: usize,
}

fn carve<'a>(
    carver: &mut impl Carver<'a>,
    config: &ModelConfig,
    limits: &ForwardLimits,
    blocks: usize,
) -> (Forward<'a>, KvCache<'a>) {
    let layout = config.kv_layout(limits.kv_format, blocks);
    let forward = Forward::carve(carver, config, limits).expect("activations fit");
    (forward, KvCache::carve(carver, layout).expect("KV fits"))
}

/// Feeds `ids` and gives the logits of each row for which `wanted` holds to `take`. After the last
/// row, `more` is given its logits and may append an id, until it returns `None`.
///
/// # Panics
/// If something does not fit: this is for tests.
pub fn run(
    model: &PackedModel<'_>,
    how: &Run<'_>,
    ids: &[u32],
    wanted: &dyn Fn(usize) -> bool,
    take: &mut dyn FnMut(usize, &[f32]),
    more: &mut dyn FnMut(&[f32]) -> Option<u32>,
) {
    let config = model.config();
    let model_len = config.position_count;
    let blocks = model_len.div_ceil(BLOCK);
    let limits = ForwardLimits {
        rows: how.chunk,
        head_rows: 1,
        workers: how.pool.workers(),
        model_len,
        kv_format: how.kv_format,
    };
    let mut plan = Layout::default();
    carve(&mut plan, config, &limits, blocks);
    let mut memory = vec![0_u8; plan.total_bytes() + REGION_ALIGN];
    let skip = memory.as_ptr().align_offset(REGION_ALIGN);
    let mut arena = Arena::new(&mut memory[skip..]).expect("aligned");
    let (mut forward, mut kv) = carve(&mut arena, config, &limits, blocks);
    let table: Vec<BlockId> = (0..blocks as BlockId).rev().collect();
    let tables = BlockTables { ids: &table, stride: blocks };
    let mut ids = ids.to_vec();
    let mut done = 0;
    while done < ids.len() {
        let end = ids.len().min(done + how.chunk);
        let rows: Vec<Row> = (done..end)
            .map(|position| Row {
                token: ids[position],
                position: position as u32,
                sequence: 0,
                output: RowOutput::None,
            })
            .collect();
        let fresh = &table[done.div_ceil(BLOCK)..end.div_ceil(BLOCK)];
        forward.layers(how.isa, how.pool, model, &mut kv, StepRows { rows: &rows, tables, fresh });
        for position in done..end {
            let is_last = position + 1 == ids.len();
            if !is_last && !wanted(position) {
                continue;
            }
            forward.head(how.isa, how.pool, model, &[(position - done) as u32], HeadWants::BOTH);
            let logits = forward.logits().row(0);
            if wanted(position) {
                take(position, logits);
            }
            if is_last && let Some(id) = more(logits) {
                ids.push(id);
            }
        }
        done = end;
    }
}

/// The log-probability of each id of a row, in f64.
pub fn logprobs(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
    logits.iter().map(|x| f64::from(*x) - f64::from(max) - sum.ln()).collect()
}

/// The id with the largest logit; the lowest id among equals.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = i;
        }
    }
    best as u32
}
