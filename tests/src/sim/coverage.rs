//! Which events a run reached. A simulator that never preempts proves nothing about preemption, so
//! a class that a whole run did not reach is a failure.
use super::options::DraftModelChoice;
use verbatim_core::engine::{Counters, DraftCounters};

macro_rules! classes {
    ($($name:ident = $label:literal;)*) => {
        /// A class of events that runs must reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // the labels are the documentation
        pub enum Class { $($name,)* }

        impl Class {
            /// All classes, in the order of the report.
            pub const ALL: &'static [Class] = &[$(Class::$name,)*];

            /// The class in words, for the report.
            pub fn label(self) -> &'static str {
                match self { $(Class::$name => $label,)* }
            }
        }
    };
}

classes! {
    Preemptions = "preemptions";
    PrefixHits = "prefix hits";
    BoundaryHits = "full hits at a block boundary";
    BoundaryRecomputes = "such hits with no block for a copy";
    Forgotten = "cached blocks dropped before their turn";
    StaleParents = "hits whose parent was evicted";
    WarmEchoes = "echo on a warm prefix";
    Revivals = "revivals of free blocks";
    Copies = "copies on write";
    MergedBlocks = "blocks computed twice, one kept";
    Deferrals = "waits for a prefix being computed";
    LookupAccepted = "lookup drafts accepted";
    LookupRejected = "lookup drafts rejected";
    LookupMasked = "lookup drafts under a mask";
    SelfAccepted = "self drafts accepted";
    SelfRejected = "self drafts rejected";
    SelfMasked = "self drafts under a mask";
    OtherAccepted = "other model's drafts accepted";
    OtherRejected = "other model's drafts rejected";
    OtherMasked = "other model's drafts under a mask";
    ProposedAccepted = "proposed drafts accepted";
    ProposedRejected = "proposed drafts rejected";
    ProposedMasked = "proposed drafts under a mask";
    DraftSteps = "draft steps";
    CancelledWaiting = "cancelled while waiting";
    CancelledPrefill = "cancelled in prefill";
    CancelledDecode = "cancelled in decode";
    CancelledPlanned = "cancelled between plan and step";
    CancelledChoice = "one of several choices cancelled";
    Refusals = "refusals for want of slots";
    TooLarge = "refusals for want of KV blocks";
    DroppedPlans = "plans dropped";
    Resumed = "requests resumed";
    StoppedById = "ended by a stop id";
    EndedByLength = "ended by length";
    EndedByMask = "ended by an empty mask";
    PromptOutputs = "prompts with outputs";
    PreemptedOutputs = "outputs with preemption";
    PenalizedDrafts = "penalties with drafts";
    TwoSplits = "contexts of three attention splits";
}

/// How often each class was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Events, in the order of [`Class::ALL`].
    pub times: Vec<u64>,
    /// Seeds in which the class was reached at all.
    pub seeds: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        let none = vec![0; Class::ALL.len()];
        Self { times: none.clone(), seeds: none }
    }
}

impl Coverage {
    /// Adds `times` events of a class.
    pub fn add(&mut self, class: Class, times: u64) {
        self.times[class as usize] += times;
    }

    /// Adds the counters of an engine.
    pub fn add_counters(&mut self, c: &Counters, draft_model: DraftModelChoice) {
        for (class, times) in [
            (Class::Preemptions, c.preemptions),
            (Class::PrefixHits, c.prefix_hits),
            (Class::BoundaryHits, c.boundary_hits),
            (Class::BoundaryRecomputes, c.boundary_recomputes),
            (Class::StaleParents, c.stale_parents),
            (Class::WarmEchoes, c.warm_echoes),
            (Class::Revivals, c.revivals),
            (Class::Copies, c.copies),
            (Class::MergedBlocks, c.merged_blocks),
            (Class::Deferrals, c.deferrals),
            (Class::DraftSteps, c.draft_steps),
            (Class::CancelledWaiting, c.cancelled_waiting),
            (Class::CancelledPrefill, c.cancelled_prefill),
            (Class::CancelledDecode, c.cancelled_decode),
        ] {
            self.add(class, times);
        }
        self.add_drafts(&c.lookup, [Class::LookupAccepted, Class::LookupRejected, Class::LookupMasked]);
        let classes = [Class::ProposedAccepted, Class::ProposedRejected, Class::ProposedMasked];
        self.add_drafts(&c.proposed, classes);
        match draft_model {
            DraftModelChoice::None => {}
            DraftModelChoice::Itself => {
                self.add_drafts(&c.model, [Class::SelfAccepted, Class::SelfRejected, Class::SelfMasked]);
            }
            DraftModelChoice::Other => {
                self.add_drafts(&c.model, [Class::OtherAccepted, Class::OtherRejected, Class::OtherMasked]);
            }
        }
    }

    fn add_drafts(&mut self, c: &DraftCounters, [accepted, rejected, masked]: [Class; 3]) {
        self.add(accepted, c.accepted);
        self.add(rejected, c.rejected);
        self.add(masked, c.masked);
    }

    /// Adds the counts of one seed.
    pub fn add_seed(&mut self, of: &Coverage) {
        for (i, times) in of.times.iter().enumerate() {
            self.times[i] += times;
            self.seeds[i] += u64::from(*times > 0);
        }
    }

    /// Adds the counts of several.
    pub fn merge(&mut self, other: &Coverage) {
        let add =
            |to: &mut Vec<u64>, from: &[u64]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.times, &other.times);
        add(&mut self.seeds, &other.seeds);
    }

    /// Classes that were never reached.
    pub fn missing(&self) -> impl Iterator<Item = Class> + '_ {
        let never = |class: &Class| self.times[*class as usize] == 0;
        Class::ALL.iter().copied().filter(never)
    }
}
