//! Which replica gets a request, as one front sees the cluster.
//!
//! A front knows which replicas answer and their fingerprints, and of their loads the last report
//! and what it has sent and seen end itself since. Affinity is by rendezvous hashing (Thaler and
//! Ravishankar, 1998): of the replicas that are not too loaded, the one whose hash with the key is
//! greatest. Each key keeps its order of replicas when others come and go.
use super::dice::Dice;
use crate::draws::mix;
use crate::sim::rng::fold;

/// How a front chooses a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Any of them, with equal chances.
    Random,
    /// One after another, each front from a place of its own.
    RoundRobin,
    /// The less loaded of two that were drawn (Mitzenmacher, 2001).
    TwoChoices,
    /// The one with the fewest streams.
    LeastLoaded,
    /// By the system prompt, unless that replica has `slack` streams more than the least loaded.
    Prefix,
    /// By the conversation, likewise.
    Conversation,
}

impl Policy {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 6] = [
        Self::Random,
        Self::RoundRobin,
        Self::TwoChoices,
        Self::LeastLoaded,
        Self::Prefix,
        Self::Conversation,
    ];

    /// Its name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::TwoChoices => "two-choices",
            Self::LeastLoaded => "least-loaded",
            Self::Prefix => "prefix",
            Self::Conversation => "conversation",
        }
    }

    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// What fronts know of one replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Whether it takes new streams, as far as is known.
    pub(super) is_up: bool,
    /// Whether it did not answer lately: it is asked only if there is no other.
    pub(super) is_suspect: bool,
    /// The fingerprint that it tells.
    pub(super) fingerprint: u32,
}

/// What a request asks a router for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// The system prompt, by number.
    pub(super) system: u32,
    /// The conversation, by number.
    pub(super) conversation: u32,
    /// The fingerprint that the replica must have, if tokens were told.
    pub(super) fingerprint: Option<u32>,
    /// Replicas that were asked already and are not asked again.
    pub(super) asked: &'a [u32],
}

/// The routers of all fronts.
#[derive(Debug)]
pub(super) struct Router {
    policy: Policy,
    slack: i32,
    /// Streams of each replica at the last report; where reports are never old, now.
    reported: Vec<i32>,
    /// For each front, what it has added and taken since; empty where reports are never old.
    since: Vec<Vec<i32>>,
    /// Where each front's round goes on.
    next: Vec<usize>,
    dice: Dice,
}

impl Router {
    /// Routers of so many fronts; `is_fresh` where a report is never old.
    pub(super) fn new(
        policy: Policy,
        slack: i32,
        (fronts, replicas): (usize, usize),
        is_fresh: bool,
        dice: Dice,
    ) -> Self {
        let since = if is_fresh { Vec::new() } else { vec![vec![0; replicas]; fronts] };
        let next = (0..fronts).map(|front| front * replicas / fronts).collect();
        Self { policy, slack, reported: vec![0; replicas], since, next, dice }
    }

    /// A front has sent a stream to a replica (+1), or it ended there (−1).
    pub(super) fn moved(&mut self, front: usize, replica: usize, by: i32) {
        match self.since.get_mut(front) {
            Some(own) => own[replica] += by,
            None => self.reported[replica] += by,
        }
    }

    /// All fronts learn how many streams each replica has.
    pub(super) fn report(&mut self, streams: &[i32]) {
        self.reported.copy_from_slice(streams);
        for own in &mut self.since {
            own.fill(0);
        }
    }

    /// The replica for a request; `None` if none is known that may take it.
    pub(super) fn choose(&mut self, front: usize, ask: &Ask<'_>, seen: &[Seen]) -> Option<usize> {
        let can = |replica: usize| {
            let Seen { is_up, fingerprint, .. } = seen[replica];
            let is_its = ask.fingerprint.is_none_or(|asked| asked == fingerprint);
            is_up && is_its && !ask.asked.contains(&(replica as u32))
        };
        let is_trusted = (0..seen.len()).any(|replica| can(replica) && !seen[replica].is_suspect);
        let may = |replica: usize| can(replica) && !(is_trusted && seen[replica].is_suspect);
        let count = (0..seen.len()).filter(|replica| may(*replica)).count();
        if count == 0 {
            return None;
        }
        let own = self.since.get(front);
        let load = |replica: usize| self.reported[replica] + own.map_or(0, |own| own[replica]);
        let of =
            |rank: usize| (0..seen.len()).filter(|replica| may(*replica)).nth(rank).expect("it was counted");
        match self.policy {
            Policy::Random => Some(of(self.dice.below(count))),
            Policy::RoundRobin => {
                let from = self.next[front];
                let found = (from..seen.len()).chain(0..from).find(|replica| may(*replica))?;
                self.next[front] = (found + 1) % seen.len();
                Some(found)
            }
            Policy::TwoChoices => {
                let (one, other) = (of(self.dice.below(count)), of(self.dice.below(count)));
                Some(if load(other) < load(one) { other } else { one })
            }
            Policy::LeastLoaded => {
                // Ties are broken anew for each request, else fronts would agree on one replica.
                let salt = self.dice.bits();
                let key = |replica: &usize| (load(*replica), mix(salt ^ *replica as u64));
                (0..seen.len()).filter(|replica| may(*replica)).min_by_key(key)
            }
            Policy::Prefix => self.near(fold(1, u64::from(ask.system)), &may, &load, seen.len()),
            Policy::Conversation => self.near(fold(2, u64::from(ask.conversation)), &may, &load, seen.len()),
        }
    }

    /// The replica that comes first in a key's order, of those within the slack.
    fn near(
        &self,
        key: u64,
        may: &dyn Fn(usize) -> bool,
        load: &dyn Fn(usize) -> i32,
        replicas: usize,
    ) -> Option<usize> {
        let least = (0..replicas).filter(|replica| may(*replica)).map(load).min()?;
        let within = (0..replicas).filter(|replica| may(*replica) && load(*replica) <= least + self.slack);
        within.max_by_key(|replica| fold(key, *replica as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dice::Purpose;
    use super::*;

    const UP: Seen = Seen { is_up: true, is_suspect: false, fingerprint: 0 };

    fn router(policy: Policy, replicas: usize) -> Router {
        Router::new(policy, 4, (1, replicas), true, Dice::new(1, Purpose::Route, 0))
    }

    fn ask(conversation: u32, fingerprint: Option<u32>, asked: &[u32]) -> Ask<'_> {
        Ask { system: 0, conversation, fingerprint, asked }
    }

    #[test]
    fn no_policy_asks_who_may_not_be_asked() {
        for policy in Policy::ALL {
            let mut router = router(policy, 6);
            let mut seen = vec![UP; 6];
            seen[0].is_up = false;
            seen[1].fingerprint = 1;
            seen[2].fingerprint = 1;
            seen[3].is_suspect = true;
            for conversation in 0..200 {
                let chosen = router.choose(0, &ask(conversation, Some(1), &[2]), &seen);
                assert_eq!(chosen, Some(1), "{}", policy.name());
                assert_eq!(router.choose(0, &ask(conversation, Some(1), &[1, 2]), &seen), None);
                let any = router.choose(0, &ask(conversation, None, &[]), &seen).expect("five are up");
                assert!([1, 2, 4, 5].contains(&any));
                // Who is suspected is better than nobody.
                assert_eq!(router.choose(0, &ask(conversation, None, &[1, 2, 4, 5]), &seen), Some(3));
            }
            assert_eq!(Policy::from_name(policy.name()), Some(policy));
        }
    }

    #[test]
    fn a_conversation_stays_until_its_replica_is_crowded_or_gone() {
        let mut router = router(Policy::Conversation, 8);
        let mut seen = vec![UP; 8];
        let homes: Vec<usize> =
            (0..400).map(|c| router.choose(0, &ask(c, None, &[]), &seen).expect("all are up")).collect();
        for replica in 0..8 {
            let share = homes.iter().filter(|home| **home == replica).count();
            assert!((25..80).contains(&share), "replica {replica} has {share} of 400");
        }
        // Five streams more than the least loaded are too many, four are not.
        router.moved(0, homes[0], 4);
        assert_eq!(router.choose(0, &ask(0, None, &[]), &seen), Some(homes[0]));
        router.moved(0, homes[0], 1);
        assert_ne!(router.choose(0, &ask(0, None, &[]), &seen), Some(homes[0]));
        router.moved(0, homes[0], -5);
        // Only those who lived on a replica that is gone move.
        seen[3].is_up = false;
        for (conversation, home) in homes.iter().enumerate() {
            let now = router.choose(0, &ask(conversation as u32, None, &[]), &seen).expect("seven are up");
            assert!(now != 3 && (*home == 3 || now == *home));
        }
    }

    #[test]
    fn a_front_knows_its_own_streams_and_the_last_report() {
        let mut router = Router::new(Policy::LeastLoaded, 4, (2, 2), false, Dice::new(1, Purpose::Route, 0));
        let seen = vec![UP; 2];
        router.moved(0, 0, 3);
        assert_eq!(router.choose(0, &ask(0, None, &[]), &seen), Some(1));
        router.report(&[3, 5]);
        assert_eq!(router.choose(0, &ask(0, None, &[]), &seen), Some(0));
        assert_eq!(router.choose(1, &ask(0, None, &[]), &seen), Some(0));
        router.moved(1, 0, 4);
        assert_eq!(
            router.choose(0, &ask(0, None, &[]), &seen),
            Some(0),
            "the other front's are not known yet"
        );
        assert_eq!(router.choose(1, &ask(0, None, &[]), &seen), Some(1));
    }
}
