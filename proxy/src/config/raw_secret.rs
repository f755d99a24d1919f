//! Where a password comes from.

use std::path::{Path, PathBuf};

use toml::Spanned;

use super::Secret;
use super::error::Fault;

/// A password that may stand in the file, in the environment, or in a file of its own.
pub(super) struct RawSecret {
    pub(super) key: &'static str,
    pub(super) inline: Option<Spanned<String>>,
    pub(super) env: Option<Spanned<String>>,
    pub(super) file: Option<Spanned<PathBuf>>,
}

impl RawSecret {
    /// Reads the password from where it is; none if no source was given.
    pub(super) fn read(self, folder: &Path) -> Result<Option<Secret>, Fault> {
        let key = self.key;
        match (self.inline, self.env, self.file) {
            (None, None, None) => Ok(None),
            (Some(password), None, None) => Ok(Some(Secret::new(password.into_inner()))),
            (None, Some(variable), None) => read_env(&variable).map(Some),
            (None, None, Some(path)) => read_file(&path, folder).map(Some),
            (inline, env, file) => {
                let spans = [
                    inline.map(|value| value.span()),
                    env.map(|value| value.span()),
                    file.map(|value| value.span()),
                ];
                let last = spans.into_iter().flatten().max_by_key(|span| span.start);
                Err(Fault::new(
                    last.unwrap_or_default(),
                    format!(
                        "a second source for the same password; \
                         keep one of `{key}`, `{key}_env` and `{key}_file`"
                    ),
                ))
            }
        }
    }
}

fn read_env(variable: &Spanned<String>) -> Result<Secret, Fault> {
    let name = variable.get_ref();
    std::env::var(name).map(Secret::new).map_err(|_| {
        Fault::new(
            variable.span(),
            format!("the environment variable `{name}` is not set; set it before the proxy starts"),
        )
    })
}

/// Reads a file of one line; editors and `echo` put a line break at the end.
fn read_file(path: &Spanned<PathBuf>, folder: &Path) -> Result<Secret, Fault> {
    let full = folder.join(path.get_ref());
    let text = std::fs::read_to_string(&full).map_err(|cause| {
        Fault::new(
            path.span(),
            format!(
                "the password file {} cannot be read ({cause}); name a file that holds the \
                 password and nothing else",
                full.display()
            ),
        )
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
}
