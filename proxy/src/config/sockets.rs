//! That no two sockets of the proxy want the same address, and that no endpoint is the proxy itself.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::address::Address;
use super::admin::RawAdmin;
use super::endpoint::RawEndpoint;
use super::error::Fault;
use super::listen::RawListen;

/// A socket that is to listen.
struct Socket {
    address: SocketAddr,
    /// Where the file names it; empty where it is a default.
    at: Range<usize>,
    /// What listens there.
    setting: &'static str,
}

/// Checks the addresses for clients and the one for operators against each other.
pub(super) fn check_apart(listen: &RawListen, admin: &RawAdmin) -> Result<(), Fault> {
    let mut sockets: Vec<Socket> = Vec::new();
    let clients = listen.addresses.get_ref().iter().map(|address| Socket {
        address: address.get_ref().0,
        at: address.span(),
        setting: "listen.addresses",
    });
    let operators = admin.address.get_ref().map(|address| Socket {
        address,
        at: admin.address.span(),
        setting: "admin.address",
    });
    for socket in clients.chain(operators) {
        if let Some(other) = sockets.iter().find(|other| overlap(other, &socket)) {
            return Err(clash(other, socket));
        }
        sockets.push(socket);
    }
    Ok(())
}

/// Checks that no endpoint is where clients are listened to: the proxy would be its own client
/// until it has no connection left. Names are not looked up.
pub(super) fn check_no_loop(listen: &RawListen, endpoints: &[RawEndpoint]) -> Result<(), Fault> {
    for endpoint in endpoints {
        let mut addresses = listen.addresses.get_ref().iter();
        let own = addresses.find(|own| leads_to(endpoint.address.get_ref(), own.get_ref().0));
        if let Some(own) = own {
            let message = format!(
                "the proxy itself listens there (\"{}\" in listen.addresses); write the address \
                 of the server",
                own.get_ref().0
            );
            return Err(Fault::new(endpoint.address.span(), message));
        }
    }
    Ok(())
}

fn leads_to(endpoint: &Address, own: SocketAddr) -> bool {
    let is_own = |ip: IpAddr| ip == own.ip() || own.ip().is_unspecified() && ip.is_loopback();
    let is_here = match endpoint.host.parse() {
        Ok(ip) => is_own(ip),
        Err(_) => {
            endpoint.host == "localhost" && (own.ip().is_loopback() || own.ip().is_unspecified())
        }
    };
    endpoint.port == own.port() && is_here
}

/// Whether the system lets only one of them listen. `[::]` may leave IPv4 to others, as the system
/// is set up.
fn overlap(one: &Socket, other: &Socket) -> bool {
    let (one, other) = (one.address, other.address);
    // With port 0 the system chooses a free one.
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn clash(first: &Socket, second: Socket) -> Fault {
    let (address, setting) = (first.address, first.setting);
    let message = format!(
        "\"{}\" ({}) is taken by \"{address}\" ({setting}); give each an address of its own",
        second.address, second.setting
    );
    // A default stands nowhere.
    let at = match second.at.is_empty() {
        true => first.at.clone(),
        false => second.at,
    };
    Fault::new(at, message)
}
