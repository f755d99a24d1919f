//! The files in `configs/`: they load, and `isthmus.toml` tells the truth about every setting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::super::Config;
use super::super::diff::TakesEffect;
use super::super::settings::{Section, Setting};
use super::{MINIMAL, parse, with};

const REFERENCE: &str = include_str!("../../../../configs/isthmus.toml");

/// The tables of the file, as they are opened there.
const TABLES: [&str; 15] = [
    "",
    "[listen]",
    "[[users]]",
    "[[endpoints]]",
    "[server_tls]",
    "[monitor]",
    "[pool]",
    "[consistency]",
    "[routing]",
    "[round_trips]",
    "[timeouts]",
    "[limits]",
    "[log]",
    "[admin]",
    "[reload]",
];

/// What the reference says about one setting.
#[derive(Debug)]
struct Documented {
    /// The default, if it is a value and not a sentence.
    default: Option<Value>,
    /// The value in the line itself.
    example: Value,
    reload: bool,
    required: bool,
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

#[test]
fn every_file_loads() {
    let mut count = 0;
    for entry in std::fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
            count += 1;
        }
    }
    assert!(count >= 3);
}

#[test]
fn the_reference_describes_every_field() {
    let documented = documented();
    for table in TABLES {
        let keys: BTreeSet<String> = documented
            .keys()
            .filter(|(section, _)| section == table)
            .map(|(_, key)| key.clone())
            .collect();
        assert_eq!(keys, fields(table), "{table}");
    }
}

#[test]
fn the_documented_defaults_are_those_of_the_code() {
    let resolved: Table = with("").masked_toml().parse().unwrap();
    for ((table, key), documented) in documented() {
        let name = table.trim_matches(['[', ']']);
        let actual = match (name, resolved.get(name)) {
            ("", _) => resolved.get(&key),
            ("server_tls", _) => resolved["endpoints"][0]["tls"].get(&key),
            (_, Some(Value::Array(tables))) => tables[0].get(&key),
            (_, Some(section)) => section.get(&key),
            (_, None) => None,
        };
        let is_inherited = table.starts_with("[[") || table == "[monitor]" && key != "interval";
        match documented.default {
            Some(default) => {
                assert_eq!(Some(&default), actual, "{table} {key}");
                assert_eq!(default, documented.example, "{table} {key}");
            }
            None if is_inherited || documented.required => {}
            None => assert_eq!(actual, None, "{table} {key}: say its default"),
        }
    }
}

#[test]
fn the_reference_says_what_a_reload_applies() {
    let documented = documented();
    for setting in with("[listen]\nserver_version = \"8.0.39\"").settings() {
        let place = (header(&setting), setting.key.to_owned());
        let applied = setting.takes_effect == TakesEffect::AtOnce;
        assert_eq!(documented[&place].reload, applied, "{place:?}");
    }
}

#[test]
fn every_example_in_the_reference_can_be_switched_on() {
    let lines: Vec<&str> = REFERENCE.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let Some(setting) = line.strip_prefix('#').filter(|rest| is_setting(rest)) else {
            continue;
        };
        let mut changed = lines.clone();
        changed[number] = setting;
        if let Err(error) = parse(&changed.join("\n")) {
            let key = setting.split(' ').next().unwrap();
            let alone = ["password", "password_env", "password_file", "ca"];
            let needs_more = alone.iter().any(|end| key.ends_with(end));
            assert!(
                needs_more && error.line() == Some(number + 1) || key == "ca",
                "{error}"
            );
        }
    }
}

fn header(setting: &Setting) -> String {
    match &setting.section {
        Section::Top => String::new(),
        Section::Table(name) => format!("[{name}]"),
        Section::User(_) => "[[users]]".to_owned(),
        Section::Endpoint(_) => "[[endpoints]]".to_owned(),
    }
}

/// `key = value`, after the `#` if there was one.
fn is_setting(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" = ")
}

/// Reads the reference: for each table and key, the sentence above it.
fn documented() -> BTreeMap<(String, String), Documented> {
    let mut documented = BTreeMap::new();
    let mut table = String::new();
    let mut sentence = None;
    for line in REFERENCE.lines() {
        let setting = line.strip_prefix('#').unwrap_or(line);
        if line.starts_with('[') {
            table = line.to_owned();
        } else if line.starts_with("# Default: ") || line.starts_with("# Required") {
            sentence = Some(line);
        } else if is_setting(setting) {
            let place = (table.clone(), setting.split(' ').next().unwrap().to_owned());
            if let Some(sentence) = sentence.take() {
                assert!(documented.insert(place, read(sentence, setting)).is_none());
            } else {
                assert!(documented.contains_key(&place), "no sentence above {line}");
            }
        }
    }
    documented
}

fn read(sentence: &str, setting: &str) -> Documented {
    let (default, reload) = sentence.split_once(". Reload: ").unwrap();
    assert!(
        reload.starts_with("yes") || reload.starts_with("no."),
        "{sentence}"
    );
    let default = default.trim_start_matches("# Default: ");
    let setting: Table = setting.parse().unwrap();
    Documented {
        default: value(default),
        example: setting.into_iter().next().unwrap().1,
        reload: reload.starts_with("yes"),
        required: sentence.starts_with("# Required"),
    }
}

fn value(text: &str) -> Option<Value> {
    let table: Table = format!("value = {text}").parse().ok()?;
    table.into_iter().next().map(|(_, value)| value)
}

/// The fields that a table knows, as the refusal of an unknown one lists them.
fn fields(table: &str) -> BTreeSet<String> {
    let text = match table {
        "" => format!("zzzzzzzzzzzzzzzzzzzz = 1\n{MINIMAL}"),
        _ => format!("{MINIMAL}\n{table}\nzzzzzzzzzzzzzzzzzzzz = 1"),
    };
    let error = parse(&text).unwrap_err().to_string();
    let (_, known) = error.split_once("known here: ").unwrap();
    let tables: BTreeSet<&str> = TABLES
        .into_iter()
        .map(|header| header.trim_matches(['[', ']']))
        .collect();
    let is_field = |name: &&str| !table.is_empty() || !tables.contains(name);
    known
        .split(", ")
        .filter(is_field)
        .map(str::to_owned)
        .collect()
}
