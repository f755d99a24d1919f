//! The servers of a lab: replication between them, and what can be done to them.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use isthmus_lab::mysql_async::prelude::Queryable as _;
use isthmus_lab::mysql_async::{Conn, Error, SslOpts};
use isthmus_lab::{
    APP, Flavor, Lab, MONITOR, Options, REPLICATION, ROOT, SCHEMA, Server, Snapshot,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::test]
async fn replication_on_mysql() -> Outcome {
    replication(Flavor::Mysql).await
}

#[tokio::test]
async fn replication_on_mariadb() -> Outcome {
    replication(Flavor::Mariadb).await
}

async fn replication(flavor: Flavor) -> Outcome {
    let lab = Lab::start(Options {
        flavor,
        ..Options::default()
    })
    .await?;
    make_table(&lab).await?;

    // Three statements in a row are there at once after waiting.
    for number in 1..=3 {
        write(lab.writer(), number).await?;
    }
    lab.wait_caught_up().await?;
    assert_eq!(rows(lab.reader()).await?, 3);

    // The reader takes no writes, from the application as little as from root on MySQL.
    let refused = write(lab.reader(), 4).await.unwrap_err();
    assert_eq!(code(&refused), Some(1290));
    if flavor == Flavor::Mysql {
        let refused = lab
            .reader()
            .execute("INSERT INTO app.t VALUES (4)")
            .await
            .unwrap_err();
        assert_eq!(code(&refused), Some(1290));
    }

    lab.stop_replication().await?;
    write(lab.writer(), 5).await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(rows(lab.reader()).await?, 3);
    lab.start_replication().await?;
    lab.wait_caught_up().await?;
    assert_eq!(rows(lab.reader()).await?, 4);

    // A delay that the server keeps, and one on the link.
    for delay in [Duration::from_secs(2), Duration::from_millis(400)] {
        lab.delay_replication(delay).await?;
        let before = rows(lab.reader()).await?;
        let written = Instant::now();
        write(lab.writer(), before).await?;
        lab.wait_caught_up().await?;
        let lag = written.elapsed();
        // MariaDB counts the delay in whole seconds, beginning with the one that runs.
        let least = match flavor {
            Flavor::Mariadb if delay >= Duration::from_secs(1) => delay - Duration::from_secs(1),
            _ => delay.mul_f64(0.95),
        };
        assert!(lag >= least, "{lag:?} is shorter than {delay:?}");
        assert!(
            lag < delay + Duration::from_secs(2),
            "{lag:?} is longer than {delay:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn mysql_without_gtids_replicates_by_position() -> Outcome {
    let lab = Lab::start(Options {
        gtids: false,
        ..Options::default()
    })
    .await?;
    make_table(&lab).await?;
    write(lab.writer(), 1).await?;
    lab.wait_caught_up().await?;
    assert_eq!(rows(lab.reader()).await?, 1);
    assert_eq!(
        lab.writer()
            .query_value::<String>("SELECT @@global.gtid_mode")
            .await?,
        Some("OFF".into())
    );
    Ok(())
}

#[tokio::test]
async fn accounts_and_certificates_on_mysql() -> Outcome {
    accounts_and_certificates(Flavor::Mysql).await
}

#[tokio::test]
async fn accounts_and_certificates_on_mariadb() -> Outcome {
    accounts_and_certificates(Flavor::Mariadb).await
}

async fn accounts_and_certificates(flavor: Flavor) -> Outcome {
    let lab = Lab::start(Options {
        flavor,
        readers: 0,
        ..Options::default()
    })
    .await?;
    let server = lab.writer();
    for account in [APP, MONITOR, REPLICATION, ROOT] {
        server
            .connect_as(account)
            .await?
            .disconnect()
            .await
            .unwrap();
    }
    let shown = match flavor {
        Flavor::Mysql => "SHOW REPLICA STATUS",
        Flavor::Mariadb => "SHOW SLAVE STATUS",
    };
    let mut monitor = server.connect_as(MONITOR).await?;
    monitor.query_drop(shown).await.unwrap();

    let mut app = server.connect_as(APP).await?;
    app.query_drop("CREATE DATABASE another").await.unwrap();
    app.query_drop("SET time_zone = 'Europe/Berlin'")
        .await
        .unwrap();
    let hour: Option<u32> = app
        .query_first("SELECT HOUR(FROM_UNIXTIME(0))")
        .await
        .unwrap();
    assert_eq!(hour, Some(1));

    // The chain and both names can be verified; a stranger's chain cannot.
    let certificates = lab.certificates();
    for (authority, host, trusted) in [
        (&certificates.authority, "localhost", true),
        (&certificates.authority, "127.0.0.1", true),
        (&certificates.authority, "elsewhere", false),
        (&certificates.stranger, "localhost", false),
    ] {
        let tls = SslOpts::default()
            .with_root_certs(vec![authority.clone().into()])
            .with_disable_built_in_roots(true)
            .with_danger_tls_hostname_override(Some(host.to_owned()));
        let connected = Lab::connect(lab.writer_link().address(), APP, |options| {
            options.ssl_opts(tls)
        })
        .await;
        assert_eq!(connected.is_ok(), trusted, "{host}: {connected:?}");
        if let Ok(mut connection) = connected {
            let cipher: Option<(String, String)> = connection
                .query_first("SHOW STATUS LIKE 'Ssl_cipher'")
                .await
                .unwrap();
            assert_ne!(cipher.unwrap().1, "");
        }
    }

    let version = flavor.client_command()?.arg("--version").output().unwrap();
    assert!(version.status.success());
    Ok(())
}

#[tokio::test]
async fn a_failing_reader_on_mysql() -> Outcome {
    a_failing_reader(Flavor::Mysql).await
}

#[tokio::test]
async fn a_failing_reader_on_mariadb() -> Outcome {
    a_failing_reader(Flavor::Mariadb).await
}

async fn a_failing_reader(flavor: Flavor) -> Outcome {
    let lab = Lab::start(Options {
        flavor,
        ..Options::default()
    })
    .await?;
    make_table(&lab).await?;
    lab.wait_caught_up().await?;
    let reader = lab.reader();
    let (pid, address) = (reader.pid(), reader.address());

    reader.kill();
    assert_eq!(reader.pid(), None);
    assert!(reader.connect_as(APP).await.is_err());
    write(lab.writer(), 1).await?;
    reader.start().await?;
    assert_ne!(reader.pid(), pid);
    assert_eq!(reader.address(), address);
    lab.wait_caught_up().await?;
    assert_eq!(rows(reader).await?, 1);
    assert_eq!(code(&write(reader, 2).await.unwrap_err()), Some(1290));

    reader.stop().await?;
    reader.start().await?;

    let mut connection = reader.connect_as(APP).await?;
    reader.pause().await?;
    let silence = Duration::from_millis(300);
    assert!(
        tokio::time::timeout(silence, connection.ping())
            .await
            .is_err()
    );
    reader.resume()?;
    assert_eq!(rows(reader).await?, 1);

    // A writer that dies is followed again once it is back.
    lab.writer().kill();
    lab.writer().start().await?;
    write(lab.writer(), 2).await?;
    lab.wait_caught_up().await?;
    assert_eq!(rows(reader).await?, 2);
    Ok(())
}

#[tokio::test]
async fn promotion_on_mysql() -> Outcome {
    promotion(Flavor::Mysql).await
}

#[tokio::test]
async fn promotion_on_mariadb() -> Outcome {
    promotion(Flavor::Mariadb).await
}

async fn promotion(flavor: Flavor) -> Outcome {
    let lab = Lab::start(Options {
        flavor,
        readers: 2,
        ..Options::default()
    })
    .await?;
    make_table(&lab).await?;
    write(lab.writer(), 1).await?;
    let old = lab.writer().address();
    let new = lab.reader().address();

    // A switchover: all of them are up.
    lab.promote(0).await?;
    assert_eq!(lab.writer().address(), new);
    assert_eq!(lab.reader().address(), old);
    write(lab.writer(), 2).await?;
    lab.wait_caught_up().await?;
    for server in lab.servers() {
        assert_eq!(rows(server).await?, 2, "{}", server.name());
    }
    assert_eq!(code(&write(lab.reader(), 3).await.unwrap_err()), Some(1290));

    // A failover: the writer is gone, and comes back as a second one.
    lab.wait_caught_up().await?;
    lab.writer().kill();
    lab.promote(0).await?;
    assert_eq!(lab.writer().address(), old);
    write(lab.writer(), 3).await?;
    let returned = lab.servers()[1];
    assert_eq!(returned.address(), new);
    returned.start().await?;
    write(returned, 4).await?;
    Ok(())
}

#[tokio::test]
async fn a_former_writer_restored_on_mysql() -> Outcome {
    a_former_writer_restored(Flavor::Mysql).await
}

#[tokio::test]
async fn a_former_writer_restored_on_mariadb() -> Outcome {
    a_former_writer_restored(Flavor::Mariadb).await
}

/// It gets back what it has written itself after the snapshot.
async fn a_former_writer_restored(flavor: Flavor) -> Outcome {
    let lab = Lab::start(Options {
        flavor,
        readers: 2,
        ..Options::default()
    })
    .await?;
    make_table(&lab).await?;
    lab.wait_caught_up().await?;
    lab.promote(0).await?;
    let first = lab.servers()[0];
    let snapshot = Snapshot::take(first).await?;
    lab.promote(0).await?;
    assert_eq!(lab.writer().name(), first.name());
    for number in 1..=3 {
        write(lab.writer(), number).await?;
    }
    lab.promote(0).await?;

    snapshot.bring_back(first).await?;
    write(lab.writer(), 4).await?;
    lab.wait_caught_up().await?;
    assert_eq!(rows(first).await?, 4);
    Ok(())
}

#[tokio::test]
async fn labs_side_by_side() -> Outcome {
    let labs: Vec<_> = (0..4)
        .map(|number| {
            tokio::spawn(Lab::start(Options {
                flavor: Flavor::ALL[number % 2],
                ..Options::default()
            }))
        })
        .collect();
    let mut started = Vec::new();
    for lab in labs {
        started.push(lab.await.unwrap()?);
    }
    for (number, lab) in started.iter().enumerate() {
        make_table(lab).await?;
        for row in 0..number as i64 {
            write(lab.writer(), row).await?;
        }
    }
    for (number, lab) in started.iter().enumerate() {
        lab.wait_caught_up().await?;
        assert_eq!(rows(lab.reader()).await?, number as i64);
    }
    Ok(())
}

async fn make_table(lab: &Lab) -> Outcome {
    lab.writer().execute("CREATE TABLE app.t (id INT)").await?;
    Ok(())
}

async fn write(server: &Server, number: i64) -> Result<(), Error> {
    let mut connection = connect(server).await?;
    connection
        .query_drop(format!("INSERT INTO t VALUES ({number})"))
        .await
}

async fn rows(server: &Server) -> Result<i64, Error> {
    let mut connection = connect(server).await?;
    let count = connection.query_first("SELECT COUNT(*) FROM t").await?;
    Ok(count.unwrap_or_default())
}

async fn connect(server: &Server) -> Result<Conn, Error> {
    let mut connection = server.connect_as(APP).await.unwrap();
    connection.query_drop(format!("USE {SCHEMA}")).await?;
    Ok(connection)
}

/// The error that the server has answered with.
fn code(error: &(dyn std::error::Error + 'static)) -> Option<u16> {
    match error.downcast_ref::<Error>() {
        Some(Error::Server(error)) => Some(error.code),
        _ => error.source().and_then(code),
    }
}
