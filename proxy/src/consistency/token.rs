//! Tokens: what a session has written and seen, as a text that it can hand to another one.
//!
//! A token is a position with a letter in front that tells its form: `m.` and `d.` for the GTIDs of
//! MySQL, as in an answer to [`super::written_question`], and MariaDB, `h.` for a heartbeat of one
//! proxy, `w.` for whatever was written before the token is shown. It has no space and no quote, so it fits into a string, a comment and a cookie.

use std::sync::Arc;
use std::time::Duration;

use super::position::Position;
use super::{GtidSet, written};

/// The longest token, in bytes.
const LONGEST: usize = 4096;

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a token of Isthmus")]
pub struct TokenError;

/// What a session must have seen. The session and the ledger share the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(pub(super) Option<Arc<Position>>);

impl Token {
    /// What a server runs that tells as a token whatever can have been seen there.
    ///
    /// A transaction can be seen a moment before its GTID is among those that were executed: MySQL
    /// has it among those that are owned until then, MariaDB in the binary log. A server of MariaDB
    /// that does not write there what it replicates tells a token that is always enough.
    pub fn query(is_mariadb: bool) -> &'static str {
        // Without the limit, sql_select_limit counts.
        if is_mariadb {
            "SELECT IF(@@global.log_bin AND (@@global.log_slave_updates OR @@global.gtid_slave_pos = ''), \
             CONCAT('d.', @@global.gtid_binlog_pos, ',', @@global.gtid_current_pos), 'w.') \
             AS `@isthmus_token` LIMIT 1"
        } else {
            "SELECT CONCAT('m.', TRIM(LEADING '/' FROM REPLACE(CONCAT(@@global.gtid_owned, '/', \
             @@global.gtid_executed), CHAR(10 USING utf8mb4), ''))) AS `@isthmus_token` LIMIT 1"
        }
    }

    /// Whatever was written before it is shown.
    pub fn anything() -> Self {
        Self(None)
    }

    /// These transactions.
    pub fn gtids(set: GtidSet) -> Self {
        Self::at(Position::Gtids(set))
    }

    /// What a server has that is there.
    pub(super) fn at(position: Position) -> Self {
        Self(Some(Arc::new(position)))
    }

    /// What a server runs that waits for these transactions: 0 if it has them within the time;
    /// `None` if the token stands for none of this kind of server.
    pub fn wait(&self, is_mariadb: bool, time: Duration) -> Option<String> {
        let Some(Position::Gtids(set)) = self.0.as_deref() else {
            return None;
        };
        let function = match (set, is_mariadb) {
            (GtidSet::Mysql(_), false) => "WAIT_FOR_EXECUTED_GTID_SET",
            (GtidSet::Mariadb(_), true) => "MASTER_GTID_WAIT",
            _ => return None,
        };
        // MySQL takes no time for as much as it likes.
        let milliseconds = time.as_micros().div_ceil(1000).max(1);
        // Without the limit, sql_select_limit counts, and without its character set, MySQL reads the text
        // in the connection's: in UTF-16 as an empty set, which everybody has.
        Some(format!(
            "SELECT CAST({function}(_latin1'{}',{}.{:03}) AS BINARY) LIMIT 1",
            set.to_sql(),
            milliseconds / 1000,
            milliseconds % 1000
        ))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// If it has another form, or is too long.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > LONGEST {
            return Err(TokenError);
        }
        let position = match text.split_once('.').ok_or(TokenError)? {
            ("w", "") => None,
            ("m", set) => Some(Position::Gtids(
                written(set, false).map_err(|_| TokenError)?,
            )),
            ("d", set) => Some(Position::Gtids(
                GtidSet::parse(set, true).map_err(|_| TokenError)?,
            )),
            ("h", beat) => {
                let (proxy, number) = beat.split_once('.').ok_or(TokenError)?;
                Some(Position::Beat {
                    proxy: u64::from_str_radix(proxy, 16).map_err(|_| TokenError)?,
                    number: number.parse().map_err(|_| TokenError)?,
                })
            }
            _ => return Err(TokenError),
        };
        Ok(Self(position.map(Arc::new)))
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_deref() {
            // What was written before it is shown includes these.
            None | Some(Position::Lsn(_) | Position::Moment(_)) => f.write_str("w."),
            Some(Position::Gtids(set @ GtidSet::Mysql(_))) => write!(f, "m.{}", set.to_sql()),
            Some(Position::Gtids(set @ GtidSet::Mariadb(_))) => write!(f, "d.{}", set.to_sql()),
            Some(Position::Beat { proxy, number }) => write!(f, "h.{proxy:016x}.{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        for text in [
            "w.".to_owned(),
            format!("m.{uuid}:1-5,{uuid}:blue:7-7"),
            "m.".to_owned(),
            "d.0-1-177,1-1-5".to_owned(),
            "h.00000000000000ff.12".to_owned(),
        ] {
            assert_eq!(Token::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn servers_wait_for_their_own_gtids() {
        let time = Duration::from_micros(80_001);
        for (token, is_mariadb, expected) in [
            (
                "m.3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
                false,
                Some(
                    "WAIT_FOR_EXECUTED_GTID_SET(_latin1'3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5',0.081)",
                ),
            ),
            (
                "d.0-7-177",
                true,
                Some("MASTER_GTID_WAIT(_latin1'0-1-177',0.081)"),
            ),
            ("d.0-7-177", false, None),
            ("h.00000000000000ff.12", false, None),
            ("w.", false, None),
        ] {
            let wait = Token::parse(token).unwrap().wait(is_mariadb, time);
            let expected = expected.map(|call| format!("SELECT CAST({call} AS BINARY) LIMIT 1"));
            assert_eq!(wait, expected, "{token}");
        }
        let token = Token::parse("d.0-7-177").unwrap();
        for (time, seconds) in [
            (Duration::ZERO, "0.001"),
            (Duration::from_millis(62_050), "62.050"),
        ] {
            let wait = token.wait(true, time).unwrap();
            assert!(wait.contains(&format!("',{seconds})")), "{wait}");
        }
    }

    #[test]
    fn tokens_are_read_as_servers_write_them() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        for (text, expected) in [
            (format!("m.{uuid}:1-5"), format!("m.{uuid}:1-5")),
            (
                format!("m.{uuid}:7#12/{uuid}:1-5"),
                format!("m.{uuid}:1-5:7-7"),
            ),
            (
                "d.0-1-177,0-1-176,1-1-5".to_owned(),
                "d.0-1-177,1-1-5".to_owned(),
            ),
            ("d.,".to_owned(), "d.".to_owned()),
        ] {
            assert_eq!(Token::parse(&text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let long = format!("d.{}", "0-1-1,".repeat(1000));
        for text in [
            "", "x", "w.x", "m.x", "d.0-1", "h.1", "h.x.1", "h.1.x", "q.1", &long,
        ] {
            assert_eq!(Token::parse(text), Err(TokenError), "{text}");
        }
    }
}
