//! The guided session: a family album, whose writer is an ocean away.

/// Some statements that belong together.
#[derive(Debug)]
pub(crate) struct Chapter {
    pub(crate) title: &'static str,
    /// What to know before one looks at the rows.
    pub(crate) about: &'static str,
    pub(crate) steps: &'static [Step],
}

/// One thing that the application does.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) action: Action,
    pub(crate) place: Expected,
    pub(crate) answer: Answer,
}

/// What the application sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Connects. The driver then asks for this by itself.
    Connect(&'static str),
    /// A statement as text.
    Text(&'static str),
    /// Prepares a statement in the binary protocol, for the steps that follow.
    Prepare(&'static str),
    /// Executes what was prepared, with one parameter.
    Execute(&'static str, &'static str),
}

/// Where it has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// On the reader.
    Reader,
    /// On the reader, as soon as that has caught up with what the session wrote.
    ReaderAgain,
    /// On the writer.
    Writer,
    /// On the writer, since the reader has not caught up with what the session wrote.
    Pinned,
    /// On the reader, or nowhere because Isthmus knows the answer.
    Near,
    /// Nowhere yet: Isthmus answers, and sends it with the statement that follows.
    Deferred,
}

/// What the first column of the first row has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It does not matter.
    Any,
    /// This text.
    Text(&'static str),
    /// The id that the session's last INSERT was told.
    InsertId,
}

const fn step(action: Action, place: Expected, answer: Answer) -> Step {
    Step {
        action,
        place,
        answer,
    }
}

/// What is there before the session begins.
pub(crate) const FURNISHING: [&str; 3] = [
    "USE app",
    "CREATE TABLE photos (id INT PRIMARY KEY AUTO_INCREMENT, title VARCHAR(100) NOT NULL, views INT NOT NULL DEFAULT 0)",
    "INSERT INTO photos (title) VALUES ('Grandmother in Nara'), ('First day of school'), ('Snow')",
];

/// The session.
pub(crate) const CHAPTERS: [Chapter; 6] = [
    Chapter {
        title: "Connecting",
        about: "Isthmus checks the password itself. What drivers and frameworks ask and set when \
                they connect is answered next door.",
        steps: &[
            step(
                Action::Connect("SELECT @@max_allowed_packet,@@wait_timeout"),
                Expected::Reader,
                Answer::Any,
            ),
            step(
                Action::Text("SET NAMES utf8mb4"),
                Expected::Reader,
                Answer::Any,
            ),
            step(
                Action::Text("SET @@SESSION.time_zone = '+09:00'"),
                Expected::Reader,
                Answer::Any,
            ),
        ],
    },
    Chapter {
        title: "Reading",
        about: "Reads are answered by the reader in this region.",
        steps: &[
            step(
                Action::Text("SELECT title FROM photos WHERE id = 1"),
                Expected::Reader,
                Answer::Text("Grandmother in Nara"),
            ),
            step(
                Action::Text("SELECT @@time_zone"),
                Expected::Reader,
                Answer::Text("+09:00"),
            ),
            step(
                Action::Text("SELECT title FROM photos WHERE id = 1 FOR UPDATE"),
                Expected::Writer,
                Answer::Text("Grandmother in Nara"),
            ),
        ],
    },
    Chapter {
        title: "Writing, and reading what one wrote",
        about: "A write crosses the ocean. Until the reader has it, this session's reads do so \
                too: it never sees the past.",
        steps: &[
            step(
                Action::Text("INSERT INTO photos (title) VALUES ('Cherry trees')"),
                Expected::Writer,
                Answer::Any,
            ),
            step(
                Action::Text("SELECT title FROM photos WHERE title = 'Cherry trees'"),
                Expected::Pinned,
                Answer::Text("Cherry trees"),
            ),
            step(
                Action::Text("SELECT title FROM photos WHERE title = 'Cherry trees' LIMIT 1"),
                Expected::ReaderAgain,
                Answer::Text("Cherry trees"),
            ),
            step(
                Action::Text("SELECT LAST_INSERT_ID()"),
                Expected::Reader,
                Answer::InsertId,
            ),
        ],
    },
    Chapter {
        title: "A transaction",
        about: "BEGIN crosses the ocean together with the first statement. From that to the last, the \
                session keeps one connection to the writer.",
        steps: &[
            step(Action::Text("BEGIN"), Expected::Deferred, Answer::Any),
            step(
                Action::Text("UPDATE photos SET views = views + 1 WHERE id = 3"),
                Expected::Writer,
                Answer::Any,
            ),
            step(
                Action::Text("SELECT views FROM photos WHERE id = 3"),
                Expected::Writer,
                // The session without Isthmus was here before.
                Answer::Text("2"),
            ),
            step(Action::Text("COMMIT"), Expected::Writer, Answer::Any),
            step(
                Action::Text("SELECT views AS now FROM photos WHERE id = 3"),
                Expected::Pinned,
                Answer::Text("2"),
            ),
            step(
                Action::Text("SELECT views AS later FROM photos WHERE id = 3"),
                Expected::ReaderAgain,
                Answer::Text("2"),
            ),
        ],
    },
    Chapter {
        title: "Prepared statements and warnings",
        about: "Prepared statements of the binary protocol go where their text would go. Warnings \
                are fetched as soon as a statement has caused some.",
        steps: &[
            step(
                Action::Prepare("SELECT title FROM photos WHERE id = ?"),
                Expected::Reader,
                Answer::Any,
            ),
            step(
                Action::Execute("SELECT title FROM photos WHERE id = ?", "2"),
                Expected::Reader,
                Answer::Text("First day of school"),
            ),
            step(
                Action::Text("SELECT CAST('12 photos' AS SIGNED)"),
                Expected::Reader,
                Answer::Text("12"),
            ),
            step(
                Action::Text("SHOW WARNINGS"),
                Expected::Near,
                Answer::Text("Warning"),
            ),
        ],
    },
    Chapter {
        title: "A temporary table",
        about: "It exists on one connection only, so the session keeps that connection, reads \
                included, until the table is dropped.",
        steps: &[
            step(
                Action::Text("CREATE TEMPORARY TABLE picks (photo INT)"),
                Expected::Writer,
                Answer::Any,
            ),
            step(
                Action::Text("INSERT INTO picks SELECT id FROM photos WHERE id < 3"),
                Expected::Writer,
                Answer::Any,
            ),
            step(
                Action::Text("SELECT COUNT(*) FROM picks"),
                Expected::Writer,
                Answer::Text("2"),
            ),
            step(
                Action::Text("DROP TEMPORARY TABLE picks"),
                Expected::Writer,
                Answer::Any,
            ),
            step(
                Action::Text("SELECT title FROM photos WHERE id = 2"),
                Expected::ReaderAgain,
                Answer::Text("First day of school"),
            ),
        ],
    },
];

impl Action {
    /// The statement, as a server gets to see it.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Connect(sql) | Self::Text(sql) | Self::Prepare(sql) | Self::Execute(sql, _) => {
                sql
            }
        }
    }
}
