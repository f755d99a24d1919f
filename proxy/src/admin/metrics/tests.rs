//! What Prometheus reads.

use std::time::Duration;

use super::*;

#[test]
fn handles_count_in_the_registry() {
    let metrics = Metrics::new();
    let beyond = Duration::from_secs(20);
    metrics.statements.seconds(Role::Reader).observe(beyond);
    metrics.clients.accepted.inc();
    metrics.clients.refused.inc(RefuseReason::TooMany);
    metrics.statements.routed.inc(Route::Reader);
    metrics
        .statements
        .seconds(Role::Writer)
        .observe(Duration::from_millis(200));
    metrics.consistency.waits.inc(WaitOutcome::TimedOut);
    let virginia = metrics.endpoint("virginia");
    virginia.up.set(1);
    virginia.closed.inc(CloseReason::Age);
    virginia.seen_through_age_seconds.set(0.25);
    virginia.borrow_seconds.observe(0.002);
    metrics.endpoint("virginia").created.inc();
    let held = Held::new(&virginia.in_use);

    let text = metrics.encode().unwrap();
    for line in [
        "isthmus_client_connections_accepted_total 1",
        "isthmus_client_connections_refused_total{reason=\"too_many\"} 1",
        "isthmus_client_connections_refused_total{reason=\"tls\"} 0",
        "isthmus_statements_total{route=\"reader\"} 1",
        "isthmus_statement_duration_seconds_bucket{le=\"0.25\",role=\"writer\"} 1",
        "isthmus_statement_duration_seconds_bucket{le=\"10.0\",role=\"reader\"} 0",
        "isthmus_statement_duration_seconds_bucket{le=\"+Inf\",role=\"reader\"} 1",
        "isthmus_statement_duration_seconds_sum{role=\"reader\"} 20.0",
        "isthmus_reader_waits_total{outcome=\"timed_out\"} 1",
        "isthmus_endpoint_up{endpoint=\"virginia\"} 1",
        "isthmus_backend_connections_created_total{endpoint=\"virginia\"} 1",
        "isthmus_backend_connections_closed_total{endpoint=\"virginia\",reason=\"age\"} 1",
        "isthmus_reader_seen_through_age_seconds{endpoint=\"virginia\"} 0.25",
        "isthmus_borrow_duration_seconds_count{endpoint=\"virginia\"} 1",
        "isthmus_backend_connections_in_use{endpoint=\"virginia\"} 1",
        "isthmus_plan_cache_lookups_total{outcome=\"hit\"} 0",
        "isthmus_reloads_total{outcome=\"failed\"} 0",
        "isthmus_errors_total{source=\"backend\"} 0",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
    let figures = metrics.figures().unwrap();
    let figure = |name: &str| figures.iter().find(|figure| figure.0 == name);
    let reader = figure("isthmus_statements_total{route=\"reader\"}").unwrap();
    assert_eq!(reader.1, 1.0);
    let holding = "isthmus_sessions_holding{hold=\"user_lock\"}";
    assert_eq!(figure(holding).unwrap().1, 0.0);
    assert!(!figures.iter().any(|figure| figure.0.contains("_bucket")));
    drop(held);
    assert_eq!(virginia.in_use.get(), 0);
}

#[test]
fn each_metric_explains_itself() {
    let metrics = Metrics::new();
    metrics.endpoint("virginia");
    let text = metrics.encode().unwrap();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        let help = format!("# HELP {name} ");
        let help = text.lines().find(|line| line.starts_with(&help)).unwrap();
        assert!(help.len() > name.len() + 20, "{help}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_forgotten_endpoint_is_not_shown() {
    let metrics = Metrics::new();
    let handles = metrics.endpoint("virginia");
    metrics.endpoint("tokyo");
    metrics.forget_endpoint("virginia");
    handles.created.inc();
    let text = metrics.encode().unwrap();
    assert!(!text.contains("virginia"), "{text}");
    assert!(text.contains("tokyo"));
}

#[test]
fn labels_stand_at_their_index() {
    fn check<L: Label + PartialEq + std::fmt::Debug>() {
        for (index, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), index, "{value:?}");
        }
    }
    check::<RefuseReason>();
    check::<Route>();
    check::<ErrorSource>();
    check::<WaitOutcome>();
    check::<WrongGuess>();
    check::<ReloadOutcome>();
    check::<CacheOutcome>();
    check::<CloseReason>();
}

#[test]
fn every_hold_has_its_place() {
    for (place, hold) in Holds::EACH.into_iter().enumerate() {
        assert_eq!(hold.index(), place, "{}", hold.name());
    }
    assert_eq!(Holds::all().iter().count(), Holds::EACH.len());
}
