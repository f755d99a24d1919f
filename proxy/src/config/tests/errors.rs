//! What wrong files are told, and where.

use std::path::Path;

use super::super::Config;
use super::{MINIMAL, parse};

/// Parses `MINIMAL` with `tables` appended; the error must stand where `⟨` marks the text and
/// contain `sentence`.
fn refuses(tables: &str, sentence: &str) {
    refuses_text(&format!("{MINIMAL}\n{tables}"), sentence);
}

fn refuses_text(marked: &str, sentence: &str) {
    let before = &marked[..marked.find('⟨').unwrap()];
    let line = before.matches('\n').count() + 1;
    let column = before.lines().last().map_or(0, |l| l.chars().count()) + 1;
    let column = if before.ends_with('\n') { 1 } else { column };
    let error = parse(&marked.replace('⟨', "")).unwrap_err().to_string();
    let place = format!("/etc/isthmus/isthmus.toml:{line}:{column}: ");
    assert!(error.starts_with(&place), "{error}\nexpected at {place}");
    assert!(error.contains(sentence), "{error}\nexpected {sentence}");
    assert!(error.contains("; "), "no remedy: {error}");
}

#[test]
fn unknown_names_suggest_the_nearest() {
    refuses(
        "[pool]\n⟨idle_timout = \"5s\"",
        "did you mean `idle_timeout`?",
    );
    refuses(
        "⟨[[user]]\nname = \"a\"".replace("⟨[[", "[[⟨").as_str(),
        "did you mean `users`?",
    );
    refuses(
        "[pool]\n⟨frobnicate = 1",
        "unknown field `frobnicate`; known here: max_conn",
    );
    refuses("[consistency]\nsource = ⟨\"gitd\"", "did you mean `gtid`?");
    refuses(
        "[consistency]\nsource = ⟨\"lsn\"",
        "known here: auto, gtid, heartbeat, aurora, fixed",
    );
    refuses(
        "[consistency]\nheartbeat_table = ⟨\"a.b; DROP\"",
        "is not a table; write \"schema.table\"",
    );
    refuses(
        "[consistency]\non_stale = ⟨\"never\"",
        "known here: writer, wait, fastest",
    );
    refuses(
        "[consistency]\nscope = ⟨\"world\"",
        "known here: session, user, key, global",
    );
}

#[test]
fn values_say_what_would_be_right() {
    refuses(
        "[pool]\nidle_timeout = ⟨300",
        "write a duration in quotes such as",
    );
    refuses(
        "[pool]\nidle_timeout = ⟨\"5 s\"",
        "\"5 s\" is not a duration; write",
    );
    refuses(
        "[pool]\nidle_timeout = ⟨\"0s\"",
        "zero makes no sense here; write",
    );
    refuses(
        "[pool]\nidle_timeout = ⟨\"99999999999999h\"",
        "is not a duration",
    );
    refuses("[pool]\nmax_connections = ⟨0", "0 is out of range; write");
    refuses(
        "[pool]\nmax_connections = ⟨\"9\"",
        "type string cannot stand here; write a whole number",
    );
    refuses(
        "[limits]\nmax_allowed_packet = ⟨\"64MB\"",
        "not a size; write",
    );
    refuses(
        "[limits]\nmax_allowed_packet = ⟨\"2GiB\"",
        "write a size from \"1KiB\" to",
    );
    refuses("[admin]\naddress = ⟨\"localhost\"", "or \"off\"");
    refuses(
        "[log]\nlevel = ⟨\"loud=very=x\"",
        "is not a log level; write",
    );
    for level in [
        "infoo",
        "",
        "info,",
        "isthmus:pool=debug",
        "isthmus=",
        "isthmus::pool",
    ] {
        refuses(
            &format!("[log]\nlevel = ⟨\"{level}\""),
            "is not a log level; write",
        );
    }
    refuses(
        "[routing]\nreader_functions = ⟨[\"f()\"]",
        "is not the name of a function; write",
    );
    refuses(
        "[listen]\naddresses = [⟨\"3306\"]",
        "not an address to listen on; write",
    );
    refuses(
        "[listen]\nproxy_protocol = [⟨\"10/8\"]",
        "is not a network; write",
    );
    refuses(
        "[listen]\nserver_version = ⟨\"eight\"",
        "is not a server version; write",
    );
    refuses(
        "[[endpoints]]\naddress = ⟨\"db:x\"",
        "is not an address; write host:port",
    );
    refuses(
        "[[endpoints]]\nname = ⟨\"a b\"",
        "cannot be a name here; write",
    );
    refuses(
        "[[users]]\nname = ⟨\"\"",
        "cannot be the name of a user; write",
    );
    refuses(
        "[listen]\ninit = [\"SET NAMES utf8mb4\", ⟨\"SELECT 1\"]",
        "a session cannot begin with `SELECT 1`: ",
    );
    refuses(
        "[[users]]\nname = \"bob\"\npassword = \"x\"\ninit = [⟨\"SET GLOBAL time_zone = '+00:00'\"]",
        "write SET statements of session variables",
    );
    refuses_text(
        &format!("workers = ⟨-1\n{MINIMAL}"),
        "-1 is out of range; write 0 for",
    );
}

#[test]
fn missing_parts_are_named() {
    refuses("⟨[[users]]\npassword = \"x\"", "`name` is missing; add");
    refuses(
        "[listen]\ntls = ⟨{ certificate = \"c.pem\" }",
        "`key` is missing; add",
    );
    refuses(
        "[[users]]\nname = ⟨\"bob\"",
        "user `bob` has no password; add one of",
    );
    refuses_text("⟨", "`region` is missing; add");
    refuses_text(
        "⟨region = \"tokyo\"",
        "no user may log in; add a [[users]] table",
    );
    let users = "region = \"t\"\n[[users]]\nname = \"a\"\npassword = \"\"\n";
    refuses_text(
        &format!("⟨{users}"),
        "no endpoint; add an [[endpoints]] table",
    );
}

#[test]
fn parts_must_fit_each_other() {
    refuses(
        "[[users]]\nname = ⟨\"app\"\npassword = \"x\"",
        "a second user called `app`; give",
    );
    let reader = "address = \"db\"\nregion = \"tokyo\"\nrole = \"reader\"";
    refuses(
        &format!("[[endpoints]]\nname = ⟨\"tokyo\"\n{reader}"),
        "a second endpoint called `tokyo`; give",
    );
    let writer = MINIMAL.replacen("\"reader\"", "⟨\"writer\"", 1);
    refuses_text(
        &writer,
        "`virginia` is a second writer beside `tokyo`; give",
    );
    let none = MINIMAL.replacen("\"writer\"", "⟨\"reader\"", 1);
    refuses_text(&none, "no endpoint is the writer; give");
    let region = MINIMAL.replacen("region = \"virginia\"", "region = ⟨\"virgina\"", 1);
    refuses_text(
        &region,
        "no endpoint is in the region `virgina`; did you mean `virginia`?",
    );
    refuses(
        "[listen]\ntls_required = ⟨true",
        "no certificate; add listen.tls",
    );
    refuses(
        "[listen]\naddresses = ⟨[]",
        "no address to listen on; write",
    );
    refuses(
        "[listen]\naddresses = [\"127.0.0.1:1\", ⟨\"127.0.0.1:1\"]",
        "\"127.0.0.1:1\" (listen.addresses) is taken by \"127.0.0.1:1\" (listen.addresses); give",
    );
    refuses(
        "[listen]\naddresses = [\"[::1]:1\", \"127.0.0.1:1\", ⟨\"0.0.0.0:1\"]",
        "\"0.0.0.0:1\" (listen.addresses) is taken by \"127.0.0.1:1\"",
    );
    refuses(
        "[admin]\naddress = ⟨\"127.0.0.1:1\"\n[listen]\naddresses = [\"127.0.0.1:1\"]",
        "\"127.0.0.1:1\" (admin.address) is taken by \"127.0.0.1:1\" (listen.addresses)",
    );
    refuses(
        "[admin]\naddress = ⟨\"127.0.0.1:3307\"",
        "(admin.address) is taken by \"127.0.0.1:3307\"",
    );
    refuses(
        "[listen]\naddresses = [⟨\"0.0.0.0:9306\"]",
        "\"127.0.0.1:9306\" (admin.address) is taken by \"0.0.0.0:9306\"",
    );
    for (own, endpoint) in [
        ("127.0.0.1:3307", "127.0.0.1:3307"),
        ("127.0.0.1:3307", "localhost:3307"),
        ("0.0.0.0:3307", "127.0.0.1:3307"),
        ("[::1]:3307", "[::1]:3307"),
        ("10.0.0.1:3306", "10.0.0.1"),
    ] {
        refuses(
            &format!(
                "[listen]\naddresses = [\"{own}\"]\n[[endpoints]]\nname = \"a\"\nregion = \"virginia\"\n\
                 role = \"reader\"\naddress = ⟨\"{endpoint}\""
            ),
            "the proxy itself listens there",
        );
    }
    refuses("tls = ⟨{ mode = \"verify-ca\" }", "nothing to verify");
    refuses(
        "tls = ⟨{ mode = \"required\", ca = \"c\" }",
        "does not verify certificates; choose",
    );
}

#[test]
fn passwords_have_one_source_that_can_be_read() {
    let user = "[[users]]\nname = \"bob\"\n";
    refuses(
        &format!("{user}password_env = ⟨\"ISTHMUS_NEVER_SET\""),
        "the environment variable `ISTHMUS_NEVER_SET` is not set; set it",
    );
    refuses(
        &format!("{user}password_file = ⟨\"/nowhere/secret\""),
        "the password file /nowhere/secret cannot be read",
    );
    refuses(
        &format!("{user}password = \"a\"\npassword_env = ⟨\"B\""),
        "a second source for the same password; keep one of `password`,",
    );
    refuses(
        "[monitor]\nuser = ⟨\"watch\"",
        "no password is known for `watch`; add one of",
    );
    refuses(
        "[monitor]\npassword = ⟨123",
        "type integer cannot stand here; write",
    );
    refuses(
        "[monitor]\npassword = ⟨\"x\"",
        "a password without a user; add `user`",
    );
}

#[test]
fn toml_itself_is_checked() {
    let error = parse("region = \n").unwrap_err();
    assert_eq!(error.line(), Some(1));
    let error = parse("é = 1 = 2\n").unwrap_err();
    assert_eq!(error.line(), Some(1));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nowhere/isthmus.toml")).unwrap_err();
    assert_eq!(error.line(), None);
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/isthmus.toml: cannot be read")
    );
}
