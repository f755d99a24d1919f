//! What is counted for each endpoint.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::by_label::{CounterBy, Histograms, Label, Labels, histogram_for, histograms};
use super::label;

label! {
    /// Why a backend connection was closed.
    CloseReason "reason" {
        /// Nobody borrowed it for `pool.idle_timeout`.
        Idle = "idle",
        /// It reached `pool.max_life`.
        Age = "age",
        /// The server or the network broke it.
        Broken = "broken",
        /// It came back in a state that could not be cleaned.
        Unclean = "unclean",
        /// Its endpoint or user was changed or removed by a reload, or the proxy stops.
        Retired = "retired",
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
    pub statements: Counter,
    /// Backend connections open now, borrowed or idle.
    pub open: Gauge,
    /// Backend connections lent to a session now.
    pub in_use: Gauge,
    /// Backend connections made since the start.
    pub created: Counter,
    /// Attempts to connect or log in that failed.
    pub connect_failures: Counter,
    /// Backend connections closed since the start.
    pub closed: CounterBy<CloseReason>,
    /// How long statements that found no idle backend connection waited for one, in seconds.
    pub borrow_seconds: Histogram,
}

/// The families behind the handles.
#[derive(Debug)]
pub(super) struct EndpointFamilies {
    up: Family<Labels, Gauge>,
    seen_through_age: Family<Labels, Gauge<f64, AtomicU64>>,
    statements: Family<Labels, Counter>,
    open: Family<Labels, Gauge>,
    in_use: Family<Labels, Gauge>,
    created: Family<Labels, Counter>,
    connect_failures: Family<Labels, Counter>,
    closed: Family<Labels, Counter>,
    borrow_seconds: Histograms,
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
            connect_failures: Family::default(),
            closed: Family::default(),
            borrow_seconds: histograms(
                registry,
                "borrow_duration",
                "How long statements that found no idle backend connection waited for one",
            ),
        };
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
        families
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
            connect_failures: self.connect_failures.get_or_create_owned(&labels),
            closed: CounterBy::of(&self.closed, &[(KEY, name)]),
            borrow_seconds: histogram_for(&self.borrow_seconds, KEY, name),
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
        self.connect_failures.remove(&labels);
        CounterBy::<CloseReason>::remove(&self.closed, &[(KEY, name)]);
        self.borrow_seconds.remove(&labels);
    }
}

/// The label's name.
const KEY: &str = "endpoint";

fn labels(name: &str) -> Labels {
    vec![(KEY, name.to_owned())]
}
