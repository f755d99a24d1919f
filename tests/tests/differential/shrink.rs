//! The shortest script that still shows a difference.

use crate::pair::Pair;
use crate::runner::{Difference, run};
use crate::script::Script;

/// How many scripts are tried.
const LIMIT: usize = 100;

/// Leaves out steps, many at first and then one by one, as long as some answer still differs.
pub(crate) async fn shrink(
    pair: &Pair,
    mut script: Script,
    mut difference: Difference,
) -> (Script, Difference) {
    let mut tried = 0;
    script.steps.truncate(difference.at + 1);
    let mut size = script.steps.len() / 2;
    while size > 0 {
        let mut has_shrunk = false;
        let mut end = script.steps.len();
        while end > 0 && tried < LIMIT {
            tried += 1;
            let start = end.saturating_sub(size);
            let mut shorter = script.without(start..end);
            match run(pair, &shorter).await {
                Some(found) => {
                    shorter.steps.truncate(found.at + 1);
                    end = start.min(shorter.steps.len());
                    (script, difference) = (shorter, found);
                    has_shrunk = true;
                }
                None => end = start,
            }
        }
        // Single steps again until none can go.
        if size > 1 || !has_shrunk {
            size /= 2;
        }
    }
    (script, difference)
}
