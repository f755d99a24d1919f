//! What an answer costs on its way back, and a session's state on its way out.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isthmus::pool::{State, Variables};
use isthmus_benches::responses;
use isthmus_protocol::query_attributes::QueryForm;
use isthmus_protocol::response::{Kind, Piece, Response};

/// Walks a whole response as the relay does, without moving a byte. The throughput is in rows.
fn walk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("response walk");
    for (name, rows, row_len) in [
        ("point select", 1, 120),
        ("small rows", 1_000, 20),
        ("1 KB rows", 1_000, 1_024),
    ] {
        let response = responses::rows(rows, row_len);
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched_ref(
                || response.clone(),
                |response| {
                    let mut walk = Response::new(Kind::Query);
                    let mut at = 0;
                    while !walk.is_over() {
                        let Some(rest) = response.get_mut(at..) else {
                            break;
                        };
                        match walk.next(rest) {
                            Ok(Piece::Run(len) | Piece::Ok { len, .. }) => at += len,
                            Ok(Piece::MetadataEnd) => {}
                            other => panic!("the response is not what it should be: {other:?}"),
                        }
                    }
                    black_box(at)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// The commands that bring a connection from one session's state to another's.
fn state_difference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("state difference");
    let initial = state(&[
        ("character_set_client", "utf8mb4"),
        ("character_set_results", "utf8mb4"),
    ]);
    let rails = state(&[
        ("character_set_client", "utf8mb4"),
        ("character_set_connection", "utf8mb4"),
        ("character_set_results", "utf8mb4"),
        ("collation_connection", "utf8mb4_unicode_ci"),
        ("sql_auto_is_null", "OFF"),
        ("sql_mode", "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO"),
        ("time_zone", "+00:00"),
    ]);
    for (name, from, to) in [
        ("equal", &rails, &rails),
        ("fresh to Rails", &initial, &rails),
    ] {
        let mut out = Vec::with_capacity(1_024);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(from).write_difference(black_box(to), None, QueryForm::Plain, &mut out)
            });
        });
    }
    group.finish();
}

fn state(variables: &[(&str, &str)]) -> State {
    let variables: Variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), value.as_bytes().into()))
        .collect();
    State::new(Some(b"app".as_slice().into()), false, variables)
}

criterion_group!(benches, walk, state_difference);
criterion_main!(benches);
