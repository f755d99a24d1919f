//! The state of a connection that OK and EOF packets report.

use bitflags::bitflags;

bitflags! {
    /// Server status flags.
    ///
    /// Format: "Server Status Flags" (`SERVER_STATUS_flags_enum`) in the manual.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct Status: u16 {
        /// A transaction is open.
        const IN_TRANS = 0x0001;
        /// Autocommit is on.
        const AUTOCOMMIT = 0x0002;
        /// Another result follows in the same response.
        const MORE_RESULTS_EXISTS = 0x0008;
        /// No good index was used.
        const NO_GOOD_INDEX_USED = 0x0010;
        /// No index was used.
        const NO_INDEX_USED = 0x0020;
        /// A cursor was opened; rows come by `COM_STMT_FETCH`.
        const CURSOR_EXISTS = 0x0040;
        /// The cursor has no more rows.
        const LAST_ROW_SENT = 0x0080;
        /// A database was dropped.
        const DB_DROPPED = 0x0100;
        /// A backslash in a string is a plain character.
        const NO_BACKSLASH_ESCAPES = 0x0200;
        /// A prepared statement's columns are not what they were.
        const METADATA_CHANGED = 0x0400;
        /// The statement was slow.
        const QUERY_WAS_SLOW = 0x0800;
        /// This result set holds a procedure's OUT parameters.
        const PS_OUT_PARAMS = 0x1000;
        /// The open transaction is read-only.
        const IN_TRANS_READONLY = 0x2000;
        /// Session changes follow in this OK packet.
        const SESSION_STATE_CHANGED = 0x4000;
        /// MariaDB: `"` quotes identifiers.
        const ANSI_QUOTES = 0x8000;

        // 0x0004 has no name; it is kept as it came.
        const _ = !0;
    }
}

impl Status {
    /// The flags of an open transaction.
    pub const TRANSACTION: Self = Self::IN_TRANS.union(Self::IN_TRANS_READONLY);

    /// The flags that tell of a session, whatever it is answered.
    pub const SESSION: Self = Self::TRANSACTION
        .union(Self::AUTOCOMMIT)
        .union(Self::NO_BACKSLASH_ESCAPES)
        .union(Self::ANSI_QUOTES);
}
