//! What a promise costs a read of a session that has nothing to wait for.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use isthmus::consistency::{Mark, SharedMark};

/// The mark that a read must see, while nothing is outstanding: the session's own, which is none,
/// and the one that the scopes `user` and `global` share. To compare with: one atomic load.
fn no_mark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read without a mark");
    let (own, shared, bare) = (None::<Mark>, SharedMark::default(), AtomicU64::new(0));
    group.bench_function("one atomic load", |bencher| {
        bencher.iter(|| black_box(&bare).load(Ordering::Acquire));
    });
    group.bench_function("scope session", |bencher| {
        bencher.iter(|| black_box(own).max(None));
    });
    group.bench_function("scope user or global", |bencher| {
        bencher.iter(|| black_box(own).max(black_box(&shared).get()));
    });
    group.finish();
}

criterion_group!(benches, no_mark);
criterion_main!(benches);
