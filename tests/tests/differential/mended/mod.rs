//! Scripts that once differed, each with the least that it takes.

mod conditions;
mod counts;
mod prepared;
mod state;
mod transactions;

use isthmus_protocol::capabilities::Capabilities;
use isthmus_tests::wire::USUAL;

use crate::script::{Actor, Script, Step, Value};

/// What was wrong, and the session that shows it.
pub(crate) fn scripts() -> Vec<(&'static str, Script)> {
    [
        conditions::scripts(),
        counts::scripts(),
        prepared::scripts(),
        state::scripts(),
        transactions::scripts(),
    ]
    .concat()
}

fn query(text: &str) -> Step {
    Step::Query(text.into())
}

fn queries(texts: &[&str]) -> Vec<Step> {
    texts.iter().map(|text| query(text)).collect()
}

fn prepare(sql: &str) -> Step {
    Step::Prepare(0, sql.into())
}

fn execute(values: &[Value]) -> Step {
    executing(values, false)
}

fn with_cursor(values: &[Value]) -> Step {
    executing(values, true)
}

fn executing(values: &[Value], cursor: bool) -> Step {
    Step::Execute {
        slot: 0,
        values: values.to_vec(),
        cursor,
        types: true,
    }
}

/// One session, whose connection changes after each step.
fn script(steps: Vec<Step>) -> Script {
    let steps = steps
        .into_iter()
        .flat_map(|step| [(0, step), (0, Step::Swap)]);
    Script {
        actors: vec![actor("one", true)],
        steps: steps.collect(),
    }
}

fn actor(schema: &'static str, selects_schema: bool) -> Actor {
    Actor {
        capabilities: USUAL | Capabilities::MULTI_STATEMENTS,
        collation: 45,
        schema,
        selects_schema,
    }
}
