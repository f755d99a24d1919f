//! Who may log in.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;

use super::error::Fault;
use super::listen::InitStatement;
use super::name::check_unique;
use super::raw_secret::RawSecret;
use super::{AuthPlugin, Listen, Secret};

/// A MySQL user that the proxy lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name that clients log in with.
    pub name: String,
    /// The password that clients log in with.
    pub password: Secret,
    /// How clients prove that they know it.
    pub auth_plugin: AuthPlugin,
    /// How the proxy logs in to the servers for this user; the same name and password, unless the
    /// file says otherwise.
    pub backend: Credentials,
    /// The statements that its sessions begin with.
    pub init: Vec<String>,
    /// Whether `SHOW ISTHMUS SESSIONS` shows it the sessions of others too.
    pub sees_all_sessions: bool,
    /// Whether its `KILL` ends the sessions of others too.
    pub kills_all_sessions: bool,
    /// When its sessions may read less than they have written.
    pub stale_reads: StaleReads,
    /// Whether the reads of a transaction that come before its first write may be answered by the
    /// reader.
    pub optimistic_reads: bool,
}

/// When a session may read less than it has written or seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleReads {
    /// Never.
    #[default]
    Never,
    /// While the writer cannot be reached, with a warning on the statement.
    WhenWriterIsDown,
}

impl StaleReads {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::WhenWriterIsDown => "when_writer_is_down",
        }
    }
}

/// A name and a password for logging in to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name of the MySQL user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUser {
    #[serde(deserialize_with = "user_name")]
    name: Spanned<String>,
    password: Option<Spanned<String>>,
    password_env: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    auth_plugin: Option<AuthPlugin>,
    #[serde(default, deserialize_with = "optional_user_name")]
    backend_user: Option<Spanned<String>>,
    backend_password: Option<Spanned<String>>,
    backend_password_env: Option<Spanned<String>>,
    backend_password_file: Option<Spanned<PathBuf>>,
    init: Option<Vec<InitStatement>>,
    #[serde(default)]
    sees_all_sessions: bool,
    #[serde(default)]
    kills_all_sessions: bool,
    #[serde(default)]
    stale_reads: StaleReads,
    #[serde(default)]
    optimistic_reads: bool,
}

/// Checks the users against each other and reads their passwords.
pub(super) fn resolve_users(
    raw: Vec<RawUser>,
    listen: &Listen,
    folder: &Path,
) -> Result<Vec<User>, Fault> {
    if raw.is_empty() {
        return Err(Fault::new(
            0..0,
            "no user may log in; add a [[users]] table with `name` and `password`",
        ));
    }
    check_unique("user", raw.iter().map(|user| &user.name))?;
    raw.into_iter()
        .map(|user| resolve_user(user, listen, folder))
        .collect()
}

fn resolve_user(raw: RawUser, listen: &Listen, folder: &Path) -> Result<User, Fault> {
    let at = raw.name.span();
    let name = raw.name.into_inner();
    let password = RawSecret {
        key: "password",
        inline: raw.password,
        env: raw.password_env,
        file: raw.password_file,
    };
    let password = password.read(folder)?.ok_or_else(|| {
        Fault::new(
            at,
            format!(
                "user `{name}` has no password; add one of `password`, `password_env` \
                 or `password_file`"
            ),
        )
    })?;
    let backend_password = RawSecret {
        key: "backend_password",
        inline: raw.backend_password,
        env: raw.backend_password_env,
        file: raw.backend_password_file,
    };
    let backend = Credentials {
        user: raw
            .backend_user
            .map_or_else(|| name.clone(), Spanned::into_inner),
        password: backend_password
            .read(folder)?
            .unwrap_or_else(|| password.clone()),
    };
    Ok(User {
        name,
        password,
        auth_plugin: raw.auth_plugin.unwrap_or(listen.auth_plugin),
        backend,
        init: match raw.init {
            Some(own) => own.into_iter().map(|one| one.0).collect(),
            None => listen.init.clone(),
        },
        sees_all_sessions: raw.sees_all_sessions,
        kills_all_sessions: raw.kills_all_sessions,
        stale_reads: raw.stale_reads,
        optimistic_reads: raw.optimistic_reads,
    })
}

/// MySQL allows 32 characters for the name of a user, MariaDB 80.
pub(super) fn user_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Spanned<String>, D::Error> {
    let name = Spanned::<String>::deserialize(deserializer)?;
    let text = name.get_ref();
    if text.is_empty() || text.chars().count() > 80 || text.chars().any(char::is_control) {
        return Err(D::Error::custom(format!(
            "\"{}\" cannot be the name of a user; write 1 to 80 characters",
            text.escape_debug()
        )));
    }
    Ok(name)
}

pub(super) fn optional_user_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Spanned<String>>, D::Error> {
    user_name(deserializer).map(Some)
}
