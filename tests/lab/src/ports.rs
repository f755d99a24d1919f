use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

/// Ports below the range from which the kernel takes those of outgoing connections,
/// so that a server that restarts finds its port free.
const FIRST: u64 = 10_000;
const COUNT: u64 = 22_000;

/// A port of 127.0.0.1 on which nobody listens just now, picked at random, so that
/// labs side by side rarely meet; whoever uses it must still be ready to try another.
pub(crate) fn pick() -> SocketAddr {
    loop {
        let random = RandomState::new().hash_one(0_u8);
        let port = FIRST + random % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Two of them.
pub(crate) fn pick_two() -> [SocketAddr; 2] {
    let first = pick();
    loop {
        let second = pick();
        if second != first {
            return [first, second];
        }
    }
}

/// Whether any process listens on this port of 127.0.0.1 or of all addresses. Looks
/// without connecting, so that a server under test sees no stray connection.
pub fn is_listening(port: u16) -> bool {
    [("/proc/net/tcp", 8), ("/proc/net/tcp6", 32)]
        .into_iter()
        .any(|(table, digits)| listens(Path::new(table), digits, port))
}

/// The lines of the table: `  0: 0100007F:0CEA 00000000:0000 0A …`, 0A being LISTEN.
fn listens(table: &Path, digits: usize, port: u16) -> bool {
    let Ok(text) = std::fs::read_to_string(table) else {
        return false;
    };
    let wanted = format!(":{port:04X}");
    text.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        let state = fields.nth(1).unwrap_or_default();
        state == "0A" && local.len() == digits + 5 && local.ends_with(&wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_seen_and_its_end_too() {
        let listener = TcpListener::bind(pick()).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_listening(port));
        drop(listener);
        assert!(!is_listening(port));
    }
}
