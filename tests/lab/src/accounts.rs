/// A user that exists on every server of a lab, for every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub user: &'static str,
    /// The password in clear text.
    pub password: &'static str,
}

/// May do everything, and is not bound by `read_only`.
pub const ROOT: Account = Account {
    user: "root",
    password: "root-secret",
};

/// The application: may do everything with data and schemas on every schema, and
/// nothing with the server; `read_only` binds it.
pub const APP: Account = Account {
    user: "app",
    password: "app-secret",
};

/// For the proxy's own queries: may see replication, processes and the schema [`SCHEMA`].
pub const MONITOR: Account = Account {
    user: "monitor",
    password: "monitor-secret",
};

/// With which readers follow the writer.
pub const REPLICATION: Account = Account {
    user: "replication",
    password: "replication-secret",
};

/// An empty schema that exists on every server.
pub const SCHEMA: &str = "app";
