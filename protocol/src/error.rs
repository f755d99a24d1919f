//! What can be wrong with bytes from the other side.

use thiserror::Error;

/// Why bytes could not be understood, or a value could not be written.
///
/// After any of these the connection they came from is of no further use:
/// nobody knows where the next packet begins.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A packet is too short, or holds a value that its format forbids.
    #[error("malformed {what}")]
    Malformed {
        /// The packet or the field.
        what: &'static str,
    },
    /// A valid form that this crate does not speak.
    #[error("{what} is not supported")]
    Unsupported {
        /// The form.
        what: &'static str,
    },
    /// A packet does not carry the sequence id that follows the one before it.
    #[error("packet out of order: sequence id {found} where {expected} is due")]
    OutOfOrder {
        /// The sequence id that is due.
        expected: u8,
        /// The sequence id in the packet's header.
        found: u8,
    },
    /// A compressed packet does not hold what its header says.
    #[error("a compressed packet that does not hold what its header says")]
    Uncompressible,
    /// Something is larger than the receiver or the format allows.
    #[error("{what} of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// The packet or the field.
        what: &'static str,
        /// Its size in bytes, as far as it is known.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}
