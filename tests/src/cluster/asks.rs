//! Clients and fronts: a request's way to a replica, the events that come back, takeover and hedge.
use super::policy::Ask;
use super::sequence::{BLOCK, Place, Sequence, Why};
use super::settings::{MILLISECOND, Wrong};
use super::stream::{Stream, Told};
use super::world::{Event, World};
use crate::sim::rng::fold;

/// How long a front waits when nobody takes a request, before it asks again.
const RETRY_NS: u64 = 500 * MILLISECOND;
/// Replicas that a front asks before it waits.
const TRIES: usize = 3;

impl World {
    /// A new conversation asks, and the one after it is awaited.
    pub(super) fn begin(&mut self) {
        if self.streams.len() >= self.settings.load.requests {
            return;
        }
        let conversation = self.source.conversation();
        let number = conversation.number;
        self.conversations.push(conversation);
        self.ask(number);
        let at_ns = self.source.next_at_ns(self.now_ns);
        if self.conversations.len() as u32 != self.settings.load.conversations {
            self.schedule(at_ns, Event::Begin);
        }
    }

    /// A client asks the next question of its conversation.
    pub(super) fn ask(&mut self, number: u32) {
        if self.streams.len() >= self.settings.load.requests {
            return;
        }
        let conversation = &mut self.conversations[number as usize];
        let Some(turn) = self.source.turn(conversation) else { return };
        let request = self.streams.len() as u32;
        if request == self.first_that_counts() {
            self.counts_from_ns = self.now_ns;
        }
        // Fronts take turns.
        let front = request as usize % self.fronts.len();
        let names = (number, self.conversations[number as usize].system);
        self.streams.push(Stream::new(request, names, turn, front as u32, self.now_ns));
        self.outcome.issued += 1;
        self.open += 1;
        self.last_ask_ns = self.now_ns;
        let at_ns = self.fronts[front].request_ns(&self.settings.front, self.now_ns, turn.prompt);
        self.schedule(at_ns, Event::Send { request });
    }

    /// A front sends a request to a replica, or looks again later, or gives up.
    pub(super) fn send(&mut self, request: u32, why: Why) -> Result<(), String> {
        if self.streams[request as usize].is_over {
            return Ok(());
        }
        let may_ask = why == Why::Hedge || self.streams[request as usize].asked.len() < TRIES;
        let Some(replica) = self.choose(request).filter(|_| may_ask) else {
            if why == Why::Hedge {
                return Ok(());
            }
            let stream = &mut self.streams[request as usize];
            stream.asked.clear();
            if self.now_ns - stream.looking_ns >= self.settings.front.patience_ns {
                return self.fail(request);
            }
            self.schedule(self.now_ns + RETRY_NS, Event::Send { request });
            return Ok(());
        };
        self.progress_ns = self.now_ns;
        let Replica { epoch, fingerprint } = self.life(replica);
        let stream = &mut self.streams[request as usize];
        let skips = u32::from(why == Why::Takeover && self.settings.wrong == Some(Wrong::TakeoverSkips));
        let from = (stream.told + skips).min(stream.turn.answer - 1);
        let id = self.sequences.len() as u32;
        self.sequences.push(Sequence {
            system: stream.system,
            system_blocks: self.settings.load.system_tokens / BLOCK,
            conversation: stream.conversation,
            prompt: stream.turn.prompt,
            answer: stream.turn.answer,
            from,
            made: from,
            sent: from,
            ..Sequence::new(request, (replica as u32, epoch, fingerprint), why)
        });
        stream.open.push(id);
        stream.asked.push(replica as u32);
        stream.heard_ns = self.now_ns;
        self.loads[replica] += 1;
        self.router.moved(stream.front as usize, replica, 1);
        self.schedule(self.now_ns + self.settings.front.hop_ns, Event::Arrive { sequence: id });
        self.watch(request);
        Ok(())
    }

    fn choose(&mut self, request: u32) -> Option<usize> {
        let stream = &self.streams[request as usize];
        let is_spliced = self.settings.wrong == Some(Wrong::TakeoverSplices);
        let ask = Ask {
            system: stream.system,
            conversation: stream.conversation,
            fingerprint: stream.fingerprint.filter(|_| !is_spliced),
            asked: &stream.asked,
        };
        self.router.choose(stream.front as usize, &ask, &self.seen)
    }

    fn life(&self, replica: usize) -> Replica {
        let Self { replicas, seen, .. } = self;
        Replica { epoch: replicas[replica].epoch, fingerprint: seen[replica].fingerprint }
    }

    /// A replica did not take an attempt: the next one is asked.
    pub(super) fn refused(&mut self, sequence: u32) -> Result<(), String> {
        self.outcome.refusals += 1;
        self.lost(sequence)
    }

    /// The replica of an attempt is dead: another one goes on.
    pub(super) fn broken(&mut self, sequence: u32) -> Result<(), String> {
        if self.settings.wrong == Some(Wrong::DeathForgotten) {
            return Ok(());
        }
        let stream = &mut self.streams[self.sequences[sequence as usize].request as usize];
        stream.asked.clear();
        stream.asked.push(self.sequences[sequence as usize].replica);
        stream.was_struck = true;
        stream.looking_ns = self.now_ns;
        self.outcome.takeovers += u64::from(!self.sequences[sequence as usize].is_cancelled);
        self.lost(sequence)
    }

    fn lost(&mut self, sequence: u32) -> Result<(), String> {
        let request = self.sequences[sequence as usize].request;
        self.sequences[sequence as usize].place = Place::Ended;
        self.close(sequence);
        let stream = &mut self.streams[request as usize];
        if stream.is_over || !stream.open.is_empty() {
            return Ok(());
        }
        let why = if stream.told > 0 { Why::Takeover } else { Why::First };
        self.send(request, why)
    }

    /// Takes an attempt out of its stream and of what fronts count.
    fn close(&mut self, sequence: u32) {
        let Sequence { request, replica, .. } = self.sequences[sequence as usize];
        let stream = &mut self.streams[request as usize];
        let before = stream.open.len();
        stream.open.retain(|open| *open != sequence);
        if stream.open.len() == before {
            return;
        }
        if stream.open.len() < 2 && stream.is_hedged {
            stream.is_hedged = false;
            self.hedged -= 1;
        }
        self.loads[replica as usize] -= 1;
        self.router.moved(stream.front as usize, replica as usize, -1);
    }

    /// Nobody wants an attempt any more; its replica learns of it before its next step.
    fn cancel(&mut self, sequence: u32) {
        self.close(sequence);
        self.sequences[sequence as usize].is_cancelled = true;
    }

    /// A sequence drew a token: an event goes to the client, at once or with the next ones.
    pub(super) fn drew(&mut self, id: u32) -> Result<(), String> {
        let sequence = &mut self.sequences[id as usize];
        if sequence.is_cancelled {
            return Ok(());
        }
        let is_last = sequence.made == sequence.answer;
        let is_first = sequence.sent_ns == 0;
        if !(is_last || is_first || self.now_ns - sequence.sent_ns >= self.settings.engine.interval_ns) {
            return Ok(());
        }
        let (from, to) = (sequence.sent, sequence.made);
        (sequence.sent, sequence.sent_ns) = (to, self.now_ns);
        let (request, fingerprint) = (sequence.request, sequence.fingerprint);
        let told = self.streams[request as usize].take(fingerprint, from, to)?;
        self.progress_ns = self.now_ns;
        if let Told::New(count) = told {
            self.tell(request, count);
            // Who brings the next token goes on; the other one is not needed.
            let others: Vec<u32> =
                self.streams[request as usize].open.iter().copied().filter(|open| *open != id).collect();
            for other in others {
                if self.settings.wrong != Some(Wrong::EndsTwice) {
                    self.cancel(other);
                }
            }
        }
        if is_last {
            self.close(id);
            self.finish(request)?;
        }
        Ok(())
    }

    /// An event goes through the front to the client.
    fn tell(&mut self, request: u32, tokens: u32) {
        let counts = request >= self.first_that_counts();
        let stream = &mut self.streams[request as usize];
        let arrived_ns = self.now_ns + self.settings.front.hop_ns;
        let at_ns = self.fronts[stream.front as usize].event_ns(&self.settings.front, arrived_ns, tokens);
        let took_ns = at_ns - stream.delivered_ns;
        let is_first = stream.told == tokens;
        let was_struck = std::mem::take(&mut stream.was_struck);
        stream.heard_ns = self.now_ns;
        stream.delivered_ns = at_ns;
        self.outcome.events += 1;
        if !counts {
            return;
        }
        if self.streams.len() < self.settings.load.requests {
            self.outcome.tokens += u64::from(tokens);
        }
        let times = if is_first { &mut self.outcome.first } else { &mut self.outcome.gap };
        times.note_ns(took_ns);
        if was_struck && !is_first {
            self.outcome.struck.note_ns(took_ns);
        }
    }

    /// An answer is whole: its client may ask again.
    fn finish(&mut self, request: u32) -> Result<(), String> {
        let counts = request >= self.first_that_counts();
        let stream = &mut self.streams[request as usize];
        let values = stream.finish()?;
        let (conversation, at_ns) = (stream.conversation, stream.delivered_ns);
        if counts {
            self.outcome.whole.note_ns(at_ns - stream.asked_ns);
        }
        self.outcome.hash = fold(self.outcome.hash, values);
        self.outcome.finished += 1;
        self.open -= 1;
        if let Some(think_ns) = self.source.asks_again_ns(&mut self.conversations[conversation as usize]) {
            self.schedule(at_ns + think_ns, Event::Ask { conversation });
        }
        Ok(())
    }

    /// A front gives up; the conversation ends.
    fn fail(&mut self, request: u32) -> Result<(), String> {
        let stream = &mut self.streams[request as usize];
        stream.end()?;
        match stream.told {
            0 => self.outcome.refused += 1,
            _ => self.outcome.stranded += 1,
        }
        self.open -= 1;
        Ok(())
    }

    /// Looks again when a stream could have been silent for too long; one clock a stream.
    fn watch(&mut self, request: u32) {
        let stream = &mut self.streams[request as usize];
        let front = &self.settings.front;
        let patience_ns = if stream.told == 0 { front.hedge_first_ns } else { front.hedge_ns };
        if front.hedge_ns > 0 && !stream.is_watched {
            stream.is_watched = true;
            // A first token may come before, and then patience is shorter.
            let at_ns = (stream.heard_ns + patience_ns).min(self.now_ns + front.hedge_ns);
            self.schedule(at_ns.max(self.now_ns + 1), Event::Watch { request });
        }
    }

    /// A stream is looked at: it is hedged if it has been silent for too long.
    pub(super) fn watched(&mut self, request: u32) -> Result<(), String> {
        let front = &self.settings.front;
        let stream = &mut self.streams[request as usize];
        stream.is_watched = false;
        if stream.is_over {
            return Ok(());
        }
        let patience_ns = if stream.told == 0 { front.hedge_first_ns } else { front.hedge_ns };
        let is_silent = self.now_ns - stream.heard_ns >= patience_ns;
        let may = self.hedged * 100 < front.hedge_percent * self.open;
        if patience_ns > 0 && is_silent && stream.open.len() == 1 && may {
            let silent = self.sequences[stream.open[0] as usize].replica;
            stream.asked = vec![silent];
            self.seen[silent as usize].is_suspect = true; // until its next report
            self.send(request, Why::Hedge)?;
            let stream = &mut self.streams[request as usize];
            if stream.open.len() == 2 {
                stream.is_hedged = true;
                stream.was_struck = true;
                self.hedged += 1;
                self.outcome.hedges += 1;
            }
        }
        if self.now_ns >= self.streams[request as usize].heard_ns + patience_ns {
            // Not hedged: look again after as long.
            self.streams[request as usize].heard_ns = self.now_ns;
        }
        self.watch(request);
        Ok(())
    }
}

/// The life of a replica that an attempt is sent to.
struct Replica {
    epoch: u32,
    fingerprint: u32,
}
