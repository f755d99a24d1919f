//! Whether a request that changes something comes from where it seems to come from.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

/// Whether a request may change something. Command-line clients send no `Origin` and may. A
/// browser says which page a request comes from: only the proxy's own page may, and only where it
/// was opened by an IP address or as `localhost`. Any other name could be one that an attacker's
/// DNS has just pointed at this machine.
pub(super) fn may_change(headers: &HeaderMap) -> bool {
    if is_cross_site(headers) {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let (Ok(origin), Some(host)) = (origin.to_str(), text(headers, HOST.as_str())) else {
        return false;
    };
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority == Some(host) && is_literal(host)
}

/// What browsers add by themselves and no script can change.
fn is_cross_site(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `127.0.0.1:9306`, `[::1]:9306`, `localhost:9306`, or the same without a port.
fn is_literal(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_page_and_programs_may() {
        let cases: [(&[(&str, &str)], bool); 11] = [
            (&[("host", "proxy.internal:9306")], true),
            (&[], true),
            (
                &[
                    ("host", "127.0.0.1:9306"),
                    ("origin", "http://127.0.0.1:9306"),
                ],
                true,
            ),
            (
                &[
                    ("host", "localhost:9306"),
                    ("origin", "http://localhost:9306"),
                ],
                true,
            ),
            (
                &[("host", "[::1]:9306"), ("origin", "http://[::1]:9306")],
                true,
            ),
            (
                &[("host", "127.0.0.1:9306"), ("origin", "http://evil.test")],
                false,
            ),
            (
                &[
                    ("host", "127.0.0.1:9306"),
                    ("origin", "http://127.0.0.1:80"),
                ],
                false,
            ),
            (&[("host", "127.0.0.1:9306"), ("origin", "null")], false),
            (
                &[
                    ("host", "evil.test:9306"),
                    ("origin", "http://evil.test:9306"),
                ],
                false,
            ),
            (&[("origin", "http://127.0.0.1:9306")], false),
            (
                &[("host", "127.0.0.1:9306"), ("sec-fetch-site", "cross-site")],
                false,
            ),
        ];
        for (pairs, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.insert(name, value.parse().unwrap());
            }
            assert_eq!(may_change(&headers), expected, "{pairs:?}");
        }
    }
}
