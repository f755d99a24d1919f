//! Starts a lab to try things by hand: prints a line of JSON with everything that is
//! needed to connect, and keeps the lab until Ctrl-C.

use std::error::Error;
use std::io;
use std::thread;
use std::time::Duration;

use clap::Parser;
use isthmus_lab::{APP, Account, Flavor, Lab, MONITOR, Options, ROOT, Relay, SCHEMA, Server};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Starts a writer and its readers with links to them, and prints where they are.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server software: mysql or mariadb.
    #[arg(long, default_value = "mysql")]
    flavor: Flavor,

    /// Milliseconds from the proxy to the writer and back.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    round_trip: u64,

    /// How many readers.
    #[arg(long, default_value_t = 1)]
    readers: usize,

    /// Milliseconds that the readers lag.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    lag: u64,

    /// End also when the standard input ends.
    #[arg(long)]
    until_eof: bool,

    /// More arguments for every server.
    #[arg(last = true)]
    server_arguments: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let lab = Lab::start(Options {
        flavor: arguments.flavor,
        round_trip: Duration::from_millis(arguments.round_trip),
        readers: arguments.readers,
        arguments: arguments.server_arguments,
        ..Options::default()
    })
    .await?;
    if arguments.lag > 0 {
        lab.delay_replication(Duration::from_millis(arguments.lag))
            .await?;
    }
    println!("{}", describe(&lab));

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        () = end_of_input(), if arguments.until_eof => {}
    }
    Ok(())
}

fn describe(lab: &Lab) -> Value {
    let readers: Vec<Value> = lab
        .readers()
        .into_iter()
        .zip(lab.reader_links())
        .map(|(server, link)| describe_server(server, link))
        .collect();
    let certificates = lab.certificates();
    json!({
        "flavor": lab.flavor().name(),
        "directory": lab.directory(),
        "schema": SCHEMA,
        "accounts": {
            "app": describe_account(APP),
            "monitor": describe_account(MONITOR),
            "root": describe_account(ROOT),
        },
        "writer": describe_server(lab.writer(), lab.writer_link()),
        "readers": readers,
        "ca": certificates.authority,
        "server_certificate": certificates.server,
        "server_key": certificates.server_key,
    })
}

fn describe_server(server: &Server, link: &Relay) -> Value {
    json!({
        "address": server.address(),
        "link": link.address(),
        "round_trip_ms": link.round_trip().as_secs_f64() * 1000.0,
        "socket": server.socket(),
        "log": server.log(),
        "pid": server.pid(),
    })
}

fn describe_account(account: Account) -> Value {
    json!({ "user": account.user, "password": account.password })
}

/// Reads in a thread that nobody waits for: a read from a terminal cannot be given up.
async fn end_of_input() {
    let (ended, end) = oneshot::channel::<()>();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(ended);
    });
    // The sender is dropped, never used.
    let _ = end.await;
}
