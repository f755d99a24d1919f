//! Metrics of what happens with every statement: each thread counts for itself, and they are added
//! up when somebody looks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::SECONDS;
use crate::per_thread::PerThread;

/// A counter. Cloning it shares the number.
#[derive(Debug, Clone, Default)]
pub struct BusyCounter(Arc<PerThread<AtomicU64>>);

impl BusyCounter {
    /// Adds one.
    pub fn inc(&self) {
        self.0.own().fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.all().map(|own| own.load(Ordering::Relaxed)).sum()
    }
}

impl TypedMetric for BusyCounter {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for BusyCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.get(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// A histogram of times, over the same limits as every other. Cloning it shares the numbers.
#[derive(Debug, Clone, Default)]
pub struct BusyHistogram(Arc<PerThread<Times>>);

#[derive(Debug, Default)]
struct Times {
    nanoseconds: AtomicU64,
    /// How many there were up to each of [`SECONDS`], and beyond the last.
    counts: [AtomicU64; SECONDS.len() + 1],
}

impl BusyHistogram {
    /// Adds one.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = SECONDS.iter().position(|limit| seconds <= *limit);
        let own = self.0.own();
        own.counts[bucket.unwrap_or(SECONDS.len())].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        own.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl TypedMetric for BusyHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for BusyHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let limits = SECONDS.iter().copied().chain([f64::INFINITY]);
        let mut buckets: Vec<(f64, u64)> = limits.map(|limit| (limit, 0)).collect();
        let mut sum = Duration::ZERO;
        for own in self.0.all() {
            sum += Duration::from_nanos(own.nanoseconds.load(Ordering::Relaxed));
            for ((_, count), more) in buckets.iter_mut().zip(&own.counts) {
                *count += more.load(Ordering::Relaxed);
            }
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_count_together() {
        let counter = BusyCounter::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| counter.inc()));
            }
        });
        assert_eq!(counter.get(), 4000);
    }
}
