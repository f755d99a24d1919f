//! What client and server agree on at connect time.

use bitflags::bitflags;

bitflags! {
    /// Capability flags. The lower 32 bits are MySQL's `CLIENT_…` flags, the
    /// upper 32 bits MariaDB's extended ones, which travel apart from them in
    /// the handshake.
    ///
    /// Format: "Capabilities Flags" in the manual, and "Capabilities" in
    /// MariaDB's "Connecting". Unknown bits that arrive are kept; whoever
    /// negotiates masks them with what it knows.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct Capabilities: u64 {
        /// Old name of no meaning to MySQL, which always sets it. MariaDB
        /// calls it `CLIENT_MYSQL`: where it is absent the peer speaks
        /// MariaDB's extended capabilities.
        const LONG_PASSWORD = 1;
        /// `affected_rows` of an UPDATE counts the rows found, not changed.
        const FOUND_ROWS = 1 << 1;
        /// All column flags are sent.
        const LONG_FLAG = 1 << 2;
        /// The login may name a database.
        const CONNECT_WITH_DB = 1 << 3;
        /// `database.table.column` is refused.
        const NO_SCHEMA = 1 << 4;
        /// zlib compression.
        const COMPRESS = 1 << 5;
        /// An ODBC client; no meaning since 3.22.
        const ODBC = 1 << 6;
        /// The client may be asked for a file by `LOAD DATA LOCAL INFILE`.
        const LOCAL_FILES = 1 << 7;
        /// A space may stand between a function's name and its `(`.
        const IGNORE_SPACE = 1 << 8;
        /// The protocol of MySQL 4.1 and later.
        const PROTOCOL_41 = 1 << 9;
        /// `interactive_timeout` counts instead of `wait_timeout`.
        const INTERACTIVE = 1 << 10;
        /// TLS is available, or asked for.
        const SSL = 1 << 11;
        /// A matter of the client library alone.
        const IGNORE_SIGPIPE = 1 << 12;
        /// Status flags are in OK and EOF packets.
        const TRANSACTIONS = 1 << 13;
        /// Unused.
        const RESERVED = 1 << 14;
        /// Authentication of MySQL 4.1 (`CLIENT_RESERVED2` in newer manuals).
        const SECURE_CONNECTION = 1 << 15;
        /// Several statements in one `COM_QUERY`.
        const MULTI_STATEMENTS = 1 << 16;
        /// Several result sets in one text response.
        const MULTI_RESULTS = 1 << 17;
        /// Several result sets in the response to a `COM_STMT_EXECUTE`.
        const PS_MULTI_RESULTS = 1 << 18;
        /// Authentication plugins are named.
        const PLUGIN_AUTH = 1 << 19;
        /// The login carries connection attributes.
        const CONNECT_ATTRS = 1 << 20;
        /// The login's authentication data has a length-encoded length.
        const PLUGIN_AUTH_LENENC_CLIENT_DATA = 1 << 21;
        /// The client can handle an expired password.
        const CAN_HANDLE_EXPIRED_PASSWORDS = 1 << 22;
        /// OK packets carry session changes.
        const SESSION_TRACK = 1 << 23;
        /// Result sets end in an OK packet with the header 0xFE, and no EOF
        /// packet follows column definitions.
        const DEPRECATE_EOF = 1 << 24;
        /// Column definitions may be left out.
        const OPTIONAL_RESULTSET_METADATA = 1 << 25;
        /// zstd compression.
        const ZSTD_COMPRESSION = 1 << 26;
        /// `COM_QUERY` and `COM_STMT_EXECUTE` carry query attributes.
        const QUERY_ATTRIBUTES = 1 << 27;
        /// Several authentication factors.
        const MULTI_FACTOR_AUTH = 1 << 28;
        /// Reserved for more than 32 flags.
        const CAPABILITY_EXTENSION = 1 << 29;
        /// A matter of the client library alone.
        const SSL_VERIFY_SERVER_CERT = 1 << 30;
        /// A matter of the client library alone.
        const REMEMBER_OPTIONS = 1 << 31;

        /// MariaDB: progress reports, as ERR packets with the code 0xFFFF.
        const PROGRESS = 1 << 32;
        /// MariaDB: `COM_MULTI`.
        const COM_MULTI = 1 << 33;
        /// MariaDB: `COM_STMT_BULK_EXECUTE`.
        const STMT_BULK_OPERATIONS = 1 << 34;
        /// MariaDB: column definitions with extended type information.
        const EXTENDED_METADATA = 1 << 35;
        /// MariaDB: the columns of a prepared statement are sent once.
        const CACHE_METADATA = 1 << 36;
        /// MariaDB: bulk operations answer row by row.
        const BULK_UNIT_RESULTS = 1 << 37;

        // Bits without a name are kept as they came.
        const _ = !0;
    }
}

impl Capabilities {
    /// The flags from the wire: `lower` from MySQL's fields, `extended` from
    /// MariaDB's, which counts only where LONG_PASSWORD is absent.
    pub fn from_wire(lower: u32, extended: u32) -> Self {
        let lower = Self::from_bits_retain(u64::from(lower));
        if lower.contains(Self::LONG_PASSWORD) {
            lower
        } else {
            lower | Self::from_bits_retain(u64::from(extended) << 32)
        }
    }

    /// MySQL's 32 flags.
    pub fn lower(self) -> u32 {
        self.bits() as u32
    }

    /// MariaDB's extended flags as they travel: 0 where LONG_PASSWORD is set,
    /// because the peer would not look at them.
    pub fn extended(self) -> u32 {
        if self.contains(Self::LONG_PASSWORD) {
            0
        } else {
            (self.bits() >> 32) as u32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_flags_count_only_from_mariadb() {
        let mariadb = Capabilities::from_wire(1 << 9, 0b100);
        assert_eq!(
            mariadb,
            Capabilities::PROTOCOL_41 | Capabilities::STMT_BULK_OPERATIONS
        );
        assert_eq!((mariadb.lower(), mariadb.extended()), (1 << 9, 0b100));

        let mysql = Capabilities::from_wire(1 << 9 | 1, 0b100);
        assert_eq!(
            mysql,
            Capabilities::PROTOCOL_41 | Capabilities::LONG_PASSWORD
        );
        assert_eq!(mysql.extended(), 0);
    }

    #[test]
    fn unknown_bits_are_kept() {
        let all = Capabilities::from_wire(!1, u32::MAX);
        assert_eq!(all.bits(), !1);
        assert_eq!((all | Capabilities::LONG_PASSWORD).lower(), u32::MAX);
    }
}
