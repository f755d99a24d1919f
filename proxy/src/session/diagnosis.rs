//! Statements about the conditions of the one before them, whose connection is gone: answered by the
//! proxy, which has kept them.

use std::io;
use std::sync::Arc;

use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::result_set::{Form, ResultSet, Value};
use isthmus_protocol::status::Status;

use super::Session;
use super::commands::mentions;
use super::conditions::{Condition, Level};
use super::effects::ask;
use super::stale;
use crate::admin::metrics::Route;
use crate::pool::user_variable::{self, UserValue};
use crate::pool::{RESULTS_CHARSET, RESULTS_COLLATION, State};
use crate::rarely::rarely;
use crate::sql::{self, ConditionItem, ConditionNumber, Diagnosis, Holds, StatementItem};
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
    /// Whether the proxy has to answer for the conditions of the statement before: the connection that
    /// the session keeps, if any, does not have them, or loses them as it is brought back into the
    /// session's state, or does not know the ROW_COUNT that `sql` asks for. Then it is asked for them
    /// first.
    pub(super) async fn has_kept_conditions(&mut self, sql: &[u8]) -> bool {
        if self.diagnostics.are_elsewhere {
            return true;
        }
        let knows_count = !self.diagnostics.row_count.is_elsewhere || !mentions(sql, b"row_count");
        if self.is_in_state() && knows_count {
            return false;
        }
        let Some(mut lease) = self
            .lease
            .take_if(|_| self.diagnostics.conditions.are_unread())
        else {
            return true;
        };
        let state = lease.state.clone();
        // Where it is lost, the statement finds that out.
        let _ = rarely(self.rescue_warnings(&mut lease)).await;
        self.take_changes(&state, &lease.state);
        self.lease = Some(lease);
        self.diagnostics.note_question();
        true
    }

    /// Whether nothing has to bring the connection that the session keeps into the session's state.
    pub(super) fn is_in_state(&self) -> bool {
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| Arc::ptr_eq(&lease.state, &self.state))
    }

    /// Answers a statement about the conditions that the proxy has kept. Returns whether this was one
    /// that could be answered.
    pub(super) async fn answer_diagnosis(
        &mut self,
        sql: &[u8],
        sending: Sending,
    ) -> io::Result<bool> {
        let Some(diagnosis) = sql::diagnosis(sql, self.state.dialect) else {
            return Ok(false);
        };
        let is_answered = self.answer_read(diagnosis, sending).await?;
        if is_answered {
            self.shared.metrics.statements.routed.inc(Route::Proxy);
        }
        Ok(is_answered)
    }

    async fn answer_read(&mut self, diagnosis: Diagnosis, sending: Sending) -> io::Result<bool> {
        match diagnosis {
            Diagnosis::Conditions {
                only_errors,
                skipped,
                most,
            } => {
                let conditions = self.shown_conditions(only_errors);
                let shown = conditions.into_iter().skip(skipped).take(most);
                self.show_conditions(shown, sending).await?;
                Ok(true)
            }
            Diagnosis::Count { only_errors } => {
                self.show_count(only_errors, sending).await?;
                Ok(true)
            }
            Diagnosis::Statement(items) => {
                let value = |item| match item {
                    StatementItem::Number => {
                        UserValue::unsigned(self.shown_conditions(false).len() as u64)
                    }
                    StatementItem::RowCount => UserValue::signed(self.diagnostics.row_count()),
                };
                let values = items.into_iter().map(|(name, item)| (name, value(item)));
                let values = values.collect();
                self.assign_diagnosis(values, sending).await
            }
            Diagnosis::Condition { number, items } => self.diagnose(&number, items, sending).await,
        }
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
            ConditionNumber::Variable(name) => {
                let number = self.integer_in(name).await?;
                number.and_then(|number| u64::try_from(number).ok())
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
        let is_mariadb = self.is_mariadb();
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
        if shows_latin1(&self.state) {
            return text.iter().map(|byte| char::from(*byte)).collect();
        }
        let text = String::from_utf8_lossy(text);
        match text.chars().all(|c| c.len_utf8() < 4) {
            true => text,
            false => text.replace(|c: char| c.len_utf8() == 4, "?").into(),
        }
    }

    /// Puts the conditions that a statement has left into the character set of results that it has
    /// brought, where that is known here.
    pub(super) fn recode_conditions(&mut self, after: &State) {
        let is_latin1 = shows_latin1(&self.state);
        if is_latin1 == shows_latin1(after) {
            return;
        }
        self.diagnostics.conditions.recode(|text| match is_latin1 {
            true => text
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>()
                .into(),
            false => {
                let text = String::from_utf8_lossy(text);
                let byte = |c| u8::try_from(c).unwrap_or(b'?');
                text.chars().map(byte).collect()
            }
        });
    }

    /// Gives these values to user variables of the session, and tells the client. Returns whether
    /// the session can carry them.
    async fn assign_diagnosis(
        &mut self,
        values: Vec<(String, UserValue)>,
        sending: Sending,
    ) -> io::Result<bool> {
        let mut all = (*self.state.user_variables).clone();
        let names: Vec<String> = values.iter().map(|(name, _)| name.clone()).collect();
        all.extend(values.into_iter().map(|(name, value)| (name.into(), value)));
        if !user_variable::are_carried(&all) {
            return Ok(false);
        }
        let state = self.state.with_user_variables(Arc::new(all));
        self.set_state(self.shared.states.intern(state));
        // A connection may have values that nobody has read yet.
        if let Some(mut lease) = self.lease.take() {
            lease.forget_user_variables(&names);
            let changed = lease.change_to(&self.state).await;
            let refused = changed.map_err(io::Error::other)?;
            self.lease = Some(lease);
            self.diagnostics.note_question();
            if let Some(error) = refused {
                self.client.send(&error.encode()).await?;
                self.diagnostics.note_own(error);
                return Ok(true);
            }
        }
        self.assigned.retain(|name| !names.contains(name));
        self.send_diagnosed(0, sending).await?;
        Ok(true)
    }

    /// The value of a user variable as an integer; `None` for NULL. Where only the connection that the
    /// session keeps may know it, that is asked.
    async fn integer_in(&mut self, name: &str) -> io::Result<Option<i64>> {
        let is_unread = self.holds.contains(Holds::USER_VARIABLE)
            || self.assigned.iter().any(|assigned| assigned == name);
        let lease = if is_unread { self.lease.take() } else { None };
        let Some(mut lease) = lease else {
            let value = self.state.user_variables.get(name);
            return Ok(value.and_then(UserValue::integer));
        };
        let names = [name];
        let state = lease.state.clone();
        let packets = ask(&mut lease, &user_variable::question(names)).await;
        self.take_changes(&state, &lease.state);
        let packets = packets.map_err(io::Error::other)?;
        self.lease = Some(lease);
        self.diagnostics.note_question();
        let value = user_variable::answer(&packets, names.into_iter());
        let value = value.as_ref().and_then(|values| values.get(name));
        Ok(value.and_then(UserValue::integer))
    }

    /// How many conditions servers keep for this session.
    pub(super) fn most_conditions(&self) -> usize {
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

    /// What a `SHOW COUNT(*)` of conditions that the proxy has kept is to a server, which alone can open
    /// a cursor.
    pub(super) fn kept_count(&self, sql: &[u8]) -> Option<Vec<u8>> {
        if self.is_in_state() && !self.diagnostics.are_elsewhere {
            return None;
        }
        let values = self.diagnostics.values(0);
        let (name, count) = match sql::diagnosis(sql, self.state.dialect)? {
            Diagnosis::Count { only_errors: true } => ("error_count", values.error_count),
            Diagnosis::Count { only_errors: false } => ("warning_count", values.warning_count),
            _ => return None,
        };
        let count = count.unwrap_or_default();
        let sql = format!("SELECT IF(1,CAST({count} AS UNSIGNED),@@{name}) AS `@@session.{name}`");
        Some(sql.into_bytes())
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

/// Decimals of a value that has as many as it has, as MariaDB counts.
const MARIADB_NOT_FIXED: u8 = 39;

const UTF8MB4: (&[u8], u16, u32) = (b"utf8mb4", ColumnDefinition::UTF8MB4, 4);

/// Character sets of results: name, collation by default and bytes of the longest character, as
/// `information_schema.CHARACTER_SETS` and `COLLATIONS` of MySQL 9.7 have them. In any other, the
/// columns are described as in utf8mb4.
const CHARSETS: [(&[u8], u16, u32); 39] = [
    (b"binary", 63, 1),
    UTF8MB4,
    (b"utf8mb3", 33, 3),
    (b"utf8", 33, 3),
    // NULL: texts stay as they are.
    (b"", 33, 3),
    (b"latin1", 8, 1),
    (b"ascii", 11, 1),
    (b"armscii8", 32, 1),
    (b"big5", 1, 2),
    (b"cp1250", 26, 1),
    (b"cp1251", 51, 1),
    (b"cp1256", 57, 1),
    (b"cp1257", 59, 1),
    (b"cp850", 4, 1),
    (b"cp852", 40, 1),
    (b"cp866", 36, 1),
    (b"cp932", 95, 2),
    (b"dec8", 3, 1),
    (b"eucjpms", 97, 3),
    (b"euckr", 19, 2),
    (b"gb18030", 248, 4),
    (b"gb2312", 24, 2),
    (b"gbk", 28, 2),
    (b"geostd8", 92, 1),
    (b"greek", 25, 1),
    (b"hebrew", 16, 1),
    (b"hp8", 6, 1),
    (b"keybcs2", 37, 1),
    (b"koi8r", 7, 1),
    (b"koi8u", 22, 1),
    (b"latin2", 9, 1),
    (b"latin5", 30, 1),
    (b"latin7", 41, 1),
    (b"macce", 38, 1),
    (b"macroman", 39, 1),
    (b"sjis", 13, 2),
    (b"swe7", 10, 1),
    (b"tis620", 18, 1),
    (b"ujis", 12, 3),
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

/// Whether texts come in latin1, which is taken for ISO 8859-1. Others are taken for UTF-8.
fn shows_latin1(state: &State) -> bool {
    let charset = state.variables.get(RESULTS_CHARSET);
    charset.is_some_and(|charset| **charset == *b"latin1")
}
