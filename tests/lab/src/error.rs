use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What can go wrong in a lab.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that `scripts/setup` installs is not there.
    #[error("there is no {}: run `scripts/setup {part}` first", path.display())]
    NotInstalled {
        /// Where the program was expected.
        path: PathBuf,
        /// The part that `scripts/setup` should install.
        part: &'static str,
    },

    /// A file or directory could not be worked with.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// The deed that failed, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// A program could not be run, or failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// The program's name.
        program: String,
        /// What is known of the cause.
        reason: String,
    },

    /// A process ended before it was ready.
    #[error("{process} ended before it was ready; its log ends with:\n{log}")]
    Ended {
        /// The name of the process within the lab.
        process: String,
        /// The last lines of its log.
        log: String,
    },

    /// A process should be running and is not.
    #[error("{process} is not running")]
    NotRunning {
        /// The name of the process within the lab.
        process: String,
    },

    /// A statement of the lab's own was refused, or the connection failed.
    #[error("{server}: `{statement}` failed")]
    Query {
        /// The server's name within the lab.
        server: String,
        /// The statement, or what was done instead of one.
        statement: String,
        /// The client's error.
        source: mysql_async::Error,
    },

    /// Something did not happen in time.
    #[error("{what} did not happen within {after:?}{detail}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        after: Duration,
        /// What was seen instead: empty, or beginning with a separator.
        detail: String,
    },

    /// No certificate could be made.
    #[error("cannot make the certificates")]
    Certificate(#[from] rcgen::Error),

    /// A socket of a relay failed.
    #[error("the relay cannot {doing}")]
    Relay {
        /// The deed that failed, as a verb.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Puts the deed and the path before an I/O error.
pub(crate) trait FileContext<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::File {
            doing,
            path: path.to_owned(),
            source,
        })
    }
}
