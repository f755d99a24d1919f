//! Tokens: `SELECT @isthmus_token`, `SET @isthmus_after = '…'` and the hint `isthmus:after`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::result_set::{Form, ResultSet, Value};
use isthmus_protocol::session_track::{self, Change};
use isthmus_protocol::status::Status;

use super::Session;
use super::conversation::Flow;
use super::touched::Touched;
use crate::config::Source;
use crate::consistency::{GtidSet, Ledger, Token};
use crate::error::SqlError;
use crate::pool::Lease;
use crate::sql::{self, Hints, Plan};

/// How long a reader may take to say that it has long seen what a token stands for.
const PROMPT: Duration = Duration::from_millis(50);

/// Makes the tokens that go with the answers of the writer to a client that wants to hear of them.
pub(super) struct Announcer {
    ledger: Arc<Ledger>,
    source: Source,
    is_mariadb: bool,
}

impl Announcer {
    /// The token that goes with this OK packet: of the transaction that it tells of, or of what was
    /// written until now if it ends one and tells of none.
    pub(super) fn token(&self, ok: &OkPacket<'_>) -> Option<String> {
        let mut changes = session_track::changes(ok.session_state).flatten();
        let gtids = changes.find_map(|change| match change {
            Change::Gtids(gtids) => Some(gtids),
            Change::Variable { name, value } if name == b"last_gtid" => Some(value),
            _ => None,
        });
        let set = gtids.and_then(|gtids| {
            let text = std::str::from_utf8(gtids).ok()?;
            GtidSet::parse(text, self.is_mariadb).ok()
        });
        let token = match (set, self.source) {
            (Some(set), _) => Token::gtids(set),
            (None, Source::Gtid) => return None,
            (None, _) if ok.status.contains(Status::IN_TRANS) => return None,
            (None, Source::Heartbeat) => self.ledger.promise_beat(),
            (None, Source::Auto | Source::Aurora | Source::Fixed) => Token::anything(),
        };
        Some(token.to_string())
    }
}

impl Session {
    /// What makes tokens for the answer to this statement; `None` if there are none to be told.
    pub(super) fn announcer(&self, plan: &Plan, lease: &Lease) -> Option<Announcer> {
        let may_have_written = plan.marks || self.has_written;
        (self.client.hears_tokens() && may_have_written && lease.leads_to_writer()).then(|| {
            Announcer {
                ledger: self.shared.ledger.clone(),
                source: self.token_source(),
                is_mariadb: lease.server.is_mariadb,
            }
        })
    }

    /// `SELECT @isthmus_token`: a token of what the session has written and seen.
    pub(super) async fn give_token(&mut self) -> io::Result<Flow> {
        let exact = self.mark.as_ref().and_then(|pin| pin.exact.clone());
        let token = match (exact, self.token_source()) {
            (Some(exact), _) => exact,
            (None, Source::Gtid) => return self.ask_for_token().await,
            (None, Source::Heartbeat) => self.shared.ledger.promise_beat(),
            (None, Source::Auto | Source::Aurora | Source::Fixed) => Token::anything(),
        };
        let result = ResultSet {
            columns: vec![ColumnDefinition::text("@isthmus_token")],
            rows: vec![vec![Value::text(token.to_string())]],
        };
        self.client.send_result(&result, Form::Text, false).await?;
        Ok(Flow::Continue)
    }

    /// By what the servers of this proxy tell how far they are.
    pub(super) fn token_source(&self) -> Source {
        let chosen = self.world.readers.iter().find_map(|reader| reader.choice());
        match (chosen, self.world.config.consistency.source) {
            (Some(choice), _) if choice.source == Source::Gtid.as_str() => Source::Gtid,
            (Some(choice), _) if choice.source == Source::Heartbeat.as_str() => Source::Heartbeat,
            (Some(_), _) => Source::Fixed,
            (None, Source::Auto) => {
                let writer = self.world.snapshot.writer.as_ref();
                let server = writer.and_then(|writer| writer.server());
                match server.is_some_and(|server| server.has_gtids) {
                    true => Source::Gtid,
                    false => Source::Fixed,
                }
            }
            (None, source) => source,
        }
    }

    /// Asks a server that has all that the session has written and seen: where its reads go.
    async fn ask_for_token(&mut self) -> io::Result<Flow> {
        let snapshot = &self.world.snapshot;
        let server = snapshot.all().find_map(|endpoint| endpoint.server());
        let question = Token::query(server.is_some_and(|server| server.is_mariadb));
        let planned = self
            .shared
            .plans
            .plan(b"TABLE a", self.state.dialect, false);
        self.run_text(question.as_bytes(), &planned).await
    }

    /// `SET @isthmus_after = '…'`: what the session reads from now on has what the token stands for.
    pub(super) async fn take_token(&mut self, sql: &[u8]) -> io::Result<Flow> {
        let text = sql::shown_token(sql, self.state.dialect).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if !text.is_empty() {
            match Token::parse(&text) {
                Ok(token) => self.take(token).await,
                Err(error) => {
                    let shown: String = text.chars().take(80).collect();
                    let message = format!(
                        "Variable 'isthmus_after' can't be set to the value of '{shown}': {error}; \
                         take what SELECT @isthmus_token has returned"
                    );
                    let error = SqlError::new(1231, "42000", message);
                    self.client.send_error(&error).await?;
                    return Ok(Flow::Continue);
                }
            }
        }
        self.client.send_ok().await?;
        Ok(Flow::Continue)
    }

    /// The hint `isthmus:after`. One that is no token may be one of a later version: then the
    /// session sees whatever there is now.
    pub(super) async fn note_token(&mut self, hints: &Hints) {
        let Some(text) = &hints.after else { return };
        if self.sharing.taken.as_deref() != Some(text) {
            self.sharing.taken = Some(text.as_str().into());
            self.take(Token::parse(text).unwrap_or_else(|_| Token::anything()))
                .await;
        }
    }

    async fn take(&mut self, token: Token) {
        self.touched = Touched::All;
        self.raise_mark(token);
        if let Some(pin) = &mut self.mark {
            // It does not stand for what the session has written and seen itself.
            pin.exact = None;
            pin.told = None;
        }
        if let (Some((reader, _)), Some(pin)) = (self.reader(), &self.mark) {
            let reader = &self.world.readers[reader];
            let patience = PROMPT.min(self.world.config.consistency.max_wait);
            reader.wait(pin.mark, None, patience).await;
        }
    }
}
