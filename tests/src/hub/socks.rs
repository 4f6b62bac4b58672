//! A SOCKS 5 proxy on loopback (RFC 1928), which takes every name for this machine.
use super::proxy::join;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The kinds of address in a request.
const IPV4: u8 = 1;
const NAME: u8 = 3;

/// A proxy, until it is dropped.
#[derive(Debug)]
pub struct FakeSocks {
    /// Its host and port.
    pub address: SocketAddr,
    connected: Arc<Mutex<Vec<String>>>,
}

impl Drop for FakeSocks {
    fn drop(&mut self) {
        // A version that there is not ends it.
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(&[0, 0]);
        }
    }
}

impl FakeSocks {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connected = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&connected);
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let mut start = [0; 2];
                if client.read_exact(&mut start).is_err() || start[0] != 5 {
                    return;
                }
                let told = Arc::clone(&told);
                std::thread::spawn(move || connect(client, start[1], &told));
            }
        });
        Self { address, connected }
    }

    /// The hosts and ports to which it has connected, as they were asked for.
    ///
    /// # Panics
    /// If one of its threads has.
    pub fn connected(&self) -> Vec<String> {
        self.connected.lock().expect("no panic").clone()
    }
}

/// Answers a client that offers so many ways to say who it is, and connects it; `None` if either
/// end breaks.
fn connect(mut client: TcpStream, ways: u8, told: &Mutex<Vec<String>>) -> Option<()> {
    client.read_exact(&mut vec![0; usize::from(ways)]).ok()?;
    // Nobody has to say it.
    client.write_all(&[5, 0]).ok()?;
    let mut request = [0; 4];
    client.read_exact(&mut request).ok()?;
    let host = match request[3] {
        IPV4 => {
            let mut bytes = [0; 4];
            client.read_exact(&mut bytes).ok()?;
            Ipv4Addr::from(bytes).to_string()
        }
        NAME => {
            let mut length = [0];
            client.read_exact(&mut length).ok()?;
            let mut name = vec![0; usize::from(length[0])];
            client.read_exact(&mut name).ok()?;
            String::from_utf8(name).ok()?
        }
        _ => return None,
    };
    let mut port = [0; 2];
    client.read_exact(&mut port).ok()?;
    let port = u16::from_be_bytes(port);
    told.lock().expect("no panic").push(format!("{host}:{port}"));
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    client.write_all(&[5, 0, 0, IPV4, 0, 0, 0, 0, 0, 0]).ok()?;
    join(client, server);
    Some(())
}
