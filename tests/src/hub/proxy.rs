//! A proxy on loopback that connects (`CONNECT`) whoever asks.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A proxy, until it is dropped.
#[derive(Debug)]
pub struct FakeProxy {
    /// Its address, as a variable of the environment has it.
    pub url: String,
    address: SocketAddr,
    connected: Arc<Mutex<Vec<String>>>,
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(b"END\r\n\r\n");
        }
    }
}

impl FakeProxy {
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
            for client in listener.incoming().map_while(Result::ok) {
                let mut head = BufReader::new(client.try_clone().expect("a descriptor"));
                let mut line = String::new();
                if head.read_line(&mut line).is_err() || line.starts_with("END") {
                    return;
                }
                let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
                while head.read_line(&mut line).is_ok_and(|count| count > 2) {}
                told.lock().expect("no panic").push(target.clone());
                std::thread::spawn(move || tunnel(client, &target));
            }
        });
        Self { url: format!("http://{address}"), address, connected }
    }

    /// The hosts and ports to which it has connected.
    ///
    /// # Panics
    /// If its thread has.
    pub fn connected(&self) -> Vec<String> {
        self.connected.lock().expect("no panic").clone()
    }
}

/// Connects a client with the host that it has named.
fn tunnel(mut client: TcpStream, target: &str) {
    let Ok(server) = TcpStream::connect(target) else { return };
    if client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").is_ok() {
        join(client, server);
    }
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
