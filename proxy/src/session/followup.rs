//! Questions of the proxy's own that travel in the same write as a statement, so that what the
//! next statement may ask is known without another round trip.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use isthmus_protocol::response::Kind;
use isthmus_protocol::status::Status;

use super::Session;
use super::effects::{ends_transaction, is_opaque};
use crate::config::Source;
use crate::consistency::{GtidSet, written, written_question};
use crate::pool::{COLLATIONS, CURRENT_ROLE, Lease, VERSIONING, only_value, user_variable};
use crate::relay::{self, RelayError, Reply, Tracking};
use crate::routing::Transaction;
use crate::sql::{self, Holds, Needs, Place, Plan};
use crate::topology::is_carried;

/// A writer that is nearer is asked how far it is when somebody waits for that: it takes no longer.
const FAR: Duration = Duration::from_millis(10);

/// What is asked right after a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Followup {
    /// How the statement's warnings read. Only where another question comes behind it, which would
    /// clear them.
    Warnings,
    /// The value behind LAST_INSERT_ID(): the OK packet also has ids that a client chose itself,
    /// which the function does not return.
    LastInsertId,
    /// The value behind FOUND_ROWS() where the results do not tell.
    FoundRows,
    /// The value of a session variable that the answer does not report, since the client has chosen
    /// to hear others.
    Variable(String),
    /// The collations of the connection and of results, which the answer does not report.
    Collations,
    /// The schema, where the answer does not report it.
    Schema,
    /// The values of user variables that were assigned.
    UserVariables(Vec<String>),
    /// The roles after SET ROLE, which no server reports.
    Role,
    /// How far the writer is, which stands for what the session has written and seen there.
    Position {
        /// Which server is asked.
        is_mariadb: bool,
    },
    /// How many user locks there are, which releases them.
    UserLocks,
    /// Which variables have other values than the server's, asked with this text.
    Deviations(String),
    /// The client's own session tracking was in force: set it as the proxy needs it.
    Tracking {
        /// That of GTIDs too.
        has_gtids: bool,
    },
}

/// What the answers tell besides.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How far the writer is, if it was asked.
    pub(super) position: Option<GtidSet>,
    /// The status flags of the last answer.
    pub(super) status: Option<Status>,
}

impl Followup {
    /// The question.
    pub(super) fn sql(&self) -> Cow<'static, str> {
        match self {
            Self::Warnings => "SHOW WARNINGS".into(),
            Self::LastInsertId => "SELECT LAST_INSERT_ID() LIMIT 1".into(),
            Self::FoundRows => "SELECT FOUND_ROWS() LIMIT 1".into(),
            // Without the limit, sql_select_limit counts.
            Self::Variable(name) => {
                format!("SELECT IFNULL(CAST(@@SESSION.{name} AS BINARY),'') LIMIT 1").into()
            }
            Self::Collations => COLLATIONS.into(),
            Self::Schema => "SELECT CAST(DATABASE() AS BINARY) LIMIT 1".into(),
            Self::UserVariables(names) => {
                user_variable::question(names.iter().map(String::as_str)).into()
            }
            Self::Role => CURRENT_ROLE.into(),
            Self::Position { is_mariadb } => written_question(*is_mariadb).into(),
            Self::UserLocks => "SELECT RELEASE_ALL_LOCKS() LIMIT 1".into(),
            Self::Deviations(sql) => Cow::Owned(sql.clone()),
            Self::Tracking { .. } => "".into(),
        }
    }
}

impl Session {
    /// What to ask after this statement, or after the opening of its cursor.
    pub(super) fn followups(
        &self,
        plan: &Plan,
        lease: &Lease,
        opens_cursor: bool,
    ) -> Vec<Followup> {
        let mut followups = Vec::new();
        let is_far = lease.leads_to_writer() && self.round_trip() > FAR;
        let is_plain = plan.is_plain() && !is_far;
        if (is_plain && self.assigned.is_empty() && !opens_cursor) || uploads(plan) {
            return followups;
        }
        let is_alone =
            self.transaction == Transaction::None && self.autocommit() && self.holds.is_empty();
        let has_tracking = has_own_tracking(plan) || sets_tracking(plan);
        let assigned = self.assigned_before_leaving(plan, is_alone);
        // The answer to the opening of a cursor has no rows.
        let opens_cursor = opens_cursor && plan.kind != sql::Kind::Set;
        // What of several statements found rows is not to be seen in their results. A connection that
        // stays knows it, unless it is asked something else.
        let is_several =
            plan.is_script() || matches!(plan.kind, sql::Kind::Call | sql::Kind::Compound);
        let is_several_and_leaves = is_several && (is_alone || ends_transaction(plan));
        if plan.needs.contains(Needs::CALC_FOUND_ROWS) || opens_cursor || is_several_and_leaves {
            followups.push(Followup::FoundRows);
        }
        let is_leaving = if self.transaction == Transaction::None {
            is_alone && makes_ids(plan)
        } else {
            (self.has_made_ids || makes_ids(plan)) && ends_transaction(plan)
        };
        if is_leaving {
            followups.push(Followup::LastInsertId);
        }
        if !assigned.is_empty() {
            followups.push(Followup::UserVariables(assigned));
        }
        followups.extend(self.locks_before_leaving(plan, is_alone));
        followups.extend(self.unseen_variables(plan, lease));
        if plan.variables.iter().any(|name| name == ROLE) {
            followups.push(Followup::Role);
        }
        let is_silent = plan.needs.contains(Needs::READ_BACK) && self.is_mariadb();
        if sets_tracking(plan) || is_silent {
            let may_have_changed =
                |name: &String| name != Tracking::GTIDS || self.may_switch_gtids(plan);
            let variables = unreported(plan).filter(may_have_changed);
            followups.extend(variables.map(Followup::Variable));
        }
        if sets_tracking(plan) && plan.is_script() {
            followups.push(Followup::Schema);
        }
        // Its text is that of the zone.
        let is_versioned = self.state.variables.contains_key(VERSIONING);
        if is_versioned && plan.variables.iter().any(|name| name == "time_zone") {
            followups.push(Followup::Variable(VERSIONING.into()));
        }
        if plan.variables.iter().any(|name| sets_collation(name)) {
            followups.push(Followup::Collations);
        }
        if is_far && self.wants_position(plan, is_alone) && !opens_cursor {
            let is_mariadb = lease.server.is_mariadb;
            followups.push(Followup::Position { is_mariadb });
        }
        if has_tracking {
            let has_gtids = self.may_switch_gtids(plan);
            followups.push(Followup::Tracking { has_gtids });
        }
        if !followups.is_empty() {
            if is_several && !followups.contains(&Followup::FoundRows) {
                followups.insert(0, Followup::FoundRows);
            }
            followups.insert(0, Followup::Warnings);
        }
        followups
    }

    /// Whether `session_track_gtids` can be set around this statement: a transaction that is open
    /// then is an error.
    pub(super) fn may_switch_gtids(&self, plan: &Plan) -> bool {
        let begins = !self.autocommit() || plan.is_script();
        self.transaction == Transaction::None
            && !self.holds.contains(Holds::XA)
            && (!begins || sets_tracking(plan))
    }

    /// Whether the session's next reads would wait for the answer to how far the writer is, since
    /// that to this statement may tell no GTID.
    fn wants_position(&self, plan: &Plan, is_alone: bool) -> bool {
        let is_silent = if self.transaction == Transaction::None {
            is_alone
                && self.preparing.is_none()
                && Holds::TRANSACTION.contains(plan.holds)
                && may_be_silent(plan)
        } else {
            ends_transaction(plan)
                && self.holds.is_empty()
                && (self.has_seen_elsewhere || self.has_written)
                && !self.has_changed_rows
        };
        is_silent && self.token_source() == Source::Gtid
    }

    /// The user variables that are to be asked for in one write with this statement, because the
    /// connection is given back after it. An upload is asked afterwards: see [`makes_ids`].
    fn assigned_before_leaving(&self, plan: &Plan, is_alone: bool) -> Vec<String> {
        let is_leaving = if self.transaction == Transaction::None {
            is_alone && plan.holds.is_empty()
        } else {
            self.holds.is_empty() && ends_transaction(plan)
        };
        let mut names = Vec::new();
        if is_leaving && !is_upload(plan) {
            names.clone_from(&self.assigned);
            names.extend(self.newly_assigned(plan));
        }
        names
    }

    /// Takes note of the user variables that a statement may have assigned, until their values are
    /// known.
    pub(super) fn note_assigned(&mut self, plan: &Plan) {
        let names: Vec<_> = self.newly_assigned(plan).collect();
        self.assigned.extend(names);
    }

    /// The user variables that this statement may assign, besides those of statements before it. A
    /// procedure may assign those that it is not given too.
    fn newly_assigned<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = String> + 'a {
        let is_call = plan.kind == sql::Kind::Call
            || plan.parts.iter().any(|part| part.kind == sql::Kind::Call);
        let carried = self.state.user_variables.keys();
        let carried = carried.filter(move |_| is_call).map(|name| &**name);
        let named = plan.user_variables.iter().map(String::as_str);
        let carried = carried.filter(|name| !plan.user_variables.iter().any(|own| own == name));
        named
            .chain(carried)
            .filter(|name| !self.assigned.iter().any(|before| before == name))
            .map(str::to_owned)
    }

    /// Makes the values of user variables the session's. What cannot be carried is left on its
    /// connection.
    pub(super) fn note_user_variables(
        &mut self,
        lease: &mut Lease,
        names: &[String],
        packets: &[u8],
    ) {
        let names = names.iter().map(String::as_str);
        let are_carried = user_variable::answer(packets, names)
            .is_some_and(|variables| lease.note_user_variables(variables));
        // Writes could not follow to a reader.
        let are_held = !are_carried && lease.leads_to_writer();
        self.holds.set(
            Holds::USER_VARIABLE,
            are_held || self.holds.contains(Holds::USER_VARIABLE),
        );
        if are_carried || are_held {
            self.assigned.clear();
        }
    }

    /// Reads the answers, in order.
    pub(super) async fn read_followups(
        &mut self,
        lease: &mut Lease,
        followups: Vec<Followup>,
    ) -> Result<Told, RelayError> {
        let mut told = Told::default();
        for followup in followups {
            if matches!(followup, Followup::Tracking { .. }) {
                if let Some(error) = lease.read_tracking().await? {
                    // It would leave out from now on what the proxy must hear.
                    return Err(RelayError::from_backend(io::Error::other(
                        error.to_string(),
                    )));
                }
                continue;
            }
            let (packets, status) = read_answer(lease).await?;
            told.status = status;
            match &followup {
                Followup::Warnings => self.note_conditions(&packets, lease),
                Followup::Position { is_mariadb } => {
                    let answer =
                        only_value(&packets).and_then(|text| std::str::from_utf8(text).ok());
                    told.position = answer.and_then(|text| written(text, *is_mariadb).ok());
                }
                Followup::UserVariables(names) => self.note_user_variables(lease, names, &packets),
                Followup::Deviations(_) => {
                    if !lease.note_deviations(&packets) {
                        self.holds |= Holds::UNNAMED_CHANGE;
                    }
                }
                followup => self.note_followup(lease, followup, &packets),
            }
        }
        Ok(told)
    }

    pub(super) fn note_followup(&mut self, lease: &mut Lease, followup: &Followup, packets: &[u8]) {
        let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match followup {
            // A server that does not know the function has no value.
            Followup::UserLocks => {
                let count = only_value(packets).and_then(number);
                return self.note_released_locks(count.unwrap_or_default());
            }
            Followup::Role => return lease.note_role(only_value(packets)),
            Followup::Collations => return lease.note_collations(packets),
            _ => {}
        }
        let Some(value) = only_value(packets) else {
            return;
        };
        match followup {
            Followup::LastInsertId => {
                self.has_made_ids = false;
                let id = number(value).unwrap_or_default();
                self.diagnostics.last_insert_id = id;
                lease.last_insert_id = Some(id);
            }
            Followup::FoundRows => {
                self.diagnostics.found_rows = number(value).unwrap_or_default();
            }
            Followup::Variable(name) => {
                if !self.client.tracking.set(name, value) {
                    lease.note_variable(name, value);
                }
            }
            Followup::Schema => lease.note_schema(value),
            Followup::Role
            | Followup::Collations
            | Followup::Warnings
            | Followup::UserVariables(_)
            | Followup::Position { .. }
            | Followup::UserLocks
            | Followup::Deviations(_)
            | Followup::Tracking { .. } => {}
        }
    }
}

/// Whether a statement by itself may show something, fail, or find nothing to change: then no GTID
/// stands for what the session knows.
fn may_be_silent(plan: &Plan) -> bool {
    use sql::Kind::{Begin, Call, Commit, Delete, Insert, Replace, Script, Select, Update};
    match plan.kind {
        Select | Insert | Replace | Update | Delete | Call => true,
        Script => {
            let mut parts = plan.parts.iter();
            parts.all(|part| may_be_silent(part) || matches!(part.kind, Begin | Commit))
        }
        _ => false,
    }
}

/// Writes the questions behind a statement.
pub(super) fn write_followups(lease: &Lease, followups: &[Followup], out: &mut Vec<u8>) {
    for followup in followups {
        match followup {
            Followup::Tracking { has_gtids } => lease.write_tracking(*has_gtids, out),
            other => {
                lease.form.put_query(out, other.sql().as_bytes());
            }
        }
    }
}

/// Whether the server may ask for a file, and would take for it what is sent behind the statement.
fn uploads(plan: &Plan) -> bool {
    let uploads = |plan: &Plan| plan.kind == sql::Kind::LoadData;
    uploads(plan) || plan.parts.iter().any(|part| uploads(part))
}

/// Whether the statement may change what LAST_INSERT_ID() returns. An upload is not asked in the
/// same write: what follows it would be taken for the file.
pub(super) fn makes_ids(plan: &Plan) -> bool {
    use sql::Kind::{Call, Compound, Execute, Insert, Replace};
    // With an argument it sets the value, and goes to the writer.
    let has_function = (plan.marks || plan.place == Place::Writer)
        && plan.needs.contains(sql::Needs::LAST_INSERT_ID);
    !is_upload(plan)
        && (has_function
            || matches!(plan.kind, Insert | Replace | Call | Compound | Execute)
            || plan.parts.iter().any(|part| makes_ids(part)))
}

/// Whether LAST_INSERT_ID() may be another one behind this answer. An OK without an id tells that an
/// INSERT has made none, if it is not that behind the rows of a RETURNING.
pub(super) fn may_have_made_ids(plan: &Plan, reply: &Reply) -> bool {
    let is_told = matches!(plan.kind, sql::Kind::Insert | sql::Kind::Replace);
    let has_made_none = reply.error.is_none() && !reply.has_result_set && reply.last_insert_id == 0;
    !is_told || !has_made_none
}

pub(super) fn is_upload(plan: &Plan) -> bool {
    let is_upload = |plan: &Plan| plan.kind == sql::Kind::LoadData;
    is_upload(plan) || plan.parts.iter().any(|part| is_upload(part))
}

/// Whether the statement reads what LAST_INSERT_ID() returns, or may change it, so that it must
/// find the session's own there.
pub(super) fn touches_ids(plan: &Plan) -> bool {
    use sql::Kind::{Begin, Commit, LoadData, Rollback, Unknown};
    !matches!(plan.kind, Begin | Commit | Rollback)
        && (plan.needs.contains(sql::Needs::LAST_INSERT_ID)
            || makes_ids(plan)
            || matches!(plan.kind, LoadData | Unknown)
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

/// The variables of the session that the statement sets, where the proxy may be told of none.
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
            && *name != ROLE
            && name.bytes().all(is_word)
            && (is_carried(name) || name.starts_with(Tracking::PREFIX))
    });
    charsets.map(str::to_owned).chain(names.cloned())
}

/// What SET ROLE sets, among the variables of a plan.
pub(super) const ROLE: &str = "role";

fn is_charsets(name: &str) -> bool {
    matches!(name, "names" | "character set")
}

fn sets_collation(name: &str) -> bool {
    is_charsets(name)
        || matches!(
            name,
            "character_set_connection" | "character_set_results" | "collation_connection"
        )
}

/// Reads the answer to a question of the proxy's own: the packets before its terminator, and the
/// status flags there. It may report what the statement before has changed and, having failed, could
/// not: MySQL applies a SET up to the assignment that fails.
pub(super) async fn read_answer(
    lease: &mut Lease,
) -> Result<(Vec<u8>, Option<Status>), RelayError> {
    let mut packets = Vec::new();
    let reply = relay::swallow(&mut lease.stream, Kind::Query, Some(&mut packets)).await;
    let reply = reply.map_err(|cause| RelayError::Backend {
        cause,
        untouched: true,
    })?;
    lease.absorb(&reply);
    Ok((packets, reply.status))
}
