//! One file from the hub into the cache: its parts over several connections, each of which goes on
//! where it broke off, while this thread hashes what is complete from the start on. From a server
//! that knows no ranges it comes over one connection, from the start each time.
use super::address::Address;
use super::api::Hub;
use super::cache::RepositoryCache;
use super::error::HubError;
use super::http::{Ask, Client, Fault, Patience, Reply, broken};
use super::partial::{Part, Partial};
use super::wanted::WantedFile;
use super::watch::Watch;
use crate::load::RepositoryName;
use crate::text::quote::quote;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that are read from a connection, or for the hash, at a time.
const BUFFER_BYTES: usize = 128 << 10;
/// A connection that brings fewer bytes than this in [`SLOW_TIME`] counts as broken.
const SLOW_BYTES: u64 = 16 << 10;
const SLOW_TIME: Duration = Duration::from_secs(60);
/// Bytes that have to come before the tries for a part no longer count.
const PROGRESS_BYTES: u64 = 64 << 10;

/// What the connections of one file share.
struct Shared<'f> {
    hub: &'f Hub,
    name: &'f RepositoryName,
    file: &'f WantedFile,
    partial: &'f Partial,
    watch: &'f dyn Watch,
    /// The address at the hub.
    address: Address,
    state: Mutex<State>,
    /// That the state has changed.
    changed: Condvar,
}

/// How far the parts are.
struct State {
    /// Those that no connection has begun, the next one last.
    waiting: Vec<Part>,
    /// Which parts are complete, by their numbers.
    is_complete: Vec<bool>,
    /// Bytes that are there.
    done: u64,
    /// Where the hub has led to, which is asked directly.
    leads_to: Option<Address>,
    /// Why it ends before all parts are complete.
    end: Option<End>,
}

/// Why the connections end before all parts are complete.
#[derive(Debug)]
enum End {
    /// Something will not succeed.
    Failed(HubError),
    /// The server sends nothing but whole files.
    NoRanges,
    /// Whoever asked knows already.
    Told,
}

impl From<HubError> for End {
    fn from(error: HubError) -> Self {
        Self::Failed(error)
    }
}

/// Fetches a file, unless it is there, and checks its hash. The caller holds its lock.
pub(super) fn fetch(
    hub: &Hub,
    name: &RepositoryName,
    (commit, file): (&str, &WantedFile),
    cache: &RepositoryCache,
    watch: &dyn Watch,
) -> Result<(), HubError> {
    let path = cache.incomplete(&file.hash);
    let address = hub.address(name, commit, &file.path)?;
    let mut partial = Partial::open(&path, file.bytes, hub.settings.transfer.part_bytes)?;
    loop {
        let found = match Shared::new(hub, name, (&address, file), &partial, watch).fetch_parts() {
            Ok(hash) => hash,
            Err(End::Failed(error)) => return Err(error),
            Err(End::NoRanges | End::Told) => {
                partial.reload()?;
                let shared = Shared::new(hub, name, (&address, file), &partial, watch);
                shared.fetch_whole()?;
                hash(&partial, file, |_| Ok(()))?
            }
        };
        if found == file.hash.digits() {
            return partial.complete(&cache.blob(&file.hash));
        }
        if !partial.is_resumed {
            partial.discard()?;
            let expected = file.hash.digits().to_owned();
            return Err(HubError::WrongHash { file: file.path.clone(), expected, found });
        }
        // What an earlier process left may be at fault.
        partial.begin()?;
    }
}

/// The hash of all parts, each of which is read once `wait` says that it is complete.
fn hash<E: From<HubError>>(
    partial: &Partial,
    file: &WantedFile,
    wait: impl Fn(&Part) -> Result<(), E>,
) -> Result<String, E> {
    let mut hasher = file.hash.hasher(file.bytes);
    let mut buffer = vec![0; BUFFER_BYTES];
    for part in partial.parts() {
        wait(part)?;
        let mut at = 0;
        while at < part.bytes {
            let room = (part.bytes - at).min(BUFFER_BYTES as u64) as usize;
            partial.read(part.start + at, &mut buffer[..room])?;
            hasher.update(&buffer[..room]);
            at += room as u64;
        }
    }
    Ok(hasher.digits())
}

impl<'f> Shared<'f> {
    fn new(
        hub: &'f Hub,
        name: &'f RepositoryName,
        (address, file): (&Address, &'f WantedFile),
        partial: &'f Partial,
        watch: &'f dyn Watch,
    ) -> Self {
        let parts = partial.parts();
        let state = State {
            waiting: parts.iter().rev().filter(|part| part.done < part.bytes).copied().collect(),
            is_complete: parts.iter().map(|part| part.done == part.bytes).collect(),
            done: partial.done(),
            leads_to: None,
            end: None,
        };
        let (address, state) = (address.clone(), Mutex::new(state));
        Self { hub, name, file, partial, watch, address, state, changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the parts that are missing; the hash of all.
    fn fetch_parts(&self) -> Result<String, End> {
        let missing = self.state().waiting.len();
        self.watch.reaches(self.partial.done());
        std::thread::scope(|scope| {
            for _ in 0..self.hub.settings.transfer.connections.max(1).min(missing) {
                scope.spawn(|| self.work());
            }
            let hashed = hash(self.partial, self.file, |part| self.wait_for(part));
            if hashed.is_err() {
                self.end(End::Told);
                // Nobody waits for a server that says nothing, to hear what is known already.
                self.hub.reconnect();
            }
            hashed
        })
    }

    /// Waits until a part is complete, or it is certain that it will not be.
    fn wait_for(&self, part: &Part) -> Result<(), End> {
        let is_missing = |state: &mut State| !state.is_complete[part.number] && state.end.is_none();
        let waited = self.changed.wait_while(self.state(), is_missing);
        let end = &mut waited.unwrap_or_else(PoisonError::into_inner).end;
        end.as_mut().map_or(Ok(()), |end| Err(std::mem::replace(end, End::Told)))
    }

    /// Ends all of it; what is said first is why.
    fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Fetches one part after the other, until none is left or all of it ends.
    fn work(&self) {
        loop {
            let mut state = self.state();
            let Some(part) = state.waiting.pop().filter(|_| state.end.is_none()) else { return };
            drop(state);
            match self.fetch_part(part) {
                Err(end) => return self.end(end),
                Ok(()) => self.state().is_complete[part.number] = true,
            }
            self.changed.notify_all();
        }
    }

    /// Fetches one part, however often its connection breaks, as long as it gets on.
    fn fetch_part(&self, mut part: Part) -> Result<(), End> {
        let mut patience = Patience::new(&self.hub.settings.transfer);
        let mut refreshed_at = part.done;
        while part.done < part.bytes {
            let fault = match self.fetch_rest(&mut part) {
                Ok(true) => continue,
                Ok(false) => return Err(End::NoRanges),
                Err(fault) => fault,
            };
            if part.done >= refreshed_at + PROGRESS_BYTES {
                patience.refresh();
                refreshed_at = part.done;
            }
            self.pause(&mut patience, fault)?;
        }
        Ok(())
    }

    /// Pauses before the next try, if there is to be one.
    fn pause(&self, patience: &mut Patience<'_>, fault: Fault) -> Result<(), End> {
        // What breaks once it is over was broken from here.
        if self.state().end.is_some() {
            return Err(End::Told);
        }
        let (error, pause) = patience.pause_after(fault)?;
        self.watch.pauses(&error, pause);
        let waits = |state: &mut State| state.end.is_none();
        let slept = self.changed.wait_timeout_while(self.state(), pause, waits);
        let is_over = slept.unwrap_or_else(PoisonError::into_inner).0.end.is_some();
        if is_over { Err(End::Told) } else { Ok(()) }
    }

    /// Asks once for what is missing of a part, and adds what comes; false if the server sent the
    /// whole file instead.
    fn fetch_rest(&self, part: &mut Part) -> Result<bool, Fault> {
        let is_all = part.bytes == self.file.bytes && part.done == 0;
        let range = Ask::Range(part.start + part.done, part.start + part.bytes - 1);
        let ask = if is_all { Ask::All } else { range };
        let reply = self.ask(ask)?;
        if reply.status == 200 && !is_all {
            return Ok(false);
        }
        let address = reply.address.clone();
        let mut body = reply.body.into_reader();
        self.add(part, &mut body, &address)?;
        if is_all {
            self.expect_end(&mut body, &address)?;
        }
        Ok(true)
    }

    /// Fetches the whole file over one connection. What is there of a part is read past.
    fn fetch_whole(&self) -> Result<(), HubError> {
        let mut patience = Patience::new(&self.hub.settings.transfer);
        let mut parts = self.partial.parts().to_vec();
        loop {
            let had: u64 = parts.iter().map(|part| part.done).sum();
            let Err(fault) = self.pass_over(&mut parts) else { return Ok(()) };
            if parts.iter().map(|part| part.done).sum::<u64>() >= had + PROGRESS_BYTES {
                patience.refresh();
            }
            match self.pause(&mut patience, fault) {
                Err(End::Failed(error)) => return Err(error),
                Ok(()) | Err(End::NoRanges | End::Told) => {}
            }
        }
    }

    /// Reads the whole file once, and adds what is missing of each part.
    fn pass_over(&self, parts: &mut [Part]) -> Result<(), Fault> {
        let reply = self.ask(Ask::All)?;
        let address = reply.address.clone();
        let mut body = reply.body.into_reader();
        for part in parts {
            let copied = std::io::copy(&mut body.by_ref().take(part.done), &mut std::io::sink());
            match copied {
                Ok(copied) if copied == part.done => self.add(part, &mut body, &address)?,
                Ok(_) => return Err(self.ended_early(&address)),
                Err(error) => return Err(broken(&address, &error)),
            }
        }
        self.expect_end(&mut body, &address)
    }

    /// Asks where the hub has led before, else the hub, for an answer that agrees with what the hub
    /// announced. An address that the hub gave may end to be valid; then it gives another.
    fn ask(&self, ask: Ask) -> Result<Reply, Fault> {
        let client = self.client()?;
        let known = self.state().leads_to.clone();
        if let Some(known) = known {
            let reply = client.ask(&known, ask)?;
            if matches!(reply.status, 200 | 206) {
                self.file.check(&reply, ask)?;
                return Ok(reply);
            }
            self.state().leads_to = None;
        }
        let reply = client.ask(&self.address, ask)?;
        let reply = self.hub.checked(reply, self.name, Some(&self.file.path))?;
        if !reply.address.is_of_hub() {
            self.state().leads_to = Some(reply.address.clone());
        }
        self.file.check(&reply, ask)?;
        Ok(reply)
    }

    /// The connections over which this asks. It is looked after they are taken whether all is over,
    /// since it is said to be over before they are closed: so none is missed that waits.
    fn client(&self) -> Result<Arc<Client>, Fault> {
        let client = self.hub.client();
        if self.state().end.is_some() { Err(self.not_needed(&self.address)) } else { Ok(client) }
    }

    fn not_needed(&self, address: &Address) -> Fault {
        let what = "was not needed any more".to_owned();
        Fault::passing(HubError::Connection { host: address.host(), what })
    }

    fn ended_early(&self, address: &Address) -> Fault {
        let what = format!("{} ended before it was complete", quote(&self.file.path));
        Fault::passing(HubError::Connection { host: address.host(), what })
    }

    fn expect_end(&self, body: &mut impl Read, address: &Address) -> Result<(), Fault> {
        if matches!(body.read(&mut [0]), Ok(0) | Err(_)) {
            return Ok(());
        }
        let what = format!("sends more than the {} bytes that the hub announced", self.file.bytes);
        Err(HubError::answer(&address.text(), what).into())
    }

    /// Adds what comes to a part, until it is complete.
    fn add(&self, part: &mut Part, body: &mut impl Read, address: &Address) -> Result<(), Fault> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let (mut since, mut recent) = (Instant::now(), 0);
        while part.done < part.bytes {
            let room = (part.bytes - part.done).min(BUFFER_BYTES as u64) as usize;
            let read = body.read(&mut buffer[..room]).map_err(|error| broken(address, &error))?;
            if read == 0 {
                return Err(self.ended_early(address));
            }
            self.partial.add(part, &buffer[..read])?;
            let done = {
                let mut state = self.state();
                state.done += read as u64;
                state.done
            };
            self.watch.reaches(done);
            recent += read as u64;
            if since.elapsed() > SLOW_TIME {
                if recent < SLOW_BYTES {
                    let what = format!("sent {recent} bytes in {} s", SLOW_TIME.as_secs());
                    return Err(Fault::passing(HubError::Connection { host: address.host(), what }));
                }
                (since, recent) = (Instant::now(), 0);
            }
            if self.state().end.is_some() {
                return Err(self.not_needed(address));
            }
        }
        Ok(())
    }
}
