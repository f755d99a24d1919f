//! Runs the guided session, watches the servers, and shows what happened.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use isthmus_lab::mysql_async::prelude::Queryable as _;
use isthmus_lab::mysql_async::{Conn, Row, Statement, Value};
use isthmus_lab::{APP, Lab, Relay, SCHEMA};

use super::Outcome;
use super::album::{Action, Answer, CHAPTERS, Chapter, Expected, Step};
use super::explain::{Explained, explain};
use super::general_log::{Entry, GeneralLog};
use super::screen::{STATEMENT_WIDTH, Screen, Style, milliseconds, shortened};

/// How long somebody looks at what there is before reading on.
const MOMENT: Duration = Duration::from_millis(500);
/// How long the reader may take to catch up.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(20);
/// How long a statement may take to appear in a log: MySQL logs a PREPARE after its answer.
const LOG_LIMIT: Duration = Duration::from_secs(2);
/// How often a log is looked at meanwhile.
const LOG_GLANCE: Duration = Duration::from_millis(2);

/// What is needed for the guided session.
pub(crate) struct Guide<'a> {
    pub(crate) lab: &'a Lab,
    /// Where Isthmus listens.
    pub(crate) proxy: SocketAddr,
    /// A link to the writer of the same length as the one that Isthmus uses.
    pub(crate) direct: &'a Relay,
    pub(crate) screen: Screen,
    pub(crate) watch: Watch,
}

/// How the session went.
#[derive(Debug, Default)]
pub(crate) struct Account {
    statements: usize,
    through_isthmus: Duration,
    directly: Duration,
    /// What was not as it should have been.
    pub(crate) faults: Vec<String>,
}

/// Both servers' general query logs.
#[derive(Debug)]
pub(crate) struct Watch {
    writer: GeneralLog,
    reader: GeneralLog,
}

/// Where a statement was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Reader,
    Writer,
    Both,
    Nowhere,
}

/// A step that was done.
#[derive(Debug)]
struct Done {
    took: Duration,
    /// The first column of the first row.
    answer: Option<String>,
}

/// A session of the application: through Isthmus, or straight to the writer.
struct Application {
    address: SocketAddr,
    connection: Option<Conn>,
    prepared: Option<Statement>,
    insert_id: Option<u64>,
}

impl Watch {
    /// Watches the lab's servers.
    pub(crate) fn new(lab: &Lab) -> Self {
        Self {
            writer: GeneralLog::of(lab.writer()),
            reader: GeneralLog::of(lab.reader()),
        }
    }

    /// What the application's user asked since the last call: of the writer, and of the reader.
    pub(crate) fn news(&mut self) -> Outcome<(Vec<Entry>, Vec<Entry>)> {
        let of_application = |entries: Vec<Entry>| -> Vec<Entry> {
            entries
                .into_iter()
                .filter(|entry| entry.user == APP.user)
                .collect()
        };
        let (writer, reader) = (self.writer.news()?, self.reader.news()?);
        Ok((of_application(writer), of_application(reader)))
    }

    /// Where the action was seen since the last call.
    fn find(&mut self, action: Action) -> Outcome<Seen> {
        let (writer, reader) = self.news()?;
        let has = |entries: &[Entry]| entries.iter().any(|entry| is_trace(entry, action));
        Ok(match (has(&writer), has(&reader)) {
            (true, true) => Seen::Both,
            (true, false) => Seen::Writer,
            (false, true) => Seen::Reader,
            (false, false) => Seen::Nowhere,
        })
    }
}

/// Whether the entry is what a server logs for the action.
fn is_trace(entry: &Entry, action: Action) -> bool {
    match action {
        Action::Connect(sql) | Action::Text(sql) => entry.command == "Query" && entry.text == sql,
        Action::Prepare(sql) => entry.command == "Prepare" && entry.text == sql,
        // The parameter stands in its place.
        Action::Execute(sql, parameter) => {
            entry.command == "Execute"
                && sql.split_once('?').is_some_and(|(before, after)| {
                    let value = entry.text.strip_prefix(before);
                    let value = value.and_then(|rest| rest.strip_suffix(after));
                    value.is_some_and(|value| value.trim_matches('\'') == parameter)
                })
        }
    }
}

impl Guide<'_> {
    /// Makes Isthmus connect to the writer once, as the first session of the day does.
    pub(crate) async fn warm_up(&self) -> Outcome<Duration> {
        let mut first = Application::new(self.proxy);
        first.act(Action::Connect("")).await?;
        let done = first.act(Action::Text("SELECT 1 FOR UPDATE")).await?;
        first.leave().await?;
        Ok(done.took)
    }

    /// Runs all chapters.
    pub(crate) async fn run(&mut self, binary: &Path, config: &Path) -> Outcome<Account> {
        let steps = || CHAPTERS.iter().flat_map(|chapter| chapter.steps);
        let statements: Vec<&str> = steps().map(|step| step.action.sql()).collect();
        let mut explained = explain(binary, config, &statements)?.into_iter();

        let mut account = Account::default();
        let mut directly = Application::new(self.direct.address());
        let mut through = Application::new(self.proxy);
        for chapter in &CHAPTERS {
            self.begin(chapter);
            let mut reference = Vec::new();
            for step in chapter.steps {
                reference.push(directly.act(step.action).await?);
            }
            if chapter
                .steps
                .iter()
                .any(|step| step.place == Expected::Pinned)
            {
                // However slow this machine is, the reader is behind when it should be.
                self.lab.stop_replication().await?;
            }
            self.watch.news()?;
            let mut previous = Seen::Nowhere;
            for (step, direct) in chapter.steps.iter().zip(reference) {
                let Some(said) = explained.next() else { break };
                previous = self
                    .perform(step, &said, &direct, previous, &mut through, &mut account)
                    .await?;
            }
        }
        directly.leave().await?;
        through.leave().await?;
        Ok(account)
    }

    fn begin(&self, chapter: &Chapter) {
        println!("\n{}", self.screen.paint(Style::Title, chapter.title));
        println!("  {}", self.screen.paint(Style::Quiet, chapter.about));
    }

    async fn perform(
        &mut self,
        step: &Step,
        said: &Explained,
        direct: &Done,
        previous: Seen,
        through: &mut Application,
        account: &mut Account,
    ) -> Outcome<Seen> {
        let (done, seen) = match step.place {
            Expected::ReaderAgain => self.until_near(step, through).await?,
            _ => self.once(step, through).await?,
        };
        account.statements += 1;
        account.through_isthmus += done.took;
        account.directly += direct.took;

        let mut faults = Vec::new();
        if !step.place.allows(seen) {
            faults.push(format!(
                "it was seen {}, and should be {}",
                seen.words(),
                step.place.words()
            ));
        }
        if !agrees(&said.route, seen, step.place, previous) {
            faults.push(format!(
                "it was seen {}, and isthmus explain says '{}'",
                seen.words(),
                said.route
            ));
        }
        if let Some(wrong) = wrong_answer(step.answer, &done, through.insert_id) {
            faults.push(wrong);
        }
        self.show(step, said, &done, seen, direct, &faults);
        let statement = step.action.shown();
        account.faults.extend(
            faults
                .into_iter()
                .map(|fault| format!("{statement}: {fault}")),
        );
        Ok(seen)
    }

    async fn once(&mut self, step: &Step, through: &mut Application) -> Outcome<(Done, Seen)> {
        self.watch.news()?;
        let done = through.act(step.action).await?;
        let deadline = Instant::now() + LOG_LIMIT;
        loop {
            let seen = self.watch.find(step.action)?;
            let is_final = seen != Seen::Nowhere || step.place.allows(Seen::Nowhere);
            if is_final || Instant::now() > deadline {
                return Ok((done, seen));
            }
            tokio::time::sleep(LOG_GLANCE).await;
        }
    }

    /// Repeats a read until the reader answers it, which it may not do before it has caught up.
    async fn until_near(
        &mut self,
        step: &Step,
        through: &mut Application,
    ) -> Outcome<(Done, Seen)> {
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        self.lab.start_replication().await?;
        self.lab.wait_caught_up().await?;
        loop {
            // What it has just read on the writer, the reader must have too, and Isthmus must know.
            tokio::time::sleep(MOMENT).await;
            let (done, seen) = self.once(step, through).await?;
            if seen != Seen::Writer || Instant::now() > deadline {
                return Ok((done, seen));
            }
        }
    }

    fn show(
        &self,
        step: &Step,
        said: &Explained,
        done: &Done,
        seen: Seen,
        direct: &Done,
        faults: &[String],
    ) {
        let statement = shortened(&step.action.shown(), STATEMENT_WIDTH);
        let style = if faults.is_empty() {
            seen.style()
        } else {
            Style::Wrong
        };
        println!(
            "  {statement:<STATEMENT_WIDTH$} {} {} {}",
            self.screen.paint(style, &format!("{:<9}", seen.name())),
            milliseconds(done.took),
            self.screen.paint(
                Style::Quiet,
                &format!("directly {}", milliseconds(direct.took))
            ),
        );
        let reason = match step.place {
            Expected::Pinned => "the session has written and the reader has not caught up",
            Expected::ReaderAgain => "the reader has caught up",
            Expected::Deferred => "answered at once, and sent with the statement that follows",
            _ => &said.reason,
        };
        println!("    {}", self.screen.paint(Style::Quiet, reason));
        for fault in faults {
            println!(
                "    {}",
                self.screen.paint(Style::Wrong, &format!("WRONG: {fault}"))
            );
        }
    }
}

impl Account {
    /// The sum of it, as a sentence or two.
    pub(crate) fn summary(&self) -> String {
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let verdict = match self.faults.len() {
            0 => "Every one went where it should.".to_owned(),
            1 => "ONE THING WAS NOT AS IT SHOULD BE.".to_owned(),
            n => format!("{n} THINGS WERE NOT AS THEY SHOULD BE."),
        };
        format!(
            "{} statements: {} through Isthmus, {} directly to the writer. {verdict}",
            self.statements,
            seconds(self.through_isthmus),
            seconds(self.directly),
        )
    }
}

impl Expected {
    fn allows(self, seen: Seen) -> bool {
        match self {
            Self::Reader | Self::ReaderAgain => seen == Seen::Reader,
            Self::Writer | Self::Pinned => seen == Seen::Writer,
            Self::Near => matches!(seen, Seen::Reader | Seen::Nowhere),
            Self::Deferred => seen == Seen::Nowhere,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Reader | Self::ReaderAgain => "on the reader",
            Self::Writer | Self::Pinned => "on the writer",
            Self::Near => "on the reader or on no server",
            Self::Deferred => "on no server yet",
        }
    }
}

impl Seen {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Both => "both",
            Self::Nowhere => "Isthmus",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Reader => "on the reader",
            Self::Writer => "on the writer",
            Self::Both => "on both servers",
            Self::Nowhere => "on no server",
        }
    }

    pub(crate) fn style(self) -> Style {
        match self {
            Self::Reader | Self::Nowhere => Style::Near,
            Self::Writer | Self::Both => Style::Far,
        }
    }
}

/// Whether what was seen is what `isthmus explain` says. It takes the reader to have caught up
/// always, so a pinned read is the one exception.
fn agrees(route: &str, seen: Seen, expected: Expected, previous: Seen) -> bool {
    match route {
        "reader" => seen == Seen::Reader || (expected == Expected::Pinned && seen == Seen::Writer),
        "writer" => {
            seen == Seen::Writer || (expected == Expected::Deferred && seen == Seen::Nowhere)
        }
        "session" => matches!(seen, Seen::Reader | Seen::Writer),
        "previous" => seen == previous || seen == Seen::Nowhere,
        "proxy" => seen == Seen::Nowhere,
        _ => false,
    }
}

fn wrong_answer(expected: Answer, done: &Done, insert_id: Option<u64>) -> Option<String> {
    let expected = match expected {
        Answer::Any => return None,
        Answer::Text(text) => text.to_owned(),
        Answer::InsertId => insert_id.unwrap_or_default().to_string(),
    };
    match &done.answer {
        Some(answer) if *answer == expected => None,
        answer => Some(format!(
            "the answer should be {expected:?} and is {answer:?}"
        )),
    }
}

impl Action {
    /// The action as people write it.
    fn shown(self) -> String {
        match self {
            Self::Connect(_) => "connect, log in, the driver's questions".to_owned(),
            Self::Text(sql) => sql.to_owned(),
            Self::Prepare(sql) => format!("prepare: {sql}"),
            Self::Execute(_, parameter) => format!("execute: with {parameter}"),
        }
    }
}

impl Application {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
            prepared: None,
            insert_id: None,
        }
    }

    /// Does it and takes the time until the whole answer is there.
    async fn act(&mut self, action: Action) -> Outcome<Done> {
        let start = Instant::now();
        let row = match action {
            Action::Connect(_) => {
                let connection =
                    Lab::connect(self.address, APP, |options| options.db_name(Some(SCHEMA)))
                        .await?;
                self.connection = Some(connection);
                None
            }
            Action::Text(sql) => {
                let row: Option<Row> = self.connection()?.query_first(sql).await?;
                let id = self.connection()?.last_insert_id();
                self.insert_id = id.filter(|id| *id != 0).or(self.insert_id);
                row
            }
            Action::Prepare(sql) => {
                self.prepared = Some(self.connection()?.prep(sql).await?);
                None
            }
            Action::Execute(_, parameter) => {
                let statement = self.prepared.clone().ok_or("nothing was prepared")?;
                self.connection()?
                    .exec_first(statement, (parameter,))
                    .await?
            }
        };
        Ok(Done {
            took: start.elapsed(),
            answer: row.and_then(first_column),
        })
    }

    fn connection(&mut self) -> Outcome<&mut Conn> {
        Ok(self
            .connection
            .as_mut()
            .ok_or("there is no connection yet")?)
    }

    async fn leave(self) -> Outcome<()> {
        if let Some(connection) = self.connection {
            connection.disconnect().await?;
        }
        Ok(())
    }
}

fn first_column(row: Row) -> Option<String> {
    match row.unwrap().into_iter().next()? {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}
