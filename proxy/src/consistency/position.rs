//! How far a server is.

use super::{GtidSet, Mark};

/// By what a server's progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// By the GTIDs that it has applied.
    Gtids,
    /// By the number in this proxy's row of the heartbeat table.
    Beats,
    /// By Aurora's log sequence numbers.
    Lsns,
    /// By the instant, on the proxy's own clock, up to which a reader shows everything.
    Moments,
}

/// How far a server is, or must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// It has these transactions.
    Gtids(GtidSet),
    /// It has the heartbeat of this number of this proxy, and with it those before.
    Beat {
        /// The proxy.
        proxy: u64,
        /// The number.
        number: u64,
    },
    /// It has Aurora's log up to this number.
    Lsn(u64),
    /// It has what was acknowledged before this.
    Moment(Mark),
}

impl Position {
    /// Whether a server that is here has everything that one at `other` has. Positions of
    /// different scales cannot be compared.
    pub(super) fn contains(&self, other: &Position) -> bool {
        match (self, other) {
            (Self::Gtids(own), Self::Gtids(other)) => own.contains(other),
            (
                Self::Beat { proxy, number },
                Self::Beat {
                    proxy: other_proxy,
                    number: other,
                },
            ) => proxy == other_proxy && number >= other,
            (Self::Lsn(own), Self::Lsn(other)) => own >= other,
            (Self::Moment(own), Self::Moment(other)) => own >= other,
            _ => false,
        }
    }

    /// The scale that it belongs to.
    pub(super) fn scale(&self) -> Scale {
        match self {
            Self::Gtids(_) => Scale::Gtids,
            Self::Beat { .. } => Scale::Beats,
            Self::Lsn(_) => Scale::Lsns,
            Self::Moment(_) => Scale::Moments,
        }
    }
}
