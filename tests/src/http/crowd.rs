//! Many connections that do the same at once, moved by one thread without blocking, so that a test
//! of a thousand clients costs little of the machine that the server runs on.
use super::connection::{connect, request};
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of an answer that are kept: enough for its status line.
const KEPT_BYTES: usize = 64;
/// How long one member waits for its connection.
const CONNECT: Duration = Duration::from_secs(4);

/// Where the members of a crowd come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// All from one address, which is not that of good clients.
    OneAddress,
    /// Each from an address of its own.
    ManyAddresses,
}

impl From {
    fn address(self, member: usize) -> Ipv4Addr {
        match self {
            Self::OneAddress => Ipv4Addr::new(127, 66, 6, 6),
            Self::ManyAddresses => Ipv4Addr::from(0x7f43_0001 + member as u32),
        }
    }
}

/// What became of the members of a crowd, or of the requests of an attack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many answers came with each status.
    pub statuses: BTreeMap<u16, usize>,
    /// Connections that ended without an answer.
    pub closed: usize,
    /// Connections that are open and have no answer.
    pub silent: usize,
    /// Connections that did not come about.
    pub unconnected: usize,
    /// The longest answer that was read, in bytes with its head.
    pub longest: usize,
}

impl Tally {
    /// Adds one answer with its status.
    pub fn answered(&mut self, status: u16) {
        *self.statuses.entry(status).or_default() += 1;
    }

    /// Adds the counts of another tally.
    pub fn add(&mut self, other: &Self) {
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.closed += other.closed;
        self.silent += other.silent;
        self.unconnected += other.unconnected;
        self.longest = self.longest.max(other.longest);
    }

    /// How many answers have a status for which `is_asked` holds.
    pub fn count(&self, is_asked: impl Fn(u16) -> bool) -> usize {
        self.statuses.iter().filter(|(status, _)| is_asked(**status)).map(|(_, count)| count).sum()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> =
            self.statuses.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        for (count, what) in
            [(self.closed, "closed"), (self.silent, "silent"), (self.unconnected, "not connected")]
        {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        f.write_str(&parts.join(", "))
    }
}

#[derive(Debug)]
struct Member {
    /// None once the connection has ended.
    stream: Option<TcpStream>,
    /// Bytes sent of what is being sent.
    sent: usize,
    /// The beginning of the answer, and its length.
    answer: Vec<u8>,
    answer_bytes: usize,
}

impl Member {
    fn status(&self) -> Option<u16> {
        let text = std::str::from_utf8(self.answer.get(..12)?).ok()?;
        text.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok()
    }

    /// Sends more of `bytes`; whether something was sent.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(mut stream) = self.stream.as_ref() else { return false };
        match stream.write(&bytes[self.sent..]) {
            Ok(count) => {
                self.sent += count;
                count > 0
            }
            Err(error) if is_retriable(&error) => false,
            // What the server has sent before it closed can still be read.
            Err(_) => {
                self.sent = bytes.len();
                true
            }
        }
    }

    /// Reads what has come; whether something has.
    fn pull(&mut self) -> bool {
        let Some(mut stream) = self.stream.as_ref() else { return false };
        let mut bytes = [0; 16 << 10];
        match stream.read(&mut bytes) {
            Err(error) if is_retriable(&error) => false,
            Ok(count) if count > 0 => {
                let kept = count.min(KEPT_BYTES.saturating_sub(self.answer.len()));
                self.answer.extend_from_slice(&bytes[..kept]);
                self.answer_bytes += count;
                true
            }
            Ok(_) | Err(_) => {
                self.stream = None;
                true
            }
        }
    }
}

fn is_retriable(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Connections that do the same at once.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
    unconnected: usize,
}

impl Crowd {
    /// Opens `count` connections. Those that fail are counted; after a few of them in a row no more
    /// are tried.
    pub fn open(to: SocketAddr, count: usize, from: From) -> Self {
        let (mut members, mut failed_in_row) = (Vec::with_capacity(count), 0);
        for member in 0..count {
            let opened = connect(from.address(member), to, CONNECT);
            let Ok(stream) = opened.and_then(|stream| stream.set_nonblocking(true).map(|()| stream)) else {
                failed_in_row += 1;
                if failed_in_row == 4 {
                    break;
                }
                continue;
            };
            failed_in_row = 0;
            members.push(Member { stream: Some(stream), sent: 0, answer: Vec::new(), answer_bytes: 0 });
        }
        let unconnected = count - members.len();
        Self { members, unconnected }
    }

    /// How many connections the server has not closed, as far as was read.
    pub fn open_count(&self) -> usize {
        self.members.iter().filter(|member| member.stream.is_some()).count()
    }

    /// Calls `act` on all members in turns until it has nothing to do for all, or time is up.
    fn rounds(&mut self, patience: Duration, mut act: impl FnMut(&mut Member) -> Turn) {
        let end = Instant::now() + patience;
        loop {
            let (mut is_done, mut has_moved) = (true, false);
            for member in &mut self.members {
                match act(member) {
                    Turn::Done => {}
                    Turn::Moved => (is_done, has_moved) = (false, true),
                    Turn::Waits => is_done = false,
                }
            }
            if is_done || Instant::now() > end {
                return;
            }
            if !has_moved {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Sends the same bytes on each connection, as far as the server takes them in time.
    pub fn send(&mut self, bytes: &[u8], patience: Duration) {
        for member in &mut self.members {
            member.sent = 0;
        }
        self.rounds(patience, |member| {
            if member.stream.is_none() || member.sent >= bytes.len() {
                Turn::Done
            } else if member.push(bytes) {
                Turn::Moved
            } else {
                Turn::Waits
            }
        });
    }

    /// Sends bytes in pieces of `piece`, one on each connection in turn, with a wait between, until
    /// all is sent or time is up.
    pub fn drip(&mut self, bytes: &[u8], piece: usize, wait: Duration, patience: Duration) {
        let end = Instant::now() + patience;
        for piece in bytes.chunks(piece) {
            if Instant::now() > end {
                return;
            }
            self.send(piece, wait);
            std::thread::sleep(wait);
        }
    }

    /// Sends one request on each connection.
    pub fn post(&mut self, path: &str, body: &[u8], patience: Duration) {
        self.send(&request("POST", path, &[], body), patience);
    }

    /// Reads until each member has the status of an answer or has lost its connection, or time is
    /// up.
    pub fn read_statuses(&mut self, patience: Duration) {
        self.rounds(patience, |member| {
            if member.stream.is_none() || member.status().is_some() {
                Turn::Done
            } else if member.pull() {
                Turn::Moved
            } else {
                Turn::Waits
            }
        });
    }

    /// Reads whatever comes until the server has closed every connection, or time is up.
    pub fn read_to_end(&mut self, patience: Duration) {
        self.rounds(patience, |member| {
            if member.stream.is_none() {
                Turn::Done
            } else if member.pull() {
                Turn::Moved
            } else {
                Turn::Waits
            }
        });
    }

    /// Ends every connection by a reset.
    pub fn reset(&mut self) {
        for stream in self.members.iter_mut().filter_map(|member| member.stream.take()) {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Gives the sockets away, such as to other processes.
    pub fn into_streams(self) -> Vec<TcpStream> {
        self.members.into_iter().filter_map(|member| member.stream).collect()
    }

    /// What became of the members so far.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally { unconnected: self.unconnected, ..Tally::default() };
        for member in &self.members {
            match (member.status(), &member.stream) {
                (Some(status), _) => tally.answered(status),
                (None, Some(_)) => tally.silent += 1,
                (None, None) => tally.closed += 1,
            }
            tally.longest = tally.longest.max(member.answer_bytes);
        }
        tally
    }
}

/// What a member did in its turn.
enum Turn {
    Done,
    Moved,
    Waits,
}
