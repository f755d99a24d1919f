//! What is counted for each endpoint.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::busy::BusyCounter;
use super::by_label::{CounterBy, Histograms, Label, Labels, histogram_for, histograms};
use super::label;

label! {
    /// Why a backend connection was closed.
    CloseReason "reason" {
        /// Nobody borrowed it for `pool.idle_timeout`.
        Idle = "idle",
        /// It reached `pool.max_life`.
        Age = "age",
        /// The server would soon have closed it, by its `wait_timeout`.
        WaitTimeout = "wait_timeout",
        /// The server or the network broke it.
        Broken = "broken",
        /// It came back in a state that could not be cleaned.
        Unclean = "unclean",
        /// Accounts have changed on the server since it logged in.
        Outdated = "outdated",
        /// A KILL for the session that had it before was on its way to it.
        Killed = "killed",
        /// Its endpoint or user was changed or removed by a reload, or the proxy stops.
        Retired = "retired",
    }
}

label! {
    /// Which way bytes went, as the proxy sees it.
    Direction "direction" {
        /// To the other side.
        Sent = "sent",
        /// From the other side.
        Received = "received",
    }
}

/// The handles of one endpoint. Cloning them shares the numbers.
#[derive(Debug, Clone)]
pub struct EndpointMetrics {
    /// 1 while the endpoint answers the monitor, otherwise 0.
    pub up: Gauge,
    /// How long ago, in seconds, the newest moment was that this reader is known to show.
    pub seen_through_age_seconds: Gauge<f64, AtomicU64>,
    /// Statements sent to it.
    pub statements: BusyCounter,
    /// Backend connections open now, borrowed or idle.
    pub open: Gauge,
    /// Backend connections lent to a session now.
    pub in_use: Gauge,
    /// Backend connections made since the start.
    pub created: Counter,
    /// Those of them that were made before a session needed one.
    pub made_ahead: Counter,
    /// Attempts to connect or log in that failed.
    pub connect_failures: Counter,
    /// Backend connections closed since the start.
    pub closed: CounterBy<CloseReason>,
    /// How long statements that found no idle backend connection waited for one, in seconds.
    pub borrow_seconds: Histogram,
    /// Bytes of packets that went over compressed connections.
    pub uncompressed_bytes: CounterBy<Direction>,
    /// Bytes of the frames that they travelled in.
    pub compressed_bytes: CounterBy<Direction>,
}

/// The families behind the handles.
#[derive(Debug)]
pub(super) struct EndpointFamilies {
    up: Family<Labels, Gauge>,
    seen_through_age: Family<Labels, Gauge<f64, AtomicU64>>,
    statements: Family<Labels, BusyCounter>,
    open: Family<Labels, Gauge>,
    in_use: Family<Labels, Gauge>,
    created: Family<Labels, Counter>,
    made_ahead: Family<Labels, Counter>,
    connect_failures: Family<Labels, Counter>,
    closed: Family<Labels, Counter>,
    borrow_seconds: Histograms,
    uncompressed_bytes: Family<Labels, Counter>,
    compressed_bytes: Family<Labels, Counter>,
    sources: Family<Labels, Gauge>,
    /// Those that are in the family.
    shown_sources: Mutex<Vec<Labels>>,
}

impl EndpointFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            up: Family::default(),
            seen_through_age: Family::default(),
            statements: Family::default(),
            open: Family::default(),
            in_use: Family::default(),
            created: Family::default(),
            made_ahead: Family::default(),
            connect_failures: Family::default(),
            closed: Family::default(),
            borrow_seconds: histograms(
                registry,
                "borrow_duration",
                "How long statements that found no idle backend connection waited for one",
            ),
            uncompressed_bytes: Family::default(),
            compressed_bytes: Family::default(),
            sources: Family::default(),
            shown_sources: Mutex::default(),
        };
        registry.register(
            "reader_source_info",
            "1 with how it is known what the reader has seen, and why in this way",
            families.sources.clone(),
        );
        registry.register(
            "endpoint_up",
            "1 while the endpoint answers the monitor, otherwise 0",
            families.up.clone(),
        );
        registry.register_with_unit(
            "reader_seen_through_age",
            "How long ago the newest moment was that the reader is known to show",
            Unit::Seconds,
            families.seen_through_age.clone(),
        );
        registry.register(
            "endpoint_statements",
            "Statements sent to the endpoint",
            families.statements.clone(),
        );
        families.register_connections(registry);
        families.register_compression(registry);
        families
    }

    fn register_compression(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "backend_uncompressed",
            "Packets that went over compressed connections to the endpoint, before compression",
            Unit::Bytes,
            self.uncompressed_bytes.clone(),
        );
        registry.register_with_unit(
            "backend_compressed",
            "The same as they travelled, after compression",
            Unit::Bytes,
            self.compressed_bytes.clone(),
        );
    }

    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "backend_connections",
            "Connections to the endpoint open now, borrowed or idle",
            self.open.clone(),
        );
        registry.register(
            "backend_connections_in_use",
            "Connections to the endpoint lent to a session now",
            self.in_use.clone(),
        );
        registry.register(
            "backend_connections_created",
            "Connections made to the endpoint since the start",
            self.created.clone(),
        );
        registry.register(
            "backend_connections_made_ahead",
            "Connections made to the endpoint before a session needed one",
            self.made_ahead.clone(),
        );
        registry.register(
            "backend_connect_failures",
            "Attempts to connect or log in to the endpoint that failed",
            self.connect_failures.clone(),
        );
        registry.register(
            "backend_connections_closed",
            "Connections to the endpoint closed since the start, by reason",
            self.closed.clone(),
        );
    }

    pub(super) fn handles(&self, name: &str) -> EndpointMetrics {
        let labels = labels(name);
        EndpointMetrics {
            up: self.up.get_or_create_owned(&labels),
            seen_through_age_seconds: self.seen_through_age.get_or_create_owned(&labels),
            statements: self.statements.get_or_create_owned(&labels),
            open: self.open.get_or_create_owned(&labels),
            in_use: self.in_use.get_or_create_owned(&labels),
            created: self.created.get_or_create_owned(&labels),
            made_ahead: self.made_ahead.get_or_create_owned(&labels),
            connect_failures: self.connect_failures.get_or_create_owned(&labels),
            closed: CounterBy::of(&self.closed, &[(KEY, name)]),
            borrow_seconds: histogram_for(&self.borrow_seconds, KEY, name),
            uncompressed_bytes: CounterBy::of(&self.uncompressed_bytes, &[(KEY, name)]),
            compressed_bytes: CounterBy::of(&self.compressed_bytes, &[(KEY, name)]),
        }
    }

    pub(super) fn show_sources(&self, sources: &[(&str, &str, &str)]) {
        let labels = sources.iter().map(|(endpoint, source, reason)| {
            let values = [(KEY, endpoint), ("source", source), ("reason", reason)];
            let owned = values.map(|(key, value)| (key, (*value).to_owned()));
            Labels::from(owned)
        });
        let labels: Vec<Labels> = labels.collect();
        let shown = self.shown_sources.lock();
        let mut shown = shown.unwrap_or_else(PoisonError::into_inner);
        if *shown != labels {
            self.sources.clear();
            for labels in &labels {
                self.sources.get_or_create_owned(labels).set(1);
            }
            *shown = labels;
        }
    }

    pub(super) fn forget(&self, name: &str) {
        let labels = labels(name);
        self.up.remove(&labels);
        self.seen_through_age.remove(&labels);
        self.statements.remove(&labels);
        self.open.remove(&labels);
        self.in_use.remove(&labels);
        self.created.remove(&labels);
        self.made_ahead.remove(&labels);
        self.connect_failures.remove(&labels);
        CounterBy::<CloseReason>::remove(&self.closed, &[(KEY, name)]);
        self.borrow_seconds.remove(&labels);
        for family in [&self.uncompressed_bytes, &self.compressed_bytes] {
            CounterBy::<Direction>::remove(family, &[(KEY, name)]);
        }
    }
}

/// The label's name.
const KEY: &str = "endpoint";

fn labels(name: &str) -> Labels {
    vec![(KEY, name.to_owned())]
}
