//! Everything that is counted and measured.
//!
//! The rooms hold plain handles ([`Counter`], [`Gauge`], [`Histogram`]): counting is one atomic
//! operation or one short lock, without a look-up by name. Labels are resolved once, when
//! [`Metrics`] is made or an endpoint appears.
//!
//! Names are in Prometheus's manner: `isthmus_` first, `_total` after counters, units in full.

mod busy;
mod by_label;
mod endpoint;
mod held;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::AtomicU64;

pub use busy::{BusyCounter, BusyHistogram};
pub use by_label::{BusyCounterBy, By, CounterBy, GaugeBy, Label};
pub use endpoint::{CloseReason, Direction, EndpointMetrics};
pub use held::Held;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::config::Role;
use crate::sql::Holds;
use by_label::Labels;
use endpoint::EndpointFamilies;

/// From a tenth of a millisecond (a reader next door) to the patience of a client; dense around
/// the round trips between regions.
const SECONDS: [f64; 17] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0,
];

/// The metrics of one proxy.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    endpoints: EndpointFamilies,
    /// Client connections.
    pub clients: ClientMetrics,
    /// Statements.
    pub statements: StatementMetrics,
    /// Errors that clients were sent, and connections lost, by whose fault it was.
    pub errors: CounterBy<ErrorSource>,
    /// Read your writes.
    pub consistency: ConsistencyMetrics,
    /// Round trips that were not made.
    pub round_trips: RoundTripMetrics,
    /// Sessions that keep a backend connection past the statement, by the reason.
    pub holding: GaugeBy<Holds>,
    /// Reloads of the configuration.
    pub reloads: CounterBy<ReloadOutcome>,
    /// Look-ups in the plan cache.
    pub plan_cache: BusyCounterBy<CacheOutcome>,
}

/// Client connections.
#[derive(Debug, Clone)]
pub struct ClientMetrics {
    /// Open now, logged in or not.
    pub open: Gauge,
    /// Accepted since the start, whatever became of them.
    pub accepted: Counter,
    /// Ended by the proxy before the first statement.
    pub refused: CounterBy<RefuseReason>,
}

/// Statements.
#[derive(Debug, Clone)]
pub struct StatementMetrics {
    /// By where they went.
    pub routed: BusyCounterBy<Route>,
    /// From the last byte of the statement received to the last byte of the response sent, in
    /// seconds, for statements that went to a reader.
    pub reader_seconds: BusyHistogram,
    /// The same for statements that went to the writer.
    pub writer_seconds: BusyHistogram,
}

impl StatementMetrics {
    /// How many statements there were.
    pub fn total(&self) -> u64 {
        Route::ALL.iter().map(|route| self.routed.get(*route)).sum()
    }

    /// The latency of statements that went to an endpoint of this role.
    pub fn seconds(&self, role: Role) -> &BusyHistogram {
        match role {
            Role::Reader => &self.reader_seconds,
            Role::Writer => &self.writer_seconds,
        }
    }
}

/// Read your writes.
#[derive(Debug, Clone)]
pub struct ConsistencyMetrics {
    /// Sessions with a mark that no reader has reached yet.
    pub pinned_sessions: Gauge,
    /// Reads that a reader could have answered, had it not been behind.
    pub stale_reads_to_writer: BusyCounter,
    /// Reads that a reader answered though it was behind, because the writer could not be reached.
    pub stale_reads: Counter,
    /// How waits for a reader ended.
    pub waits: CounterBy<WaitOutcome>,
    /// How long they took, in seconds.
    pub wait_seconds: Histogram,
    /// Pinned reads that took the slower of two ways.
    pub wrong_guesses: CounterBy<WrongGuess>,
}

/// Round trips that were not made.
#[derive(Debug, Clone)]
pub struct RoundTripMetrics {
    /// By what made them needless.
    pub saved: CounterBy<SavedTrip>,
    /// How long they would have taken, by the distance of each endpoint.
    pub seconds_saved: Counter<f64, AtomicU64>,
}

/// Declares the values of a label and their words.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident $key:literal { $($(#[$value_doc:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl Label for $name {
            const KEY: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use label;

label! {
    /// Why a client was refused.
    RefuseReason "reason" {
        /// `limits.max_client_connections` was reached.
        TooMany = "too_many",
        /// Wrong user or password.
        Authentication = "authentication",
        /// TLS is required and the client does not use it.
        TlsRequired = "tls_required",
        /// The TLS handshake failed.
        Tls = "tls",
        /// No PROXY protocol header from a trusted network, or one that cannot be read.
        ProxyProtocol = "proxy_protocol",
        /// `timeouts.handshake` ran out.
        Timeout = "timeout",
        /// What the client sent is not MySQL's protocol.
        Protocol = "protocol",
    }
}

label! {
    /// Why a round trip was not made.
    SavedTrip "by" {
        /// The session's state went in one write with a statement that may write.
        State = "state",
        /// A statement was prepared and executed in one write.
        FirstExecution = "first_execution",
        /// BEGIN was answered at once and went with the statement that followed.
        Begin = "begin",
        /// So was SAVEPOINT or RELEASE SAVEPOINT.
        Savepoint = "savepoint",
        /// A transaction ended that no server had to know of.
        EmptyTransaction = "empty_transaction",
        /// ROLLBACK was answered before the server had answered.
        Rollback = "rollback",
        /// A statement of a transaction that has yet to write was answered by the reader.
        OptimisticRead = "optimistic_read",
        /// A statement of the writer's was prepared on the reader.
        Prepare = "prepare",
    }
}

label! {
    /// Where a statement went.
    Route "route" {
        /// To a reader.
        Reader = "reader",
        /// To the writer.
        Writer = "writer",
        /// To the backend connection that the session holds already.
        Previous = "previous",
        /// Answered by the proxy.
        Proxy = "proxy",
        /// Kept as state of the session.
        Session = "session",
        /// Refused.
        Refused = "refused",
    }
}

label! {
    /// Whose fault an error is.
    ErrorSource "source" {
        /// The client's, or its network's.
        Client = "client",
        /// The proxy's own.
        Proxy = "proxy",
        /// A server's, or its network's.
        Backend = "backend",
    }
}

label! {
    /// How a wait for a reader ended.
    WaitOutcome "outcome" {
        /// The reader caught up.
        Reached = "reached",
        /// It did not within `consistency.max_wait`.
        TimedOut = "timed_out",
        /// It took so long that the writer was asked instead.
        GivenUp = "given_up",
    }
}

label! {
    /// What was not the quickest thing to do while the reader was behind.
    WrongGuess "did" {
        /// To wait for the reader, and to cross the ocean in the end.
        Waited = "waited",
        /// To cross the ocean, since the reader caught up sooner.
        Crossed = "crossed",
    }
}

label! {
    /// What became of a reload.
    ReloadOutcome "outcome" {
        /// The new configuration is in force.
        Applied = "applied",
        /// It has an error; the old one stays.
        Failed = "failed",
    }
}

label! {
    /// What the plan cache knew.
    CacheOutcome "outcome" {
        /// The plan.
        Hit = "hit",
        /// Nothing: the statement was parsed.
        Miss = "miss",
    }
}

impl Metrics {
    /// Registers everything that does not depend on an endpoint.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("isthmus");
        let endpoints = EndpointFamilies::register(&mut registry);
        let clients = ClientMetrics::register(&mut registry);
        let statements = StatementMetrics::register(&mut registry);
        let consistency = ConsistencyMetrics::register(&mut registry);
        let round_trips = RoundTripMetrics::register(&mut registry);
        let errors = CounterBy::register(
            &mut registry,
            "errors",
            "Errors sent to clients and connections lost, by whose fault it was",
        );
        let holding = GaugeBy::register(
            &mut registry,
            "sessions_holding",
            "Sessions that keep a backend connection past the statement, by the reason",
        );
        let reloads = CounterBy::register(
            &mut registry,
            "reloads",
            "Attempts to apply a changed configuration",
        );
        let plan_cache = BusyCounterBy::register(
            &mut registry,
            "plan_cache_lookups",
            "Statements looked up in the plan cache",
        );
        Self {
            registry,
            endpoints,
            clients,
            statements,
            errors,
            consistency,
            round_trips,
            holding,
            reloads,
            plan_cache,
        }
    }

    /// The handles of the endpoint called `name`; the same ones each time. Keep them.
    pub fn endpoint(&self, name: &str) -> EndpointMetrics {
        self.endpoints.handles(name)
    }

    /// Stops showing the endpoint called `name`. Handles that are still held count for nobody.
    pub fn forget_endpoint(&self, name: &str) {
        self.endpoints.forget(name);
    }

    /// Shows how it is known what each reader has seen: by endpoint, source and reason.
    pub fn show_sources(&self, sources: &[(&str, &str, &str)]) {
        self.endpoints.show_sources(sources);
    }

    /// Every figure with its name and labels as [`Metrics::encode`] writes them, but for the
    /// buckets of histograms.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn figures(&self) -> Result<Vec<(String, f64)>, fmt::Error> {
        let text = self.encode()?;
        let figure = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            let is_shown = !line.starts_with('#') && !name.contains("_bucket{");
            is_shown.then_some((name.to_owned(), value.parse().ok()?))
        };
        Ok(text.lines().filter_map(figure).collect())
    }

    /// Everything in the text form of OpenMetrics 1.0, which Prometheus reads.
    ///
    /// # Errors
    ///
    /// None that is known: the text is written to memory.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Label for Holds {
    const KEY: &'static str = "hold";
    const ALL: &'static [Self] = &Holds::EACH;

    fn word(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self.bits().trailing_zeros() as usize
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientMetrics {
    fn register(registry: &mut Registry) -> Self {
        let open = Gauge::default();
        registry.register(
            "client_connections",
            "Client connections open now, logged in or not",
            open.clone(),
        );
        let accepted = Counter::default();
        registry.register(
            "client_connections_accepted",
            "Client connections accepted since the start",
            accepted.clone(),
        );
        let refused = CounterBy::register(
            registry,
            "client_connections_refused",
            "Client connections that the proxy ended before their first statement",
        );
        Self {
            open,
            accepted,
            refused,
        }
    }
}

impl StatementMetrics {
    fn register(registry: &mut Registry) -> Self {
        let routed =
            BusyCounterBy::register(registry, "statements", "Statements, by where they went");
        let seconds = Family::<Labels, BusyHistogram>::default();
        registry.register_with_unit(
            "statement_duration",
            "From the last byte of a statement received to the last byte of its response sent, \
             by the role of the endpoint that answered",
            Unit::Seconds,
            seconds.clone(),
        );
        let of_role =
            |role: Role| seconds.get_or_create_owned(&vec![("role", role.as_str().to_owned())]);
        Self {
            routed,
            reader_seconds: of_role(Role::Reader),
            writer_seconds: of_role(Role::Writer),
        }
    }
}

impl ConsistencyMetrics {
    fn register(registry: &mut Registry) -> Self {
        let pinned_sessions = Gauge::default();
        registry.register(
            "pinned_sessions",
            "Sessions that have written what no reader has shown to have seen yet",
            pinned_sessions.clone(),
        );
        let stale_reads_to_writer = BusyCounter::default();
        registry.register(
            "stale_reads_to_writer",
            "Reads sent to the writer because the reader had not seen the session's writes",
            stale_reads_to_writer.clone(),
        );
        let stale_reads = Counter::default();
        registry.register(
            "stale_reads",
            "Reads that a reader answered though it was behind, because the writer was down",
            stale_reads.clone(),
        );
        let waits = CounterBy::register(
            registry,
            "reader_waits",
            "Reads that waited for a reader to catch up, by how the wait ended",
        );
        let wait_seconds = Histogram::new(SECONDS);
        registry.register_with_unit(
            "reader_wait_duration",
            "How long reads waited for a reader to catch up",
            Unit::Seconds,
            wait_seconds.clone(),
        );
        let wrong_guesses = CounterBy::register(
            registry,
            "wrong_guesses",
            "Reads that waited for the reader where the writer would have been quicker, or the \
             other way round, by what they did",
        );
        Self {
            pinned_sessions,
            stale_reads_to_writer,
            stale_reads,
            waits,
            wait_seconds,
            wrong_guesses,
        }
    }
}

impl RoundTripMetrics {
    fn register(registry: &mut Registry) -> Self {
        let saved = CounterBy::register(
            registry,
            "round_trips_saved",
            "Round trips to an endpoint that were not made, by what made them needless",
        );
        let seconds_saved = Counter::default();
        registry.register_with_unit(
            "round_trips_saved",
            "How long these round trips would have taken, by the distance of their endpoints",
            Unit::Seconds,
            seconds_saved.clone(),
        );
        Self {
            saved,
            seconds_saved,
        }
    }
}
