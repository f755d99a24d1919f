//! Whether the time of a refused login tells an unknown user from a wrong password
//! (`scripts/bench login-timing`).
//!
//! Logins of both kinds take turns, in random order, against a proxy of its own. If the two kinds
//! take equally long, as many logins of one are slower than one of the other as are faster: the
//! test of Mann and Whitney says how likely the difference is by chance.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use isthmus_lab::{Proxy, ProxyAddresses, Sandbox};
use isthmus_protocol::auth::Plugin;
use isthmus_protocol::auth::caching_sha2::{FULL_AUTH, REQUEST_PUBLIC_KEY};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::handshake::{Greeting, Login};
use isthmus_protocol::packet::{self, HEADER_LEN, Header};

type Failure = Box<dyn std::error::Error>;

/// Measures how long refused logins take.
#[derive(Parser)]
struct Arguments {
    /// Logins of each kind and each method.
    #[arg(long, default_value_t = 5000)]
    rounds: usize,
}

const KNOWN: &str = "ada";
/// As long as the other, so that the packets are.
const UNKNOWN: &str = "bob";
/// Beyond so many standard deviations it is no chance.
const LIMIT: f64 = 4.0;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Failure> {
    let rounds = Arguments::parse().rounds;
    let sandbox = Sandbox::new()?;
    let mut is_told_apart = false;
    println!("| method | login | p10 µs | p25 | p50 | p75 | p90 |");
    println!("| --- | --- | --: | --: | --: | --: | --: |");
    for plugin in [Plugin::CachingSha2Password, Plugin::MysqlNativePassword] {
        let proxy = Proxy::start(&sandbox, |addresses| config(addresses, plugin)).await?;
        let (mut known, mut unknown) = measure(proxy.address(), plugin, rounds)?;
        known.sort_unstable();
        unknown.sort_unstable();
        for (login, times) in [("wrong password", &known), ("unknown user", &unknown)] {
            print!("| {} | {login} |", plugin.name());
            for percent in [10, 25, 50, 75, 90] {
                let at = times.get(times.len() * percent / 100);
                print!(" {} |", at.map_or(0, Duration::as_micros));
            }
            println!();
        }
        let (share, deviations) = compare(&known, &unknown);
        println!(
            "| | a wrong password is slower in {:.1} % of pairs, {deviations:+.1} standard deviations from half | | | | | |",
            share * 100.0
        );
        is_told_apart |= deviations.abs() > LIMIT;
    }
    Ok(ExitCode::from(u8::from(is_told_apart)))
}

/// A proxy without a server that can be reached: nobody gets as far as that.
fn config(addresses: ProxyAddresses, plugin: Plugin) -> String {
    format!(
        "region = \"here\"\n\
         [listen]\naddresses = [\"{}\"]\nauth_plugin = \"{}\"\n\
         [admin]\naddress = \"off\"\n\
         [log]\nlevel = \"error\"\n\
         [[users]]\nname = \"{KNOWN}\"\npassword = \"secret\"\n\
         [[endpoints]]\nname = \"none\"\naddress = \"127.0.0.1:1\"\nregion = \"here\"\nrole = \"writer\"\n",
        addresses.listen,
        plugin.name(),
    )
}

/// The times of refused logins: with a wrong password, and of an unknown user.
fn measure(
    address: SocketAddr,
    plugin: Plugin,
    rounds: usize,
) -> Result<(Vec<Duration>, Vec<Duration>), Failure> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..rounds {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if random & 1 == 0 {
            known.push(refused_login(address, plugin, KNOWN)?);
            unknown.push(refused_login(address, plugin, UNKNOWN)?);
        } else {
            unknown.push(refused_login(address, plugin, UNKNOWN)?);
            known.push(refused_login(address, plugin, KNOWN)?);
        }
    }
    Ok((known, unknown))
}

/// How long it takes from the login to the refusal, all that is asked in between answered.
fn refused_login(address: SocketAddr, plugin: Plugin, user: &str) -> Result<Duration, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (_, greeting) = receive(&mut stream)?;
    let greeting = Greeting::parse(&greeting)?;
    let mut login = Vec::new();
    Login {
        capabilities: Capabilities::PROTOCOL_41
            | Capabilities::LONG_PASSWORD
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH,
        max_packet_size: 1 << 24,
        collation: 45,
        user: user.into(),
        auth_response: plugin.response(b"wrong", &greeting.nonce),
        database: None,
        auth_plugin: Some(plugin.name().into()),
        attributes: Vec::new(),
        zstd_level: None,
    }
    .encode(&mut login)?;
    let start = Instant::now();
    send(&mut stream, 1, &login)?;
    loop {
        let (sequence, payload) = receive(&mut stream)?;
        let answer: &[u8] = match payload.as_slice() {
            [0xFF, ..] => return Ok(start.elapsed()),
            [0x01, FULL_AUTH] => &[REQUEST_PUBLIC_KEY],
            // The key: nothing that it opens.
            [0x01, ..] => &[0x5A; 256],
            other => return Err(format!("not a refusal: {other:?}").into()),
        };
        send(&mut stream, sequence.wrapping_add(1), answer)?;
    }
}

fn send(stream: &mut TcpStream, sequence: u8, payload: &[u8]) -> io::Result<()> {
    let mut out = Vec::new();
    packet::put(&mut out, sequence, payload);
    stream.write_all(&out)
}

fn receive(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head)?;
    let header = Header::parse(&head).ok_or(io::ErrorKind::InvalidData)?;
    let mut payload = vec![0; header.length];
    stream.read_exact(&mut payload)?;
    Ok((header.sequence, payload))
}

/// For two sorted samples: in which share of all pairs the first is the slower one (half for
/// equal ones), and how many standard deviations that is from a half.
fn compare(first: &[Duration], second: &[Duration]) -> (f64, f64) {
    let below = |time: &Duration| {
        let less = second.partition_point(|other| other < time);
        let not_more = second.partition_point(|other| other <= time);
        (less + not_more) as f64 / 2.0
    };
    let wins: f64 = first.iter().map(below).sum();
    let (n, m) = (first.len() as f64, second.len() as f64);
    let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
    (wins / (n * m), (wins - n * m / 2.0) / deviation)
}
