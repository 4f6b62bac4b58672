//! Flags of speed, which change no answer.
use super::super::values::whole;
use super::Group;
use crate::runtime::{Drafting, ModelSource, Options};
use crate::sys::cpu::allow_matrix_unit;
use clap::Args;
use verbatim_core::isa::Isa;

/// What of the CPU is used.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Speed")]
pub(in crate::cli) struct CpuArgs {
    /// Worker threads [default: the lowest of CPU affinity, cgroup quota and physical cores].
    #[arg(long, env = "VERBATIM_THREADS", value_name = "N", value_parser = whole::<usize>)]
    pub(in crate::cli) threads: Option<usize>,
    /// Instruction set: auto, avx512, avx512-amx, avx512-bf16, avx512-fma, avx2, neon or portable.
    /// All give the same bits.
    #[arg(long, env = "VERBATIM_ISA", value_name = "NAME", default_value = "auto")]
    isa: String,
}

impl Group for CpuArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.workers = self.threads;
        options.isa = isa(&self.isa)?;
        Ok(())
    }
}

/// `None` is the best of this CPU.
fn isa(name: &str) -> Result<Option<Isa>, String> {
    if name == "auto" {
        return Ok(None);
    }
    // The matrix unit is available only to those who asked for it.
    allow_matrix_unit();
    let isa = Isa::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
        format!("--isa {name}: this CPU has {}", known.join(", "))
    })?;
    Ok(Some(isa))
}

/// What a step computes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Speed")]
pub(in crate::cli) struct StepArgs {
    /// Tokens that a step computes, prompts included, at most.
    #[arg(long, env = "VERBATIM_MAX_ROWS", value_name = "N", default_value_t = 512, value_parser = whole::<usize>)]
    max_rows: usize,
    /// Draft tokens and verify them together, for the same answers sooner: off, auto, lookup, self
    /// or a smaller model [default: auto].
    ///
    /// auto drafts from the text itself, where that pays; lookup does so always; self drafts by the
    /// same model in int4; a smaller draft model with the same vocabulary is named as for --model.
    /// With off not even those tokens are drafted to which a grammar leaves no alternative.
    #[arg(long, env = "VERBATIM_SPECULATE", value_name = "HOW|PATH|ORG/NAME")]
    speculate: Option<String>,
}

impl Group for StepArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.max_rows = self.max_rows;
        options.drafting = self.speculate.as_deref().map_or(Drafting::default(), drafting);
        Ok(())
    }
}

/// Whatever is no keyword names a draft model.
fn drafting(name: &str) -> Drafting {
    match name {
        "off" => Drafting::Off,
        "auto" => Drafting::Lookup,
        "lookup" => Drafting::LookupAlways,
        "self" => Drafting::SameModel,
        model => Drafting::Model(ModelSource::Named(model.to_owned())),
    }
}

/// How long a step takes where several sequences share it.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Speed")]
pub(in crate::cli) struct PaceArgs {
    /// Milliseconds that a step should take at most; 0 is no bound.
    ///
    /// A long prompt is split over as many steps as that takes, so that running streams do not
    /// wait.
    #[arg(long, env = "VERBATIM_STEP_MS", value_name = "N", default_value_t = 200, value_parser = whole::<u64>)]
    step_ms: u64,
}

impl Group for PaceArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.step_ms = self.step_ms;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_keyword_names_a_draft_model() {
        assert_eq!(drafting("off"), Drafting::Off);
        assert_eq!(drafting("auto"), Drafting::default());
        assert_eq!(drafting("lookup"), Drafting::LookupAlways);
        assert_eq!(drafting("./small"), Drafting::Model(ModelSource::Named("./small".to_owned())));
    }
}
