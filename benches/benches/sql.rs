//! What one statement costs before it is sent: scan, plan cache, route.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isthmus::routing::{self, Transaction, View};
use isthmus::sql::lexer::Lexer;
use isthmus::sql::{Dialect, Holds, PlanCache};
use isthmus_benches::statements;

/// The lexer alone: one pass over the bytes.
fn lexer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lexer");
    for (name, sql) in statements::all() {
        group.throughput(Throughput::Bytes(sql.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &sql, |bencher, sql| {
            bencher.iter(|| {
                let mut lexer = Lexer::new(black_box(sql.as_bytes()), Dialect::default());
                let mut tokens = 0;
                while lexer.next().is_some() {
                    tokens += 1;
                }
                tokens
            });
        });
    }
    group.finish();
}

/// The plan of a statement whose digest is known: lexer, digest and look-up.
fn plan_cache_hit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan cache hit");
    let plans = PlanCache::new(10_000);
    for (name, sql) in statements::all() {
        plans.plan(sql.as_bytes(), Dialect::default(), false);
        group.throughput(Throughput::Bytes(sql.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &sql, |bencher, sql| {
            bencher.iter(|| plans.plan(black_box(sql.as_bytes()), Dialect::default(), false));
        });
    }
    group.finish();
}

/// The plan of a statement whose digest was never seen: what the cache saves.
fn plan_cache_miss(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan cache miss");
    for (name, sql) in statements::all()
        .into_iter()
        .filter(|(_, sql)| sql.len() < 5_000)
    {
        group.bench_with_input(BenchmarkId::from_parameter(name), &sql, |bencher, sql| {
            bencher.iter_batched(
                || PlanCache::new(16),
                |plans| plans.plan(black_box(sql.as_bytes()), Dialect::default(), false),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    let plans = PlanCache::new(16);
    for (name, sql) in [
        ("read", statements::POINT_SELECT),
        ("write", "UPDATE sbtest1 SET k = k + 1 WHERE id = 4711"),
        ("begin", "BEGIN"),
    ] {
        let planned = plans.plan(sql.as_bytes(), Dialect::default(), false);
        let view = View {
            transaction: Transaction::None,
            autocommit: true,
            holds: Holds::empty(),
            pinned: false,
            reads_ahead: false,
            locks_reads: false,
            allowed_functions: &[],
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| routing::route(black_box(&planned.plan), &planned.hints, &view));
        });
    }
    group.finish();
}

criterion_group!(benches, lexer, plan_cache_hit, plan_cache_miss, route);
criterion_main!(benches);
