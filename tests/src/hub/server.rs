//! The servers of the hub on loopback: HTTP as far as a download needs it, and faults by rules.
use super::repository::{Access, COMMIT, Repository};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The token that private and gated repositories ask for.
pub const TOKEN: &str = "hf_loopback";

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The hub itself, which has small files.
    Hub,
    /// The server that large files are fetched from.
    Store,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The server that was asked.
    pub side: Side,
    /// The method: `GET` or `HEAD`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The first and last byte that were asked for.
    pub range: Option<(u64, u64)>,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// Bytes of content that were sent.
    pub sent: u64,
}

/// What a rule does to an answer.
#[derive(Clone, Debug)]
pub enum Does {
    /// Answers with this status and these header lines instead.
    Status(u16, &'static str),
    /// Closes the connection after so many bytes of content.
    CutAfter(u64),
    /// Sends so many bytes of content and no more, until the hub is told to go on.
    HoldAfter(u64),
    /// Sends all, whatever range was asked for.
    IgnoresRanges,
    /// Sends a content with another byte in the middle.
    Spoils,
    /// Sends another content in its place.
    Sends(Vec<u8>),
    /// Says in `Content-Range` that it is another range.
    LiesOfRange,
}

/// A rule: it is applied to the next `times` requests whose path has `part`.
struct Rule {
    side: Side,
    part: String,
    times: usize,
    does: Does,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    /// Requests, each with its number.
    seen: Vec<(u64, Seen)>,
    /// Requests, those among them that were asked for already.
    count: u64,
    /// Answers that are held.
    held: usize,
    goes_on: bool,
}

impl State {
    /// Notes how much of its content a request gets, unless somebody has asked for it already.
    fn sends(&mut self, number: u64, bytes: usize) {
        if let Some((_, seen)) = self.seen.iter_mut().find(|(of, _)| *of == number) {
            seen.sent = bytes as u64;
        }
    }
}

struct Shared {
    repositories: Vec<Repository>,
    state: Mutex<State>,
    changed: Condvar,
    has_ended: AtomicBool,
    store: String,
}

/// The hub and its store, each on a port of its own, until it is dropped.
pub struct FakeHub {
    shared: Arc<Shared>,
    /// The address of the hub.
    pub endpoint: String,
    addresses: Vec<std::net::SocketAddr>,
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.go_on();
        self.shared.has_ended.store(true, Ordering::SeqCst);
        // Whoever waits for a connection gets one and sees that it is over.
        self.addresses.iter().for_each(|address| drop(TcpStream::connect(address)));
    }
}

impl FakeHub {
    /// Serves repositories.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(repositories: Vec<Repository>) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
        let [hub, store] = addresses.map(|address| format!("http://{address}"));
        let shared = Arc::new(Shared {
            repositories,
            state: Mutex::default(),
            changed: Condvar::new(),
            has_ended: AtomicBool::new(false),
            store,
        });
        for (listener, side) in listeners.into_iter().zip([Side::Hub, Side::Store]) {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if shared.has_ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    // A connection that breaks is the end of its thread alone.
                    std::thread::spawn(move || shared.serve(stream, side));
                }
            });
        }
        Self { shared, endpoint: hub, addresses: addresses.to_vec() }
    }

    /// Does something to the next `times` requests of a server whose path has `part`.
    pub fn rule(&self, side: Side, part: &str, times: usize, does: Does) {
        self.shared.state().rules.push(Rule { side, part: part.to_owned(), times, does });
    }

    /// Forgets all rules; answers that are held stay so.
    pub fn forget_rules(&self) {
        self.shared.state().rules.clear();
    }

    /// Waits until `count` answers are held.
    ///
    /// # Panics
    /// If a thread of the hub has.
    pub fn wait_for_held(&self, count: usize) {
        let state = self.shared.state();
        drop(self.shared.changed.wait_while(state, |state| state.held < count).expect("no panic"));
    }

    /// Lets held answers go on, and holds none any more.
    pub fn go_on(&self) {
        self.shared.state().goes_on = true;
        self.shared.changed.notify_all();
    }

    /// The requests since this was asked last.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.state().seen).into_iter().map(|(_, seen)| seen).collect()
    }
}

/// What matters of a request's head.
struct Head {
    method: String,
    path: String,
    range: Option<(u64, u64)>,
    authorization: Option<String>,
}

/// An answer before its rules.
struct Answer {
    status: u16,
    headers: String,
    content: Vec<u8>,
}

impl Answer {
    fn error(status: u16, code: &str) -> Self {
        Self {
            status,
            headers: format!("X-Error-Code: {code}\r\nX-Error-Message: {code}\r\n"),
            content: Vec::new(),
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<Head> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut head = Head { method, path, range: None, authorization: None };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some(head) };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => head.authorization = Some(value.trim().to_owned()),
            "range" => {
                let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
                head.range = Some((first.parse().ok()?, last.parse().ok()?));
            }
            _ => {}
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the requests of a connection, one after the other.
    fn serve(&self, stream: TcpStream, side: Side) {
        let Ok(reader) = stream.try_clone() else { return };
        let mut reader = BufReader::new(reader);
        while let Some(head) = read_head(&mut reader) {
            let answer = match side {
                Side::Hub => self.of_hub(&head),
                Side::Store => self.of_store(&head),
            };
            if self.send(&stream, side, &head, answer).is_none() {
                return;
            }
        }
    }

    fn of_hub(&self, head: &Head) -> Answer {
        let path = head.path.split('?').next().unwrap_or_default().replace("%2F", "/");
        let of_api = path.strip_prefix("/api/models/");
        let rest = of_api.unwrap_or(path.trim_start_matches('/'));
        let mut words = rest.splitn(3, '/');
        let id = format!("{}/{}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let Some(repository) = self.repositories.iter().find(|repository| repository.id == id) else {
            // Whoever is not known is not told what there is.
            let status = if head.authorization.is_some() { 404 } else { 401 };
            return Answer::error(status, "RepoNotFound");
        };
        let is_known = head.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
        match repository.access {
            _ if head.authorization.is_some() && !is_known => return Answer::error(401, ""),
            Access::Private if !is_known => return Answer::error(401, "RepoNotFound"),
            Access::Gated if !is_known => return Answer::error(401, "GatedRepo"),
            _ => {}
        }
        let rest = words.next().unwrap_or("revision/main");
        let json = |value: serde_json::Value| Answer {
            status: 200,
            headers: "Content-Type: application/json\r\n".to_owned(),
            content: value.to_string().into_bytes(),
        };
        match (of_api.is_some(), rest.split_once('/')) {
            (true, Some(("revision", revision))) if repository.has_revision(revision) => {
                json(repository.info())
            }
            (true, Some(("tree", revision))) if repository.has_revision(revision) => json(repository.tree()),
            (false, Some(("resolve", rest))) => self.file(repository, rest),
            _ => Answer::error(404, "RevisionNotFound"),
        }
    }

    /// A small file, or where a large one is.
    fn file(&self, repository: &Repository, rest: &str) -> Answer {
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let Some(file) = repository.files.get(path) else { return Answer::error(404, "EntryNotFound") };
        let digits = file.digits();
        let commit = format!("X-Repo-Commit: {COMMIT}\r\n");
        if !file.is_large {
            let headers = format!("{commit}ETag: \"{digits}\"\r\n");
            return Answer { status: 200, headers, content: file.content.clone() };
        }
        let (size, store) = (file.content.len(), &self.store);
        let headers = format!(
            "{commit}X-Linked-Etag: \"{digits}\"\r\nX-Linked-Size: {size}\r\nETag: \"other\"\r\n\
             Location: {store}/{digits}?signature=secret\r\n"
        );
        Answer { status: 302, headers, content: Vec::new() }
    }

    fn of_store(&self, head: &Head) -> Answer {
        let digits = head.path.trim_start_matches('/').split('?').next().unwrap_or_default();
        let mut files = self.repositories.iter().flat_map(|repository| repository.files.values());
        match files.find(|file| file.is_large && file.digits() == digits) {
            Some(file) => Answer { status: 200, headers: String::new(), content: file.content.clone() },
            None => Answer::error(404, ""),
        }
    }

    /// Notes a request, of which nothing was sent yet: its number, and the rule for it, if there is
    /// one. Both at once, so that whoever sees what a rule does to one request sees it noted, too.
    fn begin(&self, side: Side, head: &Head) -> (u64, Option<Does>) {
        let mut state = self.state();
        let is_for = |rule: &&mut Rule| rule.times > 0 && rule.side == side && head.path.contains(&rule.part);
        let rule = state.rules.iter_mut().find(is_for).map(|rule| {
            rule.times -= 1;
            rule.does.clone()
        });
        let seen = Seen {
            side,
            method: head.method.clone(),
            path: head.path.clone(),
            range: head.range,
            authorization: head.authorization.clone(),
            sent: 0,
        };
        state.count += 1;
        let number = state.count;
        state.seen.push((number, seen));
        (number, rule)
    }

    /// Sends an answer as its rule says; `None` if the connection ends with it.
    fn send(&self, mut stream: &TcpStream, side: Side, head: &Head, mut answer: Answer) -> Option<()> {
        let (number, rule) = self.begin(side, head);
        match &rule {
            Some(Does::Status(status, headers)) => {
                answer = Answer { status: *status, headers: (*headers).to_owned(), content: Vec::new() };
            }
            Some(Does::Sends(content)) => answer.content = content.clone(),
            Some(Does::Spoils) => {
                let middle = answer.content.len() / 2;
                answer.content.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
            }
            _ => {}
        }
        let whole = answer.content.len() as u64;
        let range = head.range.filter(|(first, last)| answer.status == 200 && first <= last && *last < whole);
        if let Some((first, last)) = range.filter(|_| !matches!(rule, Some(Does::IgnoresRanges))) {
            answer.status = 206;
            let told = if matches!(rule, Some(Does::LiesOfRange)) { first + 1 } else { first };
            answer.headers += &format!("Content-Range: bytes {told}-{last}/{whole}\r\n");
            answer.content = answer.content[first as usize..=last as usize].to_vec();
        }
        let length = answer.content.len();
        let start =
            format!("HTTP/1.1 {} Told\r\n{}Content-Length: {length}\r\n\r\n", answer.status, answer.headers);
        let content = if head.method == "HEAD" { &[][..] } else { &answer.content };
        let until = match rule {
            Some(Does::CutAfter(bytes) | Does::HoldAfter(bytes)) => content.len().min(bytes as usize),
            _ => content.len(),
        };
        // Before it is sent: whoever has it may ask at once what was.
        self.state().sends(number, until);
        stream.write_all(start.as_bytes()).and_then(|()| stream.write_all(&content[..until])).ok()?;
        match rule {
            Some(Does::CutAfter(_)) => None,
            Some(Does::HoldAfter(_)) => {
                let mut state = self.state();
                state.held += 1;
                self.changed.notify_all();
                let waited = self.changed.wait_while(state, |state| !state.goes_on);
                waited.unwrap_or_else(PoisonError::into_inner).sends(number, content.len());
                stream.write_all(&content[until..]).ok()
            }
            _ => Some(()),
        }
    }
}
