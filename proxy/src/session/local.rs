//! What the proxy answers itself.

use std::io;
use std::sync::Arc;

use isthmus_protocol::result_set::Form;

use super::Session;
use super::conversation::Flow;
use crate::error::SqlError;
use crate::relay::Reply;
use crate::sql::{Kind, Planned};
use crate::topology::Server;

impl Session {
    /// A statement whose place is the proxy.
    pub(super) async fn answer(&mut self, planned: &Planned, sql: &[u8]) -> io::Result<Flow> {
        if planned.plan.kind != Kind::Show {
            self.last
                .answered_here(&planned.plan, self.started.elapsed(), None);
        }
        match planned.plan.kind {
            Kind::Kill => {
                self.kill_statement(sql, false).await?;
                Ok(Flow::Continue)
            }
            Kind::GiveToken => self.give_token().await,
            Kind::TakeToken => self.take_token(sql).await,
            Kind::Empty => {
                if has_comment(sql) {
                    self.client.send_ok().await?;
                } else {
                    let error = SqlError::new(1065, "42000", "Query was empty");
                    return self.refuse(&error).await;
                }
                self.note_nothing();
                Ok(Flow::Continue)
            }
            _ => self.show_isthmus(sql, Form::Text).await,
        }
    }

    /// Takes note of a statement without tables that the proxy has answered and that has done nothing
    /// on servers.
    pub(super) fn note_nothing(&mut self) {
        if self.is_mariadb() {
            let is_without = self.lease.is_none();
            self.diagnostics.note_beside(&Reply::default(), is_without);
            self.diagnostics.note_command(0);
        } else {
            self.diagnostics.note(&Reply::default());
            self.diagnostics.are_elsewhere = true;
        }
    }

    /// Answers with an error of the proxy's own, which SHOW WARNINGS tells like any other.
    pub(super) async fn refuse(&mut self, error: &SqlError) -> io::Result<Flow> {
        self.diagnostics.note_own(error.into());
        self.client.send_error(error).await?;
        Ok(Flow::Continue)
    }

    /// Whether the servers of this world are MariaDB.
    pub(super) fn is_mariadb(&self) -> bool {
        self.server().is_some_and(|server| server.is_mariadb)
    }

    /// What is known of a server of this world: of any, as they are alike.
    pub(super) fn server(&self) -> Option<Arc<Server>> {
        self.world
            .snapshot
            .all()
            .find_map(|endpoint| endpoint.server())
    }
}

/// Whether a text without a statement has a comment: to the servers that makes it one that does
/// nothing, where it would be an error otherwise.
fn has_comment(sql: &[u8]) -> bool {
    !sql.iter()
        .all(|&byte| byte.is_ascii_whitespace() || matches!(byte, b';' | 0x0b))
}
