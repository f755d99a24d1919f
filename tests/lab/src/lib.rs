//! Two regions on one machine, made of real servers.
//!
//! A [`Lab`] is a writer and its readers (MySQL 9.7 or MariaDB 10.11, as installed
//! by `scripts/setup`) with running replication, in a directory of their own and on
//! free ports of 127.0.0.1, so that any number of labs run side by side. Every
//! server has a [`Relay`] in front of it, the link, which plays the ocean: it
//! delays, narrows, cuts and counts what passes. Replication has a link of its own.
//!
//! Nothing is left running or lying about, whatever way the program ends that
//! started the lab; [`Sandbox`] sees to that.
//!
//! ```no_run
//! # async fn example() -> isthmus_lab::Result<()> {
//! use std::time::Duration;
//! use isthmus_lab::{Flavor, Lab, Options};
//!
//! let lab = Lab::start(Options {
//!     flavor: Flavor::Mysql,
//!     round_trip: Duration::from_millis(150),
//!     ..Options::default()
//! })
//! .await?;
//! println!("the writer, over the ocean: {}", lab.writer_link().address());
//! println!("the reader next door: {}", lab.reader_link().address());
//! # Ok(()) }
//! ```

mod accounts;
mod certificates;
mod error;
mod flavor;
mod lab;
mod ports;
mod proxy;
mod relay;
mod replication;
mod sandbox;
mod server;
mod snapshot;
mod template;
mod timer;

pub use accounts::{APP, Account, MONITOR, REPLICATION, ROOT, SCHEMA};
pub use certificates::Certificates;
pub use error::{Error, Result};
pub use flavor::Flavor;
pub use lab::{Lab, Options};
pub use mysql_async;
pub use ports::is_listening;
pub use proxy::{Proxy, ProxyAddresses, configuration, proxy_binary};
pub use relay::{Direction, Flow, Relay, Traffic};
pub use sandbox::{Process, Sandbox, Signal};
pub use server::Server;
pub use snapshot::Snapshot;
