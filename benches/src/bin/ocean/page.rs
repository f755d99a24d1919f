//! Pages of a family album, as an object-relational mapper asks for them: a connection of its own,
//! what mappers set when they connect, and each save in a transaction.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use isthmus_lab::mysql_async::prelude::Queryable as _;
use isthmus_lab::mysql_async::{Conn, SslOpts};
use isthmus_lab::{APP, Lab, SCHEMA};
use serde::Serialize;

use crate::Failure;

/// A page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Page {
    /// 30 reads and 3 writes in two transactions, one of them inside of another one.
    Mixed,
    /// The 30 reads.
    Reads,
}

impl Page {
    pub(crate) const ALL: [Self; 2] = [Self::Mixed, Self::Reads];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Reads => "reads",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Mixed => "A page of 30 reads and 3 writes in two transactions",
            Self::Reads => "A page of 30 reads",
        }
    }

    /// The title beside an axis.
    pub(crate) fn short_title(self) -> &'static str {
        match self {
            Self::Mixed => "a page of 30 reads and 3 writes",
            Self::Reads => "a page of 30 reads",
        }
    }

    /// How many times as fast as a direct connection it is to be over an ocean.
    pub(crate) fn goal(self) -> u32 {
        match self {
            Self::Mixed => 8,
            Self::Reads => 30,
        }
    }

    /// Opens it on a connection of its own; returns how long that took until the last answer.
    pub(crate) async fn open(self, address: SocketAddr) -> Result<Duration, Failure> {
        let begun = Instant::now();
        let mut session = connect(address).await?;
        session.query_drop(ON_CONNECT).await?;
        for part in 0..3 {
            read(&mut session, part).await?;
            let writes: &[&str] = match (self, part) {
                (Self::Mixed, 0) => &SAVE_A_PHOTO,
                (Self::Mixed, 1) => &SAVE_AN_ALBUM,
                _ => &[],
            };
            for sql in writes {
                session.query_drop(*sql).await?;
            }
        }
        let took = begun.elapsed();
        session.disconnect().await?;
        Ok(took)
    }
}

/// As ActiveRecord does.
const ON_CONNECT: &str = "SET NAMES utf8mb4, @@SESSION.sql_mode = \
    CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'), @@SESSION.wait_timeout = 2147483";

/// A photo with its first comment, which is saved in a transaction inside of the photo's.
const SAVE_A_PHOTO: [&str; 6] = [
    "BEGIN",
    "INSERT INTO photos (album, title) VALUES (3, 'First snow')",
    "SAVEPOINT active_record_1",
    "INSERT INTO comments (photo, text) VALUES (7, 'How white')",
    "RELEASE SAVEPOINT active_record_1",
    "COMMIT",
];

const SAVE_AN_ALBUM: [&str; 3] = [
    "BEGIN",
    "UPDATE albums SET title = 'Winter' WHERE id = 3",
    "COMMIT",
];

/// A third of the reads: most by key, some of lists.
async fn read(session: &mut Conn, part: u32) -> Result<(), Failure> {
    for number in 0..8 {
        let id = part * 8 + number + 1;
        session
            .query_drop(format!("SELECT * FROM photos WHERE id = {id} LIMIT 1"))
            .await?;
    }
    for sql in [
        format!(
            "SELECT * FROM photos WHERE album = {} ORDER BY id LIMIT 20",
            part + 1
        ),
        format!("SELECT * FROM comments WHERE photo IN (1, 2, 3, {part}) ORDER BY id LIMIT 50"),
    ] {
        session.query_drop(sql).await?;
    }
    Ok(())
}

async fn connect(address: SocketAddr) -> Result<Conn, Failure> {
    let tls = SslOpts::default().with_danger_accept_invalid_certs(true);
    let connected = Lab::connect(address, APP, |options| {
        options
            .db_name(Some(SCHEMA))
            .ssl_opts(Some(tls))
            // It need not ask.
            .max_allowed_packet(Some(16 << 20))
            .wait_timeout(Some(28_800))
    });
    Ok(connected.await?)
}

/// Makes the album.
pub(crate) async fn furnish(lab: &Lab) -> Result<(), Failure> {
    let photos: Vec<String> = (1..=200)
        .map(|number| format!("({}, 'photo {number}')", number % 10 + 1))
        .collect();
    let albums: Vec<String> = (1..=10)
        .map(|number| format!("('album {number}')"))
        .collect();
    let statements = [
        format!("USE {SCHEMA}"),
        "CREATE TABLE albums (id INT AUTO_INCREMENT PRIMARY KEY, title VARCHAR(100))".into(),
        "CREATE TABLE photos (id INT AUTO_INCREMENT PRIMARY KEY, album INT, title VARCHAR(100), KEY (album))".into(),
        "CREATE TABLE comments (id INT AUTO_INCREMENT PRIMARY KEY, photo INT, text VARCHAR(100), KEY (photo))".into(),
        format!("INSERT INTO albums (title) VALUES {}", albums.join(", ")),
        format!("INSERT INTO photos (album, title) VALUES {}", photos.join(", ")),
    ];
    lab.writer().execute(statements.join("; ")).await?;
    lab.wait_caught_up().await?;
    Ok(())
}
