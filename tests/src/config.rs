use isthmus_lab::{Lab, ProxyAddresses};
/// A TOML table.
pub use toml::Table;
use toml::Value;

/// The configuration of a proxy in the readers' region of a lab, which shows its clients the lab's
/// certificate. A test changes with [`set`] what it wants otherwise.
///
/// # Panics
///
/// Never: what the lab makes is TOML.
pub fn config(lab: &Lab, addresses: ProxyAddresses) -> Table {
    let mut config: Table = isthmus_lab::configuration(lab, addresses).parse().unwrap();
    let certificates = lab.certificates();
    let certificate = certificates.server.display().to_string();
    set(&mut config, "listen.tls.certificate", certificate);
    let key = certificates.server_key.display().to_string();
    set(&mut config, "listen.tls.key", key);
    set(&mut config, "timeouts.shutdown", "2s");
    config
}

/// Sets one value of a configuration: `set(&mut config, "pool.max_connections", 4)`.
/// Tables that are not there yet are made.
///
/// # Panics
///
/// If a part of the path before the last is there and is no table.
pub fn set(config: &mut Table, path: &str, value: impl Into<Value>) {
    let (tables, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut table = config;
    for name in tables.split('.').filter(|name| !name.is_empty()) {
        let next = table
            .entry(name)
            .or_insert_with(|| Value::Table(Table::new()));
        table = match next {
            Value::Table(next) => next,
            _ => panic!("{name} in {path} is no table"),
        };
    }
    table.insert(key.to_owned(), value.into());
}

#[cfg(test)]
mod tests {
    use toml::toml;

    use super::*;

    #[test]
    fn a_value_is_set_at_any_depth() {
        let mut config = toml! {
            [pool]
            max_connections = 3
        };
        set(&mut config, "region", "virginia");
        set(&mut config, "pool.max_connections", 4);
        set(&mut config, "listen.tls.key", "key.pem");
        let expected = toml! {
            region = "virginia"

            [pool]
            max_connections = 4

            [listen.tls]
            key = "key.pem"
        };
        assert_eq!(config, expected);
    }
}
