//! What sysbench does with a table, and what it may cost.

use clap::ValueEnum;
use serde::Serialize;

/// One of sysbench's programs, in one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Point selects as text.
    TextPointSelect,
    /// Point selects by prepared statements.
    PreparedPointSelect,
    /// Transactions of 14 reads and 4 writes, as text.
    ReadWrite,
    /// The same statements, each by itself.
    ReadWriteAutocommit,
}

/// The server that a relay without routing has to lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// The one that takes writes.
    Writer,
    /// The one that only answers reads.
    Reader,
}

impl Workload {
    /// All of them, those that share their proxies next to each other.
    pub const ALL: [Self; 4] = [
        Self::TextPointSelect,
        Self::PreparedPointSelect,
        Self::ReadWrite,
        Self::ReadWriteAutocommit,
    ];

    /// What it is called in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::TextPointSelect => "Text point selects",
            Self::PreparedPointSelect => "Prepared point selects",
            Self::ReadWrite => "Read and write in transactions, text",
            Self::ReadWriteAutocommit => "Read and write without transactions, text",
        }
    }

    /// The most that Isthmus may cost, as a multiple of HAProxy's CPU per query.
    pub fn goal(self) -> f64 {
        match self {
            Self::TextPointSelect | Self::PreparedPointSelect => 1.15,
            Self::ReadWrite => 1.25,
            Self::ReadWriteAutocommit => 1.3,
        }
    }

    /// The server that it needs.
    pub fn upstream(self) -> Upstream {
        match self {
            Self::TextPointSelect | Self::PreparedPointSelect => Upstream::Reader,
            Self::ReadWrite | Self::ReadWriteAutocommit => Upstream::Writer,
        }
    }

    /// What tells sysbench what to do.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::TextPointSelect => &["oltp_point_select", "--db-ps-mode=disable"],
            Self::PreparedPointSelect => &["oltp_point_select", "--db-ps-mode=auto"],
            Self::ReadWrite => &["oltp_read_write", "--db-ps-mode=disable"],
            Self::ReadWriteAutocommit => {
                &["oltp_read_write", "--db-ps-mode=disable", "--skip-trx=on"]
            }
        }
    }
}
