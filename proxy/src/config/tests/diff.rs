//! What a reload would change, in sentences.

use super::{MINIMAL, parse, with};

fn sentences(edit: impl Fn(&str) -> String) -> Vec<String> {
    let new = parse(&edit(MINIMAL)).unwrap();
    let changes = with("").diff(&new);
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn equal_files_do_not_differ() {
    assert!(sentences(str::to_owned).is_empty());
}

#[test]
fn each_change_is_a_sentence() {
    let seen = sentences(|text| text.replace("db.virginia.example.com:3306", "10.0.0.2:3307"));
    let expected = "endpoint virginia: address db.virginia.example.com:3306 → 10.0.0.2:3307";
    assert_eq!(seen, [expected]);

    let seen = sentences(|text| format!("{text}\n[pool]\nidle_timeout = \"90s\"\n"));
    assert_eq!(seen, ["pool.idle_timeout 5m → 90s"]);

    let seen = sentences(|text| format!("{text}\n[listen]\naddresses = [\"127.0.0.1:1\"]\n"));
    let expected = "listen.addresses [\"127.0.0.1:3307\"] → [\"127.0.0.1:1\"]; \
                    takes effect at the next start";
    assert_eq!(seen, [expected]);

    let seen = sentences(|text| format!("{text}\n[listen]\nserver_version = \"8.4.0\"\n"));
    assert_eq!(seen, ["listen.server_version none → 8.4.0"]);
}

#[test]
fn secrets_are_not_told() {
    let seen = sentences(|text| text.replace("change-me", "another"));
    assert_eq!(
        seen,
        [
            "user app: password changed",
            "user app: backend_password changed",
            "monitor.password changed"
        ]
    );
}

#[test]
fn users_and_endpoints_come_and_go_by_name() {
    let seen = sentences(|text| {
        let text = text.replace("name = \"virginia\"", "name = \"ohio\"");
        format!("{text}\n[[users]]\nname = \"bob\"\npassword = \"b\"\n")
    });
    assert_eq!(
        seen,
        [
            "user bob: added",
            "endpoint ohio: added",
            "endpoint virginia: removed"
        ]
    );
}

#[test]
fn only_some_changes_need_a_restart() {
    let new = with("[log]\nlevel = \"debug\"\n");
    assert!(
        with("")
            .diff(&new)
            .iter()
            .all(|change| !change.needs_restart())
    );
    let new = parse(&format!("workers = 3\n{MINIMAL}")).unwrap();
    assert!(
        with("")
            .diff(&new)
            .iter()
            .all(|change| change.needs_restart())
    );
}
