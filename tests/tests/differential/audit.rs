//! What sessions leave on the connections that others get.

use isthmus_tests::wire::{Client, USUAL};

use crate::answer::{Answer, Kind};
use crate::compare::is_same;
use crate::grammar::{INSPECTION, SCHEMAS};
use crate::known::Question;
use crate::pair::{Pair, Side};
use crate::script::{Actor, Step};

/// How many connections of each endpoint are looked at: all but one of the pool.
const CONNECTIONS: usize = 3;

/// What keeps a connection to the writer, and one to the reader.
const KEEP: [&str; 2] = ["BEGIN", "START TRANSACTION READ ONLY"];

/// Looks at several connections at once, as sessions that have changed nothing. Returns what is
/// found directly and through the proxy, if that differs.
pub(crate) async fn audit(pair: &Pair, with_schema: bool) -> Option<(Answer, Answer)> {
    let auditor = Actor {
        capabilities: USUAL,
        collation: 45,
        schema: SCHEMAS[0],
        selects_schema: with_schema,
    };
    let step = Step::Query(INSPECTION.into());
    let question = Question {
        step: &step,
        flavor: pair.flavor,
    };
    let mut auditors = Vec::new();
    for keep in KEEP {
        let (_, expected) = inspect(pair, Side::Direct, &auditor, keep).await;
        for _ in 0..CONNECTIONS {
            let (client, found) = inspect(pair, Side::Proxied, &auditor, keep).await;
            if !is_same(question, &expected, &found) {
                return Some((expected, found));
            }
            auditors.push(client);
        }
    }
    None
}

async fn inspect(pair: &Pair, side: Side, auditor: &Actor, keep: &str) -> (Client, Answer) {
    let mut client = pair.connect(side, auditor).await;
    client.query(keep).await.unwrap();
    client
        .send(0, &isthmus_tests::wire::query_payload(INSPECTION))
        .await
        .unwrap();
    let answer = Answer::read(&mut client, Kind::Results).await;
    (client, answer)
}
