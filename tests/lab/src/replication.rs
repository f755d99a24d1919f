use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::accounts::REPLICATION;
use crate::error::{Error, Result};
use crate::flavor::Flavor;
use crate::lab::{Lab, Site};
use crate::server::Server;

/// How long replication may take to start, or to catch up.
const LIMIT: Duration = Duration::from_secs(30);

impl Lab {
    /// Lets all readers lag by this much from now on. Whole seconds are left to the
    /// servers' own delay (which MariaDB keeps to within a second only) and show in
    /// their lag; anything else is a delay on the link of replication.
    pub async fn delay_replication(&self, delay: Duration) -> Result<()> {
        let whole = delay.subsec_nanos() == 0;
        for site in self.reader_sites() {
            let seconds = if whole { delay.as_secs() } else { 0 };
            let statements = match self.flavor {
                Flavor::Mysql => format!(
                    "STOP REPLICA SQL_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_DELAY = {seconds}; \
                     START REPLICA SQL_THREAD"
                ),
                Flavor::Mariadb => {
                    format!("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = {seconds}; START SLAVE")
                }
            };
            site.replication.set_delays(Duration::ZERO, Duration::ZERO);
            site.server.execute(statements).await?;
            running(&site.server).await?;
            let on_link = if whole { Duration::ZERO } else { delay };
            site.replication.set_delays(Duration::ZERO, on_link);
        }
        Ok(())
    }

    /// Changes the delay on the links alone, from one moment to the next. [`Lab::delay_replication`]
    /// comes first, so that the servers delay nothing.
    pub fn delay_replication_links(&self, delay: Duration) {
        for site in self.reader_sites() {
            site.replication.set_delays(Duration::ZERO, delay);
        }
    }

    /// Stops it on all readers: they stay what they are.
    pub async fn stop_replication(&self) -> Result<()> {
        for site in self.reader_sites() {
            site.server.execute(self.words().stop).await?;
        }
        Ok(())
    }

    /// Ends [`Lab::stop_replication`] and returns when it runs.
    pub async fn start_replication(&self) -> Result<()> {
        for site in self.reader_sites() {
            site.server.execute(self.words().start).await?;
        }
        for site in self.reader_sites() {
            running(&site.server).await?;
        }
        Ok(())
    }

    /// Waits until all readers have what the writer has now.
    pub async fn wait_caught_up(&self) -> Result<()> {
        let position = self.position(self.writer()).await?;
        for server in self.readers() {
            self.wait_for(server, &position).await?;
        }
        Ok(())
    }

    /// Makes a reader the writer. It applies all that it has received, and the other
    /// readers follow it. The old writer becomes a reader if it runs; otherwise it is
    /// left as it is, and is a second writer should it be started again, unless
    /// [`Lab::follow`] is called for it.
    ///
    /// `number` counts in [`Lab::readers`].
    pub async fn promote(&self, number: usize) -> Result<()> {
        let old = self.writer_index();
        let new = (0..self.sites.len())
            .filter(|index| *index != old)
            .nth(number)
            .ok_or_else(|| Error::NotRunning {
                process: format!("reader {number}"),
            })?;
        if self.sites[old].server.pid().is_some() {
            self.sites[old].server.set_read_only(true).await?;
            let position = self.position(&self.sites[old].server).await?;
            self.wait_for(&self.sites[new].server, &position).await?;
        }
        let words = self.words();
        let server = &self.sites[new].server;
        server.execute(words.stop).await?;
        server.execute(words.reset).await?;
        server.set_read_only(false).await?;
        self.writer.store(new, Ordering::Release);

        for index in (0..self.sites.len()).filter(|index| *index != new) {
            if self.sites[index].server.pid().is_some() {
                self.follow(index).await?;
            }
        }
        Ok(())
    }

    /// Makes a server a reader of the writer of this moment: an old writer that has
    /// been started again. `number` counts in [`Lab::servers`].
    pub async fn follow(&self, number: usize) -> Result<()> {
        let site = &self.sites[number];
        let words = self.words();
        site.server.set_read_only(true).await?;
        site.server.execute(words.stop).await?;
        site.replication.set_target(self.writer().address());
        let change = self.change_source(site, None);
        site.server.execute(change).await?;
        site.server.execute(words.start).await?;
        running(&site.server).await
    }

    /// Where a server is: a GTID set, or with MySQL without GTIDs `file:offset`.
    pub async fn position(&self, server: &Server) -> Result<String> {
        let query = match (self.flavor, self.gtids) {
            (Flavor::Mysql, true) => "SELECT @@global.gtid_executed",
            (Flavor::Mariadb, _) => "SELECT @@global.gtid_current_pos",
            (Flavor::Mysql, false) => {
                let (file, offset) = binary_log(server).await?;
                return Ok(format!("{file}:{offset}"));
            }
        };
        Ok(server
            .query_value::<String>(query)
            .await?
            .unwrap_or_default())
    }

    /// Waits until a server has reached a [`Lab::position`].
    pub async fn wait_for(&self, server: &Server, position: &str) -> Result<()> {
        let seconds = LIMIT.as_secs();
        let query = match (self.flavor, self.gtids) {
            (Flavor::Mysql, true) => {
                format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds}) = 0")
            }
            (Flavor::Mariadb, _) => format!("SELECT MASTER_GTID_WAIT('{position}', {seconds}) = 0"),
            (Flavor::Mysql, false) => {
                let (file, offset) = position.rsplit_once(':').unwrap_or((position, "4"));
                format!("SELECT SOURCE_POS_WAIT('{file}', {offset}, {seconds}) >= 0")
            }
        };
        match server.query_value::<bool>(query).await? {
            Some(true) => Ok(()),
            _ => Err(Error::Timeout {
                what: format!("that {} reaches {position}", server.name()),
                after: LIMIT,
                detail: String::new(),
            }),
        }
    }

    /// Tells all readers whom to follow, and waits until replication runs.
    pub(crate) async fn begin_replication(&self) -> Result<()> {
        let position = match (self.flavor, self.gtids) {
            (Flavor::Mysql, false) => Some(binary_log(self.writer()).await?),
            _ => None,
        };
        for site in self.reader_sites() {
            let change = self.change_source(site, position.as_ref());
            site.server.execute(change).await?;
            site.server.execute(self.words().start).await?;
        }
        for site in self.reader_sites() {
            running(&site.server).await?;
        }
        Ok(())
    }

    fn change_source(&self, site: &Site, position: Option<&(String, u64)>) -> String {
        let port = site.replication.address().port();
        let (user, password) = (REPLICATION.user, REPLICATION.password);
        match (self.flavor, position) {
            (Flavor::Mysql, None) => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
                 SOURCE_USER = '{user}', SOURCE_PASSWORD = '{password}', GET_SOURCE_PUBLIC_KEY = 1, \
                 SOURCE_AUTO_POSITION = {}, SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400",
                u8::from(self.gtids)
            ),
            (Flavor::Mysql, Some((file, offset))) => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
                 SOURCE_USER = '{user}', SOURCE_PASSWORD = '{password}', GET_SOURCE_PUBLIC_KEY = 1, \
                 SOURCE_LOG_FILE = '{file}', SOURCE_LOG_POS = {offset}, \
                 SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400"
            ),
            (Flavor::Mariadb, _) => format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
                 MASTER_USER = '{user}', MASTER_PASSWORD = '{password}', \
                 MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1"
            ),
        }
    }

    fn words(&self) -> &'static Words {
        match self.flavor {
            Flavor::Mysql => &Words {
                start: "START REPLICA",
                stop: "STOP REPLICA",
                reset: "RESET REPLICA ALL",
            },
            Flavor::Mariadb => &Words {
                start: "START SLAVE",
                stop: "STOP SLAVE",
                reset: "RESET SLAVE ALL",
            },
        }
    }
}

/// What the flavors call the same things.
struct Words {
    start: &'static str,
    stop: &'static str,
    reset: &'static str,
}

/// The file and the offset at which the writer of MySQL without GTIDs writes next.
async fn binary_log(server: &Server) -> Result<(String, u64)> {
    let rows = server
        .query::<mysql_async::Row>("SHOW BINARY LOG STATUS")
        .await?;
    let position = rows
        .into_iter()
        .next()
        .and_then(|mut row| Some((row.take(0)?, row.take(1)?)));
    position.ok_or_else(|| Error::Program {
        program: server.name().to_owned(),
        reason: "it keeps no binary log".into(),
    })
}

/// Waits until both threads of replication run.
async fn running(server: &Server) -> Result<()> {
    let (query, receiver, applier, errors) = match server.flavor() {
        Flavor::Mysql => (
            "SHOW REPLICA STATUS",
            "Replica_IO_Running",
            "Replica_SQL_Running",
            ["Last_IO_Error", "Last_SQL_Error"],
        ),
        Flavor::Mariadb => (
            "SHOW SLAVE STATUS",
            "Slave_IO_Running",
            "Slave_SQL_Running",
            ["Last_IO_Error", "Last_SQL_Error"],
        ),
    };
    let deadline = Instant::now() + LIMIT;
    loop {
        let row = server
            .query::<mysql_async::Row>(query)
            .await?
            .into_iter()
            .next();
        let text = |column: &str| -> String {
            row.as_ref()
                .and_then(|row| row.get::<Option<String>, _>(column))
                .flatten()
                .unwrap_or_default()
        };
        if text(receiver) == "Yes" && text(applier) == "Yes" {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Timeout {
                what: format!("replication on {}", server.name()),
                after: LIMIT,
                detail: format!(": {} {}", text(errors[0]), text(errors[1])),
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
