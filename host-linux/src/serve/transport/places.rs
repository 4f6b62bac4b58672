//! Places for connections: how many there are, who has one, and who must give it up.
//!
//! A connection is idle until a request has come whole, and again after its answer. When places run
//! out, the connection that has been idle for longest is evicted, so that a newcomer finds a place
//! unless a request runs on every one. A slow head or body is idle in this sense, and so is, after
//! a while, an answer that its client does not read. Where bodies have no room, those go that have
//! been coming for longest.
//!
//! Where a request runs on every one, a newcomer gets one of a few brief places, on which it may
//! ask how the server is and nothing else. Those are never all taken for long: the oldest of them
//! goes when another newcomer comes.
use super::limits::BRIEF_PLACES;
use super::stream::Stream;
use super::traffic::{BodyKind, Traffic};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Evicted connections whose threads have not closed them yet. More of them are waited for, since
/// they still hold descriptors.
const LEAVING_MAX: usize = 16;
/// How long to wait for them.
const LEAVING_TIME: Duration = Duration::from_millis(20);
/// How long an answer must have waited for its client to read, for the place to go to another
/// though a request runs on it.
const STALLED_TIME: Duration = Duration::from_secs(5);

/// A request is being answered.
const BUSY: u64 = 0;
/// It only waits for its client to read, and goes before all others.
const YIELDS: u64 = 1;
/// The place was given to another.
const EVICTED: u64 = u64::MAX;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Every place has a request.
    Server,
    /// Every place of the client's address has a request.
    Address,
}

/// A connection that has a place.
#[derive(Debug)]
struct Seat {
    stream: Arc<Stream>,
    address: Option<IpAddr>,
    /// Whether the place is one of the brief ones, which count for no address.
    is_brief: bool,
    /// [`BUSY`], [`EVICTED`], [`YIELDS`], or the time since which it is idle, in milliseconds.
    state: AtomicU64,
    /// Whether a head has come whose body has not, which is a request's or a file.
    has_half: [AtomicBool; 2],
}

impl Seat {
    /// When its turn comes to be given to another, the least first, and the state that it is in;
    /// `None` while a request runs on it.
    fn turn(&self) -> Option<((bool, u64), u64)> {
        let state = self.state.load(Ordering::SeqCst);
        if state != BUSY {
            return Some(((false, state), state));
        }
        let waits = self.stream.waits_for().filter(|waits| *waits >= STALLED_TIME)?;
        let millis = u64::try_from(waits.as_millis()).unwrap_or(u64::MAX);
        Some(((true, u64::MAX - millis), BUSY))
    }
}

#[derive(Debug, Default)]
struct Seats {
    taken: HashMap<u64, Arc<Seat>>,
    /// Of those, the brief ones.
    brief: usize,
    by_address: HashMap<IpAddr, usize>,
    next: u64,
    /// Connections that were evicted and are still open.
    leaving: usize,
}

/// Connections among which one is looked for.
#[derive(Clone, Copy, Debug)]
enum Among {
    All,
    /// Those that have a place of their own.
    Lasting,
    /// Those of them that come from an address.
    Of(IpAddr),
    Brief,
    /// Those whose body is coming, which is of a kind.
    Halves(BodyKind),
}

impl Among {
    fn has(self, seat: &Seat) -> bool {
        match self {
            Self::All => true,
            Self::Lasting => !seat.is_brief,
            Self::Of(address) => !seat.is_brief && seat.address == Some(address),
            Self::Brief => seat.is_brief,
            Self::Halves(kind) => seat.has_half[kind as usize].load(Ordering::SeqCst),
        }
    }
}

impl Seats {
    fn free(&mut self, id: u64) -> Option<Arc<Seat>> {
        let seat = self.taken.remove(&id)?;
        if seat.is_brief {
            self.brief -= 1;
        } else if let Some(address) = seat.address
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(seat)
    }

    /// Takes the place of the connection that has been idle for longest. `false` if there is none,
    /// or if that is the one of number `but`.
    fn evict_longest_idle(&mut self, among: Among, but: Option<u64>) -> bool {
        let idle = |(id, seat): (&u64, &Arc<Seat>)| {
            let (turn, state) = seat.turn().filter(|_| among.has(seat))?;
            // Of two, the connection that arrived earlier goes first.
            Some((turn, *id, state))
        };
        // One that begins a request meanwhile is left alone, and another is looked for.
        while let Some((_, id, state)) = self.taken.iter().filter_map(idle).min() {
            if but == Some(id) {
                return false;
            }
            if self.evict(id, state) {
                return true;
            }
        }
        false
    }

    fn evict(&mut self, id: u64, since: u64) -> bool {
        let Some(seat) = self.taken.get(&id) else { return false };
        if seat.state.compare_exchange(since, EVICTED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return false;
        }
        // Its thread reads an end, finds that it was evicted, tells the client and closes it. A
        // client that does not read is past telling.
        let is_stuck = seat.stream.waits_for().is_some();
        seat.stream.shutdown(if is_stuck { Shutdown::Both } else { Shutdown::Read });
        self.free(id);
        self.leaving += 1;
        true
    }
}

/// Whose share of the places a client of this address takes: one client of IPv6 has all addresses
/// that begin with the same 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The places of a server.
#[derive(Debug)]
pub(super) struct Places {
    connections: usize,
    per_address: usize,
    seats: Mutex<Seats>,
    /// Told whenever a connection is closed.
    changed: Condvar,
    start: Instant,
    traffic: Arc<Traffic>,
}

impl Places {
    pub(super) fn new(connections: usize, per_address: usize, traffic: Arc<Traffic>) -> Self {
        Self {
            connections,
            per_address,
            seats: Mutex::default(),
            changed: Condvar::new(),
            start: Instant::now(),
            traffic,
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(0).clamp(YIELDS + 1, EVICTED - 1)
    }

    /// Gives a connection a place, if need be that of the one that has been idle for longest.
    pub(super) fn admit(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        address: Option<IpAddr>,
    ) -> Result<Place, Full> {
        let mut seats = self.seats();
        let address = address.map(network);
        let has_its_share =
            |of: &IpAddr| seats.by_address.get(of).is_some_and(|count| *count >= self.per_address);
        if let Some(address) = address.filter(has_its_share) {
            seats = self.evict(seats, Among::Of(address)).ok_or(Full::Address)?;
        } else if seats.taken.len() - seats.brief >= self.connections {
            seats = self.evict(seats, Among::Lasting).ok_or(Full::Server)?;
        }
        Ok(self.seat(seats, stream, address, None))
    }

    /// Gives a connection that found no place, for this reason, a brief one. `None` if the server
    /// is asked how it is on each of those.
    pub(super) fn admit_briefly(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        address: Option<IpAddr>,
        full: Full,
    ) -> Option<Place> {
        let mut seats = self.seats();
        if seats.brief >= BRIEF_PLACES {
            seats = self.evict(seats, Among::Brief)?;
        }
        Some(self.seat(seats, stream, address, Some(full)))
    }

    /// Frees a place, and waits for a moment if too many are still being left.
    fn evict<'g>(&self, mut seats: MutexGuard<'g, Seats>, among: Among) -> Option<MutexGuard<'g, Seats>> {
        if !seats.evict_longest_idle(among, None) {
            return None;
        }
        self.traffic.evicted.fetch_add(1, Ordering::Relaxed);
        Some(self.wait(seats, LEAVING_TIME, |seats| seats.leaving > LEAVING_MAX))
    }

    /// Seats a connection where there is room; for a brief place, `full` says why it got no other.
    fn seat(
        self: &Arc<Self>,
        mut seats: MutexGuard<'_, Seats>,
        stream: &Arc<Stream>,
        address: Option<IpAddr>,
        full: Option<Full>,
    ) -> Place {
        let id = seats.next;
        seats.next += 1;
        let seat = Arc::new(Seat {
            stream: Arc::clone(stream),
            address,
            is_brief: full.is_some(),
            state: AtomicU64::new(self.now()),
            has_half: Default::default(),
        });
        seats.taken.insert(id, Arc::clone(&seat));
        if seat.is_brief {
            seats.brief += 1;
        } else if let Some(address) = address {
            *seats.by_address.entry(address).or_default() += 1;
        }
        self.traffic.connections.fetch_add(1, Ordering::Relaxed);
        Place { places: Arc::clone(self), id, full, seat: Some(seat) }
    }

    fn wait<'g>(
        &self,
        seats: MutexGuard<'g, Seats>,
        time: Duration,
        goes_on: impl Fn(&Seats) -> bool,
    ) -> MutexGuard<'g, Seats> {
        let waited = self.changed.wait_timeout_while(seats, time, |seats| goes_on(seats));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Frees a descriptor: closes the connection that has been idle for longest, and waits until it
    /// is closed. `false` if a request runs on each.
    pub(super) fn free_a_descriptor(&self) -> bool {
        self.evict_and_wait(Among::All, None)
    }

    fn evict_and_wait(&self, among: Among, but: Option<u64>) -> bool {
        let mut seats = self.seats();
        let evicted = seats.evict_longest_idle(among, but);
        let leaving = seats.leaving;
        if evicted {
            self.traffic.evicted.fetch_add(1, Ordering::Relaxed);
        }
        if leaving > 0 {
            drop(self.wait(seats, LEAVING_TIME, |seats| seats.leaving >= leaving));
        }
        evicted
    }

    /// Closes all connections that have no request.
    pub(super) fn close_idle(&self) {
        let mut seats = self.seats();
        let of = |(id, seat): (&u64, &Arc<Seat>)| (*id, seat.state.load(Ordering::SeqCst));
        let all: Vec<_> = seats.taken.iter().map(of).collect();
        for (id, since) in all.into_iter().filter(|(_, since)| *since != BUSY) {
            seats.evict(id, since);
        }
    }

    /// Waits until all connections are closed, for `time` at most.
    pub(super) fn wait_until_empty(&self, time: Duration) {
        drop(self.wait(self.seats(), time, |seats| !seats.taken.is_empty() || seats.leaving > 0));
    }

    /// Waits until a connection is closed, for `time` at most.
    pub(super) fn wait_for_change(&self, time: Duration) {
        drop(self.changed.wait_timeout(self.seats(), time));
    }
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    /// Why there was none but a brief one.
    full: Option<Full>,
    /// Taken when the place is dropped.
    seat: Option<Arc<Seat>>,
}

impl Place {
    fn state(&self) -> Option<&AtomicU64> {
        self.seat.as_ref().map(|seat| &seat.state)
    }

    /// Why the place is a brief one, if it is: a request for anything else than how the server is
    /// is to be refused for this reason.
    pub(super) fn full(&self) -> Option<Full> {
        self.full
    }

    /// Whether the place was given to another connection: this one is to be closed.
    pub(super) fn is_evicted(&self) -> bool {
        self.state().is_none_or(|state| state.load(Ordering::SeqCst) == EVICTED)
    }

    /// A head has come, and its body follows: from now on it counts how long that takes.
    pub(super) fn awaits_body(&self, kind: BodyKind) {
        let (Some(seat), now) = (&self.seat, self.places.now()) else { return };
        seat.has_half[kind as usize].store(true, Ordering::SeqCst);
        let to_now = |since| (since != EVICTED).then_some(now);
        let _ = seat.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, to_now);
    }

    /// No more of a body is awaited.
    pub(super) fn has_body(&self) {
        if let Some(seat) = &self.seat {
            seat.has_half.iter().for_each(|half| half.store(false, Ordering::SeqCst));
        }
    }

    /// Makes room for the body that comes on this place: of all of its kind that are coming, the
    /// one that has been for longest gives way. `false` if it is that one itself.
    pub(super) fn evict_a_body(&self, kind: BodyKind) -> bool {
        self.places.evict_and_wait(Among::Halves(kind), Some(self.id))
    }

    /// A request has come whole. Until the returned guard is dropped the connection cannot be
    /// evicted. `None` if it was evicted just before.
    pub(super) fn begin(&self) -> Option<Busy<'_>> {
        let state = self.state()?;
        let to_busy = |since| (since != EVICTED).then_some(BUSY);
        state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, to_busy).ok()?;
        self.places.traffic.requests.fetch_add(1, Ordering::SeqCst);
        Some(Busy(self))
    }

    /// The connection only waits for its client to read: it goes before all others.
    pub(super) fn yield_to_all(&self) {
        if let Some(state) = self.state() {
            let _ = state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |since| {
                (since != EVICTED).then_some(YIELDS)
            });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let was_taken = self.places.seats().free(self.id).is_some();
        // The descriptor is closed before anybody is told.
        drop(self.seat.take());
        if !was_taken {
            self.places.seats().leaving -= 1;
        }
        self.places.traffic.connections.fetch_sub(1, Ordering::Relaxed);
        self.places.changed.notify_all();
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy<'p>(&'p Place);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.0.state() {
            let (now, order) = (self.0.places.now(), Ordering::SeqCst);
            let _ = state.fetch_update(order, order, |since| (since != EVICTED).then_some(now));
        }
        self.0.places.traffic.requests.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    const THERE: Option<IpAddr> = Some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));

    fn places(connections: usize, per_address: usize) -> Arc<Places> {
        Arc::new(Places::new(connections, per_address, Arc::default()))
    }

    fn admit(places: &Arc<Places>, address: Option<IpAddr>) -> Result<(Place, UnixStream), Full> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        places.admit(&Arc::new(Stream::from(ours)), address).map(|place| (place, theirs))
    }

    #[test]
    fn the_longest_idle_connection_goes_and_one_with_a_request_stays() {
        let places = places(3, 3);
        let taken: Vec<_> = (0..3).map(|_| admit(&places, HERE).unwrap()).collect();
        let busy = taken[0].0.begin().unwrap();
        let (fourth, _theirs) = admit(&places, HERE).unwrap();
        assert!(!taken[0].0.is_evicted() && taken[1].0.is_evicted() && !taken[2].0.is_evicted());
        assert!(taken[1].0.begin().is_none(), "it was evicted");
        // Who has just answered is the last to go.
        std::thread::sleep(Duration::from_millis(2));
        drop(busy);
        fourth.yield_to_all();
        admit(&places, HERE).unwrap();
        assert!(fourth.is_evicted() && !taken[0].0.is_evicted());
    }

    #[test]
    fn places_with_requests_are_not_taken() {
        let places = places(2, 2);
        let taken: Vec<_> = (0..2).map(|_| admit(&places, HERE).unwrap().0).collect();
        let busy: Vec<_> = taken.iter().map(|place| place.begin().unwrap()).collect();
        assert_eq!(admit(&places, THERE).unwrap_err(), Full::Server);
        assert!(!places.free_a_descriptor());
        drop(busy);
        assert!(admit(&places, THERE).is_ok());
        drop(taken);
        places.wait_until_empty(Duration::from_secs(60));
        assert_eq!(places.traffic.connections.load(Ordering::Relaxed), 0);
        assert_eq!(places.traffic.requests.load(Ordering::Relaxed), 0);
        let seats = places.seats();
        assert!(seats.taken.is_empty() && seats.by_address.is_empty() && seats.leaving == 0);
    }

    #[test]
    fn an_address_has_its_share_and_unix_sockets_have_none() {
        let places = places(6, 2);
        let here: Vec<_> = (0..2).map(|_| admit(&places, HERE).unwrap().0).collect();
        let there = admit(&places, THERE).unwrap().0;
        let third = admit(&places, HERE).unwrap();
        assert!(here[0].is_evicted() && !there.is_evicted(), "the address pays for itself");
        let _busy = [&here[1], &third.0].map(|place| place.begin().unwrap());
        assert_eq!(admit(&places, HERE).unwrap_err(), Full::Address);
        let _unix: Vec<_> = (0..3).map(|_| admit(&places, None).unwrap()).collect();
        assert!(!there.is_evicted(), "there were places left");
    }

    #[test]
    fn where_all_places_have_requests_newcomers_get_brief_ones() {
        let places = places(3, 2);
        let taken: Vec<_> = [HERE, HERE, THERE].map(|from| admit(&places, from).unwrap()).into();
        let busy: Vec<_> = taken.iter().map(|(place, _)| place.begin().unwrap()).collect();
        let briefly = || {
            let (stream, theirs) = Stream::pair();
            places.admit_briefly(&Arc::new(stream), HERE, Full::Address).map(|place| (place, theirs))
        };
        let brief: Vec<_> = (0..BRIEF_PLACES).map(|_| briefly().unwrap()).collect();
        assert!(brief.iter().all(|(place, _)| place.full() == Some(Full::Address)));
        let busy_brief = brief[0].0.begin().unwrap();
        let next = briefly().unwrap();
        let evicted: Vec<bool> = brief.iter().map(|(place, _)| place.is_evicted()).collect();
        assert!(!evicted[0] && evicted[1] && !evicted[2..].contains(&true), "{evicted:?}");
        assert!(taken.iter().all(|(place, _)| !place.is_evicted() && place.full().is_none()));
        // Who has a brief place takes none of the others, and none of its address's share.
        drop(busy);
        assert_eq!(admit(&places, HERE).unwrap().0.full(), None);
        assert!(taken[0].0.is_evicted() && !taken[2].0.is_evicted(), "the address pays for itself");
        drop(busy_brief);
        drop((brief, next, taken));
        let seats = places.seats();
        assert!(seats.brief == 0 && seats.by_address.is_empty() && seats.leaving == 0, "{seats:?}");
    }

    #[test]
    fn who_does_not_read_keeps_no_place_for_long() {
        let places = places(2, 2);
        let seat = |waits: u64| {
            let (stream, theirs) = Stream::pair();
            let stream = Arc::new(stream.waiting_for(Duration::from_millis(waits)));
            (places.admit(&stream, HERE).unwrap(), theirs)
        };
        let stalled = STALLED_TIME.as_millis() as u64;
        let taken = [seat(stalled - 1000), seat(stalled)];
        let busy = taken.each_ref().map(|(place, _)| place.begin().unwrap());
        assert!(admit(&places, THERE).is_ok());
        assert!(!taken[0].0.is_evicted() && taken[1].0.is_evicted());
        assert_eq!((&taken[1].1).read(&mut [0]).unwrap(), 0, "its writes end, too");
        drop(busy);
        assert!(taken[1].0.is_evicted(), "its request has ended, and gives it no place");
        drop(taken);
        assert_eq!(places.seats().leaving, 0);
    }

    #[test]
    fn the_body_that_has_been_coming_for_longest_gives_way() {
        let (places, kind) = (places(4, 4), BodyKind::Request);
        let taken: Vec<_> = (0..4).map(|_| admit(&places, HERE).unwrap()).collect();
        for place in [2, 1, 3] {
            taken[place].0.awaits_body(kind);
            std::thread::sleep(Duration::from_millis(2));
        }
        let _busy = taken[2].0.begin().unwrap();
        taken[2].0.has_body();
        assert!(!taken[1].0.evict_a_body(kind), "it is the one that has been for longest");
        assert!(taken[3].0.evict_a_body(kind));
        let evicted: Vec<bool> = taken.iter().map(|(place, _)| place.is_evicted()).collect();
        assert_eq!(evicted, [false, true, false, false], "not the idle one, nor what is whole");
        assert!(!taken[3].0.evict_a_body(kind), "there is no other");
        // A file gives way to files alone.
        taken[0].0.awaits_body(BodyKind::Upload);
        assert!(!taken[3].0.evict_a_body(kind) && !taken[0].0.is_evicted());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let places = places(9, 2);
        let from = |address: &str| admit(&places, Some(address.parse().unwrap())).unwrap().0;
        let first = from("2001:db8::1");
        let _others = [from("2001:db8::2:0:0:1"), from("2001:db8:0:1::1")];
        assert!(!first.is_evicted());
        let _third = from("2001:db8::3:0:0:1");
        assert!(first.is_evicted());
    }

    #[test]
    fn closing_what_is_idle_leaves_what_is_busy() {
        let places = places(4, 4);
        let taken: Vec<_> = (0..4).map(|_| admit(&places, HERE).unwrap().0).collect();
        let busy = taken[2].begin();
        places.close_idle();
        let evicted: Vec<bool> = taken.iter().map(Place::is_evicted).collect();
        assert_eq!(evicted, [true, true, false, true]);
        drop(busy);
    }
}
