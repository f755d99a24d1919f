//! A transaction of one of the kinds that the proxy defers, and what its client knows of it.

use std::net::SocketAddr;

use isthmus_lab::mysql_async::{Conn, Error};
use mysql_async::prelude::Queryable as _;

/// What the client knows of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed,
    /// COMMIT was sent and not answered.
    Unknown,
    /// It was rolled back, or COMMIT was never sent.
    Lost,
}

/// What a session does.
#[derive(Debug)]
pub(crate) struct Transaction {
    steps: Vec<Step>,
    commits: bool,
}

#[derive(Debug)]
enum Step {
    /// A statement.
    Text(String),
    /// Inserts a row with a statement that was prepared before the transaction began.
    Insert(usize, i32),
    /// Ends it.
    End,
}

impl Transaction {
    /// The transaction with this number.
    pub(crate) fn generate(number: usize, random: &mut fastrand::Rng) -> Self {
        let say = |sql: &str| Step::Text(sql.to_owned());
        let mut steps = Vec::new();
        // What the connection of the session before does not have.
        steps.extend(match random.u8(..4) {
            0 => Some(say(&format!(
                "SET time_zone = '+{:02}:00'",
                random.u8(1..13)
            ))),
            1 => Some(say("SET sql_mode = 'ANSI_QUOTES'")),
            2 => Some(say("USE loss")),
            _ => None,
        });
        steps.push(say(match random.u8(..6) {
            0 => "SET autocommit = 0",
            1 => "START TRANSACTION READ WRITE",
            2 => "BEGIN /* isthmus:writer */",
            _ => "BEGIN",
        }));
        let mut has_savepoint = false;
        for part in 1..=random.i32(1..5) {
            match random.u8(..6) {
                0 => steps.push(say("SELECT * FROM loss.t WHERE round = -1")),
                1 => {
                    steps.push(say("SAVEPOINT a"));
                    has_savepoint = true;
                }
                2 if has_savepoint => {
                    steps.push(say("RELEASE SAVEPOINT a"));
                    has_savepoint = false;
                }
                _ => {}
            }
            steps.push(match random.bool() {
                true => Step::Insert(number, part),
                false => say(&format!("INSERT INTO loss.t VALUES ({number}, {part})")),
            });
        }
        steps.push(Step::End);
        Self {
            steps,
            commits: random.u8(..4) > 0,
        }
    }

    /// The rows that it leaves if it is committed.
    pub(crate) fn parts(&self) -> Vec<i32> {
        let rows = self.steps.iter().filter(|step| match step {
            Step::Text(sql) => sql.starts_with("INSERT"),
            Step::Insert(..) => true,
            Step::End => false,
        });
        (1..).zip(rows).map(|(part, _)| part).collect()
    }

    /// What becomes of it if nothing dies.
    pub(crate) fn undisturbed(&self) -> Fate {
        match self.commits {
            true => Fate::Committed,
            false => Fate::Lost,
        }
    }

    /// Runs it to its end or to the first error.
    pub(crate) async fn run(&self, session: Result<Conn, Error>) -> Fate {
        let mut has_sent_commit = false;
        match self.try_run(session, &mut has_sent_commit).await {
            Ok(()) => self.undisturbed(),
            Err(_) if has_sent_commit => Fate::Unknown,
            _ => Fate::Lost,
        }
    }

    async fn try_run(
        &self,
        session: Result<Conn, Error>,
        has_sent_commit: &mut bool,
    ) -> Result<(), Error> {
        let mut session = session?;
        let insert = session.prep("INSERT INTO loss.t VALUES (?, ?)").await?;
        for step in &self.steps {
            match step {
                Step::Text(sql) => session.query_drop(sql).await?,
                Step::Insert(number, part) => {
                    session.exec_drop(&insert, (*number as u64, *part)).await?
                }
                Step::End if self.commits => {
                    *has_sent_commit = true;
                    session.query_drop("COMMIT").await?;
                }
                Step::End => session.query_drop("ROLLBACK").await?,
            }
        }
        Ok(())
    }
}

/// A session of its own.
pub(crate) async fn connect(address: SocketAddr) -> Result<Conn, Error> {
    let options = isthmus_tests::rig::account_options(address, isthmus_lab::APP);
    Conn::new(options).await
}
