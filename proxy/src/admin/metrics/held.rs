//! A gauge that counts what exists.

use prometheus_client::metrics::gauge::Gauge;

/// Counts one in a gauge for as long as it lives, so that no way out of a function can forget to
/// count it down.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// Counts one more.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
