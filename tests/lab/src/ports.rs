use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Ports below the range from which the kernel takes those of outgoing connections,
/// so that a server that restarts finds its port free.
const FIRST: u64 = 10_000;
const COUNT: u64 = 22_000;

/// Those that this program has picked. It picks none twice: nobody listens on that of a link that is
/// cut, and whoever tries it must not find the server of another lab.
static PICKED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1 on which nobody listens just now, picked at random, so that
/// labs of several programs rarely meet; whoever uses it must still be ready to try another.
///
/// # Panics
///
/// If all have been picked.
pub(crate) fn pick() -> SocketAddr {
    let mut picked = PICKED.lock().unwrap_or_else(PoisonError::into_inner);
    assert!((picked.len() as u64) < COUNT, "all ports have been picked");
    loop {
        let random = RandomState::new().hash_one(0_u8);
        let port = (FIRST + random % COUNT) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if picked.insert(port) && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Two of them.
pub(crate) fn pick_two() -> [SocketAddr; 2] {
    [pick(), pick()]
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
    fn no_port_is_picked_twice() {
        let picked: BTreeSet<_> = (0..1000).map(|_| pick()).collect();
        assert_eq!(picked.len(), 1000);
    }

    #[test]
    fn a_listener_is_seen_and_its_end_too() {
        let listener = TcpListener::bind(pick()).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_listening(port));
        drop(listener);
        assert!(!is_listening(port));
    }
}
