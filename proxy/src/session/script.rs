//! Several statements in one command, of which the proxy answers the first ones itself.

use std::io;

use isthmus_protocol::query_attributes::put_query;

use super::Session;
use super::conversation::Flow;
use super::diagnosis::Sending;
use crate::sql::{self, Hints, Kind, Plan};

/// Whether the first of several statements is one that the proxy may answer: a KILL, whose ids only
/// it knows, or a question about the conditions of the statement before.
pub(super) fn begins_here(plan: &Plan) -> bool {
    plan.parts.first().is_some_and(|first| is_answered(first))
}

fn is_answered(plan: &Plan) -> bool {
    plan.kind == Kind::Kill || plan.is_diagnostic()
}

impl Session {
    /// Answers those at the beginning that the proxy can answer, and runs the others behind them as
    /// one command with the hints of the whole. `None` if there is none to answer.
    pub(super) async fn answer_first(
        &mut self,
        attributes: &[u8],
        sql: &[u8],
        hints: &Hints,
    ) -> io::Result<Option<Flow>> {
        let script = sql::read(sql, self.state.dialect, true);
        let count = script.statements.len();
        let mut answered = 0;
        for statement in &script.statements {
            let text = sql.get(statement.range.clone()).unwrap_or_default();
            let has_more = answered + 1 < count;
            if statement.plan.kind == Kind::Kill {
                if !self.kill_statement(text, has_more).await? {
                    return Ok(Some(Flow::Continue));
                }
            } else {
                let sending = Sending {
                    has_more,
                    ..Sending::TEXT
                };
                let is_known =
                    statement.plan.is_diagnostic() && self.has_kept_conditions(text).await;
                if !is_known || !self.answer_diagnosis(text, sending).await? {
                    break;
                }
            }
            answered += 1;
        }
        let Some(next) = script.statements.get(answered) else {
            return Ok(Some(Flow::Continue));
        };
        if answered == 0 {
            return Ok(None);
        }
        let rest = sql.get(next.range.start..).unwrap_or_default();
        let mut planned = self.plan(rest, self.state.multi_statements);
        planned.hints = hints.clone();
        let mut framed = Vec::new();
        put_query(&mut framed, attributes, rest);
        let running = self.query_planned(&framed, attributes, rest, &planned);
        Box::pin(running).await.map(Some)
    }
}
