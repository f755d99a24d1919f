//! The resolved configuration as a list of settings, for printing and for comparing.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use super::diff::TakesEffect::{self, AtOnce, NextStart};
use super::{
    Admin, Compression, Config, Consistency, Credentials, Endpoint, Limits, Listen, ListenTls, Log,
    Monitor, Pool, Reload, RoundTrips, Routing, Secret, ServerTls, Timeouts, User, secret, size,
    span,
};

/// One value of the configuration.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// The table that it stands in.
    pub(super) section: Section,
    /// Its key there.
    pub(super) key: &'static str,
    /// What it is set to.
    pub(super) content: Content,
    /// When a change of it is felt.
    pub(super) takes_effect: TakesEffect,
}

/// A table of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Section {
    /// Above all tables.
    Top,
    /// A `[table]`.
    Table(&'static str),
    /// One of the `[[users]]`, by name.
    User(String),
    /// One of the `[[endpoints]]`, by name.
    Endpoint(String),
}

/// What a setting is set to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Something that may be shown; none where an option is not used.
    Shown(Option<Value>),
    /// Something that may not.
    Masked(Secret),
}

impl Config {
    /// The configuration as TOML with every default filled in and passwords shown as `********`.
    pub fn masked_toml(&self) -> String {
        let mut toml = String::new();
        let mut section = Section::Top;
        for setting in self.settings() {
            let value = match setting.content {
                Content::Shown(None) => continue,
                Content::Shown(Some(value)) => value,
                Content::Masked(_) => Value::from(secret::MASK),
            };
            if setting.section != section {
                section = setting.section;
                // Writing to a string cannot fail.
                let _ = write!(toml, "\n{}\n", section.header());
            }
            let _ = writeln!(toml, "{} = {value}", setting.key);
        }
        toml
    }

    /// Every value, table by table. The patterns name all fields, so that a new one cannot be
    /// forgotten here.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let Config {
            region,
            workers,
            listen,
            users,
            endpoints,
            monitor,
            pool,
            consistency,
            routing,
            round_trips,
            timeouts,
            limits,
            log,
            admin,
            reload,
        } = self;
        let mut list = List::new(Section::Top);
        list.shown("region", AtOnce, region.as_str());
        list.shown("workers", NextStart, integer(*workers));
        list.listen(listen);
        users.iter().for_each(|user| list.user(user));
        endpoints
            .iter()
            .for_each(|endpoint| list.endpoint(endpoint));
        list.monitor(monitor);
        list.pool(pool);
        list.consistency(consistency);
        list.routing(routing);
        list.round_trips(round_trips);
        list.timeouts(timeouts);
        list.limits(limits);
        list.log(log);
        list.admin(admin);
        list.reload(reload);
        list.settings
    }
}

impl Section {
    /// The line that opens the table.
    fn header(&self) -> String {
        match self {
            Section::Top => String::new(),
            Section::Table(name) => format!("[{name}]"),
            Section::User(_) => "[[users]]".to_owned(),
            Section::Endpoint(_) => "[[endpoints]]".to_owned(),
        }
    }
}

/// The settings so far, and the table that the next ones belong to.
struct List {
    section: Section,
    settings: Vec<Setting>,
}

impl List {
    fn new(section: Section) -> Self {
        Self {
            section,
            settings: Vec::new(),
        }
    }

    fn push(&mut self, key: &'static str, takes_effect: TakesEffect, content: Content) {
        self.settings.push(Setting {
            section: self.section.clone(),
            key,
            content,
            takes_effect,
        });
    }

    fn shown(&mut self, key: &'static str, takes_effect: TakesEffect, value: impl Into<Value>) {
        self.push(key, takes_effect, Content::Shown(Some(value.into())));
    }

    fn optional(&mut self, key: &'static str, takes_effect: TakesEffect, value: Option<Value>) {
        self.push(key, takes_effect, Content::Shown(value));
    }

    fn duration(&mut self, key: &'static str, duration: Duration) {
        self.shown(key, AtOnce, span::text(duration));
    }

    fn credentials(&mut self, user: &'static str, password: &'static str, of: &Credentials) {
        self.shown(user, AtOnce, of.user.as_str());
        self.push(password, AtOnce, Content::Masked(of.password.clone()));
    }

    fn listen(&mut self, listen: &Listen) {
        let Listen {
            addresses,
            tls,
            tls_required,
            compression,
            proxy_protocol,
            server_version,
            auth_plugin,
            init,
        } = listen;
        self.section = Section::Table("listen");
        self.shown("addresses", NextStart, texts(addresses));
        self.optional("tls", AtOnce, tls.as_ref().map(listen_tls));
        self.shown("tls_required", AtOnce, *tls_required);
        let compression: Vec<_> = compression
            .iter()
            .map(|algorithm| algorithm.as_str())
            .collect();
        self.shown("compression", AtOnce, texts(&compression));
        self.shown("proxy_protocol", AtOnce, texts(proxy_protocol));
        let version = server_version.as_deref().map(Value::from);
        self.optional("server_version", AtOnce, version);
        self.shown("auth_plugin", AtOnce, auth_plugin.as_str());
        self.shown("init", AtOnce, texts(init));
    }

    fn user(&mut self, user: &User) {
        let User {
            name,
            password,
            auth_plugin,
            backend,
            init,
            sees_all_sessions,
            kills_all_sessions,
            stale_reads,
            optimistic_reads,
        } = user;
        self.section = Section::User(name.clone());
        self.shown("name", AtOnce, name.as_str());
        self.push("password", AtOnce, Content::Masked(password.clone()));
        self.shown("auth_plugin", AtOnce, auth_plugin.as_str());
        self.credentials("backend_user", "backend_password", backend);
        self.shown("init", AtOnce, texts(init));
        self.shown("sees_all_sessions", AtOnce, *sees_all_sessions);
        self.shown("kills_all_sessions", AtOnce, *kills_all_sessions);
        self.shown("stale_reads", AtOnce, stale_reads.as_str());
        self.shown("optimistic_reads", AtOnce, *optimistic_reads);
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let Endpoint {
            name,
            address,
            region,
            role,
            tls,
            compression,
            max_connections,
            min_idle,
            max_lag,
        } = endpoint;
        self.section = Section::Endpoint(name.clone());
        self.shown("name", AtOnce, name.as_str());
        self.shown("address", AtOnce, address.to_string());
        self.shown("region", AtOnce, region.as_str());
        self.shown("role", AtOnce, role.as_str());
        self.shown("tls", AtOnce, server_tls(tls));
        let compression = compression.map_or("off", Compression::as_str);
        self.shown("compression", AtOnce, compression);
        self.shown("max_connections", AtOnce, integer(*max_connections));
        self.shown("min_idle", AtOnce, integer(*min_idle));
        let max_lag = max_lag.map(|lag| Value::from(span::text(lag)));
        self.optional("max_lag", AtOnce, max_lag);
    }

    fn monitor(&mut self, monitor: &Monitor) {
        let Monitor {
            credentials,
            interval,
            timeout,
        } = monitor;
        self.section = Section::Table("monitor");
        self.credentials("user", "password", credentials);
        self.duration("interval", *interval);
        self.duration("timeout", *timeout);
    }

    fn pool(&mut self, pool: &Pool) {
        let Pool {
            max_connections,
            min_idle,
            idle_timeout,
            max_life,
            borrow_timeout,
            prepared_statements,
            connection_attributes,
        } = pool;
        self.section = Section::Table("pool");
        self.shown("max_connections", AtOnce, integer(*max_connections));
        self.shown("min_idle", AtOnce, integer(*min_idle));
        self.duration("idle_timeout", *idle_timeout);
        self.duration("max_life", *max_life);
        self.duration("borrow_timeout", *borrow_timeout);
        self.shown("prepared_statements", AtOnce, integer(*prepared_statements));
        self.shown(
            "connection_attributes",
            AtOnce,
            texts(connection_attributes),
        );
    }

    fn consistency(&mut self, consistency: &Consistency) {
        let Consistency {
            source,
            fixed_lag,
            heartbeat_table,
            on_stale,
            max_wait,
            scope,
            pin,
        } = consistency;
        self.section = Section::Table("consistency");
        self.shown("source", AtOnce, source.as_str());
        self.duration("fixed_lag", *fixed_lag);
        self.shown("heartbeat_table", AtOnce, heartbeat_table.to_string());
        self.shown("on_stale", AtOnce, on_stale.as_str());
        self.duration("max_wait", *max_wait);
        self.shown("scope", AtOnce, scope.as_str());
        self.shown("pin", AtOnce, pin.as_str());
    }

    fn routing(&mut self, routing: &Routing) {
        let Routing { reader_functions } = routing;
        self.section = Section::Table("routing");
        self.shown("reader_functions", AtOnce, texts(reader_functions));
    }

    fn round_trips(&mut self, round_trips: &RoundTrips) {
        let RoundTrips {
            state,
            first_execution,
            begin,
            savepoints,
            empty_transactions,
            rollback,
            prepare,
        } = round_trips;
        self.section = Section::Table("round_trips");
        self.shown("state", AtOnce, *state);
        self.shown("first_execution", AtOnce, *first_execution);
        self.shown("begin", AtOnce, *begin);
        self.shown("savepoints", AtOnce, *savepoints);
        self.shown("empty_transactions", AtOnce, *empty_transactions);
        self.shown("rollback", AtOnce, *rollback);
        self.shown("prepare", AtOnce, *prepare);
    }

    fn timeouts(&mut self, timeouts: &Timeouts) {
        let Timeouts {
            connect,
            dead_link,
            handshake,
            idle,
            shutdown,
        } = timeouts;
        self.section = Section::Table("timeouts");
        self.duration("connect", *connect);
        self.duration("dead_link", *dead_link);
        self.duration("handshake", *handshake);
        self.duration("idle", *idle);
        self.duration("shutdown", *shutdown);
    }

    fn limits(&mut self, limits: &Limits) {
        let Limits {
            max_client_connections,
            max_allowed_packet,
        } = limits;
        self.section = Section::Table("limits");
        self.shown(
            "max_client_connections",
            AtOnce,
            integer(*max_client_connections),
        );
        self.shown(
            "max_allowed_packet",
            AtOnce,
            size::text(*max_allowed_packet),
        );
    }

    fn log(&mut self, log: &Log) {
        let Log { format, level } = log;
        self.section = Section::Table("log");
        self.shown("format", NextStart, format.as_str());
        self.shown("level", AtOnce, level.as_str());
    }

    fn admin(&mut self, admin: &Admin) {
        let Admin { address } = admin;
        let address = address.map_or_else(|| "off".to_owned(), |address| address.to_string());
        self.section = Section::Table("admin");
        self.shown("address", NextStart, address);
    }

    fn reload(&mut self, reload: &Reload) {
        let Reload { watch } = reload;
        self.section = Section::Table("reload");
        self.shown("watch", NextStart, *watch);
    }
}

fn integer(count: usize) -> Value {
    // Counts are read as i64 and bounded far below its end.
    Value::from(i64::try_from(count).unwrap_or(i64::MAX))
}

fn texts<T: ToString>(items: &[T]) -> Value {
    Value::from(items.iter().map(T::to_string).collect::<Vec<_>>())
}

fn path_text(path: &Path) -> Value {
    Value::from(path.display().to_string())
}

fn listen_tls(tls: &ListenTls) -> Value {
    let ListenTls {
        certificate,
        key,
        client_ca,
    } = tls;
    let mut table = Table::new();
    table.insert("certificate".to_owned(), path_text(certificate));
    table.insert("key".to_owned(), path_text(key));
    if let Some(path) = client_ca {
        table.insert("client_ca".to_owned(), path_text(path));
    }
    Value::Table(table)
}

fn server_tls(tls: &ServerTls) -> Value {
    let mut table = Table::new();
    table.insert("mode".to_owned(), Value::from(tls.mode()));
    if let Some(path) = tls.ca() {
        table.insert("ca".to_owned(), path_text(path));
    }
    Value::Table(table)
}
