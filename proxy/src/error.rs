//! The errors that Isthmus itself tells a client: each has a MySQL code, a SQLSTATE and a
//! sentence with the cause and the remedy.

use std::fmt;

use isthmus_protocol::error_packet::ErrPacket;

/// An error that ends in an ERR packet made by the proxy.
///
/// Codes and states are those of the MySQL Server Error Message Reference; 3159 and 9501 are the
/// ones that Amazon RDS Proxy uses, which applications already know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// The MySQL error number.
    pub code: u16,
    /// The five characters of the SQLSTATE.
    pub state: &'static str,
    /// The sentence for a person.
    pub message: String,
}

impl SqlError {
    /// Any error: `code`, `state` (five characters) and the sentence.
    #[cold]
    pub fn new(code: u16, state: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            state,
            message: message.into(),
        }
    }

    /// 1045: wrong password or unknown user, which read the same.
    pub fn access_denied(user: &str, host: &str, with_password: bool) -> Self {
        let using = if with_password { "YES" } else { "NO" };
        Self::new(
            1045,
            "28000",
            format!("Access denied for user '{user}'@'{host}' (using password: {using})"),
        )
    }

    /// 1251: the client does not know how its user proves the password.
    pub fn client_too_old() -> Self {
        Self::new(
            1251,
            "08004",
            "Client does not support authentication protocol requested by server; consider upgrading MySQL client",
        )
    }

    /// 1040: the limit of client connections is reached.
    pub fn too_many_connections(limit: usize) -> Self {
        Self::new(
            1040,
            "08004",
            format!(
                "Too many connections: Isthmus serves {limit} clients at once; close idle connections or raise limits.max_client_connections"
            ),
        )
    }

    /// 3159: the listener wants TLS and the client did not ask for it.
    pub fn tls_required() -> Self {
        Self::new(
            3159,
            "HY000",
            "Connections using insecure transport are prohibited: this Isthmus listener requires TLS; connect with --ssl-mode=REQUIRED or your driver's equivalent",
        )
    }

    /// 9501: no backend connection could be had in time. `cause` says why.
    pub fn borrow_timeout(endpoint: &str, cause: &str) -> Self {
        Self::new(
            9501,
            "HY000",
            format!(
                "Timed-out waiting to acquire database connection to endpoint '{endpoint}': {cause}"
            ),
        )
    }

    /// 9501: there is no endpoint that could run the statement.
    pub fn no_writer() -> Self {
        Self::new(
            9501,
            "HY000",
            "Timed-out waiting to acquire database connection: the configuration names no writer endpoint",
        )
    }

    /// 1158 (08S01), as servers say of a connection that they cannot read from: the backend connection
    /// broke while a statement that may have run was on it. The numbers from 2000 to 2999 are those of
    /// clients' own errors, which some of them take for a malformed packet where a server sends one.
    pub fn lost_connection(endpoint: &str, cause: &dyn fmt::Display) -> Self {
        Self::new(
            1158,
            "08S01",
            format!(
                "Lost connection to endpoint '{endpoint}' during the statement ({cause}); it may or may not have run"
            ),
        )
    }

    /// 1053: the proxy is shutting down.
    pub fn shutdown() -> Self {
        Self::new(
            1053,
            "08S01",
            "Server shutdown in progress: Isthmus is stopping; connect again",
        )
    }

    /// 4031: the client was silent for longer than its own wait_timeout, in the words of a server.
    pub fn own_idle() -> Self {
        Self::new(
            4031,
            "HY000",
            "The client was disconnected by the server because of inactivity. See wait_timeout and interactive_timeout for configuring this behavior.",
        )
    }

    /// 4031: the client was silent for longer than timeouts.idle.
    pub fn idle() -> Self {
        Self::new(
            4031,
            "HY000",
            "The client was disconnected by Isthmus because of inactivity; raise timeouts.idle or connect again",
        )
    }

    /// 1231: the login names a collation whose character set no client can send, in the words of a
    /// server.
    pub fn unsendable_charset(charset: &str) -> Self {
        Self::new(
            1231,
            "42000",
            format!("Variable 'character_set_client' can't be set to the value of '{charset}'"),
        )
    }

    /// 1153: a user variable cannot follow the session from a reader to other connections.
    pub fn variable_too_long() -> Self {
        Self::new(
            1153,
            "08S01",
            "A reader assigned a user variable that is too long to be carried to other connections; put /* isthmus:writer */ before the statement",
        )
    }

    /// 1105: a KILL that the server did not take, so that the statement runs on.
    pub fn kill_failed(id: u64, cause: &dyn fmt::Display) -> Self {
        Self::new(
            1105,
            "HY000",
            format!("What session {id} runs could not be ended ({cause}); try again"),
        )
    }

    /// 3169: a routine took a user lock that the session did not keep its connection for.
    pub fn lost_lock() -> Self {
        Self::new(
            3169,
            "HY000",
            "A stored routine took a user lock, which was not known of this statement and is released: the connection ends. Connect again: from now on the statement keeps its connection",
        )
    }

    /// 1045: the user was removed from the configuration while the client was connected.
    pub fn user_removed(user: &str) -> Self {
        Self::new(
            1045,
            "28000",
            format!(
                "Access denied for user '{user}': it was removed from the configuration of Isthmus"
            ),
        )
    }

    /// 1156: a packet came with a sequence id that does not follow.
    pub fn out_of_order() -> Self {
        Self::new(1156, "08S01", "Got packets out of order")
    }

    /// 1317: the statement was killed while it waited.
    pub fn interrupted() -> Self {
        Self::new(1317, "70100", "Query execution was interrupted")
    }

    /// 1157: a compressed packet that does not hold what it says.
    pub fn uncompressible() -> Self {
        Self::new(1157, "08S01", "Couldn't uncompress communication packet")
    }

    /// 3923: a zstd level that does not exist, in the server's words.
    pub fn compression_level() -> Self {
        Self::new(
            3923,
            "HY000",
            "Invalid zstd compression level for algorithm 'zstd'.",
        )
    }

    /// 1835: a packet whose content does not follow the protocol.
    pub fn malformed(what: &str) -> Self {
        Self::new(
            1835,
            "HY000",
            format!("Malformed communication packet: {what}"),
        )
    }

    /// 1153: a packet over limits.max_allowed_packet, in bytes.
    pub fn packet_too_large(limit: usize) -> Self {
        Self::new(
            1153,
            "08S01",
            format!(
                "Got a packet bigger than 'max_allowed_packet' bytes: Isthmus takes {limit}; raise limits.max_allowed_packet"
            ),
        )
    }

    /// 1047: a command that the proxy refuses, by name.
    pub fn refused_command(name: &str) -> Self {
        Self::new(
            1047,
            "08S01",
            format!(
                "{name} is refused by Isthmus: it speaks to one server; connect to that server directly"
            ),
        )
    }

    /// 1064: a `SHOW ISTHMUS` that asks about nothing that there is.
    pub fn unknown_topic() -> Self {
        Self::new(
            1064,
            "42000",
            "You have an error in your SQL syntax; Isthmus understands SHOW ISTHMUS with one of SESSION, SESSIONS, LAST, STATUS and TOPOLOGY",
        )
    }

    /// 1243: the client named a prepared statement that the session does not have.
    pub fn unknown_statement(id: u32, command: &str) -> Self {
        Self::new(
            1243,
            "HY000",
            format!("Unknown prepared statement handler ({id}) given to {command}"),
        )
    }

    /// 1461: the session has as many prepared statements as it may have. Servers begin the sentence
    /// alike.
    pub fn too_many_statements(most: usize) -> Self {
        Self::new(
            1461,
            "42000",
            format!(
                "Can't create more than max_prepared_stmt_count statements (current value: {most}): Isthmus takes so many of one session; close those that are not needed any more"
            ),
        )
    }

    /// 1210: COM_STMT_SEND_LONG_DATA was for a parameter that the statement does not have, in the
    /// server's words.
    pub fn no_such_parameter(is_mariadb: bool) -> Self {
        let place = match is_mariadb {
            true => "mysqld_stmt_send_long_data",
            false => "mysql_stmt_precheck",
        };
        Self::new(1210, "HY000", format!("Incorrect arguments to {place}"))
    }

    /// A COM_STMT_EXECUTE without what its parameters need, in the server's words: 1210 or 1835.
    pub fn malformed_execution(is_mariadb: bool) -> Self {
        match is_mariadb {
            true => Self::new(1210, "HY000", "Incorrect arguments to mysqld_stmt_execute"),
            false => Self::new(1835, "HY000", "Malformed communication packet."),
        }
    }

    /// 1105: COM_STMT_SEND_LONG_DATA brought more than limits.max_allowed_packet, in bytes. Servers
    /// begin the sentence alike.
    pub fn long_data_too_long(limit: usize) -> Self {
        Self::new(
            1105,
            "HY000",
            format!(
                "Parameter of prepared statement which is set through mysql_send_long_data() is longer than 'max_allowed_packet' bytes: Isthmus takes {limit} for all parameters of a statement; raise limits.max_allowed_packet"
            ),
        )
    }

    /// The payload of the ERR packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut state = *b"HY000";
        state.copy_from_slice(self.state.as_bytes());
        ErrPacket {
            code: self.code,
            state,
            message: self.message.as_bytes().into(),
        }
        .encode(out);
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR {} ({}): {}", self.code, self.state, self.message)
    }
}

impl std::error::Error for SqlError {}
