//! What a reload would change.

use std::fmt;

use toml::Value;

use super::Config;
use super::settings::{Content, Section, Setting};

/// One difference between two configurations. It prints as a sentence without secrets, such as
/// `endpoint virginia: address 10.0.0.1:3306 → 10.0.0.2:3306` or `user app: password changed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    what: String,
    takes_effect: TakesEffect,
}

/// When a change is felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakesEffect {
    /// As soon as it is applied.
    AtOnce,
    /// When the proxy starts the next time.
    NextStart,
}

impl Change {
    /// When the change is felt.
    pub fn takes_effect(&self) -> TakesEffect {
        self.takes_effect
    }

    /// Whether only a restart brings the change about.
    pub fn needs_restart(&self) -> bool {
        self.takes_effect == TakesEffect::NextStart
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.takes_effect {
            TakesEffect::AtOnce => Ok(()),
            TakesEffect::NextStart => f.write_str("; takes effect at the next start"),
        }
    }
}

impl Config {
    /// The differences from this configuration to `new`, in the order of the file; what is only
    /// in the old one comes last. Users and endpoints are matched by name, wherever they stand.
    pub fn diff(&self, new: &Config) -> Vec<Change> {
        let (old, new) = (self.settings(), new.settings());
        let mut changes = Vec::new();
        for setting in &new {
            let before = old
                .iter()
                .find(|other| other.section == setting.section && other.key == setting.key);
            match before {
                Some(before) => changes.extend(changed(before, setting)),
                None => changes.extend(appeared(setting, "added")),
            }
        }
        for setting in &old {
            if !new.iter().any(|other| other.section == setting.section) {
                changes.extend(appeared(setting, "removed"));
            }
        }
        changes
    }
}

/// A user or an endpoint that is in only one of the two: told once, at its name.
fn appeared(setting: &Setting, how: &str) -> Option<Change> {
    (setting.key == "name").then(|| Change {
        what: format!("{} {how}", subject(setting)),
        takes_effect: setting.takes_effect,
    })
}

fn changed(old: &Setting, new: &Setting) -> Option<Change> {
    if old.content == new.content {
        return None;
    }
    let what = match (&old.content, &new.content) {
        (Content::Shown(old), Content::Shown(new_value)) => {
            format!(
                "{} {} → {}",
                subject_and_key(new),
                shown(old),
                shown(new_value)
            )
        }
        _ => format!("{} changed", subject_and_key(new)),
    };
    Some(Change {
        what,
        takes_effect: new.takes_effect,
    })
}

/// `endpoint virginia:`, `user app:`, `pool`.
fn subject(setting: &Setting) -> String {
    match &setting.section {
        Section::Top => String::new(),
        Section::Table(table) => (*table).to_owned(),
        Section::User(name) => format!("user {name}:"),
        Section::Endpoint(name) => format!("endpoint {name}:"),
    }
}

/// `endpoint virginia: address`, `user app: password`, `pool.idle_timeout`, `region`.
fn subject_and_key(setting: &Setting) -> String {
    match &setting.section {
        Section::Top => setting.key.to_owned(),
        Section::Table(table) => format!("{table}.{}", setting.key),
        Section::User(_) | Section::Endpoint(_) => format!("{} {}", subject(setting), setting.key),
    }
}

fn shown(value: &Option<Value>) -> String {
    match value {
        None => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}
