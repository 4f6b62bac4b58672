//! The device's side: a thread that owns copies of the weights, activations and KV, and that does
//! nothing before the head of a step is asked for.
use super::LateSetup;
use super::queue::{Queue, Set};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use verbatim::sys::memory::AlignedMemory;
use verbatim_core::cache::planes::{BlockCopy, Plane};
use verbatim_core::cache::{BLOCK, BlockId, KvCache, KvLayout};
use verbatim_core::isa::Isa;
use verbatim_core::memory::{Arena, Layout};
use verbatim_core::model::{
    BlockTables, DeviceLost, DraftCache, Forward, ForwardLimits, HeadWants, ModelConfig, PackedModel, Row,
    RunnerLimits, StepKind, StepRows,
};
use verbatim_core::pool::Serial;

/// What is asked of the device.
#[derive(Debug)]
pub(super) enum Call {
    CopyBlocks(Vec<BlockCopy>),
    Layers {
        kind: StepKind,
        /// The rows of a sequence and its block table.
        parts: Vec<(Vec<Row>, Vec<BlockId>)>,
        fresh: Vec<BlockId>,
    },
    Head {
        kind: StepKind,
        rows: Vec<u32>,
        wants: HeadWants,
    },
}

/// Logits and hidden states of the rows that were asked for.
pub(super) type Answer = Result<(Vec<f32>, Vec<f32>), DeviceLost>;

/// Commands that may wait: beyond that, any are run.
const PENDING_MAX: usize = 1000;

/// What a command does.
#[derive(Debug)]
enum Command {
    Copy(BlockCopy),
    Zero(Cache, BlockId),
    Layers(Part),
}

/// Which planes a block is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    Served,
    Draft,
}

/// The rows of one sequence in a step.
#[derive(Debug)]
struct Part {
    kind: StepKind,
    /// The step of that kind, and the part in it: where the activations go while that step is the
    /// last.
    step: u64,
    at: usize,
    rows: Vec<Row>,
    table: Vec<BlockId>,
}

/// What is remembered of the last step of a kind.
#[derive(Debug, Default)]
struct LastStep {
    number: u64,
    /// Of each part: its command, and how many rows it has.
    parts: Vec<(u64, usize)>,
}

/// The memory of a device, before it is cut up.
#[derive(Debug)]
pub(super) struct Device {
    served: Model,
    draft: Option<(Model, DraftCache)>,
    kv: AlignedMemory,
    draft_kv: Option<AlignedMemory>,
    limits: RunnerLimits,
    isa: Isa,
    seed: u64,
    lost_at: Option<u64>,
    commands: Arc<AtomicU64>,
}

/// The memory of one model.
#[derive(Debug)]
struct Model {
    image: AlignedMemory,
    config: ModelConfig,
    /// Activations for each part of a step, and for one more of a step that is past.
    activations: Vec<AlignedMemory>,
}

impl Model {
    fn new(bytes: &[u8], limits: &RunnerLimits) -> Self {
        let mut image = AlignedMemory::new(bytes.len()).expect("memory");
        image.as_mut_slice().copy_from_slice(bytes);
        let config = *PackedModel::parse(image.as_slice()).expect("an image").config();
        let mut plan = Layout::default();
        Forward::carve(&mut plan, &config, &of_one_thread(limits)).expect("a plan");
        let memory = || AlignedMemory::new(plan.total_bytes()).expect("memory");
        let activations = (0..=limits.sequences).map(|_| memory()).collect();
        Self { image, config, activations }
    }

    fn cut(&mut self, limits: &RunnerLimits) -> Loaded<'_> {
        let model = PackedModel::parse(self.image.as_slice()).expect("an image");
        let (config, limits) = (self.config, of_one_thread(limits));
        let forwards = self.activations.iter_mut().map(|memory| {
            let mut arena = Arena::new(memory.as_mut_slice()).expect("aligned memory");
            Forward::carve(&mut arena, &config, &limits).expect("as planned")
        });
        Loaded { model, forwards: forwards.collect(), last: LastStep::default() }
    }
}

fn of_one_thread(limits: &RunnerLimits) -> ForwardLimits {
    ForwardLimits { workers: 1, ..limits.forward }
}

fn planes(layout: KvLayout) -> AlignedMemory {
    let mut plan = Layout::default();
    KvCache::carve(&mut plan, layout).expect("a plan");
    AlignedMemory::new(plan.total_bytes()).expect("memory")
}

/// A model that is ready to run.
struct Loaded<'d> {
    model: PackedModel<'d>,
    /// One for each part of the last step, and one more.
    forwards: Vec<Forward<'d>>,
    last: LastStep,
}

impl Device {
    pub(super) fn new(setup: &LateSetup<'_>, commands: Arc<AtomicU64>) -> Self {
        let limits = setup.limits;
        let served = Model::new(setup.image, &limits);
        let draft = setup.draft.map(|(image, cache)| (Model::new(image, &limits), cache));
        let format = limits.forward.kv_format;
        let draft_kv = match &draft {
            Some((draft, DraftCache::Own)) => {
                let blocks = limits.sequences * limits.blocks_per_sequence;
                Some(planes(draft.config.kv_layout(format, blocks)))
            }
            _ => None,
        };
        let kv = planes(served.config.kv_layout(format, limits.block_count));
        let LateSetup { isa, seed, lost_at, .. } = *setup;
        Self { served, draft, kv, draft_kv, limits, isa, seed, lost_at, commands }
    }

    /// Elements of a row of logits, and of a hidden state.
    pub(super) fn widths(&self) -> (usize, usize) {
        (self.served.config.vocab_size, self.served.config.hidden_size)
    }

    /// Does what it is asked until nobody asks any more.
    pub(super) fn serve(mut self, inbox: &Receiver<Call>, outbox: &Sender<Answer>) {
        let (limits, format) = (self.limits, self.limits.forward.kv_format);
        let layout = self.served.config.kv_layout(format, limits.block_count);
        let mut arena = Arena::new(self.kv.as_mut_slice()).expect("aligned memory");
        let mut kv = KvCache::carve(&mut arena, layout).expect("as planned");
        kv.bytes_mut().fill(0xff); // every block starts as NaN
        let draft_kv = self.draft_kv.as_mut().map(|memory| {
            let config = self.draft.as_ref().expect("planes of a draft model").0.config;
            let layout = config.kv_layout(format, limits.sequences * limits.blocks_per_sequence);
            let mut arena = Arena::new(memory.as_mut_slice()).expect("aligned memory");
            KvCache::carve(&mut arena, layout).expect("as planned")
        });
        let running = Running {
            isa: self.isa,
            served: self.served.cut(&limits),
            draft: self.draft.as_mut().map(|(draft, _)| draft.cut(&limits)),
            kv,
            draft_kv,
            served_blocks: limits.block_count,
            queue: Queue::new(self.seed),
            lost_at: self.lost_at,
            commands: &self.commands,
        };
        running.serve(inbox, outbox);
    }
}

struct Running<'d> {
    isa: Isa,
    served: Loaded<'d>,
    draft: Option<Loaded<'d>>,
    kv: KvCache<'d>,
    draft_kv: Option<KvCache<'d>>,
    /// Blocks of the draft model's own planes are numbered after these.
    served_blocks: usize,
    queue: Queue<Command>,
    lost_at: Option<u64>,
    commands: &'d AtomicU64,
}

impl<'d> Running<'d> {
    fn serve(mut self, inbox: &Receiver<Call>, outbox: &Sender<Answer>) {
        while let Ok(call) = inbox.recv() {
            match call {
                Call::CopyBlocks(copies) => copies.into_iter().for_each(|copy| self.push_copy(copy)),
                Call::Layers { kind, parts, fresh } => {
                    let cache = self.cache_of(kind);
                    for block in fresh {
                        let writes = self.set([block], cache);
                        self.queue.push(Command::Zero(cache, block), Set::default(), writes);
                    }
                    self.push_layers(kind, parts);
                }
                Call::Head { kind, rows, wants } => {
                    let answer = self.head(kind, &rows, wants);
                    if outbox.send(answer).is_err() {
                        return;
                    }
                }
            }
            while self.queue.len() > PENDING_MAX
                && let Some(command) = self.queue.take_any()
            {
                let _ = self.run(command); // a loss is told to who waits
            }
        }
    }

    fn cache_of(&self, kind: StepKind) -> Cache {
        match kind {
            StepKind::Draft if self.draft_kv.is_some() => Cache::Draft,
            _ => Cache::Served,
        }
    }

    fn loaded(&mut self, kind: StepKind) -> &mut Loaded<'d> {
        match (kind, &mut self.draft) {
            (StepKind::Draft, Some(draft)) => draft,
            _ => &mut self.served,
        }
    }

    fn set(&self, blocks: impl IntoIterator<Item = BlockId>, cache: Cache) -> Set {
        let first = if cache == Cache::Draft { self.served_blocks } else { 0 };
        let mut set = Set::default();
        blocks.into_iter().for_each(|block| set.insert(first + block as usize));
        set
    }

    fn push_copy(&mut self, copy: BlockCopy) {
        let (reads, writes) = (self.set([copy.from], Cache::Served), self.set([copy.to], Cache::Served));
        self.queue.push(Command::Copy(copy), reads, writes);
    }

    fn push_layers(&mut self, kind: StepKind, parts: Vec<(Vec<Row>, Vec<BlockId>)>) {
        let cache = self.cache_of(kind);
        let step = self.loaded(kind).last.number + 1;
        let mut last = LastStep { number: step, parts: Vec::new() };
        for (at, (mut rows, table)) in parts.into_iter().enumerate() {
            rows.iter_mut().for_each(|row| row.sequence = 0);
            let block = |row: Option<&Row>| row.map_or(0, |row| row.position as usize / BLOCK);
            let (first, end) = (block(rows.first()), block(rows.last()) + 1);
            let reads = self.set(table[..end].iter().copied(), cache);
            let writes = self.set(table[first..end].iter().copied(), cache);
            let count = rows.len();
            let part = Part { kind, step, at, rows, table };
            last.parts.push((self.queue.push(Command::Layers(part), reads, writes), count));
        }
        self.loaded(kind).last = last;
    }

    /// Runs a command, unless the device is lost by then.
    fn run(&mut self, command: Command) -> Result<(), DeviceLost> {
        self.count()?;
        match command {
            Command::Copy(copy) => self.kv.copy_blocks(&Serial, &[copy]),
            Command::Zero(cache, block) => {
                let kv = match (cache, &mut self.draft_kv) {
                    (Cache::Draft, Some(own)) => own,
                    _ => &mut self.kv,
                };
                let layout = *kv.layout();
                for layer in 0..layout.layer_count {
                    for plane in [Plane::Keys, Plane::Values] {
                        let start = layout.offset(layer, plane, block as usize, 0);
                        kv.bytes_mut()[start..][..layout.block_bytes(plane)].fill(0);
                    }
                }
            }
            Command::Layers(part) => self.run_layers(&part),
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), DeviceLost> {
        let done = self.commands.load(Ordering::Relaxed);
        if self.lost_at.is_some_and(|at| done >= at) {
            return Err(DeviceLost);
        }
        self.commands.store(done + 1, Ordering::Relaxed);
        Ok(())
    }

    fn run_layers(&mut self, part: &Part) {
        let isa = self.isa;
        let kv = match (part.kind, &mut self.draft_kv) {
            (StepKind::Draft, Some(own)) => own,
            _ => &mut self.kv,
        };
        let loaded = match (part.kind, &mut self.draft) {
            (StepKind::Draft, Some(draft)) => draft,
            _ => &mut self.served,
        };
        let spare = loaded.forwards.len() - 1;
        let at = if part.step == loaded.last.number { part.at } else { spare };
        let tables = BlockTables { ids: &part.table, stride: part.table.len() };
        loaded.forwards[at].layers(
            isa,
            &Serial,
            &loaded.model,
            kv,
            StepRows { rows: &part.rows, tables, fresh: &[] },
        );
    }

    /// Runs what the rows need, and their head.
    fn head(&mut self, kind: StepKind, rows: &[u32], wants: HeadWants) -> Answer {
        let mut first = 0;
        let mut asked = Vec::new();
        for (at, (number, count)) in self.loaded(kind).last.parts.iter().enumerate() {
            // Of each row: its place in the answer, and its index in the part.
            let of: Vec<(usize, u32)> = rows
                .iter()
                .enumerate()
                .filter(|(_, row)| (first..first + *count as u32).contains(row))
                .map(|(place, row)| (place, row - first))
                .collect();
            first += *count as u32;
            if !of.is_empty() {
                asked.push((at, *number, of));
            }
        }
        let wanted: Vec<u64> = asked.iter().map(|(_, number, _)| *number).collect();
        while let Some(command) = self.queue.take_for(&wanted) {
            self.run(command)?;
        }
        self.count()?;
        let isa = self.isa;
        let Loaded { model, forwards, .. } = self.loaded(kind);
        let (vocab, width) = (model.config().vocab_size, model.config().hidden_size);
        let mut logits = vec![f32::NAN; rows.len() * vocab];
        let mut hidden = vec![f32::NAN; if wants.hidden { rows.len() * width } else { 0 }];
        for (at, _, of) in asked {
            let indices: Vec<u32> = of.iter().map(|(_, index)| *index).collect();
            let forward = &mut forwards[at];
            forward.head(isa, &Serial, model, &indices, wants);
            for (i, (place, _)) in of.iter().enumerate() {
                if wants.logits {
                    logits[place * vocab..][..vocab].copy_from_slice(forward.logits().row(i));
                }
                if wants.hidden {
                    hidden[place * width..][..width].copy_from_slice(forward.hidden().row(i));
                }
            }
        }
        Ok((logits, hidden))
    }
}
