//! A search for broken promises, in the manner of Jepsen: no session reads an older state than it
//! has written or read, whatever is harmed meanwhile; and without the promise, the search finds that.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use isthmus_lab::Flavor;
use isthmus_tests::checker::{Options, search};

/// Long enough for some harm. One search is longer, and by hand they are as long as one likes.
const SHORT: Duration = Duration::from_secs(15);

async fn no_promise_is_broken(flavor: Flavor, source: &str) {
    no_promise_is_broken_by(Options {
        flavor,
        source: source.to_owned(),
        time: SHORT,
        ..Options::default()
    })
    .await;
}

async fn no_promise_is_broken_by(options: Options) {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let options = Options {
        seed: now.as_secs(),
        ..options
    };
    let report = search(&options).await;
    println!("seed {}: {}", options.seed, report.summary());
    let shown: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(
        shown.is_empty(),
        "seed {}: {:#?}\n{:#?}",
        options.seed,
        report.deeds,
        &shown[..shown.len().min(20)]
    );
    assert!(report.from_readers > 0, "no reader was ever asked");
    assert!(report.reads > report.from_readers, "nor was the writer");
}

#[tokio::test]
async fn no_promise_is_broken_by_gtids_of_mysql() {
    no_promise_is_broken_by(Options {
        time: Duration::from_secs(60),
        ..Options::default()
    })
    .await;
}

#[tokio::test]
async fn no_promise_is_broken_by_gtids_of_mariadb() {
    no_promise_is_broken(Flavor::Mariadb, "gtid").await;
}

#[tokio::test]
async fn no_promise_is_broken_by_a_heartbeat() {
    no_promise_is_broken(Flavor::Mysql, "heartbeat").await;
}

#[tokio::test]
async fn no_promise_is_broken_by_the_lsns_of_aurora() {
    no_promise_is_broken(Flavor::Mysql, "aurora").await;
}

#[tokio::test]
async fn no_promise_is_broken_by_the_lag_of_aurora() {
    no_promise_is_broken(Flavor::Mysql, "aurora-cluster").await;
}

#[tokio::test]
async fn no_promise_is_broken_while_a_proxy_is_suspended() {
    no_promise_is_broken_by(Options {
        time: SHORT,
        suspension: Duration::from_secs(4),
        ..Options::default()
    })
    .await;
}

#[tokio::test]
async fn without_a_promise_the_search_finds_violations() {
    // Where replication is quick, few reads come early enough.
    const SEARCHES: u32 = 10;
    for _ in 0..SEARCHES {
        let report = search(&Options {
            time: Duration::from_secs(5),
            off: true,
            nemesis: false,
            ..Options::default()
        })
        .await;
        println!("{}", report.summary());
        if !report.violations.is_empty() {
            return;
        }
    }
    panic!("no violation in {SEARCHES} searches");
}
