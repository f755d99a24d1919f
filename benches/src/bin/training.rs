//! What proxies do most, for a build of Isthmus that counts what it does: `scripts/release` lays out
//! the code of the binary by that.

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use clap::Parser;
use isthmus_benches::sysbench::{self, Link};
use isthmus_benches::workload::Workload;
use isthmus_lab::{Flavor, Lab, Options, Proxy, configuration};

type Failure = Box<dyn Error>;

/// Runs sysbench's workloads through the isthmus of ISTHMUS_BIN, on MySQL and on MariaDB: as they are,
/// with TLS on both sides, and compressed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of each workload on each server and kind of connection.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

const THREADS: u32 = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let length = Duration::from_secs(arguments.seconds);
    for flavor in Flavor::ALL {
        let lab = Lab::start(Options {
            flavor,
            ..Options::default()
        })
        .await?;
        sysbench::prepare(lab.writer().address())?;
        lab.wait_caught_up().await?;
        let certificates = lab.directory().join("clients");
        fs::create_dir(&certificates)?;
        for (file, name) in [
            (&lab.certificates().authority, "cacert.pem"),
            (&lab.certificates().client, "client-cert.pem"),
            (&lab.certificates().client_key, "client-key.pem"),
        ] {
            symlink(file, certificates.join(name))?;
        }
        for link in [
            Link::Plain,
            Link::Encrypted { certificates },
            Link::Compressed,
        ] {
            train(&lab, &link, length).await?;
        }
    }
    Ok(())
}

/// Runs the workloads through a proxy of their own, which ends in peace: only then does it write down
/// what it has counted.
async fn train(lab: &Lab, link: &Link, length: Duration) -> Result<(), Failure> {
    let proxy = Proxy::start(lab.sandbox(), |addresses| {
        let servers = match link {
            Link::Encrypted { .. } => "required",
            Link::Plain | Link::Compressed => "disabled",
        };
        let tls = format!(
            "tls = {{ certificate = {:?}, key = {:?} }}\n",
            lab.certificates().server,
            lab.certificates().server_key,
        );
        configuration(lab, addresses).replace("\n[admin]", &format!("{tls}\n[admin]"))
            + &format!("\n[server_tls]\nmode = \"{servers}\"\n")
    })
    .await?;
    for workload in Workload::ALL {
        let outcome = sysbench::slice(proxy.address(), link, workload, THREADS, length)?;
        eprintln!(
            "{:?}, {}, {}: {} queries",
            lab.flavor(),
            link.title(),
            workload.title(),
            outcome.queries
        );
    }
    let status = proxy.terminate().await?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the proxy has ended with {status}").into()),
    }
}
