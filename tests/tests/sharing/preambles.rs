//! What drivers and frameworks say when they connect.

/// What clients send when they connect, as seen on the wire.
pub(crate) const PREAMBLES: [(&str, &[&str]); 12] = [
    (
        "Rails (mysql2)",
        &[
            "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci,  @@SESSION.sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'),  @@SESSION.sql_auto_is_null = 0, @@SESSION.wait_timeout = 2147483",
        ],
    ),
    (
        "Rails without an encoding",
        &[
            "SET  @@SESSION.sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'),  @@SESSION.sql_auto_is_null = 0, @@SESSION.wait_timeout = 2147483",
        ],
    ),
    (
        "Django (mysqlclient)",
        &[
            "SET NAMES utf8mb4",
            "SET SESSION sql_mode = 'STRICT_TRANS_TABLES'",
            "SELECT VERSION(),\n       @@sql_mode,\n       @@default_storage_engine,\n       @@sql_auto_is_null,\n       @@lower_case_table_names,\n       CONVERT_TZ('2001-01-01 01:00:00', 'UTC', 'UTC') IS NOT NULL",
            "SET SQL_AUTO_IS_NULL = 0",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "set autocommit=1",
        ],
    ),
    (
        "SQLAlchemy (PyMySQL)",
        &[
            "SET NAMES utf8mb4",
            "SET AUTOCOMMIT = 0",
            "SELECT @@transaction_isolation",
            "SELECT @@sql_mode",
            "SELECT @@lower_case_table_names",
            "ROLLBACK",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
            "COMMIT",
        ],
    ),
    (
        "Go (go-sql-driver)",
        &[
            "SELECT @@max_allowed_packet",
            "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
            "SET time_zone='%2B00%3A00'",
            "SET time_zone = '+00:00', sql_mode = 'TRADITIONAL', tx_isolation = 'READ-COMMITTED'",
            "SET time_zone = '+00:00', sql_mode = 'TRADITIONAL'",
        ],
    ),
    (
        "Node (mysql2, Sequelize)",
        &["SET time_zone = '+09:00'", "SET NAMES latin1"],
    ),
    (
        "Node (mysql2, TypeORM)",
        &[
            "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
            "SET SESSION group_concat_max_len = 65535",
        ],
    ),
    (
        "Connector/J",
        &[
            "/* mysql-connector-j-8.4.0 (Revision: 1c3f5c149e0bfe31c7fbeb24e2d260cd890972c4) */SELECT  @@session.auto_increment_increment AS auto_increment_increment, @@character_set_client AS character_set_client, @@character_set_connection AS character_set_connection, @@character_set_results AS character_set_results, @@character_set_server AS character_set_server, @@collation_server AS collation_server, @@collation_connection AS collation_connection, @@init_connect AS init_connect, @@interactive_timeout AS interactive_timeout, @@license AS license, @@lower_case_table_names AS lower_case_table_names, @@max_allowed_packet AS max_allowed_packet, @@net_write_timeout AS net_write_timeout, @@performance_schema AS performance_schema, @@sql_mode AS sql_mode, @@system_time_zone AS system_time_zone, @@time_zone AS time_zone, @@transaction_isolation AS transaction_isolation, @@wait_timeout AS wait_timeout",
            "SET character_set_results = NULL",
            "SET autocommit=1",
            "SET sql_mode='NO_ENGINE_SUBSTITUTION,STRICT_TRANS_TABLES'",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        ],
    ),
    (
        "Laravel (PDO)",
        &[
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;",
            "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_unicode_ci', time_zone='+00:00', SESSION sql_mode='ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION';",
        ],
    ),
    (
        "Laravel (PDO), until 10",
        &[
            "use `information_schema`;",
            "set names 'utf8mb4' collate 'utf8mb4_unicode_ci'",
            "set time_zone=\"+00:00\"",
            "set session sql_mode='ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
        ],
    ),
    (
        "MariaDB Connector/J",
        &[
            "set autocommit=1,sql_mode=CONCAT(@@sql_mode,',STRICT_TRANS_TABLES'),session_track_system_variables = CONCAT(@@global.session_track_system_variables,',tx_read_only'),NAMES utf8mb4",
            "set autocommit=1, sql_mode=concat(@@sql_mode,',STRICT_TRANS_TABLES'), session_track_schema=1",
            "SELECT @@max_allowed_packet,@@system_time_zone,@@time_zone,@@auto_increment_increment",
        ],
    ),
    ("nobody in particular", &[]),
];
