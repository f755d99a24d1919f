//! Metrics with one label, resolved beforehand.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::SECONDS;
use super::busy::BusyCounter;

/// Labels as prometheus-client wants them.
pub(super) type Labels = Vec<(&'static str, String)>;
/// Histograms over [`SECONDS`].
pub(super) type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// The values that a label can have.
pub trait Label: Copy + 'static {
    /// The label's name.
    const KEY: &'static str;
    /// All values, in the order of their indices.
    const ALL: &'static [Self];

    /// The value as Prometheus shows it.
    fn word(self) -> &'static str;

    /// The position in [`Label::ALL`].
    fn index(self) -> usize;
}

/// A metric for each value of a label. Cloning it shares the metrics.
#[derive(Debug)]
pub struct By<L, M> {
    metrics: Arc<[M]>,
    label: PhantomData<fn(L)>,
}

/// A counter for each value of a label.
pub type CounterBy<L> = By<L, Counter>;
/// The same of what happens with every statement.
pub type BusyCounterBy<L> = By<L, BusyCounter>;
/// A gauge for each value of a label.
pub type GaugeBy<L> = By<L, Gauge>;

impl<L: Label> CounterBy<L> {
    /// Adds one.
    pub fn inc(&self, value: L) {
        self.of_value(value).inc();
    }

    /// Adds `n`.
    pub fn add(&self, value: L, n: u64) {
        self.of_value(value).inc_by(n);
    }

    /// How many there were.
    pub fn get(&self, value: L) -> u64 {
        self.of_value(value).get()
    }
}

impl<L: Label> BusyCounterBy<L> {
    /// Adds one.
    pub fn inc(&self, value: L) {
        self.of_value(value).inc();
    }

    /// How many there were.
    pub fn get(&self, value: L) -> u64 {
        self.of_value(value).get()
    }
}

impl<L: Label, M> By<L, M> {
    /// The metric of one value.
    pub fn of_value(&self, value: L) -> &M {
        &self.metrics[value.index()]
    }
}

impl<L: Label, M: Clone + Default> By<L, M> {
    pub(super) fn register(registry: &mut Registry, name: &str, help: &str) -> Self
    where
        M: EncodeMetric + TypedMetric + fmt::Debug + Send + Sync + 'static,
    {
        let family = Family::default();
        registry.register(name, help, family.clone());
        Self::of(&family, &[])
    }

    /// The metrics of a family for all values, beside `others`.
    pub(super) fn of(family: &Family<Labels, M>, others: &[(&'static str, &str)]) -> Self {
        let metrics = L::ALL
            .iter()
            .map(|value| {
                let labels = labels(others, L::KEY, value.word());
                family.get_or_create_owned(&labels)
            })
            .collect();
        Self {
            metrics,
            label: PhantomData,
        }
    }

    /// Takes the metrics out of the family again.
    pub(super) fn remove(family: &Family<Labels, M>, others: &[(&'static str, &str)]) {
        for value in L::ALL {
            family.remove(&labels(others, L::KEY, value.word()));
        }
    }
}

impl<L, M> Clone for By<L, M> {
    fn clone(&self) -> Self {
        Self {
            metrics: self.metrics.clone(),
            label: PhantomData,
        }
    }
}

/// Registers histograms of seconds; the unit is appended to the name.
pub(super) fn histograms(registry: &mut Registry, name: &str, help: &str) -> Histograms {
    let family: Histograms = Family::new_with_constructor(|| Histogram::new(SECONDS));
    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
    family
}

/// One of the histograms.
pub(super) fn histogram_for(family: &Histograms, key: &'static str, value: &str) -> Histogram {
    family.get_or_create_owned(&vec![(key, value.to_owned())])
}

fn labels(others: &[(&'static str, &str)], key: &'static str, word: &str) -> Labels {
    others
        .iter()
        .chain(&[(key, word)])
        .map(|(key, word)| (*key, (*word).to_owned()))
        .collect()
}
