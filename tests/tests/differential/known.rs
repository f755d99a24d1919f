//! What is known to differ between a direct connection and the proxy, each with the reason why it
//! may.

use isthmus_lab::Flavor;
use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::error_packet::ErrPacket;
use isthmus_protocol::lenenc::{Reader, put_int};
use isthmus_protocol::ok::{EofPacket, OkPacket};
use isthmus_protocol::session_track::{Change, changes, put_change};
use isthmus_protocol::status::Status;

use crate::answer::{Answer, What};
use crate::script::{Step, Value};

/// What was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) step: &'a Step,
    pub(crate) flavor: Flavor,
}

/// Something that may differ.
pub(crate) struct Known {
    /// Why it may.
    #[allow(dead_code, reason = "for readers")]
    pub(crate) reason: &'static str,
    /// Makes answers the same that differ in nothing else.
    pub(crate) hide: fn(Question<'_>, &mut Answer),
}

pub(crate) const KNOWN: &[Known] = &[
    Known {
        reason: "A prepared statement's number is the session's own on either side, and clients may not guess it.",
        hide: statement_numbers,
    },
    Known {
        reason: "The same number in an error's text, and where SHOW WARNINGS tells of that.",
        hide: statement_numbers_in_errors,
    },
    Known {
        reason: "The connection's number in a text that a server quotes as wrong.",
        hide: connection_numbers,
    },
    Known {
        reason: "Each transaction has a GTID of its own; MariaDB reports variables in the order of their addresses; MySQL \
                 tells of a transaction's state without having been asked, where that is another one than it told last on that \
                 connection; a statement is executed in the schema that it was prepared in, and servers may tell of the way back.",
        hide: session_changes,
    },
    Known {
        reason: "The proxy makes up the EOF between definitions and rows for clients without DEPRECATE_EOF, and cannot \
                 know what the server's flags and count of warnings are by then; the EOF behind the rows tells them.",
        hide: ends_of_definitions,
    },
    Known {
        reason: "The error of a cursor that cannot be opened stands in the place of that EOF, and behind it if the proxy has \
                 made it up.",
        hide: ends_before_errors,
    },
    Known {
        reason: "After commands that are no statements, MySQL counts the warnings of the statement before, which may have run on another \
                 connection.",
        hide: warnings_of_no_statement,
    },
    Known {
        reason: "MariaDB names the row that an error came from after what ran before it on the connection, if the error is \
                 about a parameter of a procedure. At which row an UPDATE fails depends on the order in which it looks at \
                 them, which each server's own statistics decide.",
        hide: rows_of_errors,
    },
    Known {
        reason: "A user variable without a value is of another type when the connection has been asked for it before.",
        hide: types_of_user_variables,
    },
    Known {
        reason: "MySQL takes the type of a parameter from where it stands or, if a table has changed since, from its value, \
                 and so does the error about it; and it shows a text that is no number as it is or by its bytes, \
                 after what the statement was executed with before on that connection. Behind a date, only dates are tried.",
        hide: types_of_parameters,
    },
    Known {
        reason: "MariaDB takes a parameter that was sent as long data for one of the type that the statement was executed with \
                 before on that connection, and so does the error about it.",
        hide: types_of_long_data,
    },
    Known {
        reason: "The character set of a column that is made of parameters which are no texts, and whether MySQL marks one as \
                 binary, depend on what the statement was first executed with on that connection.",
        hide: marks_of_parameters,
    },
    Known {
        reason: "How often a parameter that is no integer is converted, and on MariaDB a constant, and warned of, depends on \
                 what the statement was executed with before on that connection, also for other sessions.",
        hide: warnings_of_conversions,
    },
    Known {
        reason: "MySQL answers the CALL of a procedure that has changed nothing with the count of the statement before.",
        hide: counts_of_idle_calls,
    },
    Known {
        reason: "MariaDB changes the schema for some statements and back, and flags that in EOF packets, which have no room for it.",
        hide: changes_without_room,
    },
    Known {
        reason: "A server's flag for columns that have changed compares with what the statement had on that connection, \
                 where it may be new. Clients take the columns from each result.",
        hide: changes_of_columns,
    },
    Known {
        reason: "Which index is used is decided by each server's own statistics.",
        hide: uses_of_indexes,
    },
    Known {
        reason: "What was rolled back has used ids on the writer, and MariaDB reserves some there for an INSERT … SELECT: a \
                 reader knows only of those in what was committed.",
        hide: next_ids,
    },
    Known {
        reason: "A textual statement is prepared anew on a connection of a transaction that may only read, which MySQL refuses; it does \
                 not come to a wrong number of arguments then. Nor does a statement that no cursor can be opened for, which is prepared anew \
                 behind LOCK TABLES. A statement that was prepared without a schema is in that of the connection that its session keeps.",
        hide: one_of_two_errors,
    },
];

/// Something that sends both sides different ways: what follows cannot be compared.
pub(crate) struct Parting {
    /// Why it may.
    #[allow(dead_code, reason = "for readers")]
    pub(crate) reason: &'static str,
    /// Whether these answers, the server's and the proxy's, differ by it.
    pub(crate) is_it: fn(Question<'_>, &Answer, &Answer) -> bool,
}

pub(crate) const PARTINGS: &[Parting] = &[
    Parting {
        reason: "MariaDB takes a parameter that was sent as long data for one of the type that the statement was executed with \
                 before on that connection, and it may be an error or none.",
        is_it: |question, direct, proxied| {
            let has_long_data = matches!(question.step, Step::Execute { values, .. } if values.contains(&Value::Long));
            question.flavor == Flavor::Mariadb && has_long_data && direct.error() != proxied.error()
        },
    },
    Parting {
        reason: "Whether MySQL converts a parameter that is no integer, or refuses it, depends on what the statement was \
                 executed with before on that connection.",
        is_it: |question, direct, proxied| {
            let is_converted = matches!(question.step, Step::Execute { values, .. }
                if values.iter().any(|value| !matches!(value, Value::Integer(_))));
            let errors = [direct.error(), proxied.error()];
            let is_conversion = |error: &Option<u16>| matches!(error, Some(1292 | 1366 | 3988));
            question.flavor == Flavor::Mysql
                && is_converted
                && errors.iter().any(is_conversion)
                && errors.contains(&None)
        },
    },
    Parting {
        reason: "Whether MySQL looks at a row to find that a text is no number, and warns of that, is up to its statistics.",
        is_it: |question, direct, proxied| {
            let compares = matches!(question.step, Step::Query(sql) if sql.starts_with("SELECT ") && sql.contains("WHERE a = @"));
            question.flavor == Flavor::Mysql && compares && direct.warnings() != proxied.warnings()
        },
    },
    Parting {
        reason: "A statement that was prepared in a schema that has been dropped since cannot be prepared again on another \
                 connection; one that has it executes it in no schema.",
        is_it: |question, direct, proxied| {
            let is_execution = match question.step {
                Step::Query(sql) => sql.starts_with("EXECUTE "),
                step => matches!(step, Step::Execute { .. }),
            };
            is_execution && proxied.error() == Some(1049) && direct.error() != Some(1049)
        },
    },
    Parting {
        reason: "Whether MariaDB compares a text that is no number with an index or with each row of an UPDATE or DELETE is up \
                 to its statistics, and with that, whether the text is an error or a warning.",
        is_it: |question, direct, proxied| {
            let changes = |sql: &str| sql.starts_with("UPDATE ") || sql.starts_with("DELETE ");
            let is_change = matches!(question.step, Step::Query(sql) if changes(sql));
            let errors = [direct.error(), proxied.error()];
            question.flavor == Flavor::Mariadb
                && is_change
                && errors[0] != errors[1]
                && errors.contains(&Some(1292))
                && errors.contains(&None)
        },
    },
];

fn one_of_two_errors(question: Question<'_>, answer: &mut Answer) {
    if matches!(question.step, Step::Query(sql) if sql.starts_with("EXECUTE ")) {
        hide_errors(answer, &[1210, 1792]);
    }
    if matches!(question.step, Step::Execute { .. }) {
        hide_errors(answer, &[1046, 1146]);
    }
    if matches!(question.step, Step::Execute { cursor: true, .. }) {
        hide_errors(answer, &[1100, 1210]);
    }
}

fn statement_numbers(_: Question<'_>, answer: &mut Answer) {
    for payload in answer.payloads(What::Prepared) {
        payload
            .iter_mut()
            .skip(1)
            .take(4)
            .for_each(|byte| *byte = 0);
    }
}

fn statement_numbers_in_errors(_: Question<'_>, answer: &mut Answer) {
    const BEFORE: &[u8] = b"The statement (";
    for payload in answer.payloads(What::Row) {
        // With the number, the length before the text differs.
        if payload.windows(BEFORE.len()).any(|part| part == BEFORE) {
            payload.clear();
        }
    }
    for payload in answer.payloads(What::Err) {
        let at = payload
            .windows(BEFORE.len())
            .position(|part| part == BEFORE);
        if let Some(start) = at.map(|at| at + BEFORE.len()) {
            let digits = payload[start..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit());
            let end = start + digits.count();
            payload.drain(start..end);
        }
    }
}

fn next_ids(question: Question<'_>, answer: &mut Answer) {
    const BEFORE: &[u8] = b" AUTO_INCREMENT=";
    let is_asked = match question.step {
        Step::Query(sql) => sql.contains("SHOW CREATE TABLE") || sql.starts_with("EXECUTE "),
        Step::Execute { .. } => true,
        _ => false,
    };
    if !is_asked {
        return;
    }
    for payload in answer.payloads(What::Row) {
        let at = payload
            .windows(BEFORE.len())
            .position(|part| part == BEFORE);
        if let Some(start) = at {
            let number = payload.split_off(start).split_off(BEFORE.len());
            payload.extend(number.into_iter().skip_while(u8::is_ascii_digit));
            // With the number, the length before the text differs.
            let text = payload.iter().position(|byte| *byte == b'C');
            payload.drain(..text.unwrap_or_default());
        }
    }
}

fn connection_numbers(_: Question<'_>, answer: &mut Answer) {
    const BEFORE: &[u8] = b" = ";
    const BEHIND: &[u8] = b" AS mine";
    let find = |text: &[u8], part: &[u8]| text.windows(part.len()).position(|one| one == part);
    for payload in answer.payloads(What::Err) {
        if let Some(end) = find(payload, BEHIND)
            && let Some(start) = find(payload, BEFORE).filter(|start| *start < end)
        {
            payload.drain(start..end);
        }
    }
}

fn session_changes(question: Question<'_>, answer: &mut Answer) {
    for payload in answer.payloads(What::Ok) {
        if let Some(hidden) = with_ordered_changes(payload, question) {
            *payload = hidden;
        }
    }
}

fn with_ordered_changes(payload: &[u8], question: Question<'_>) -> Option<Vec<u8>> {
    let is_mariadb = question.flavor == Flavor::Mariadb;
    // What an execution had no room for stands in the next OK. No routine chooses a schema; on MariaDB,
    // which tells of none behind one that is dropped, it may drop it.
    let selects_schema = match question.step {
        Step::InitDb(_) => true,
        Step::Query(sql) => {
            let selects = |word: &&str| sql.contains(*word);
            ["USE ", "DROP DATABASE "].iter().any(selects) || (is_mariadb && sql.contains("CALL "))
        }
        _ => false,
    };
    let mut ok = OkPacket::parse(payload, true).ok()?;
    let mut parts = Vec::new();
    for change in changes(ok.session_state) {
        let change = match change.ok()? {
            Change::TransactionState(_) => continue,
            // A schema that is gone has no name, and is no way back.
            Change::Schema(name) if !selects_schema && (is_mariadb || !name.is_empty()) => continue,
            Change::Gtids(_)
            | Change::Variable {
                name: b"last_gtid", ..
            } => Change::Gtids(b"a GTID"),
            other => other,
        };
        let mut part = Vec::new();
        put_change(&mut part, &change);
        parts.push(part);
    }
    if is_mariadb {
        parts.sort();
    }
    ok.status
        .set(Status::SESSION_STATE_CHANGED, !parts.is_empty());
    let state = parts.concat();
    ok.session_state = &state;
    let mut hidden = Vec::new();
    ok.encode(*payload.first()?, true, &mut hidden);
    Some(hidden)
}

fn ends_of_definitions(_: Question<'_>, answer: &mut Answer) {
    let mut before = None;
    for (what, packet) in &mut answer.packets {
        if *what == What::Eof
            && before == Some(What::Definition)
            && let Ok(mut eof) = EofPacket::parse(&packet.payload)
        {
            eof.status &= Status::CURSOR_EXISTS;
            eof.warnings = 0;
            packet.payload.clear();
            eof.encode(&mut packet.payload);
        }
        before = Some(*what);
    }
}

fn ends_before_errors(question: Question<'_>, answer: &mut Answer) {
    let has_cursor = matches!(question.step, Step::Execute { cursor: true, .. });
    if !has_cursor {
        return;
    }
    let is_before_error = |packets: &[(What, _)]| {
        let what = packets.iter().map(|(what, _)| *what);
        what.eq([What::Definition, What::Eof, What::Err])
    };
    if let Some(place) = answer.packets.windows(3).position(is_before_error) {
        answer.packets.remove(place + 1);
        if let Some((_, error)) = answer.packets.get_mut(place + 1) {
            error.sequence = error.sequence.wrapping_sub(1);
        }
    }
}

fn warnings_of_conversions(question: Question<'_>, answer: &mut Answer) {
    let is_converted = match question.step {
        // MariaDB keeps what it has made of a constant at an execution for those that follow.
        Step::Execute { values, .. } if values.is_empty() => question.flavor == Flavor::Mariadb,
        Step::Execute { values, .. } => values
            .iter()
            .any(|value| !matches!(value, Value::Integer(_))),
        _ => false,
    };
    if !is_converted {
        return;
    }
    const COUNT: &[u8] = b"Warnings: ";
    // MySQL keeps the type of the value before, and does not convert without it.
    let most = match question.flavor {
        Flavor::Mysql => 0,
        Flavor::Mariadb => 1,
    };
    for (what, packet) in &mut answer.packets {
        let payload = &mut packet.payload;
        match what {
            What::Eof => {
                if let Ok(mut eof) = EofPacket::parse(payload) {
                    eof.warnings = eof.warnings.min(most);
                    payload.clear();
                    eof.encode(payload);
                }
            }
            What::Ok => {
                let header = payload.first().copied().unwrap_or_default();
                let mut hidden = Vec::new();
                if let Ok(mut ok) = OkPacket::parse(payload, true) {
                    ok.warnings = ok.warnings.min(most);
                    let in_words = ok.info.windows(COUNT.len()).position(|part| part == COUNT);
                    ok.info = ok
                        .info
                        .get(..in_words.unwrap_or(ok.info.len()))
                        .unwrap_or_default();
                    ok.encode(header, true, &mut hidden);
                }
                *payload = hidden;
            }
            _ => {}
        }
    }
}

fn counts_of_idle_calls(question: Question<'_>, answer: &mut Answer) {
    let is_idle = match question.step {
        Step::Query(sql) => ["begins", "doubles", "sets", "shows", "silent", "warns"]
            .iter()
            .any(|name| sql.starts_with(&format!("CALL {name}("))),
        Step::Execute { .. } => true,
        _ => false,
    };
    if question.flavor == Flavor::Mariadb || !is_idle {
        return;
    }
    // In an execution, the OK behind a result is that of a CALL.
    let has_result = answer.payloads(What::Count).next().is_some();
    if !has_result && matches!(question.step, Step::Execute { .. }) {
        return;
    }
    if let Some(payload) = answer.payloads(What::Ok).last()
        && let Ok(mut ok) = OkPacket::parse(payload, true)
        && payload.first() == Some(&0)
    {
        let mut hidden = Vec::new();
        ok.affected_rows = 0;
        ok.encode(0, true, &mut hidden);
        *payload = hidden;
    }
}

fn changes_without_room(question: Question<'_>, answer: &mut Answer) {
    if question.flavor == Flavor::Mysql {
        return;
    }
    for payload in answer.payloads(What::Eof) {
        if let Ok(mut eof) = EofPacket::parse(payload) {
            eof.status.remove(Status::SESSION_STATE_CHANGED);
            payload.clear();
            eof.encode(payload);
        }
    }
}

fn warnings_of_no_statement(question: Question<'_>, answer: &mut Answer) {
    let is_statement = !matches!(
        question.step,
        Step::InitDb(_) | Step::MultiStatements(_) | Step::Ping | Step::ResetStatement(_)
    );
    if is_statement {
        return;
    }
    for (_, packet) in &mut answer.packets {
        let warnings = match packet.payload.len() {
            // EOF: the header, warnings, flags. OK: the header, two counts of one byte, flags, warnings.
            5 => 1,
            _ => 5,
        };
        if packet.payload.first() != Some(&0xFF) {
            let warnings = packet.payload.iter_mut().skip(warnings).take(2);
            warnings.for_each(|byte| *byte = 0);
        }
    }
}

fn changes_of_columns(_: Question<'_>, answer: &mut Answer) {
    hide_flags(answer, Status::METADATA_CHANGED);
}

fn uses_of_indexes(_: Question<'_>, answer: &mut Answer) {
    hide_flags(answer, Status::NO_INDEX_USED | Status::NO_GOOD_INDEX_USED);
}

fn hide_flags(answer: &mut Answer, flags: Status) {
    for (what, packet) in &mut answer.packets {
        let payload = &mut packet.payload;
        let status = match what {
            What::Eof => 3,
            What::Ok => {
                let Ok(ok) = OkPacket::parse(payload, false) else {
                    continue;
                };
                let counts = [ok.affected_rows, ok.last_insert_id];
                1 + counts.map(length).iter().sum::<usize>()
            }
            _ => continue,
        };
        let place = payload.iter_mut().skip(status);
        for (byte, flags) in place.zip(flags.bits().to_le_bytes()) {
            *byte &= !flags;
        }
    }
}

/// How many bytes a length-encoded integer has.
fn length(number: u64) -> usize {
    let mut out = Vec::new();
    put_int(&mut out, number);
    out.len()
}

fn rows_of_errors(question: Question<'_>, answer: &mut Answer) {
    const BEFORE: &[u8] = b" at row ";
    let may_call = match question.step {
        Step::Query(sql) => ["CALL ", "SHOW ", "SELECT @"]
            .iter()
            .any(|part| sql.contains(part)),
        Step::Execute { .. } => true,
        _ => false,
    };
    let is_update = matches!(question.step, Step::Query(sql) if sql.starts_with("UPDATE "));
    if !is_update && (question.flavor == Flavor::Mysql || !may_call) {
        return;
    }
    let texts = answer.packets.iter_mut();
    let texts = texts.filter(|(what, _)| matches!(what, What::Err | What::Row));
    for payload in texts.map(|(_, packet)| &mut packet.payload) {
        if payload.windows(BEFORE.len()).any(|part| part == BEFORE) {
            while payload.last().is_some_and(u8::is_ascii_digit) {
                payload.pop();
            }
        }
    }
}

fn types_of_parameters(question: Question<'_>, answer: &mut Answer) {
    let is_execution = matches!(question.step, Step::Execute { .. });
    if question.flavor == Flavor::Mysql && is_execution {
        hide_errors(answer, &[1292, 1366, 3988]);
    }
}

fn types_of_long_data(question: Question<'_>, answer: &mut Answer) {
    let has_long_data = match question.step {
        Step::Execute { values, .. } => values.contains(&Value::Long),
        _ => false,
    };
    if question.flavor == Flavor::Mariadb && has_long_data {
        hide_errors(answer, &[1264, 1366]);
    }
}

/// Makes these errors one.
fn hide_errors(answer: &mut Answer, errors: &[u16]) {
    for payload in answer.payloads(What::Err) {
        if ErrPacket::parse(payload).is_ok_and(|error| errors.contains(&error.code)) {
            payload.clear();
        }
    }
}

fn marks_of_parameters(question: Question<'_>, answer: &mut Answer) {
    let values = match question.step {
        Step::Execute { values, .. } => &values[..],
        _ => &[],
    };
    if question.flavor == Flavor::Mariadb || values.is_empty() {
        return;
    }
    let has_text = values.iter().any(|value| matches!(value, Value::Text(_)));
    for payload in answer.payloads(What::Definition) {
        if let Ok(mut column) = ColumnDefinition::parse(payload)
            && column.table.is_empty()
        {
            column.flags &= !ColumnDefinition::BINARY;
            if !has_text {
                column.collation = 0;
                column.length = 0;
            }
            payload.clear();
            column.encode(payload);
        }
    }
}

fn types_of_user_variables(question: Question<'_>, answer: &mut Answer) {
    const STRINGS: [u8; 3] = [0xFA, 0xFB, ColumnDefinition::VAR_STRING];
    let are_null = columns_of_null(question, answer);
    for (index, payload) in answer.payloads(What::Definition).enumerate() {
        let is_null = are_null.get(index).copied().unwrap_or_default();
        if let Ok(mut column) = ColumnDefinition::parse(payload)
            && column.name.starts_with(b"@")
            && !column.name.starts_with(b"@@")
            && (is_null || STRINGS.contains(&column.kind))
        {
            column.kind = 0;
            column.collation = 0;
            column.length = 0;
            column.flags = 0;
            column.decimals = 0;
            payload.clear();
            column.encode(payload);
        }
    }
}

/// Which columns have no value in any row, as far as that is plain to see.
fn columns_of_null(question: Question<'_>, answer: &mut Answer) -> Vec<bool> {
    let is_text = matches!(question.step, Step::Query(_));
    let mut are_null = vec![true; answer.payloads(What::Definition).count()];
    for payload in answer.payloads(What::Row) {
        let mut cells = Reader::new(payload, "a row");
        for is_null in &mut are_null {
            let cell = cells.lenenc_bytes_or_null();
            *is_null &= is_text && matches!(cell, Ok(None));
        }
    }
    are_null
}
