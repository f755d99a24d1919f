//! What a server was asked, read from its general query log.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use isthmus_lab::Server;

/// The name of the log within a server's data directory.
pub(crate) const FILE: &str = "general.log";

/// The general query log of one server, read from its end on.
#[derive(Debug)]
pub(crate) struct GeneralLog {
    path: PathBuf,
    /// How far it was read.
    offset: u64,
    /// The last line, while its end has not been written.
    rest: Vec<u8>,
    /// The users of the connections.
    users: HashMap<u64, String>,
}

/// One command of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The server's id of the connection.
    thread: u64,
    /// Whose connection it is; empty if it is not known.
    pub(crate) user: String,
    /// `Query`, `Prepare`, `Execute`, `Connect` …
    pub(crate) command: String,
    /// What follows: the statement, or who connected.
    pub(crate) text: String,
}

impl GeneralLog {
    /// The log of a server that was started with `--general-log-file` set to [`FILE`].
    pub(crate) fn of(server: &Server) -> Self {
        Self {
            path: server.data_directory().join(FILE),
            offset: 0,
            rest: Vec::new(),
            users: HashMap::new(),
        }
    }

    /// What was added since the last call.
    pub(crate) fn news(&mut self) -> io::Result<Vec<Entry>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let read = file.read_to_end(&mut self.rest)?;
        self.offset += read as u64;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let unfinished = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, unfinished);
        let mut entries = entries(&String::from_utf8_lossy(&whole));
        for entry in &mut entries {
            if entry.command == "Connect" {
                let user = entry.text.split('@').next().unwrap_or_default();
                self.users.insert(entry.thread, user.to_owned());
            }
            entry.user = self.users.get(&entry.thread).cloned().unwrap_or_default();
        }
        Ok(entries)
    }
}

/// The entries of a piece of the log. A line that begins none continues the statement before it.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines() {
        match entry(line) {
            Some(entry) => entries.push(entry),
            None => {
                if let Some(last) = entries.last_mut() {
                    last.text.push('\n');
                    last.text.push_str(line);
                }
            }
        }
    }
    entries
}

/// A line is `TIME<tab>    12 Query<tab>SELECT 1`; MariaDB leaves out the time where it is that of
/// the line before.
fn entry(line: &str) -> Option<Entry> {
    let (time, rest) = line.split_once('\t')?;
    if !(time.is_empty() || time.starts_with(|first: char| first.is_ascii_digit())) {
        return None;
    }
    let rest = rest.trim_start_matches('\t');
    let (head, text) = rest.split_once('\t').unwrap_or((rest, ""));
    let (thread, command) = head.trim_start().split_once(' ')?;
    if !command.starts_with(|first: char| first.is_ascii_uppercase()) {
        return None;
    }
    Some(Entry {
        thread: thread.parse().ok()?,
        user: String::new(),
        command: command.trim_end().to_owned(),
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_servers_are_read() {
        let text = "mysqld, Version: 9.7.0. started with:\n\
                    Tcp port: 3306  Unix socket: /tmp/s\n\
                    Time                 Id Command    Argument\n\
                    2026-11-23T07:22:21.123456Z\t   12 Connect\tapp@127.0.0.1 on app using TCP/IP\n\
                    261123  7:22:21\t     5 Query\tSELECT 1,\n\
                    \t2\n\
                    \t\t     5 Execute\tSELECT 3\n\
                    2026-11-23T07:22:22.123456Z\t   12 Init DB\tapp\n\
                    2026-11-23T07:22:22.123456Z\t   12 Quit\t\n";
        let found: Vec<_> = entries(text)
            .into_iter()
            .map(|entry| (entry.thread, entry.command, entry.text))
            .collect();
        let expected = [
            (12, "Connect", "app@127.0.0.1 on app using TCP/IP"),
            (5, "Query", "SELECT 1,\n\t2"),
            (5, "Execute", "SELECT 3"),
            (12, "Init DB", "app"),
            (12, "Quit", ""),
        ];
        let expected =
            expected.map(|(thread, command, text)| (thread, command.to_owned(), text.to_owned()));
        assert_eq!(found, expected);
    }
}
