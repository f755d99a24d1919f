//! Questions of the proxy's own that travel in the same write as a statement, so that what the
//! next statement may ask is known without another round trip.

use std::borrow::Cow;

use isthmus_protocol::lenenc::Reader;
use isthmus_protocol::packet;
use isthmus_protocol::response::Kind;

use super::Session;
use super::diagnostics::Conditions;
use super::effects::{ends_transaction, is_opaque};
use crate::pool::Lease;
use crate::relay::{self, RelayError, Reply, Tracking};
use crate::routing::Transaction;
use crate::sql::{self, Holds, Needs, Place, Plan};
use crate::topology::is_carried;

/// What is asked right after a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Followup {
    /// How the statement's warnings read. Only where another question comes behind it, which would
    /// clear them.
    Warnings,
    /// The value behind LAST_INSERT_ID(): the OK packet also has ids that a client chose itself,
    /// which the function does not return.
    LastInsertId,
    /// The value behind FOUND_ROWS() after SQL_CALC_FOUND_ROWS.
    FoundRows,
    /// The value of a session variable that the answer does not report: `SET NAMES … COLLATE …`
    /// leaves out the collation, and what the client has chosen to hear may leave out all others.
    Variable(String),
    /// The schema, where the answer does not report it.
    Schema,
    /// The client's own session tracking was in force: set it as the proxy needs it.
    Tracking,
}

impl Followup {
    /// The question.
    pub(super) fn sql(&self) -> Cow<'static, str> {
        match self {
            Self::Warnings => "SHOW WARNINGS".into(),
            Self::LastInsertId => "SELECT LAST_INSERT_ID()".into(),
            Self::FoundRows => "SELECT FOUND_ROWS()".into(),
            Self::Variable(name) => {
                format!("SELECT IFNULL(CAST(@@SESSION.{name} AS BINARY),'')").into()
            }
            Self::Schema => "SELECT CAST(DATABASE() AS BINARY)".into(),
            Self::Tracking => "".into(),
        }
    }
}

impl Session {
    /// What to ask after this statement.
    pub(super) fn followups(&self, plan: &Plan) -> Vec<Followup> {
        let mut followups = Vec::new();
        let is_alone =
            self.transaction == Transaction::None && self.autocommit() && self.holds.is_empty();
        let has_tracking = has_own_tracking(plan) || sets_tracking(plan);
        if is_alone && (plan.holds.contains(Holds::FOUND_ROWS) || makes_ids(plan) || has_tracking) {
            followups.push(Followup::Warnings);
        }
        if plan.holds.contains(Holds::FOUND_ROWS) {
            followups.push(Followup::FoundRows);
        }
        let is_leaving = if self.transaction == Transaction::None {
            is_alone && makes_ids(plan)
        } else {
            self.has_made_ids && ends_transaction(plan)
        };
        if is_leaving {
            followups.push(Followup::LastInsertId);
        }
        if plan.variables.iter().any(|name| sets_collation(name)) {
            followups.push(Followup::Variable("collation_connection".into()));
        }
        if sets_tracking(plan) {
            followups.extend(unreported(plan).map(Followup::Variable));
            if plan.is_script() {
                followups.push(Followup::Schema);
            }
        }
        if has_tracking {
            followups.push(Followup::Tracking);
        }
        followups
    }

    /// Reads the answers, in order.
    pub(super) async fn read_followups(
        &mut self,
        lease: &mut Lease,
        followups: Vec<Followup>,
        reply: &Reply,
    ) -> Result<(), RelayError> {
        for followup in followups {
            if followup == Followup::Tracking {
                lease.read_tracking().await?;
                continue;
            }
            let packets = read_answer(lease).await?;
            if followup == Followup::Warnings {
                self.note_warnings(reply, packets);
            } else {
                self.note_followup(lease, &followup, &packets);
            }
        }
        Ok(())
    }

    /// Keeps how a statement's warnings read, if it had some.
    pub(super) fn note_warnings(&mut self, reply: &Reply, packets: Vec<u8>) {
        if reply.warnings > 0 && reply.error.is_none() {
            self.diagnostics.conditions = Conditions::Warnings {
                count: reply.warnings,
                packets,
            };
        }
    }

    pub(super) fn note_followup(&mut self, lease: &mut Lease, followup: &Followup, packets: &[u8]) {
        let Some(value) = value(packets) else { return };
        let number = || {
            std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
        };
        match followup {
            Followup::LastInsertId => {
                self.has_made_ids = false;
                let id = number().unwrap_or_default();
                self.diagnostics.last_insert_id = id;
                lease.last_insert_id = Some(id);
            }
            Followup::FoundRows => {
                self.diagnostics.found_rows = number().unwrap_or_default();
                self.diagnostics.has_asked_found_rows = true;
            }
            Followup::Variable(name) => {
                if !self.client.tracking.set(name, value) {
                    lease.note_variable(name, value);
                }
            }
            Followup::Schema => lease.note_schema(value),
            Followup::Warnings | Followup::Tracking => {}
        }
    }
}

/// Writes the questions behind a statement.
pub(super) fn write_followups(lease: &Lease, followups: &[Followup], out: &mut Vec<u8>) {
    for followup in followups {
        match followup {
            Followup::Tracking => lease.write_tracking(out),
            other => {
                lease.form.put_query(out, other.sql().as_bytes());
            }
        }
    }
}

/// Whether the statement may change what LAST_INSERT_ID() returns. An upload is not asked in the
/// same write: what follows it would be taken for the file.
pub(super) fn makes_ids(plan: &Plan) -> bool {
    use sql::Kind::{Call, Execute, Insert, Replace};
    // With an argument it sets the value, and goes to the writer.
    let has_function = (plan.marks || plan.place == Place::Writer)
        && plan.needs.contains(sql::Needs::LAST_INSERT_ID);
    let is_upload = plan.kind == sql::Kind::LoadData
        || plan
            .parts
            .iter()
            .any(|part| part.kind == sql::Kind::LoadData);
    !is_upload
        && (has_function
            || matches!(plan.kind, Insert | Replace | Call | Execute)
            || plan.parts.iter().any(|part| makes_ids(part)))
}

/// Whether the statement reads what LAST_INSERT_ID() returns, or may change it, so that it must
/// find the session's own there.
pub(super) fn touches_ids(plan: &Plan) -> bool {
    use sql::Kind::{Begin, Commit, Compound, LoadData, Rollback, Unknown};
    !matches!(plan.kind, Begin | Commit | Rollback)
        && (plan.needs.contains(sql::Needs::LAST_INSERT_ID)
            || makes_ids(plan)
            || matches!(plan.kind, Compound | LoadData | Unknown)
            || !plan.unknown_functions.is_empty()
            || plan
                .variables
                .iter()
                .any(|name| matches!(name.as_str(), "last_insert_id" | "identity"))
            || plan.parts.iter().any(|part| touches_ids(part)))
}

/// Whether the statement speaks of what the session tracking reports, so that it must find what the
/// client has set. What may run code that nobody sees must not: the proxy would not hear of what
/// that changes.
pub(super) fn has_own_tracking(plan: &Plan) -> bool {
    plan.needs.contains(Needs::SESSION_TRACKING) && !is_opaque(plan)
}

fn sets_tracking(plan: &Plan) -> bool {
    let is_tracking = |name: &String| name.starts_with(Tracking::PREFIX);
    plan.variables.iter().any(is_tracking)
}

/// The variables of the session that the statement sets, as the proxy may be told of none.
fn unreported(plan: &Plan) -> impl Iterator<Item = String> {
    let charsets = [
        "character_set_client",
        "character_set_connection",
        "character_set_results",
    ];
    let sets_charsets = plan.variables.iter().any(|name| is_charsets(name));
    let charsets = charsets.into_iter().filter(move |_| sets_charsets);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let names = plan.variables.iter().filter(move |name| {
        !is_charsets(name)
            && name.bytes().all(is_word)
            && (is_carried(name) || name.starts_with(Tracking::PREFIX))
    });
    charsets.map(str::to_owned).chain(names.cloned())
}

fn is_charsets(name: &str) -> bool {
    matches!(name, "names" | "character set")
}

fn sets_collation(name: &str) -> bool {
    is_charsets(name) || matches!(name, "character_set_connection" | "collation_connection")
}

/// Reads the answer to a question of the proxy's own: the packets before its terminator.
pub(super) async fn read_answer(lease: &mut Lease) -> Result<Vec<u8>, RelayError> {
    let mut packets = Vec::new();
    let reply = relay::swallow(&mut lease.stream, Kind::Query, Some(&mut packets)).await;
    reply.map_err(|cause| RelayError::Backend {
        cause,
        untouched: true,
    })?;
    Ok(packets)
}

/// The one value of a result of one row and one column.
fn value(packets: &[u8]) -> Option<&[u8]> {
    let mut rest = packets;
    let mut last = None;
    while let Some(header) = packet::Header::parse(rest) {
        let (packet, tail) = rest.split_at((packet::HEADER_LEN + header.length).min(rest.len()));
        last = packet.get(packet::HEADER_LEN..);
        rest = tail;
    }
    Reader::new(last?, "row").lenenc_bytes_or_null().ok()?
}
