//! The PROXY protocol header, versions 1 and 2, that a load balancer puts before a connection to
//! say who the client is: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.
//!
//! Whether a peer may send one at all is the listener's decision: only from trusted networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// No header is longer than this; a reader needs no larger buffer. The standard's 64 KiB for
/// version 2 are room for extensions that nobody sends at such length.
pub const LONGEST_HEADER: usize = 4096;

/// Version 1 with its line break: the standard's own bound.
const LONGEST_V1: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, length.
const V2_FIXED: usize = 16;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header: read more and try again with all of it.
    NeedMore,
    /// A whole header.
    Header {
        /// Who is at the other end.
        source: Source,
        /// How many bytes the header takes; what follows is the client's.
        length: usize,
    },
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The client with this address.
    Client(SocketAddr),
    /// The load balancer itself, such as for a health check, or a client whose address it does
    /// not tell: the peer's address counts.
    Local,
}

/// Why the first bytes of a connection are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyProtocolError {
    /// Neither version begins like this.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// A header longer than the bound.
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// A line of version 1 that breaks the rules.
    #[error("the PROXY protocol header of version 1 is malformed")]
    MalformedV1,
    /// A header of version 2 that breaks the rules.
    #[error("the PROXY protocol header of version 2 is malformed")]
    MalformedV2,
    /// A connection that was not a TCP stream on the other side.
    #[error("the PROXY protocol header speaks of something else than TCP")]
    NotTcp,
}

/// Looks for a header at the start of `bytes`. Extensions of version 2 (TLVs, checksum) are
/// skipped.
///
/// # Errors
///
/// The bytes can never become a header: close the connection.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    if is_start(bytes, V2_START) {
        parse_v2(bytes)
    } else if is_start(bytes, V1_START) {
        parse_v1(bytes)
    } else {
        Err(ProxyProtocolError::Missing)
    }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn is_start(bytes: &[u8], start: &[u8]) -> bool {
    bytes
        .iter()
        .zip(start)
        .all(|(byte, expected)| byte == expected)
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 3306\r\n`
fn parse_v1(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    let window = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return match window.len() {
            LONGEST_V1 => Err(ProxyProtocolError::TooLong),
            _ => Ok(Parsed::NeedMore),
        };
    };
    let line = std::str::from_utf8(&window[..end]).map_err(|_| ProxyProtocolError::MalformedV1)?;
    let source = v1_source(line).ok_or(ProxyProtocolError::MalformedV1)?;
    Ok(Parsed::Header {
        source,
        length: end + 2,
    })
}

fn v1_source(line: &str) -> Option<Source> {
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Source::Local);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _destination) = (address()?, address()?);
    let (source_port, _destination_port) = (v1_port(words.next()?)?, v1_port(words.next()?)?);
    match words.next() {
        None => Some(Source::Client(SocketAddr::new(source, source_port))),
        Some(_) => None,
    }
}

fn v1_port(word: &str) -> Option<u16> {
    let is_digits = word.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits { word.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else {
        return Ok(Parsed::NeedMore);
    };
    let (command, family) = (fixed[12], fixed[13]);
    let variable = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if V2_FIXED + variable > LONGEST_HEADER {
        return Err(ProxyProtocolError::TooLong);
    }
    let Some(body) = rest.get(..variable) else {
        return Ok(Parsed::NeedMore);
    };
    let source = match command {
        0x20 => Source::Local,
        0x21 => v2_source(family, body)?,
        _ => return Err(ProxyProtocolError::MalformedV2),
    };
    Ok(Parsed::Header {
        source,
        length: V2_FIXED + variable,
    })
}

/// Source address, destination address, source port, destination port, extensions.
fn v2_source(family: u8, body: &[u8]) -> Result<Source, ProxyProtocolError> {
    let malformed = ProxyProtocolError::MalformedV2;
    let (address, ports) = match family {
        // Unspecified, and a Unix socket at the load balancer.
        0x00 | 0x31 => return Ok(Source::Local),
        0x11 => {
            let (address, rest) = body.split_first_chunk::<4>().ok_or(malformed)?;
            (IpAddr::from(*address), rest.get(4..8).ok_or(malformed)?)
        }
        0x21 => {
            let (address, rest) = body.split_first_chunk::<16>().ok_or(malformed)?;
            (IpAddr::from(*address), rest.get(16..20).ok_or(malformed)?)
        }
        0x12 | 0x22 | 0x32 => return Err(ProxyProtocolError::NotTcp),
        _ => return Err(malformed),
    };
    let port = u16::from_be_bytes([ports[0], ports[1]]);
    Ok(Source::Client(SocketAddr::new(address, port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ProxyProtocolError::{MalformedV1, MalformedV2, Missing, NotTcp, TooLong};
    use super::*;

    fn client(address: &str, length: usize) -> Result<Parsed, ProxyProtocolError> {
        let source = Source::Client(address.parse().unwrap());
        Ok(Parsed::Header { source, length })
    }

    fn local(length: usize) -> Result<Parsed, ProxyProtocolError> {
        let source = Source::Local;
        Ok(Parsed::Header { source, length })
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = V2_START.to_vec();
        header.extend([command, family]);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    }

    #[test]
    fn version_1() {
        let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        let cases = [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.1 56324 3306\r\n",
                client("192.0.2.1:56324", 46),
            ),
            (
                "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nrest",
                client("1.2.3.4:1", 32),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 65535 3306\r\n",
                client("[2001:db8::1]:65535", 39),
            ),
            ("PROXY UNKNOWN\r\n", local(15)),
            (longest, local(longest.len())),
            ("", Ok(Parsed::NeedMore)),
            ("PRO", Ok(Parsed::NeedMore)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2", Ok(Parsed::NeedMore)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r", Ok(Parsed::NeedMore)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n", Err(MalformedV1)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", Err(MalformedV1)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", Err(MalformedV1)),
            ("PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", Err(MalformedV1)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", Err(MalformedV1)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", Err(MalformedV1)),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", Err(MalformedV1)),
            ("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", Err(MalformedV1)),
            ("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", Err(MalformedV1)),
            ("PROXY \r\n", Err(MalformedV1)),
            ("GET / HTTP/1.1\r\n", Err(Missing)),
            ("proxy TCP4", Err(Missing)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn version_1_is_bounded() {
        let filler = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(parse(&filler.as_bytes()[..106]), Ok(Parsed::NeedMore));
        assert_eq!(parse(&filler.as_bytes()[..107]), Err(TooLong));
        assert_eq!(parse(filler.as_bytes()), Err(TooLong));
    }

    #[test]
    fn version_2() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xDC, 0x04, 0x0C, 0xEA];
        let mut extended = four.to_vec();
        extended.extend([0x03, 0, 4, 1, 2, 3, 4, 0x04, 0, 1, 0]);
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[32], six[33]) = (0x20, 0x01, 1, 0x0C, 0xEB);
        let cases = [
            (v2(0x21, 0x11, &four), client("192.0.2.1:56324", 28)),
            (v2(0x21, 0x11, &extended), client("192.0.2.1:56324", 39)),
            (v2(0x21, 0x21, &six), client("[2001::1]:3307", 52)),
            (v2(0x20, 0x00, &[]), local(16)),
            (v2(0x20, 0x11, &four), local(28)),
            (v2(0x21, 0x00, &[9; 5]), local(21)),
            (v2(0x21, 0x31, &[0; 216]), local(232)),
            (v2(0x21, 0x12, &four), Err(NotTcp)),
            (v2(0x21, 0x11, &four[..11]), Err(MalformedV2)),
            (v2(0x21, 0x21, &six[..35]), Err(MalformedV2)),
            (v2(0x21, 0x44, &four), Err(MalformedV2)),
            (v2(0x22, 0x11, &four), Err(MalformedV2)),
            (v2(0x11, 0x11, &four), Err(MalformedV2)),
            (v2(0x21, 0x11, &[0; LONGEST_HEADER - 15]), Err(TooLong)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(&bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn every_prefix_of_a_header_needs_more() {
        let header = v2(0x21, 0x11, &[1; 12]);
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(Parsed::NeedMore), "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let mut second = V2_START.to_vec();
            second.extend(&bytes);
            let _ = parse(&second);
            let mut first = V1_START.to_vec();
            first.extend(&bytes);
            let _ = parse(&first);
        }

        #[test]
        fn any_client_comes_back(ip: u32, port: u16) {
            let address = SocketAddr::from((Ipv4Addr::from_bits(ip), port));
            let line = format!("PROXY TCP4 {} 10.0.0.1 {port} 3306\r\n", address.ip());
            prop_assert_eq!(parse(line.as_bytes()), client(&address.to_string(), line.len()));
        }
    }
}
