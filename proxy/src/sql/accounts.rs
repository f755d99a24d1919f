//! Which statements change accounts: their privileges, roles and passwords, which servers look at when
//! a connection logs in.

use super::dialect::Dialect;
use super::lexer::Reading;
use super::plan::{Kind, Place, Plan};
use super::script;
use super::words::Words;

/// Whether the statement, which has this plan, changes accounts.
pub fn changes_accounts(plan: &Plan, sql: &[u8], dialect: Dialect) -> bool {
    if !may_change(plan) {
        return false;
    }
    if plan.kind != Kind::Script {
        return reads_so(Words::new(sql, dialect, Reading::default()));
    }
    let parts = script::read(sql, dialect, true).statements;
    parts.iter().any(|part| {
        let text = sql.get(part.range.clone()).unwrap_or_default();
        changes_accounts(&part.plan, text, dialect)
    })
}

fn may_change(plan: &Plan) -> bool {
    use Kind::{Admin, Ddl, Set};
    plan.place == Place::Writer
        && (matches!(plan.kind, Ddl | Admin | Set) || plan.parts.iter().any(|one| may_change(one)))
}

fn reads_so(mut words: Words<'_>) -> bool {
    let Some(verb) = words.next() else {
        return false;
    };
    match verb.keyword() {
        b"grant" | b"revoke" => true,
        b"create" | b"alter" | b"drop" | b"rename" => {
            words.accept_all(&["or", "replace"]);
            words.accept_any(&["user", "role"])
        }
        b"flush" => words.any(|word| word.is("privileges")),
        b"set" if words.accept("statement") => {
            words.by_ref().any(|word| word.is("for")) && reads_so(words)
        }
        b"set" => words.accept("password") || words.accept_all(&["default", "role"]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_about_accounts_are_told_apart() {
        let cases = [
            ("GRANT SELECT ON *.* TO u", true),
            ("/* x */ REVOKE ALL ON a.* FROM u", true),
            ("CREATE OR REPLACE ROLE r", true),
            ("ALTER USER u ACCOUNT LOCK", true),
            ("FLUSH LOCAL PRIVILEGES", true),
            ("SET PASSWORD = 'x'", true),
            ("SET DEFAULT ROLE r TO u", true),
            (
                "SET STATEMENT max_statement_time = 1 FOR GRANT r TO u",
                true,
            ),
            ("SELECT 1; DROP USER u; SET GLOBAL sql_mode = ''", true),
            ("CREATE TABLE user (id INT)", false),
            ("SET GLOBAL wait_timeout = 5", false),
            ("SET ROLE r", false),
            ("FLUSH TABLES", false),
            ("SELECT 1; SELECT 2", false),
        ];
        for (sql, expected) in cases {
            let dialect = Dialect::default();
            let script = script::read(sql.as_bytes(), dialect, true);
            let plan = script.plan(sql.as_bytes(), dialect);
            let found = changes_accounts(&plan, sql.as_bytes(), dialect);
            assert_eq!(found, expected, "{sql}");
        }
    }
}
