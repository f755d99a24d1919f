//! Searches for broken promises by hand: `scripts/test checker --help`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use isthmus_lab::Flavor;
use isthmus_tests::checker::{Options, search};

/// Lets clients write and read through two proxies while servers, links and proxies are harmed, and
/// checks that no session has read an older state than it had written or read before.
#[derive(Parser)]
#[command(name = "scripts/test checker")]
struct Arguments {
    /// How long the clients work, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the choices of clients and nemesis follow from; drawn from the clock where none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// consistency.source; aurora is a global database, aurora-cluster a single cluster.
    #[arg(long, default_value = "gtid")]
    source: String,
    /// mysql or mariadb.
    #[arg(long, default_value = "mysql")]
    server: String,
    /// How many clients.
    #[arg(long, default_value_t = 24)]
    clients: u32,
    /// Switch the promise off, so that violations must be found.
    #[arg(long)]
    off: bool,
    /// Suspend a proxy for so many seconds, and set its clock meanwhile, each second time that
    /// something is harmed.
    #[arg(long, default_value_t = 0)]
    suspend: u64,
    /// Harm nothing; replication only takes its time.
    #[arg(long)]
    mild: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let seed = arguments.seed.unwrap_or(now.as_secs());
    let flavor = match arguments.server.as_str() {
        "mysql" => Flavor::Mysql,
        "mariadb" => Flavor::Mariadb,
        other => {
            eprintln!("--server {other}: mysql or mariadb");
            return ExitCode::FAILURE;
        }
    };
    println!("seed {seed}");
    let report = search(&Options {
        flavor,
        time: Duration::from_secs(arguments.seconds),
        seed,
        source: arguments.source,
        off: arguments.off,
        nemesis: !arguments.mild,
        clients: arguments.clients,
        suspension: Duration::from_secs(arguments.suspend),
    })
    .await;
    for deed in &report.deeds {
        println!("  {deed}");
    }
    for violation in report.violations.iter().take(20) {
        println!("VIOLATION {violation}");
    }
    println!("{}", report.summary());
    match report.violations.is_empty() == arguments.off {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
