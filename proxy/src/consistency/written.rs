//! How far the writer is, by its GTIDs: whatever anybody can have seen there is among them.
//!
//! MySQL shows what a transaction has written a moment before its GTID gets into `gtid_executed`.
//! Until then the GTID is in `gtid_owned`, so who looks there first finds it in one of both.
//! MariaDB notes a GTID before it shows anything.

use super::{GtidError, GtidSet};

/// What to ask: one value, as bytes whatever the session's character set is.
pub fn written_question(is_mariadb: bool) -> &'static str {
    // Without the limit, sql_select_limit counts.
    if is_mariadb {
        "SELECT CAST(@@global.gtid_binlog_pos AS BINARY) LIMIT 1"
    } else {
        "SELECT CAST(CONCAT(@@global.gtid_owned,'/',@@global.gtid_executed) AS BINARY) LIMIT 1"
    }
}

/// The set, from the answer.
///
/// # Errors
/// If it has another form.
pub fn written(answer: &str, is_mariadb: bool) -> Result<GtidSet, GtidError> {
    if is_mariadb {
        return GtidSet::parse_mariadb(answer);
    }
    let (owned, executed) = answer.split_once('/').unwrap_or(("", answer));
    GtidSet::parse_mysql(&format!("{},{executed}", without_owners(owned)))
}

/// `uuid:7#12:8#13` as `uuid:7:8`. The owners of GTIDs are threads, and there is nothing between
/// the last one of a source and the next source.
/// Format: `Owned_gtids::to_string` in MySQL's sql/rpl_gtid.h.
fn without_owners(owned: &str) -> String {
    const UUID_LEN: usize = 36;
    let mut pieces = owned.split('#');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (thread, rest) = piece.split_once(':').unwrap_or((piece, ""));
        let start = thread.len().checked_sub(UUID_LEN);
        if let Some(uuid) = start.and_then(|start| thread.get(start..)) {
            plain.push(',');
            plain.push_str(uuid);
        }
        if !rest.is_empty() {
            plain.push(':');
            plain.push_str(rest);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    /// The number of a thread and this may look like one number.
    const B: &str = "0bc24c6f-e98b-11f1-bc1b-02fc00000001";

    #[test]
    fn what_is_owned_is_written() {
        let cases = [
            (String::from("/"), String::new()),
            (format!("/{A}:1-5,\n{B}:1"), format!("{B}:1-1,{A}:1-5")),
            (format!("{A}:23#11/"), format!("{A}:23-23")),
            (
                format!("{A}:7#14:6#11{B}:blue:9#13:7#12/{A}:1-5"),
                format!("{B}:blue:7-7:9-9,{A}:1-7"),
            ),
            (
                format!("{A}:1#2{A}:blue:1#3/"),
                format!("{A}:1-1,{A}:blue:1-1"),
            ),
        ];
        for (answer, expected) in cases {
            assert_eq!(
                written(&answer, false).unwrap().to_sql(),
                expected,
                "{answer}"
            );
        }
        assert_eq!(written("0-1-7", true).unwrap().to_sql(), "0-1-7");
    }

    #[test]
    fn nonsense_is_refused() {
        for answer in ["x", "x/", "1#2:3/"] {
            assert!(written(answer, false).is_err(), "{answer}");
        }
    }
}
