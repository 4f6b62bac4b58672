//! A proxy on loopback that connects whoever asks, by `CONNECT` of HTTP.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A proxy, until it is dropped.
#[derive(Debug)]
pub struct FakeProxy {
    /// Its host and port.
    pub address: SocketAddr,
    connected: Arc<Mutex<Vec<String>>>,
    has_ended: Arc<AtomicBool>,
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::SeqCst);
        // It hears of that when the next client comes.
        let _ = TcpStream::connect(self.address);
    }
}

impl FakeProxy {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub fn start() -> Self {
        Self::listen(connect)
    }

    /// Listens on a free port, and has `connect` answer each client on a thread of its own, which
    /// notes the host and port before it connects; `None` if either end breaks.
    pub(super) fn listen(connect: fn(TcpStream, &Mutex<Vec<String>>) -> Option<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connected, has_ended) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (told, is_over) = (Arc::clone(&connected), Arc::clone(&has_ended));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let told = Arc::clone(&told);
                std::thread::spawn(move || connect(client, &told));
            }
        });
        Self { address, connected, has_ended }
    }

    /// The hosts and ports to which it has connected, as they were asked for.
    ///
    /// # Panics
    /// If one of its threads has.
    pub fn connected(&self) -> Vec<String> {
        self.connected.lock().expect("no panic").clone()
    }
}

/// Reads the head of a client's request, and connects it with the host that it has named.
fn connect(mut client: TcpStream, told: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = BufReader::new(client.try_clone().ok()?);
    let mut line = String::new();
    head.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    while head.read_line(&mut line).is_ok_and(|count| count > 2) {}
    told.lock().expect("no panic").push(target.clone());
    let server = TcpStream::connect(target).ok()?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
    join(client, server);
    Some(())
}

/// Passes bytes on between two connections, until either ends.
pub(super) fn join(client: TcpStream, server: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    };
    if let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) {
        std::thread::spawn(move || copy(from_client, to_server));
        copy(server, client);
    }
}
