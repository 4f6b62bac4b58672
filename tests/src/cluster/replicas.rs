//! What happens at replicas: attempts arrive, steps end, processes die, stop, slow down and are
//! upgraded.
use super::engine::Health;
use super::sequence::Place;
use super::settings::{SECOND, Wrong};
use super::world::{Event, World};

/// The draws of [`World::faults`].
const KILL: usize = 0;
const STOP: usize = 1;
const SLOW: usize = 2;

impl World {
    /// An attempt reaches its replica, which takes it or not.
    pub(super) fn arrive(&mut self, sequence: u32) {
        let attempt = &self.sequences[sequence as usize];
        if attempt.is_cancelled {
            self.sequences[sequence as usize].place = Place::Ended;
            return;
        }
        let replica = attempt.replica as usize;
        let is_same = self.replicas[replica].epoch == attempt.epoch;
        let is_up = self.replicas[replica].health == Health::Up && is_same;
        if is_up && self.replicas[replica].arrive(sequence, &mut self.sequences, &self.settings.engine) {
            if !self.replicas[replica].is_busy {
                self.begin_step(replica);
            }
            return;
        }
        self.schedule(self.now_ns + self.settings.front.hop_ns, Event::Refused { sequence });
    }

    /// Begins a replica's next step, or lets it rest.
    fn begin_step(&mut self, number: usize) {
        let leaks = self.settings.wrong == Some(Wrong::CancelLeaks);
        let replica = &mut self.replicas[number];
        replica.purge(&mut self.sequences, leaks);
        let Some(step_ns) = replica.plan(&mut self.sequences, &self.settings.engine) else {
            replica.is_busy = false;
            if replica.health == Health::Draining {
                self.die(number); // it has finished its streams and makes room for its successor
            }
            return;
        };
        let is_slow = replica.slow_until_ns > self.now_ns;
        let step_ns = step_ns * if is_slow { self.settings.faults.slow_factor } else { 1 };
        replica.is_busy = true;
        replica.slots_ns += step_ns * replica.running.len() as u64;
        (replica.steps, replica.steps_ns) = (replica.steps + 1, replica.steps_ns + step_ns);
        let (at_ns, epoch) = (self.now_ns.max(replica.stopped_until_ns) + step_ns, replica.epoch);
        self.schedule(at_ns, Event::Step { replica: number as u32, epoch });
    }

    /// A step ends: its tokens go out, answers that are whole end, and the next step begins.
    pub(super) fn step(&mut self, number: u32, epoch: u32, drew: &mut Vec<u32>) -> Result<(), String> {
        let replica = &mut self.replicas[number as usize];
        if replica.epoch != epoch {
            return Ok(());
        }
        if replica.stopped_until_ns > self.now_ns {
            let at_ns = replica.stopped_until_ns;
            self.schedule(at_ns, Event::Step { replica: number, epoch });
            return Ok(());
        }
        replica.finish(&mut self.sequences, drew);
        for id in drew.iter() {
            self.drew(*id)?;
            let sequence = &self.sequences[*id as usize];
            if sequence.made == sequence.answer {
                self.replicas[number as usize].end(*id, &mut self.sequences, false);
            }
        }
        self.check(number as usize)?;
        self.begin_step(number as usize);
        Ok(())
    }

    /// What a replica holds never exceeds what it has.
    fn check(&self, number: usize) -> Result<(), String> {
        let (replica, settings) = (&self.replicas[number], &self.settings.engine);
        let (own, all) = replica.blocks.in_use();
        let (running, waiting) = (replica.running.len(), replica.waiting.len());
        // Who gave way waits beside those whom the queue admitted.
        let is_within = all <= settings.blocks
            && own <= all
            && running <= settings.seqs_max
            && waiting <= settings.queue_max + settings.seqs_max;
        if is_within {
            return Ok(());
        }
        Err(format!("replica {number}: {running} running, {waiting} waiting, {own} of {all} blocks in use"))
    }

    /// A replica dies at once: fronts notice, another process starts.
    fn die(&mut self, number: usize) {
        let faults = &self.settings.faults;
        let (known_ns, start_ns) = (self.now_ns + faults.detect_ns, self.now_ns + faults.restart_ns);
        let had = self.replicas[number].die(&mut self.sequences);
        for sequence in had {
            if !self.sequences[sequence as usize].is_cancelled {
                self.schedule(known_ns, Event::Broken { sequence });
            }
        }
        let (replica, epoch) = (number as u32, self.replicas[number].epoch);
        self.schedule(known_ns, Event::Gone { replica, epoch });
        self.schedule(start_ns, Event::Start { replica, epoch });
    }

    /// All fronts know that a replica is dead, unless another one has started meanwhile.
    pub(super) fn gone(&mut self, number: u32, epoch: u32) {
        let replica = &self.replicas[number as usize];
        if replica.epoch == epoch && replica.health == Health::Down {
            self.seen[number as usize].is_up = false;
        }
    }

    /// A replica serves again, perhaps with another fingerprint.
    pub(super) fn start(&mut self, number: u32, epoch: u32) {
        let replica = &mut self.replicas[number as usize];
        if replica.epoch != epoch || replica.health != Health::Down {
            return;
        }
        replica.health = Health::Up;
        let is_other = replica.fingerprint != replica.next_fingerprint;
        replica.fingerprint = replica.next_fingerprint;
        self.outcome.upgrades += u64::from(is_other);
        self.seen[number as usize].fingerprint = replica.fingerprint;
        self.seen[number as usize].is_up = true;
        if std::mem::take(&mut self.is_upgrading[number as usize]) {
            self.upgrade();
        }
    }

    /// A replica is killed, if it lives.
    pub(super) fn kill(&mut self, number: u32) {
        if self.replicas[number as usize].health != Health::Down {
            self.outcome.kills += 1;
            self.die(number as usize);
        }
        self.next_fault(number, KILL);
    }

    /// A replica stops for a while; if that is long, it is killed.
    pub(super) fn stop(&mut self, number: u32) {
        let faults = &self.settings.faults;
        let length_ns = self.faults[number as usize][STOP].exponential(faults.stop_for_ns);
        let (health_ns, now_ns) = (faults.health_ns, self.now_ns);
        let replica = &mut self.replicas[number as usize];
        if replica.health != Health::Down {
            replica.stopped_until_ns = replica.stopped_until_ns.max(now_ns + length_ns);
            self.outcome.stops += 1;
            if length_ns > health_ns {
                let epoch = replica.epoch;
                self.schedule(now_ns + health_ns, Event::Health { replica: number, epoch });
            }
        }
        self.next_fault(number, STOP);
    }

    /// A replica that still does nothing is killed.
    pub(super) fn health(&mut self, number: u32, epoch: u32) {
        let replica = &self.replicas[number as usize];
        if replica.epoch == epoch && replica.stopped_until_ns > self.now_ns {
            self.die(number as usize);
        }
    }

    /// A replica becomes slow for a while.
    pub(super) fn slow(&mut self, number: u32) {
        let length_ns = self.faults[number as usize][SLOW].exponential(self.settings.faults.slow_for_ns);
        let replica = &mut self.replicas[number as usize];
        if replica.health != Health::Down {
            replica.slow_until_ns = self.now_ns + length_ns;
            self.outcome.slows += 1;
        }
        self.next_fault(number, SLOW);
    }

    /// All replicas tell their loads. One that is stopped does not, and is suspected until it does.
    pub(super) fn report(&mut self) {
        let period_ns = self.settings.front.report_ns;
        if period_ns > 0 {
            self.router.report(&self.loads);
        }
        for (replica, seen) in self.replicas.iter().zip(&mut self.seen) {
            seen.is_suspect = replica.stopped_until_ns > self.now_ns;
        }
        let next_ns = if period_ns > 0 { period_ns } else { SECOND };
        self.schedule(self.now_ns + next_ns, Event::Report);
    }

    /// Draws when a replica's next fault of a kind comes.
    pub(super) fn next_fault(&mut self, replica: u32, kind: usize) {
        let faults = &self.settings.faults;
        let every_ns = [faults.kill_every_ns, faults.stop_every_ns, faults.slow_every_ns][kind];
        if every_ns == 0 {
            return;
        }
        let at_ns = self.now_ns + self.faults[replica as usize][kind].exponential(every_ns);
        let event = [Event::Kill { replica }, Event::Stop { replica }, Event::Slow { replica }][kind];
        self.schedule(at_ns, event);
    }

    /// The next replica finishes its streams and makes room for one of the other fingerprint.
    pub(super) fn upgrade(&mut self) {
        let number = self.next_upgrade;
        let Some(replica) = self.replicas.get_mut(number as usize) else { return };
        self.next_upgrade += 1;
        self.is_upgrading[number as usize] = true;
        replica.next_fingerprint = 1;
        if replica.health == Health::Down {
            return; // its start will be with the other fingerprint
        }
        replica.health = Health::Draining;
        let (epoch, is_busy) = (replica.epoch, replica.is_busy);
        self.seen[number as usize].is_up = false;
        self.schedule(self.now_ns + self.settings.faults.drain_ns, Event::Drained { replica: number, epoch });
        if !is_busy {
            self.begin_step(number as usize);
        }
    }

    /// A replica's time to finish its streams is over.
    pub(super) fn drained(&mut self, number: u32, epoch: u32) {
        let replica = &self.replicas[number as usize];
        if replica.epoch == epoch && replica.health == Health::Draining {
            self.die(number as usize);
        }
    }
}
