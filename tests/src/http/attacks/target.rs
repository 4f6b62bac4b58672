//! What an attack is: whom it meets, how large it is, and what its answers may be.
use crate::http::crowd::Tally;
use std::net::SocketAddr;
use std::time::Duration;

/// How large an attack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// So that all attacks together take about a minute on two cores.
    Small,
    /// As large as the attacks that have ended servers.
    Full,
}

/// Whom an attack meets. It is always a server of this machine that the test has started.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where the server listens.
    pub address: SocketAddr,
    /// How large the attack is.
    pub scale: Scale,
}

impl Target {
    /// A count by scale.
    pub fn count(&self, small: usize, full: usize) -> usize {
        if self.scale == Scale::Small { small } else { full }
    }

    /// How long an attack that only holds things holds them.
    pub fn hold(&self) -> Duration {
        if self.scale == Scale::Small { Duration::from_millis(800) } else { Duration::from_secs(8) }
    }

    /// How long an attacker waits for answers.
    pub fn patience(&self) -> Duration {
        if self.scale == Scale::Small { Duration::from_secs(10) } else { Duration::from_secs(60) }
    }
}

/// What attackers were answered, or also what was wrong with that.
pub type Verdict = Result<Tally, (Tally, String)>;

/// One way to hurt a server.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub what: &'static str,
    /// Attacks a target once.
    pub run: fn(&Target) -> Verdict,
}

/// Complains unless a condition holds.
pub(super) fn expect(tally: Tally, is_right: bool, complaint: &str) -> Verdict {
    if is_right { Ok(tally) } else { Err((tally, complaint.to_owned())) }
}

/// Every answer must be a refusal: a status of 4xx, 501 or 505 for what HTTP has and the server has
/// not, 503 for want of room; or a connection that is closed.
pub(super) fn all_refused(tally: Tally) -> Verdict {
    let is_wrong = |status: u16| !(400..500).contains(&status) && ![501, 503, 505].contains(&status);
    let wrong = tally.count(is_wrong);
    expect(tally, wrong == 0, "what should be refused was not")
}

/// Any answer will do, but for a failure of the server.
pub(super) fn none_failed(tally: Tally) -> Verdict {
    let failed = tally.count(|status| status >= 500 && status != 503);
    expect(tally, failed == 0, "the server failed")
}

/// No answer may be longer than this, head and all: errors quote a hundred characters.
pub(super) fn all_short(tally: Tally, most: usize) -> Verdict {
    let is_right = tally.longest <= most;
    expect(tally, is_right, "an answer is long, which quotes what it was sent")
}
