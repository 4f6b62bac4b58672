//! A SOCKS 5 proxy on loopback (RFC 1928), which takes every name for this machine.
use super::proxy::{FakeProxy, join};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Mutex;

/// The kinds of address in a request.
const IPV4: u8 = 1;
const NAME: u8 = 3;

/// Listens on a free port.
///
/// # Panics
/// If there is none.
pub fn start() -> FakeProxy {
    FakeProxy::listen(connect)
}

/// Answers a client, and connects it with the host that it has named.
fn connect(mut client: TcpStream, told: &Mutex<Vec<String>>) -> Option<()> {
    // Its version, and how many ways it offers to say who it is.
    let mut start = [0; 2];
    client.read_exact(&mut start).ok()?;
    if start[0] != 5 {
        return None;
    }
    client.read_exact(&mut vec![0; usize::from(start[1])]).ok()?;
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
