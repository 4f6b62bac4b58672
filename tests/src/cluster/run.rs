//! The loop of a simulation, and what must hold at its end.
use super::outcome::Outcome;
use super::sequence::Why;
use super::settings::{SECOND, Settings};
use super::world::{Event, World};
use std::fmt;

/// How long nothing may happen to requests before they count as forgotten.
const SILENCE_NS: u64 = 600 * SECOND;

/// How long after the last question all answers must have ended.
const ENDLESS_NS: u64 = 3600 * SECOND;

/// A simulation in which something happened that may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When, in virtual time.
    pub at_ns: u64,
    /// What happened, for a person.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {}.{:03} s: {}", self.at_ns / SECOND, self.at_ns / 1_000_000 % 1000, self.what)
    }
}

/// Runs a simulation to the end of its last request. Fails at the first event that breaks what
/// must hold: tokens in order, once and of one fingerprint, one end for each request, no replica
/// with more than it can hold, no request that is forgotten, no block that is lost.
pub fn run(settings: &Settings) -> Result<Outcome, Failure> {
    settings.check().map_err(|what| Failure { at_ns: 0, what })?;
    let mut world = World::new(settings);
    let failed = |world: &World, what: String| Failure { at_ns: world.now_ns, what };
    world.schedule(0, Event::Begin);
    world.schedule(0, Event::Report);
    for replica in 0..settings.replicas as u32 {
        (0..3).for_each(|kind| world.next_fault(replica, kind));
    }
    if settings.faults.upgrade_at_ns > 0 {
        for _ in 0..settings.faults.upgrade_wave.min(settings.replicas) {
            world.schedule(settings.faults.upgrade_at_ns, Event::Upgrade);
        }
    }
    let mut drew = Vec::new();
    while world.streams.len() < settings.load.requests || world.open > 0 {
        let Some(event) = world.next() else { break };
        happen(&mut world, event, &mut drew).map_err(|what| failed(&world, what))?;
        if world.open > 0 && world.now_ns - world.progress_ns > SILENCE_NS {
            let what = format!("{} requests are forgotten", world.open);
            return Err(failed(&world, what));
        }
        if world.now_ns - world.last_ask_ns > ENDLESS_NS {
            let what = format!("{} requests come to no end", world.open);
            return Err(failed(&world, what));
        }
    }
    settle(&mut world, &mut drew).map_err(|what| failed(&world, what))?;
    Ok(summary(world))
}

fn happen(world: &mut World, event: Event, drew: &mut Vec<u32>) -> Result<(), String> {
    match event {
        Event::Begin => world.begin(),
        Event::Ask { conversation } => world.ask(conversation),
        Event::Send { request } => {
            let why = if world.streams[request as usize].told > 0 { Why::Takeover } else { Why::First };
            return world.send(request, why);
        }
        Event::Arrive { sequence } => world.arrive(sequence),
        Event::Refused { sequence } => return world.refused(sequence),
        Event::Broken { sequence } => return world.broken(sequence),
        Event::Watch { request } => return world.watched(request),
        Event::Step { replica, epoch } => return world.step(replica, epoch, drew),
        Event::Report => world.report(),
        Event::Kill { replica } => world.kill(replica),
        Event::Stop { replica } => world.stop(replica),
        Event::Slow { replica } => world.slow(replica),
        Event::Health { replica, epoch } => world.health(replica, epoch),
        Event::Gone { replica, epoch } => world.gone(replica, epoch),
        Event::Start { replica, epoch } => world.start(replica, epoch),
        Event::Upgrade => world.upgrade(),
        Event::Drained { replica, epoch } => world.drained(replica, epoch),
    }
    Ok(())
}

/// Lets steps that are under way end, and checks that nothing is left of any request.
fn settle(world: &mut World, drew: &mut Vec<u32>) -> Result<(), String> {
    // Losers of hedges go before the next step.
    let is_busy = |world: &World| {
        world.replicas.iter().any(|replica| !replica.running.is_empty() || !replica.waiting.is_empty())
    };
    let end_ns = world.now_ns + SILENCE_NS;
    world.outcome.elapsed_ns = world.now_ns;
    while is_busy(world) && world.now_ns < end_ns {
        let Some(event) = world.next() else { break };
        if matches!(
            event,
            Event::Step { .. } | Event::Arrive { .. } | Event::Health { .. } | Event::Start { .. }
        ) {
            happen(world, event, drew)?;
        }
    }
    let outcome = &world.outcome;
    if outcome.issued != outcome.finished + outcome.refused + outcome.stranded {
        return Err(format!(
            "{} requests came, {} were answered, {} refused, {} stranded",
            outcome.issued, outcome.finished, outcome.refused, outcome.stranded
        ));
    }
    if let Some(stream) = world.streams.iter().find(|stream| !stream.is_over || !stream.open.is_empty()) {
        return Err(format!("request {} has attempts after its end: {:?}", stream.number, stream.open));
    }
    if let Some(replica) = world.loads.iter().position(|load| *load != 0) {
        return Err(format!(
            "replica {replica} has {} attempts in the books of fronts",
            world.loads[replica]
        ));
    }
    for (number, replica) in world.replicas.iter().enumerate() {
        let (own, _) = replica.blocks.in_use();
        if own > 0 {
            return Err(format!("replica {number}: {own} blocks belong to nobody"));
        }
    }
    Ok(())
}

/// The figures of a run that has ended well.
fn summary(world: World) -> Outcome {
    let first = world.first_that_counts();
    let mut outcome = world.outcome;
    for sequence in &world.sequences {
        outcome.add(sequence, sequence.request >= first);
    }
    let elapsed = u128::from(outcome.elapsed_ns.max(1));
    let per_mille = |ns: u128, of: usize| (ns * 1000 / elapsed / of.max(1) as u128) as u64;
    let busy = |ns: &dyn Fn(usize) -> u64, count: usize| (0..count).map(|i| u128::from(ns(i))).sum::<u128>();
    let (replicas, fronts) = (world.replicas.len(), world.fronts.len());
    let slots = replicas * world.settings.engine.seqs_max;
    outcome.slots_per_mille = per_mille(busy(&|i| world.replicas[i].slots_ns, replicas), slots);
    outcome.front_per_mille = per_mille(busy(&|i| world.fronts[i].busy_ns, fronts), fronts);
    let busiest = world.fronts.iter().map(|front| u128::from(front.busy_ns)).max().unwrap_or(0);
    outcome.front_max_per_mille = per_mille(busiest, 1);
    let bytes = world.fronts.iter().map(|front| u128::from(front.bytes));
    let most = bytes.clone().max().unwrap_or(0) * 8 * u128::from(SECOND);
    outcome.link_max_per_mille = per_mille(most / u128::from(world.settings.front.link_bits), 1);
    outcome.bytes_per_s = (bytes.sum::<u128>() * u128::from(SECOND) / elapsed) as u64;
    outcome.preemptions = world.replicas.iter().map(|replica| replica.preemptions).sum();
    outcome.steps = world.replicas.iter().map(|replica| replica.steps).sum();
    outcome.steps_ns = world.replicas.iter().map(|replica| replica.steps_ns).sum();
    outcome.window_ns = world.last_ask_ns.saturating_sub(world.counts_from_ns);
    outcome
}
