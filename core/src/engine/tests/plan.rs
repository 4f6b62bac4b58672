//! Limits and the memory that they take, on the CPU and over a device.
use super::*;
use crate::cache::BlockId;
use crate::cache::planes::BlockCopy;
use crate::model::{BlockTables, DeviceLost, HeadOutput, HeadWants, Row, Runner};

#[test]
fn limits_that_make_no_sense_are_named() {
    let config = config(Architecture::Llama, WeightFormat::F32);
    for (limits, expected) in [
        (EngineLimits { model_len: 5000, ..limits() }, "model_len"),
        (EngineLimits { rows: 0, ..limits() }, "rows"),
        (EngineLimits { kv_tokens: 0, ..limits() }, "kv_tokens"),
        (EngineLimits { head_rows: 25, ..limits() }, "head_rows"),
    ] {
        let error = MemoryPlan::new(&config, &limits).unwrap_err();
        assert!(matches!(error, MemoryPlanError::Limit { field, .. } if field == expected), "{error}");
    }
    let mut small = Memory::new(64);
    let mut weights = image(&config);
    let total = ImageLayout::new(&config, &[]).unwrap().total_bytes();
    let model = PackedModel::parse(weights.bytes(total)).unwrap();
    let error = Engine::on_cpu(model, limits(), Isa::detect(), &Serial, small.bytes(64)).unwrap_err();
    assert!(matches!(error, MemoryPlanError::Arena(_)), "{error}");
}

/// A runner that keeps everything itself, and is lost from the start.
struct Device;

impl Runner for Device {
    fn copy_blocks(&mut self, _: &[BlockCopy]) {}

    fn layers(&mut self, _: StepKind, _: &[Row], _: BlockTables<'_>, _: &[BlockId]) {}

    fn head(&mut self, _: StepKind, _: &[u32], _: HeadWants) -> Result<HeadOutput<'_>, DeviceLost> {
        Err(DeviceLost)
    }
}

/// A device has activations and KV of its own: the engine's arena holds its tables alone.
#[test]
fn the_memory_over_a_device_is_the_rest_of_that_on_the_cpu() {
    let served = config(Architecture::Llama, WeightFormat::F32);
    let draft = DraftModelSize { config: served, cache: DraftCache::Own };
    let limits = limits();
    let cpu = MemoryPlan::with_draft_model(&served, Some(&draft), &limits).unwrap();
    let device = MemoryPlan::for_runner(&Device, &served, Some(&draft), &limits).unwrap();
    let mut runner = crate::memory::Layout::default();
    CpuMemory::carve(&mut runner, &served, Some(&draft), &limits.runner()).unwrap();
    assert_eq!(cpu.total_bytes(), device.total_bytes() + runner.total_bytes());
    assert!(runner.total_bytes() > cpu.kv_bytes());
    for name in ["KV blocks", "residual stream", "logits", "hidden states"] {
        assert!(device.layout().regions().iter().all(|region| region.name != name), "{name}");
    }
    let mut memory = Memory::new(device.total_bytes());
    let memory = memory.bytes(device.total_bytes());
    let engine = Engine::over_device(&served, Some(&draft), limits, Isa::detect(), memory).unwrap();
    assert_eq!(engine.status().blocks, limits.block_count());
}

#[test]
fn a_pool_of_more_workers_than_were_planned_for_is_refused() {
    struct Many;
    #[allow(unsafe_code)]
    // SAFETY: it runs nothing here.
    unsafe impl Pool for Many {
        fn workers(&self) -> usize {
            2
        }
        fn run(&self, _: crate::pool::Phase, _: usize, _: &(dyn Fn(usize, usize) + Sync)) {
            unreachable!("the pool is refused")
        }
    }
    let config = config(Architecture::Llama, WeightFormat::F32);
    let mut weights = image(&config);
    let plan = MemoryPlan::new(&config, &limits()).unwrap();
    let mut memory = Memory::new(plan.total_bytes());
    let memory = memory.bytes(plan.total_bytes());
    let error = Engine::on_cpu(parse(&mut weights, &config), limits(), Isa::detect(), &Many, memory);
    let expected = MemoryPlanError::Limit { field: "workers", found: 1, min: 2, max: 4096 };
    assert_eq!(error.err(), Some(expected));
}
