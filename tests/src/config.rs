use isthmus_lab::{APP, Lab, MONITOR, ProxyAddresses};
/// A TOML table.
pub use toml::Table;
use toml::{Value, toml};

/// The configuration of a proxy in the readers' region of a lab: it reaches the
/// servers through the lab's links and shows its clients the lab's certificate. The
/// endpoints are called `tokyo` (the writer) and `virginia`, `virginia-2` … (the
/// readers). A test changes with [`set`] what it wants otherwise.
pub fn config(lab: &Lab, addresses: ProxyAddresses) -> Table {
    let listen = addresses.listen.to_string();
    let admin = addresses.admin.to_string();
    let certificate = lab.certificates().server.display().to_string();
    let key = lab.certificates().server_key.display().to_string();
    let mut config = toml! {
        region = "virginia"

        [listen]
        addresses = [listen]
        tls = { certificate = certificate, key = key }

        [[users]]
        name = (APP.user)
        password = (APP.password)

        [monitor]
        user = (MONITOR.user)
        password = (MONITOR.password)

        [timeouts]
        shutdown = "2s"

        [admin]
        address = admin
    };
    let mut endpoints = vec![endpoint(
        "tokyo",
        "tokyo",
        "writer",
        lab.writer_link().address(),
    )];
    for (number, link) in (1..).zip(lab.reader_links()) {
        let name = match number {
            1 => "virginia".to_owned(),
            number => format!("virginia-{number}"),
        };
        endpoints.push(endpoint(&name, "virginia", "reader", link.address()));
    }
    config.insert("endpoints".to_owned(), Value::Array(endpoints));
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

fn endpoint(name: &str, region: &str, role: &str, address: std::net::SocketAddr) -> Value {
    let address = address.to_string();
    Value::Table(toml! {
        name = name
        address = address
        region = region
        role = role
    })
}

#[cfg(test)]
mod tests {
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
