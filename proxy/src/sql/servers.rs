//! Variables and tables whose content differs from server to server: a client that asks for them
//! believes to talk to one server that can write.

use super::dialect::OwnSchema;
use super::plan::{Kind, Plan};

/// Why a read of such a table is for the writer.
pub(super) const ONE_SERVER: &str = "it reads a table that speaks of one server";

/// True for a system variable, in lower case, that tells servers apart.
pub(super) fn tells_servers_apart(variable: &[u8]) -> bool {
    VARIABLES.iter().any(|name| name.as_bytes() == variable)
        || FAMILIES
            .iter()
            .any(|family| variable.starts_with(family.as_bytes()))
}

/// True if a pattern of `LIKE`, or a name, speaks of such a variable.
pub(super) fn pattern_tells_servers_apart(pattern: &[u8]) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    if pattern.iter().all(|byte| *byte == b'%') {
        return false;
    }
    VARIABLES
        .iter()
        .any(|name| is_like(name.as_bytes(), &pattern))
        || FAMILIES.iter().any(|family| {
            let stem = family.trim_end_matches('_').as_bytes();
            pattern.windows(stem.len()).any(|part| part == stem)
        })
}

/// True if a pattern of `LIKE`, or a name, speaks of what the session tracking reports.
pub(super) fn pattern_tells_tracking(pattern: &[u8]) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    TRACKING
        .iter()
        .any(|name| is_like(name.as_bytes(), &pattern))
}

/// What the names of the variables begin with that say what the session tracking reports.
pub(super) const SESSION_TRACKING: &[u8] = b"session_track_";

const TRACKING: [&str; 5] = [
    "session_track_gtids",
    "session_track_schema",
    "session_track_state_change",
    "session_track_system_variables",
    "session_track_transaction_info",
];

const VARIABLES: &[&str] = &[
    "hostname",
    "innodb_read_only",
    "last_gtid",
    "read_only",
    "report_host",
    "server_id",
    "server_uuid",
    "super_read_only",
];

const FAMILIES: &[&str] = &["gtid_", "aurora_"];

/// True if `pattern`, with `%`, `_` and `\`, matches the name.
fn is_like(name: &[u8], pattern: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'%', rest @ ..] => {
            let several = rest.iter().take_while(|byte| **byte == b'%').count();
            (0..=name.len()).any(|from| is_like(&name[from..], &rest[several..]))
        }
        [b'_', rest @ ..] => !name.is_empty() && is_like(&name[1..], rest),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            name.first() == Some(literal) && is_like(&name[1..], rest)
        }
    }
}

/// True if a statement of this plan, in a session that is in one of the server's own schemas, reads
/// a table there that shows the state of one server.
pub(super) fn reads_one_server(schema: OwnSchema, plan: &Plan) -> bool {
    match &plan.tables {
        Some(tables) => tables.iter().any(|table| {
            let name = table.name.to_ascii_lowercase();
            table.schema.is_none() && is_of_one_server(schema, name.as_bytes())
        }),
        None => matches!(
            plan.kind,
            Kind::Select | Kind::Do | Kind::Set | Kind::Explain | Kind::Analyze | Kind::Checksum
        ),
    }
}

/// The same of a table, in lower case, that is named with its schema.
pub(super) fn speaks_of_one_server(schema: &[u8], table: &[u8]) -> bool {
    OwnSchema::from_name(schema).is_some_and(|schema| is_of_one_server(schema, table))
}

fn is_of_one_server(schema: OwnSchema, table: &[u8]) -> bool {
    let begins = |prefixes: &[&str]| {
        prefixes
            .iter()
            .any(|prefix| table.starts_with(prefix.as_bytes()))
    };
    match schema {
        OwnSchema::Performance => true,
        OwnSchema::Information => begins(&[
            "processlist",
            "innodb_",
            "global_",
            "session_",
            "system_variables",
            "profiling",
            "optimizer_trace",
            "replica_host_status",
            "aurora_",
            "client_statistics",
            "user_statistics",
            "index_statistics",
            "table_statistics",
            "thread_",
            "wsrep_",
            "metadata_lock_info",
            "query_cache_info",
            "query_response_time",
            "tokudb_",
            "rocksdb_",
            "tp_",
            "slave_status",
            "rds_",
            // Replicas have every event disabled, and do not hear of plugins.
            "events",
            "plugins",
            "all_plugins",
        ]),
        OwnSchema::Sys => begins(&[
            "processlist",
            "session",
            "innodb_",
            "host_summary",
            "io_",
            "latest_",
            "memory_",
            "metrics",
            "ps_",
            "schema_table_",
            "schema_index_",
            "schema_unused_",
            "schema_tables_",
            "statement",
            "user_summary",
            "wait",
            "x$",
        ]),
        OwnSchema::Mysql => begins(&[
            "event",
            "plugin",
            "servers",
            "general_log",
            "slow_log",
            "gtid_",
            "slave_",
            "innodb_",
            "ro_replica_status",
            "rds_",
            "aurora_",
            "replication_",
        ]),
    }
}

/// True for a table, in lower case, that lists the session's variables.
pub(super) fn lists_variables(table: &[u8]) -> bool {
    matches!(
        table,
        b"session_variables" | b"system_variables" | b"variables_by_thread"
    )
}

/// True for a name that only a provider's own status table has, with or without schema.
pub(super) fn is_own_table(table: &[u8]) -> bool {
    matches!(
        table,
        b"replica_host_status"
            | b"ro_replica_status"
            | b"aurora_global_db_status"
            | b"aurora_global_db_instance_status"
            | b"innodb_trx"
    )
}
