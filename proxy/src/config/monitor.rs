//! How the endpoints are watched.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::error::Fault;
use super::raw_secret::RawSecret;
use super::user::optional_user_name;
use super::{Credentials, User, span};

/// The proxy's own connections, which ask the servers how they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// How they log in; the first user's way into the servers, unless the file says otherwise.
    pub credentials: Credentials,
    /// The time between two questions to one endpoint.
    pub interval: Duration,
    /// How long an answer may take before the endpoint counts as down.
    pub timeout: Duration,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMonitor {
    #[serde(deserialize_with = "optional_user_name")]
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    password_env: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    #[serde(deserialize_with = "span::positive")]
    interval: Duration,
    #[serde(deserialize_with = "span::positive")]
    timeout: Duration,
}

impl Default for RawMonitor {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            password_env: None,
            password_file: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
        }
    }
}

impl RawMonitor {
    /// Finds the credentials; without any, the first of `users` lends his.
    pub(super) fn resolve(self, users: &[User], folder: &Path) -> Result<Monitor, Fault> {
        let secret_at = [
            self.password.as_ref().map(Spanned::span),
            self.password_env.as_ref().map(Spanned::span),
            self.password_file.as_ref().map(Spanned::span),
        ];
        let password = RawSecret {
            key: "password",
            inline: self.password,
            env: self.password_env,
            file: self.password_file,
        };
        let credentials = match (self.user, password.read(folder)?) {
            (Some(user), Some(password)) => Credentials {
                user: user.into_inner(),
                password,
            },
            (Some(user), None) => known_backend(&user, users)?,
            (None, Some(_)) => {
                let at: Option<Range<usize>> = secret_at.into_iter().flatten().next();
                return Err(Fault::new(
                    at.unwrap_or_default(),
                    "a password without a user; add `user`, or leave both out \
                     to log in as the first of the users",
                ));
            }
            (None, None) => match users.first() {
                Some(user) => user.backend.clone(),
                None => {
                    return Err(Fault::new(
                        0..0,
                        "no user may log in; add a [[users]] table",
                    ));
                }
            },
        };
        Ok(Monitor {
            credentials,
            interval: self.interval,
            timeout: self.timeout,
        })
    }
}

/// A monitoring user without a password of its own must be one of the users.
fn known_backend(name: &Spanned<String>, users: &[User]) -> Result<Credentials, Fault> {
    let wanted = name.get_ref();
    users
        .iter()
        .map(|user| &user.backend)
        .find(|backend| backend.user == *wanted)
        .cloned()
        .ok_or_else(|| {
            Fault::new(
                name.span(),
                format!(
                    "no password is known for `{wanted}`; add one of `password`, `password_env` \
                     or `password_file`"
                ),
            )
        })
}
