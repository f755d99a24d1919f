//! Statements about the conditions of the one before them, whose connection is gone: answered by the
//! proxy, which has kept them.

use std::io;
use std::sync::Arc;

use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::packet;
use isthmus_protocol::query_attributes::put_query;
use isthmus_protocol::result_set::{Form, ResultSet, Value};
use isthmus_protocol::status::Status;

use super::Session;
use super::conditions::{Condition, Level};
use super::conversation::Flow;
use super::stale;
use crate::pool::user_variable::{self, UserValue};
use crate::pool::{RESULTS_CHARSET, RESULTS_COLLATION};
use crate::sql::{ConditionItem, ConditionNumber, Diagnosis, Holds, Script, StatementItem};
use crate::topology::Server;

/// How an answer is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    /// How values are encoded.
    pub(super) form: Form,
    /// Whether answers to other statements of the command follow.
    pub(super) has_more: bool,
}

impl Sending {
    /// The only answer to a text.
    pub(super) const TEXT: Self = Self {
        form: Form::Text,
        has_more: false,
    };
    /// The only answer to an execution.
    pub(super) const BINARY: Self = Self {
        form: Form::Binary,
        has_more: false,
    };
}

impl Session {
    /// Whether the connection that the session keeps, if any, does not have the conditions of the
    /// statement before.
    pub(super) fn has_kept_conditions(&self) -> bool {
        self.lease.is_none() || self.diagnostics.are_elsewhere
    }

    /// Answers a statement about the conditions that the proxy has kept. Returns whether this was one
    /// that could be answered.
    pub(super) async fn answer_diagnosis(
        &mut self,
        sql: &[u8],
        sending: Sending,
    ) -> io::Result<bool> {
        match crate::sql::diagnosis(sql, self.state.dialect) {
            Some(Diagnosis::Conditions {
                only_errors,
                skipped,
                most,
            }) => {
                let conditions = self.shown_conditions(only_errors);
                let shown = conditions.into_iter().skip(skipped).take(most);
                self.show_conditions(shown, sending).await?;
                Ok(true)
            }
            Some(Diagnosis::Count { only_errors }) => {
                self.show_count(only_errors, sending).await?;
                Ok(true)
            }
            Some(Diagnosis::Statement(items)) => {
                let values = items.into_iter().map(|(name, item)| {
                    let value = match item {
                        StatementItem::Number => {
                            UserValue::unsigned(self.shown_conditions(false).len() as u64)
                        }
                        StatementItem::RowCount => UserValue::signed(self.diagnostics.row_count()),
                    };
                    (name, value)
                });
                let values = values.collect();
                self.assign_diagnosis(values, sending).await
            }
            Some(Diagnosis::Condition { number, items }) => {
                self.diagnose(&number, items, sending).await
            }
            None => Ok(false),
        }
    }

    /// The same for several statements whose first one is about the conditions before it: the others
    /// run behind it. `None` if that cannot be answered here.
    pub(super) async fn diagnose_and_go_on(
        &mut self,
        script: &Script,
        attributes: &[u8],
        sql: &[u8],
    ) -> io::Result<Option<Flow>> {
        let Some((first, rest)) = split(script, sql) else {
            return Ok(None);
        };
        let sending = Sending {
            has_more: true,
            ..Sending::TEXT
        };
        if !self.answer_diagnosis(first, sending).await? {
            return Ok(None);
        }
        let mut framed = Vec::new();
        put_query(&mut framed, attributes, rest);
        let body = packet::payload(&framed);
        let body = body.get(1..).unwrap_or_default();
        Box::pin(self.query(&framed, body)).await.map(Some)
    }

    /// `GET DIAGNOSTICS CONDITION`.
    async fn diagnose(
        &mut self,
        number: &ConditionNumber,
        items: Vec<(String, ConditionItem)>,
        sending: Sending,
    ) -> io::Result<bool> {
        let number = match number {
            ConditionNumber::Literal(number) => Some(*number),
            ConditionNumber::Variable(_) if self.has_unread_variables() => return Ok(false),
            ConditionNumber::Variable(name) => {
                let value = self.state.user_variables.get(&**name);
                value
                    .and_then(UserValue::integer)
                    .and_then(|number| u64::try_from(number).ok())
            }
        };
        let index = number.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
        let known = self.shown_conditions(false);
        let Some(condition) = index.and_then(|index| known.get(index)) else {
            self.diagnostics.note_invalid_number(self.most_conditions());
            self.send_diagnosed(1, sending).await?;
            return Ok(true);
        };
        let values = items.into_iter();
        let values = values.map(|(name, item)| (name, self.item_of(condition, item)));
        let values = values.collect();
        self.assign_diagnosis(values, sending).await
    }

    /// What an item of `GET DIAGNOSTICS` says about a condition.
    fn item_of(&self, condition: &Condition, item: ConditionItem) -> UserValue {
        let is_mariadb = self.server().is_some_and(|server| server.is_mariadb);
        let (class, subclass) = match is_mariadb {
            true => ("", ""),
            false => condition.origins(),
        };
        let text = match item {
            ConditionItem::MysqlErrno => return UserValue::unsigned(condition.code.into()),
            ConditionItem::ReturnedSqlstate => String::from_utf8_lossy(&condition.state),
            ConditionItem::MessageText => self.decoded(&condition.message),
            ConditionItem::ClassOrigin => class.into(),
            ConditionItem::SubclassOrigin => subclass.into(),
            ConditionItem::Name => "".into(),
        };
        let is_known = |name: &&str| {
            let server = self.server();
            server.is_some_and(|server| server.collation_named(name.as_bytes()).is_some())
        };
        let collations = ["utf8mb3_general_ci", "utf8_general_ci"];
        let collation = collations.into_iter().find(is_known).unwrap_or("binary");
        UserValue::string(collation, text.as_bytes())
    }

    /// A text that a server has sent, as it is in UTF-8 without characters of four bytes.
    fn decoded<'a>(&self, text: &'a [u8]) -> std::borrow::Cow<'a, str> {
        let charset = self.state.variables.get(RESULTS_CHARSET);
        if charset.is_some_and(|charset| **charset == *b"latin1") {
            return text.iter().map(|byte| char::from(*byte)).collect();
        }
        let text = String::from_utf8_lossy(text);
        match text.chars().all(|c| c.len_utf8() < 4) {
            true => text,
            false => text.replace(|c: char| c.len_utf8() == 4, "?").into(),
        }
    }

    /// Gives these values to user variables of the session, and tells the client. Returns whether
    /// the session can carry them.
    async fn assign_diagnosis(
        &mut self,
        values: Vec<(String, UserValue)>,
        sending: Sending,
    ) -> io::Result<bool> {
        let mut all = (*self.state.user_variables).clone();
        all.extend(values.into_iter().map(|(name, value)| (name.into(), value)));
        if !user_variable::are_carried(&all) {
            return Ok(false);
        }
        let state = self.state.with_user_variables(Arc::new(all));
        self.set_state(self.shared.states.intern(state));
        // The connection may have values that nobody has read yet: it gets these at once.
        if let Some(mut lease) = self.lease.take() {
            let changed = lease.change_to(&self.state).await;
            let _ = changed.map_err(io::Error::other)?;
            self.lease = Some(lease);
        }
        self.send_diagnosed(0, sending).await?;
        Ok(true)
    }

    /// Whether the connection that the session keeps knows values of user variables that the session
    /// does not.
    fn has_unread_variables(&self) -> bool {
        !self.assigned.is_empty() || self.holds.contains(Holds::USER_VARIABLE)
    }

    /// How many conditions servers keep for this session.
    fn most_conditions(&self) -> usize {
        let own = self.state.variables.get("max_error_count");
        let own = own.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        own.unwrap_or_else(|| match self.server() {
            Some(server) if server.is_mariadb => 64,
            _ => 1024,
        })
    }

    async fn send_diagnosed(&mut self, warnings: u16, sending: Sending) -> io::Result<()> {
        let mut status = Status::empty();
        status.set(Status::MORE_RESULTS_EXISTS, sending.has_more);
        let ok = OkPacket {
            warnings,
            status,
            ..OkPacket::default()
        };
        self.client.send_ok_packet(ok).await
    }

    /// The conditions that SHOW WARNINGS or SHOW ERRORS lists, the proxy's own among them.
    fn shown_conditions(&self, only_errors: bool) -> Vec<Condition> {
        let mut conditions = self.diagnostics.conditions.known();
        if self.diagnostics.is_stale {
            conditions.insert(0, stale::warning());
        }
        conditions.retain(|one| !only_errors || one.level == Level::Error);
        conditions
    }

    async fn show_conditions(
        &mut self,
        conditions: impl Iterator<Item = Condition>,
        sending: Sending,
    ) -> io::Result<()> {
        let row = |one: Condition| {
            let level = Value::text(one.level.word());
            vec![
                level,
                Value::Small(one.code.into()),
                Value::text(one.message),
            ]
        };
        let rows = conditions.map(row).collect();
        let server = self.server();
        let is_mariadb = server.as_ref().is_some_and(|server| server.is_mariadb);
        let (collation, longest) = self.described_texts(server.as_deref());
        let columns = condition_columns(is_mariadb, collation, longest);
        self.send_conditions(&ResultSet { columns, rows }, sending)
            .await
    }

    async fn show_count(&mut self, only_errors: bool, sending: Sending) -> io::Result<()> {
        let values = self.diagnostics.values(0);
        let (name, count) = match only_errors {
            true => ("@@session.error_count", values.error_count),
            false => ("@@session.warning_count", values.warning_count),
        };
        let result = ResultSet {
            columns: vec![ColumnDefinition {
                flags: ColumnDefinition::UNSIGNED | ColumnDefinition::BINARY,
                ..ColumnDefinition::integer(name)
            }],
            rows: vec![vec![Value::integer(count.unwrap_or_default())]],
        };
        // It is a row like any other, which those of SHOW WARNINGS are not.
        self.diagnostics.found_rows = 1;
        self.diagnostics.are_found_elsewhere = true;
        self.send_conditions(&result, sending).await
    }

    /// Answers with a result, as whose ROW_COUNT() servers give -1. The conditions stay.
    async fn send_conditions(&mut self, result: &ResultSet, sending: Sending) -> io::Result<()> {
        self.diagnostics.note_command(-1);
        let Sending { form, has_more } = sending;
        self.client.send_result(result, form, has_more).await
    }

    /// How servers describe texts in results: the collation, and the bytes of the longest character.
    fn described_texts(&self, server: Option<&Server>) -> (u16, u32) {
        let value = |name| self.state.variables.get(name).map(|value| &**value);
        let by_default = server
            .map(|server| server.collation)
            .filter(|_| value(RESULTS_CHARSET).is_none());
        let named = value(RESULTS_COLLATION).and_then(|name| server?.collation_named(name));
        let charset = value(RESULTS_CHARSET).unwrap_or(b"utf8mb4");
        let known = CHARSETS.iter().find(|(name, ..)| *name == charset);
        let (_, usual, longest) = known.copied().unwrap_or(UTF8MB4);
        (named.or(by_default).unwrap_or(usual), longest)
    }
}

/// The first of several statements, and the text of the others.
pub(super) fn split<'a>(script: &Script, sql: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let range = |index: usize| script.statements.get(index).map(|one| one.range.clone());
    Some((sql.get(range(0)?)?, sql.get(range(1)?.start..)?))
}

/// Decimals of a value that has as many as it has, as MariaDB counts.
const MARIADB_NOT_FIXED: u8 = 39;

const UTF8MB4: (&[u8], u16, u32) = (b"utf8mb4", ColumnDefinition::UTF8MB4, 4);

/// Character sets of results: name, collation by default and bytes of the longest character. In any
/// other, the columns are described as in utf8mb4.
const CHARSETS: [(&[u8], u16, u32); 11] = [
    (b"binary", 63, 1),
    UTF8MB4,
    (b"utf8mb3", 33, 3),
    (b"utf8", 33, 3),
    // NULL: texts stay as they are.
    (b"", 33, 3),
    (b"latin1", 8, 1),
    (b"ascii", 11, 1),
    (b"cp1251", 51, 1),
    (b"gbk", 28, 2),
    (b"sjis", 13, 2),
    (b"gb18030", 248, 4),
];

/// The columns of SHOW WARNINGS, as servers describe them.
fn condition_columns(is_mariadb: bool, collation: u16, longest: u32) -> Vec<ColumnDefinition> {
    let text = |name, characters: u32| ColumnDefinition {
        collation,
        length: longest * characters,
        flags: ColumnDefinition::NOT_NULL,
        decimals: if is_mariadb {
            MARIADB_NOT_FIXED
        } else {
            ColumnDefinition::NOT_FIXED
        },
        ..ColumnDefinition::text(name)
    };
    let code = ColumnDefinition {
        kind: ColumnDefinition::LONG,
        // MySQL counts the sign too.
        length: if is_mariadb { 4 } else { 5 },
        flags: ColumnDefinition::NOT_NULL | ColumnDefinition::UNSIGNED | ColumnDefinition::BINARY,
        ..ColumnDefinition::integer("Code")
    };
    vec![text("Level", 7), code, text("Message", 512)]
}
