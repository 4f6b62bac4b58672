//! A runner as far from the CPU's as one can be without a device: whatever the core takes for
//! granted of a host's memory or of the order of work, it breaks.
//!
//! ```text
//! engine ──► Scribbler ──► Late ──channel──► device thread: queue ──► weights, activations, KV
//!        ◄── lent rows ◄──       ◄─────────  (a heap of its own)
//! ```
//!
//! * [`device`]: a thread with copies of the weights, and with activations and KV of its own.
//! * [`queue`]: runs commands as late as their dependencies allow, in an order drawn from a seed.
//!   A step is cut into one command for each sequence, block to be zeroed and block to be copied.
//! * [`scribbler`]: overwrites the slices that a runner was given once its call has returned, and
//!   those that it lent once the next call comes.
//!
//! It can be lost at a given command. A crate that drives a real device has the same tests to pass.
pub mod device;
pub mod queue;
pub mod scribbler;

pub use scribbler::Scribbler;

use device::{Answer, Call, Device};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use verbatim_core::cache::BlockId;
use verbatim_core::cache::planes::BlockCopy;
use verbatim_core::isa::Isa;
use verbatim_core::model::{
    BlockTables, DeviceLost, DraftCache, HeadOutput, HeadWants, Row, Runner, RunnerLimits, StepKind,
};
use verbatim_core::tensor::Rows;

/// What a [`Late`] runner is made of.
#[derive(Clone, Debug)]
pub struct LateSetup<'i> {
    /// The image of the served model; it is copied.
    pub image: &'i [u8],
    /// The image of the draft model, and where its keys and values lie.
    pub draft: Option<(&'i [u8], DraftCache)>,
    /// What activations and KV are sized for.
    pub limits: RunnerLimits,
    /// The instruction set of the device's thread.
    pub isa: Isa,
    /// What the order of commands is drawn from.
    pub seed: u64,
    /// The command, counted from 0, before which the device is lost.
    pub lost_at: Option<u64>,
}

/// Runs steps on a thread of its own, as late as it can.
#[derive(Debug)]
pub struct Late {
    calls: Option<Sender<Call>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    commands: Arc<AtomicU64>,
    vocab_size: usize,
    hidden_size: usize,
    logits: Vec<f32>,
    hidden: Vec<f32>,
}

impl Late {
    /// Starts the device's thread.
    pub fn start(setup: &LateSetup<'_>) -> Self {
        let commands = Arc::new(AtomicU64::new(0));
        let (calls, inbox) = channel();
        let (outbox, answers) = channel();
        let device = Device::new(setup, Arc::clone(&commands));
        let (vocab_size, hidden_size) = device.widths();
        let thread = std::thread::Builder::new().name("late-device".to_owned());
        let thread = thread.spawn(move || device.serve(&inbox, &outbox)).expect("a thread");
        Self {
            calls: Some(calls),
            answers,
            thread: Some(thread),
            commands,
            vocab_size,
            hidden_size,
            logits: Vec::new(),
            hidden: Vec::new(),
        }
    }

    /// Counts the commands that have been run so far, readable after the runner is gone.
    pub fn commands(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.commands)
    }

    fn call(&self, call: Call) {
        let calls = self.calls.as_ref().expect("the channel lives as long as the runner");
        calls.send(call).expect("the device's thread ended: its panic is reported above");
    }
}

impl Runner for Late {
    fn copy_blocks(&mut self, copies: &[BlockCopy]) {
        self.call(Call::CopyBlocks(copies.to_vec()));
    }

    fn layers(&mut self, kind: StepKind, rows: &[Row], tables: BlockTables<'_>, fresh: &[BlockId]) {
        let parts = rows.chunk_by(|a, b| a.sequence == b.sequence);
        let parts = parts.map(|rows| (rows.to_vec(), tables.of(rows[0].sequence).to_vec()));
        self.call(Call::Layers { kind, parts: parts.collect(), fresh: fresh.to_vec() });
    }

    fn head(&mut self, kind: StepKind, rows: &[u32], wants: HeadWants) -> Result<HeadOutput<'_>, DeviceLost> {
        self.call(Call::Head { kind, rows: rows.to_vec(), wants });
        let answer = self.answers.recv().expect("the device's thread ended: its panic is reported above");
        (self.logits, self.hidden) = answer?;
        Ok(HeadOutput {
            logits: Rows::new(&self.logits, self.vocab_size, self.vocab_size),
            hidden: Rows::new(&self.hidden, self.hidden_size, self.hidden_size),
        })
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was reported, and a call that came after it has panicked too.
            let _ = thread.join();
        }
    }
}
