//! What a promise costs: a read of a session that has nothing to wait for, and many sessions that
//! wait when the reader has caught up.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use isthmus::config::Config;
use isthmus::consistency::{GtidSet, Ledger, Mark, Position, Reader, Scale, SharedMark, Token};
use isthmus::topology::Endpoint;

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

/// A ledger and its only reader, which has not reached what so many sessions have written, each of
/// them a transaction; the last mark, and where the writer is.
fn marked(sessions: u64) -> (Ledger, Arc<Reader>, Mark, Position) {
    let text = include_str!("../../configs/minimal.toml");
    let config = Config::parse(text, Path::new("minimal.toml")).expect("it is tested");
    let endpoint = Arc::new(Endpoint::new(&config.endpoints[1]).expect("it needs no file"));
    let ledger = Ledger::new(1);
    let reader = ledger.follow(&[endpoint]).remove(0);
    ledger.adopt(&reader, Scale::Gtids);
    let gtids = |numbers: String| {
        let text = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{numbers}");
        GtidSet::parse(&text, false).expect("it is well formed")
    };
    let start = Position::Gtids(gtids("1".to_owned()));
    ledger.resolve(Scale::Gtids, ledger.begin_sample(), start);
    let mut last = Mark::OLDEST;
    for number in 2..sessions + 2 {
        last = ledger.mark(Token::gtids(gtids(number.to_string())));
    }
    let position = Position::Gtids(gtids(format!("1-{}", sessions + 1)));
    (ledger, reader, last, position)
}

/// The reader reaches what sessions have written one right after the other.
fn many_marks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("the reader has caught up with sessions");
    for sessions in [1, 100, 10_000] {
        group.bench_function(sessions.to_string(), |bencher| {
            bencher.iter_batched_ref(
                || marked(sessions),
                |(ledger, reader, last, position)| {
                    ledger.reached(reader, 0, position);
                    assert!(reader.has_seen(*last));
                },
                BatchSize::PerIteration,
            );
        });
    }
    let (ledger, reader, last, position) = marked(1);
    ledger.reached(&reader, 0, &position);
    group.bench_function("and a session finds that out", |bencher| {
        bencher.iter(|| black_box(&reader).has_seen(black_box(last)));
    });
    group.finish();
}

criterion_group!(benches, no_mark, many_marks);
criterion_main!(benches);
