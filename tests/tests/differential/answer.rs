//! What a client sees of one answer.

use std::fmt;
use std::io;
use std::io::ErrorKind;

use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::error_packet::ErrPacket;
use isthmus_protocol::lenenc::Reader;
use isthmus_protocol::ok::{EofPacket, OkPacket};
use isthmus_protocol::prepared::PrepareOk;
use isthmus_protocol::session_track::{Change, changes};
use isthmus_protocol::status::Status;
use isthmus_tests::wire::{Client, Packet};

/// What answers a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Results, one or several.
    Results,
    /// The answer to COM_STMT_PREPARE.
    Prepared,
    /// Rows and their end.
    Rows,
    /// One packet.
    One,
    /// Nothing.
    Nothing,
}

/// The packets of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    /// What came, in order.
    pub(crate) packets: Vec<(What, Packet)>,
    /// Whether the connection broke instead of going on.
    pub(crate) broken: Option<ErrorKind>,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// OK, with either header.
    Ok,
    /// The end of definitions or rows, for a client without DEPRECATE_EOF.
    Eof,
    /// An error.
    Err,
    /// The number of columns.
    Count,
    /// A column or parameter.
    Definition,
    /// A row.
    Row,
    /// The first packet that answers COM_STMT_PREPARE.
    Prepared,
    /// A request for a file.
    Infile,
}

/// What every LOAD DATA LOCAL gets.
const FILE: &[u8] = b"71\tone\n72\ttwo\nnot a number\tthree\n";

/// How a connection broke. What is noticed first when the server closes it is a matter of time.
pub(crate) fn how_it_broke(error: &io::Error) -> ErrorKind {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => ErrorKind::UnexpectedEof,
        kind => kind,
    }
}

impl Answer {
    /// The number of the error that it ends with.
    pub(crate) fn error(&self) -> Option<u16> {
        let (what, packet) = self.packets.last()?;
        let error = ErrPacket::parse(&packet.payload).ok();
        error.filter(|_| *what == What::Err).map(|error| error.code)
    }

    /// How many warnings it counts at its end; `None` behind an error.
    pub(crate) fn warnings(&self) -> Option<u16> {
        let (what, packet) = self.packets.last()?;
        match what {
            What::Ok => Some(OkPacket::parse(&packet.payload, true).ok()?.warnings),
            What::Eof => Some(EofPacket::parse(&packet.payload).ok()?.warnings),
            _ => None,
        }
    }

    /// Reads what answers one command.
    pub(crate) async fn read(client: &mut Client, kind: Kind) -> Self {
        let mut answer = Self::default();
        let reading = match kind {
            Kind::Results => answer.results(client).await,
            Kind::Prepared => answer.prepared(client).await,
            Kind::Rows => answer.rows(client).await.map(|_| ()),
            Kind::One => answer.one(client).await,
            Kind::Nothing => Ok(()),
        };
        if let Err(error) = reading {
            answer.broken = Some(how_it_broke(&error));
        }
        answer
    }

    /// The statement's number, if it was prepared.
    pub(crate) fn statement_id(&self) -> Option<u32> {
        let (what, packet) = self.packets.first()?;
        let prepared = PrepareOk::parse(&packet.payload).ok();
        prepared
            .filter(|_| *what == What::Prepared)
            .map(|ok| ok.statement_id)
    }

    /// The payloads of the packets that are this.
    pub(crate) fn payloads(&mut self, what: What) -> impl Iterator<Item = &mut Vec<u8>> {
        let packets = self.packets.iter_mut();
        packets
            .filter(move |(is, _)| *is == what)
            .map(|(_, packet)| &mut packet.payload)
    }

    async fn next(&mut self, client: &mut Client) -> io::Result<u8> {
        let packet = client.receive().await?;
        let first = packet
            .payload
            .first()
            .copied()
            .ok_or(io::ErrorKind::InvalidData)?;
        // Most packets are rows; the others are renamed by who knows better.
        self.packets.push((What::Row, packet));
        Ok(first)
    }

    fn is(&mut self, what: What) -> &Packet {
        let last = self.packets.last_mut().unwrap();
        last.0 = what;
        &last.1
    }

    async fn results(&mut self, client: &mut Client) -> io::Result<()> {
        loop {
            let status = match self.next(client).await? {
                0x00 => status(self.is(What::Ok)),
                0xFF => {
                    self.is(What::Err);
                    return Ok(());
                }
                0xFB => {
                    let sequence = self.is(What::Infile).sequence + 1;
                    let sequence = client.send(sequence, FILE).await?;
                    client.send(sequence, b"").await?;
                    continue;
                }
                _ => {
                    let count = Reader::new(&self.is(What::Count).payload, "count").int();
                    let count = count.map_err(io::Error::other)?;
                    let Some(status) = self.definitions(client, count).await? else {
                        return Ok(());
                    };
                    if status.contains(Status::CURSOR_EXISTS) {
                        status
                    } else {
                        self.rows(client).await?
                    }
                }
            };
            if !status.contains(Status::MORE_RESULTS_EXISTS) {
                return Ok(());
            }
        }
    }

    /// The flags behind the definitions, or nothing if an error ends the answer there.
    async fn definitions(&mut self, client: &mut Client, count: u64) -> io::Result<Option<Status>> {
        for _ in 0..count {
            self.next(client).await?;
            self.is(What::Definition);
        }
        if count == 0 || client.capabilities.contains(Capabilities::DEPRECATE_EOF) {
            return Ok(Some(Status::empty()));
        }
        if self.next(client).await? == 0xFF {
            self.is(What::Err);
            return Ok(None);
        }
        Ok(Some(status(self.is(What::Eof))))
    }

    async fn rows(&mut self, client: &mut Client) -> io::Result<Status> {
        loop {
            match self.next(client).await? {
                0xFF => {
                    self.is(What::Err);
                    return Ok(Status::empty());
                }
                0xFE => return Ok(status(self.is(end(client)))),
                _ => {}
            }
        }
    }

    async fn prepared(&mut self, client: &mut Client) -> io::Result<()> {
        if self.next(client).await? == 0xFF {
            self.is(What::Err);
            return Ok(());
        }
        let ok = PrepareOk::parse(&self.is(What::Prepared).payload).map_err(io::Error::other)?;
        self.definitions(client, ok.params.into()).await?;
        self.definitions(client, ok.columns.into()).await?;
        Ok(())
    }

    async fn one(&mut self, client: &mut Client) -> io::Result<()> {
        let what = match self.next(client).await? {
            0xFF => What::Err,
            0xFE => end(client),
            _ => What::Ok,
        };
        self.is(what);
        Ok(())
    }
}

/// What a packet is that ends something and is no error.
fn end(client: &Client) -> What {
    match client.capabilities.contains(Capabilities::DEPRECATE_EOF) {
        true => What::Ok,
        false => What::Eof,
    }
}

fn status(packet: &Packet) -> Status {
    OkPacket::parse(&packet.payload, false).map_or(Status::empty(), |ok| ok.status)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 60;
        for (what, packet) in self.packets.iter().take(MOST) {
            write!(f, "    {:3} ", packet.sequence)?;
            describe(f, *what, &packet.payload)?;
            writeln!(f)?;
        }
        if self.packets.len() > MOST {
            writeln!(f, "    … of {} packets", self.packets.len())?;
        }
        match &self.broken {
            Some(error) => writeln!(f, "    connection broken: {error}"),
            None => Ok(()),
        }
    }
}

fn describe(f: &mut fmt::Formatter<'_>, what: What, payload: &[u8]) -> fmt::Result {
    let bytes = || payload.escape_ascii();
    match what {
        What::Ok | What::Eof => match OkPacket::parse(payload, true) {
            Ok(ok) => {
                write!(
                    f,
                    "{what:?} {} affected, id {}, {:?}, {} warnings, {:?}",
                    ok.affected_rows,
                    ok.last_insert_id,
                    ok.status,
                    ok.warnings,
                    String::from_utf8_lossy(ok.info)
                )?;
                changes(ok.session_state).try_for_each(|change| match change {
                    Ok(change) => describe_change(f, &change),
                    Err(error) => write!(f, " {error}"),
                })?;
                write!(f, " ({})", bytes())
            }
            Err(_) => write!(f, "{what:?} {}", bytes()),
        },
        What::Err => match ErrPacket::parse(payload) {
            Ok(error) => write!(
                f,
                "Err {} ({}) {}",
                error.code,
                String::from_utf8_lossy(&error.state),
                String::from_utf8_lossy(&error.message)
            ),
            Err(_) => write!(f, "Err {}", bytes()),
        },
        What::Definition => match ColumnDefinition::parse(payload) {
            Ok(column) => write!(
                f,
                "Column {}.{}({}).{}({}) type {:#x} collation {} length {} flags {:#x} decimals {}",
                String::from_utf8_lossy(&column.schema),
                String::from_utf8_lossy(&column.table),
                String::from_utf8_lossy(&column.org_table),
                String::from_utf8_lossy(&column.name),
                String::from_utf8_lossy(&column.org_name),
                column.kind,
                column.collation,
                column.length,
                column.flags,
                column.decimals
            ),
            Err(_) => write!(f, "Column {}", bytes()),
        },
        What::Count | What::Row | What::Prepared | What::Infile => {
            write!(f, "{what:?} {}", bytes())
        }
    }
}

fn describe_change(f: &mut fmt::Formatter<'_>, change: &Change<'_>) -> fmt::Result {
    match change {
        Change::Variable { name, value } => {
            write!(f, " {}={}", name.escape_ascii(), value.escape_ascii())
        }
        Change::Schema(name) => write!(f, " schema={}", name.escape_ascii()),
        other => write!(f, " {other:?}"),
    }
}
