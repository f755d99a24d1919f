//! Generated sessions get from the proxy what a direct connection gives: each statement runs on
//! a server alone and through the proxy, and the answers are compared packet by packet.
//!
//! `scripts/test differential [--statements N] [--seed S] [--server mysql|mariadb] [--differences N]`
//!
//! A script is a few sessions side by side, each with a schema of its own, which take turns on
//! few backend connections and leave on them what they can. When an answer differs, steps are
//! left out for as long as some answer still differs, and the shortest script is printed.

#![allow(clippy::unwrap_used)]

mod answer;
mod audit;
mod compare;
mod generator;
mod grammar;
mod known;
mod mended;
mod pair;
mod runner;
mod script;
mod shrink;

use std::io::Write;
use std::time::{Duration, Instant};

use isthmus_tests::Flavor;

use crate::generator::generate;
use crate::pair::Pair;
use crate::runner::{Difference, run};
use crate::script::{Script, Step};
use crate::shrink::shrink;

/// What the program was asked for, in environment variables that `scripts/test` sets.
struct Wanted {
    /// At least so many statements on each server.
    statements: usize,
    /// The seed of the first script; the next has the next number.
    seed: u64,
    /// How many differing scripts to show before giving up.
    differences: usize,
}

impl Wanted {
    fn from_environment() -> Self {
        let number = |name: &str| {
            let value = std::env::var(format!("ISTHMUS_DIFFERENTIAL_{name}")).ok()?;
            Some(
                value
                    .parse::<u64>()
                    .unwrap_or_else(|_| panic!("{name} is {value}, no number")),
            )
        };
        Self {
            statements: number("STATEMENTS").unwrap_or(1000) as usize,
            seed: number("SEED").unwrap_or(600_000),
            differences: number("DIFFERENCES").unwrap_or(1) as usize,
        }
    }
}

/// Every round trip is made that the proxy could do without.
const NOTHING_SAVED: &str = "[round_trips]
    state = false
    first_execution = false
    begin = false
    savepoints = false
    empty_transactions = false
    rollback = false
    prepare = false";

async fn sessions_are_as_on_a_direct_connection(flavor: Flavor) {
    let pair = Pair::start(flavor, "").await;
    what_differs_is_found(&pair).await;
    what_was_mended_stays(&pair).await;
    no_session_differs(&pair, "all trips saved").await;
}

/// The same sessions: so what is deferred and what is not give the same history.
async fn so_they_are_where_no_trip_is_saved(flavor: Flavor) {
    let pair = Pair::start(flavor, NOTHING_SAVED).await;
    what_was_mended_stays(&pair).await;
    no_session_differs(&pair, "no trip saved").await;
}

/// Runs scripts until there were enough statements, or enough differences.
async fn no_session_differs(pair: &Pair, which: &str) {
    let wanted = Wanted::from_environment();
    let name = format!("{}, {which}", pair.flavor);
    say(&format!(
        "{name}: {} statements from seed {} on",
        wanted.statements, wanted.seed
    ));
    let started = Instant::now();
    let mut told = Instant::now();
    let mut statements = 0;
    let mut seed = wanted.seed;
    let mut found = Vec::new();
    while statements < wanted.statements && found.len() < wanted.differences {
        let script = generate(seed, pair.flavor);
        statements += script.statements();
        if let Some(difference) = run(pair, &script).await {
            say(&format!(
                "{name}: seed {seed} differs at {}; shrinking",
                difference.at
            ));
            let (script, difference) = shrink(pair, script, difference).await;
            say(&report(&name, seed, &script, &difference));
            found.push(seed);
        }
        seed = seed.wrapping_add(1);
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            say(&format!("{name}: {statements} statements, at seed {seed}"));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let spread = pair.spread().await;
    say(&format!(
        "{name}: {statements} statements in {seconds:.0} s, {} differences; {spread}",
        found.len()
    ));
    assert!(
        found.is_empty(),
        "the sessions with these seeds differ: {found:?}"
    );
    spread.assert_wide();
}

/// A script in which only the proxied session gets a certain statement has to differ, and shrinks
/// to that statement and one that tells.
async fn what_differs_is_found(pair: &Pair) {
    let tampers = [
        ("SET lc_time_names = 'de_DE'", "SELECT @@lc_time_names"),
        ("INSERT INTO t (a) VALUES (99)", "SELECT COUNT(*) FROM t"),
        ("SET NAMES latin1", "SELECT 'x' AS x"),
    ];
    for (tamper, question) in tampers {
        let mut script = generate(7, pair.flavor);
        script.actors[0].selects_schema = true;
        script.steps = [
            Step::Query(question.into()),
            Step::Tamper(tamper.into()),
            Step::Query("SELECT 1".into()),
            Step::Swap,
            Step::Ping,
            Step::Query(question.into()),
        ]
        .map(|step| (0, step))
        .into();
        let difference = run(pair, &script).await;
        let difference = difference.unwrap_or_else(|| panic!("{tamper} shows in nothing"));
        assert_eq!(
            difference.at,
            script.steps.len() - 1,
            "{tamper}: {difference}"
        );
        let (script, difference) = shrink(pair, script, difference).await;
        let expected = [
            (0, Step::Tamper(tamper.into())),
            (0, Step::Query(question.into())),
        ];
        assert_eq!(script.steps, expected, "\n{script}{difference}");
    }
}

async fn what_was_mended_stays(pair: &Pair) {
    let mut broken = Vec::new();
    for (what, script) in mended::scripts() {
        if let Some(difference) = run(pair, &script).await {
            broken.push(format!(
                "{what}, at step {}:\n{script}{difference}",
                difference.at
            ));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn report(name: &str, seed: u64, script: &Script, difference: &Difference) -> String {
    format!(
        "\n{name}: the proxy answers otherwise than a server. The seed is {seed}; the shortest session:\n{script}{difference}\n"
    )
}

/// Past the test harness, which shows only what failed tests print.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

isthmus_tests::on_both! {
    sessions_are_as_on_a_direct_connection
    so_they_are_where_no_trip_is_saved
}
