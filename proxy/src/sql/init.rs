//! Whether a session may begin with a statement.

use std::borrow::Cow;

use super::cache::PlanCache;
use super::dialect::Dialect;
use super::plan::{Kind, Place};

/// Checks a statement that every session of a user runs before its client does anything: it may do
/// nothing but change the session, in a way that can be carried to other connections.
///
/// # Errors
/// What it does instead.
pub fn check_init(statement: &str) -> Result<(), Cow<'static, str>> {
    let plan = PlanCache::new(1)
        .plan(statement.as_bytes(), Dialect::default(), false)
        .plan;
    let is_set = matches!(plan.kind, Kind::Set | Kind::SetTransaction);
    if is_set && plan.place == Place::Session && !plan.is_script() && plan.holds.is_empty() {
        return Ok(());
    }
    Err(plan.reason.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_changes_the_session() {
        let cases = [
            ("SET NAMES utf8mb4", true),
            ("SET time_zone = '+00:00', sql_mode = ''", true),
            ("SET SESSION TRANSACTION READ ONLY", true),
            ("SET ROLE reporting", true),
            ("SET GLOBAL time_zone = '+00:00'", false),
            ("SET TRANSACTION READ ONLY", false),
            ("SET timestamp = 1", false),
            ("SET sql_mode = ''; SET time_zone = '+00:00'", false),
            ("SELECT 1", false),
            ("INSERT INTO logins VALUES (1)", false),
            ("", false),
        ];
        for (statement, is_allowed) in cases {
            let checked = check_init(statement);
            assert_eq!(checked.is_ok(), is_allowed, "{statement}: {checked:?}");
        }
    }
}
