"""The drivers with Python's DB-API: `dbapi.py pymysql`, `… mysqlclient`, `… mysql.connector`.
What is printed and how it is told where to connect to: ../README.md"""

import datetime
import decimal
import hashlib
import json
import os
import sys
import tempfile
import threading

import MySQLdb
import MySQLdb.constants.CLIENT
import MySQLdb.cursors
import mysql.connector
import pymysql

CA, SCHEMA = os.environ["DB_CA"], os.environ["DB_SCHEMA"]


class PyMySQL:
    """Pure Python."""

    module = pymysql
    plain, tls = {"ssl_disabled": True}, {"ssl": {"ca": CA}}
    local_files = {"local_infile": True}
    several = {"client_flag": pymysql.constants.CLIENT.MULTI_STATEMENTS}
    big = {"max_allowed_packet": 64 * 1024 * 1024}

    def thread(self, connection):
        return connection.thread_id()

    def stream(self, connection):
        return connection.cursor(self.module.cursors.SSCursor)

    def parts(self, error):
        return [type(error).__name__, *error.args]


class Mysqlclient(PyMySQL):
    """Over the C library, here MariaDB's."""

    module = MySQLdb
    plain, tls = {}, {"ssl": {"ca": CA}, "ssl_mode": "VERIFY_IDENTITY"}
    several = {"client_flag": MySQLdb.constants.CLIENT.MULTI_STATEMENTS}
    big = {}


class Connector:
    """MySQL's own, the part in Python."""

    module = mysql.connector
    plain, tls = {"ssl_disabled": True}, {"ssl_ca": CA, "ssl_verify_cert": True, "ssl_verify_identity": True}
    local_files = {"allow_local_infile": True}
    several = big = {}
    always = {"use_pure": True, "raise_on_warnings": False}

    def thread(self, connection):
        return connection.connection_id

    def stream(self, connection):
        return connection.cursor(buffered=False)

    def parts(self, error):
        return [type(error).__name__, error.errno, error.msg, error.sqlstate]


class ConnectorInC(Connector):
    """MySQL's own, the part in C."""

    always = {"use_pure": False}


DRIVER = {
    "pymysql": PyMySQL, "mysqlclient": Mysqlclient, "mysql.connector": Connector, "_mysql_connector": ConnectorInC,
}[sys.argv[1]]()


def connect(**options):
    return DRIVER.module.connect(
        **{
            "host": os.environ["DB_HOST"],
            "port": int(os.environ["DB_PORT"]),
            "user": os.environ["DB_USER"],
            "password": os.environ["DB_PASSWORD"],
            "database": SCHEMA,
            "charset": "utf8mb4",
            "autocommit": True,
            **getattr(DRIVER, "always", {}),
            **options,
        },
    )


def query(connection, statement, parameters=None):
    cursor = connection.cursor()
    cursor.execute(statement, parameters)
    rows = [list(row) for row in cursor.fetchall()] if cursor.description else cursor.rowcount
    cursor.close()
    return rows


def error(action):
    try:
        action()
    except DRIVER.module.Error as error:
        return DRIVER.parts(error)
    raise AssertionError("an error was expected")


def report(check, saw):
    print(json.dumps({"check": check, "saw": saw}, default=str), flush=True)


def connects():
    # MySQL's drivers send a password that the server has not seen yet over TLS alone.
    connect().close()
    connection = connect(**DRIVER.plain)
    assert DRIVER.thread(connection) == query(connection, "SELECT CONNECTION_ID()")[0][0]
    connection.ping(False)
    report("connect", [query(connection, "SELECT 1, 'text'"), query(connection, "SELECT VERSION()")])
    connection.close()


def connects_with_tls():
    connection = connect(**DRIVER.tls)
    big = "x" * 300_000
    report("connect with TLS", query(connection, "SELECT SHA2(%s, 256)", (big,)))
    connection.close()


def migrations():
    connection = connect()
    for statement in (
        "CREATE TABLE owners (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE)",
        "CREATE TABLE cats (id INT AUTO_INCREMENT PRIMARY KEY, owner INT NOT NULL, lives INT DEFAULT 9,"
        " FOREIGN KEY (owner) REFERENCES owners (id))",
        "ALTER TABLE cats ADD COLUMN name VARCHAR(50) COLLATE utf8mb4_bin, ADD INDEX names (name)",
        "ALTER TABLE cats RENAME COLUMN lives TO lives_left",
        "CREATE VIEW cats_of_owners AS SELECT o.name AS owner, c.name FROM cats c JOIN owners o ON o.id = c.owner",
        "CREATE TABLE gone (id INT)",
        "DROP TABLE gone",
    ):
        query(connection, statement)
    saw = [query(connection, f"SHOW {what}") for what in ("TABLES", "COLUMNS FROM cats", "CREATE TABLE cats")]
    saw.append(query(connection, "SELECT table_name, column_name FROM information_schema.columns"
                                 " WHERE table_schema = %s ORDER BY 1, ordinal_position", (SCHEMA,)))
    report("migrations", saw)
    connection.close()


def types():
    connection = connect()
    query(
        connection,
        """CREATE TABLE types (
            id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED, exact DECIMAL(30,10), approximate DOUBLE,
            day DATE, at DATETIME(6), took TIME(6), year YEAR, text VARCHAR(200), fixed CHAR(5), bytes VARBINARY(300),
            long_text MEDIUMTEXT, long_bytes LONGBLOB, choice ENUM('one', 'two'), document JSON, nothing INT,
            choices SET('a', 'b'), bits BIT(12)
        )""",
    )
    row = [
        1, -128, 2**64 - 1, decimal.Decimal("-12345678901234567890.0123456789"), -2.5e300,
        datetime.date(1000, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
        datetime.timedelta(hours=800, seconds=1), 2155, "naïve 海峡 🌉 'q' \"d\" \\ \n \x00 %", "abc",
        bytes(range(256)), "long" * 50_000, b"\x00\xff" * 100_000, "two", '{"a": [1, null]}', None, "a,b", b"\x0a\xbc",
    ]
    marks = ", ".join(["%s"] * len(row))
    assert query(connection, f"INSERT INTO types VALUES ({marks})", row) == 1
    back = query(connection, "SELECT * FROM types")[0]
    assert json.loads(back[15]) == {"a": [1, None]}, back[15]
    for got, put in zip(back[:15], row[:15], strict=True):
        assert got == put, (got, put)
    report("types", [back[18], sorted(back[17]), hashlib.sha256(repr(back[:17]).encode()).hexdigest()])
    connection.close()


def prepared_statements():
    connection = connect()
    query(connection, "CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50))")
    saw = []
    with connection.cursor(prepared=True) as cursor:
        for number in range(1, 21):
            cursor.execute("INSERT INTO prepared (text) VALUES (%s)", (f"text {number}",))
            assert (cursor.lastrowid, cursor.rowcount) == (number, 1), (cursor.lastrowid, cursor.rowcount)
        for between in ((1, 3), (5, 5), (19, 100)):
            cursor.execute("SELECT id, text FROM prepared WHERE id >= %s AND id < %s ORDER BY id", between)
            saw.append([cursor.column_names, cursor.fetchall()])
        values = [-1, decimal.Decimal("1.50"), 0.25, "海峡", datetime.datetime(2026, 1, 2, 3, 4, 5, 6), None]
        cursor.execute("CREATE TABLE typed (i INT, d DECIMAL(5,2), f DOUBLE, t TEXT, at DATETIME(6), n INT)")
        cursor.execute("INSERT INTO typed VALUES (%s, %s, %s, %s, %s, %s)", values)
        cursor.execute("SELECT * FROM typed")
        assert list(cursor.fetchone()) == values
        saw.append(error(lambda: cursor.execute("SELECT * FROM missing WHERE id = %s", (1,))))
    report("prepared statements", saw)
    connection.close()


def transactions():
    connection, other = connect(autocommit=False), connect()
    query(connection, "CREATE TABLE transactions (id INT PRIMARY KEY)")
    saw = []

    def look():
        mine = query(connection, "SELECT id FROM transactions ORDER BY id FOR UPDATE NOWAIT")
        saw.append([mine, query(other, "/* isthmus:writer */ SELECT id FROM transactions ORDER BY id")])

    query(connection, "INSERT INTO transactions VALUES (1)")
    look()
    connection.rollback()
    look()
    query(connection, "INSERT INTO transactions VALUES (2)")
    query(connection, "SAVEPOINT here")
    query(connection, "INSERT INTO transactions VALUES (3)")
    query(connection, "ROLLBACK TO SAVEPOINT here")
    connection.commit()
    look()
    assert saw == [[[[1]], []], [[], []], [[[2]], [[2]]]], saw
    report("transactions", saw)
    connection.close()
    other.close()


def bulk_insert():
    connection = connect(autocommit=False)
    query(connection, "CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)")
    cursor = connection.cursor()
    rows = [(f"text {number}", number) for number in range(5_000)]
    cursor.executemany("INSERT INTO bulk (text, number) VALUES (%s, %s)", rows)
    inserted = cursor.rowcount
    connection.commit()
    report("bulk insert", [inserted, query(connection, "SELECT COUNT(*), SUM(number), MAX(id) FROM bulk")])
    assert inserted == 5_000
    connection.close()


def deadlock():
    """What each of two connections gets that wait for each other."""
    first, second = connections = [connect(autocommit=False) for _ in range(2)]
    query(first, "CREATE TABLE deadlock (id INT PRIMARY KEY, n INT)")
    query(first, "INSERT INTO deadlock VALUES (1, 0), (2, 0)")
    first.commit()
    outcome = []

    def update(connection, row):
        try:
            query(connection, "UPDATE deadlock SET n = n + 1 WHERE id = %s", (row,))
            outcome.append("updated")
        except DRIVER.module.Error as error:
            outcome.append(DRIVER.parts(error))
        connection.rollback()

    query(first, "UPDATE deadlock SET n = n + 1 WHERE id = 1")
    query(second, "UPDATE deadlock SET n = n + 1 WHERE id = 2")
    threads = [threading.Thread(target=update, args=(connection, row)) for connection, row in ((first, 2), (second, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    return sorted(outcome, key=str)


def errors():
    connection, other = connect(), connect(autocommit=False)
    query(connection, "CREATE TABLE errors (id INT PRIMARY KEY)")
    query(connection, "CREATE TABLE parts (id INT NOT NULL, CONSTRAINT part FOREIGN KEY (id) REFERENCES errors (id))")
    query(connection, "INSERT INTO errors VALUES (1)")
    query(other, "INSERT INTO errors VALUES (2)")
    saw = [
        error(lambda: query(connection, statement))
        for statement in (
            "SELEKT 1", "SELECT * FROM missing", "SELECT missing FROM errors", "INSERT INTO errors VALUES (1)",
            "USE missing_schema", "CALL missing()", "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'",
            "INSERT INTO parts VALUES (3)", "INSERT INTO parts VALUES (NULL)",
            "SELECT * FROM errors WHERE id = 2 FOR UPDATE NOWAIT",
        )
    ]
    other.close()
    codes = [code for _, code, *_ in saw]
    assert codes[:9] == [1064, 1146, 1054, 1062, 1049, 1305, 1644, 1452, 1048], codes
    assert codes[9] in (3572, 1205), codes
    assert query(connection, "SELECT id FROM errors") == [[1]]
    saw.append(deadlock())
    assert saw[-1][0][1] == 1213, saw[-1]
    assert error(lambda: connect(password="wrong"))[1] == 1045
    assert error(lambda: connect(database="missing_schema"))[1] == 1049
    report("errors", saw)
    connection.close()


def big_results():
    connection = connect()
    numbers = "(SELECT 0 d UNION ALL " + " UNION ALL ".join(f"SELECT {digit}" for digit in range(1, 10)) + ")"
    digits = ", ".join(f"{numbers} AS d{place}" for place in range(4))
    count, length, digest = 0, 0, 0
    cursor = DRIVER.stream(connection)
    cursor.execute(f"SELECT d0.d + 10 * d1.d + 100 * d2.d + 1000 * d3.d, REPEAT('x', 3000) FROM {digits}")
    while row := cursor.fetchone():
        assert row[1] == "x" * 3000
        count, length, digest = count + 1, length + len(row[1]), digest + row[0]
    cursor.close()
    report("big results", [count, length, digest])
    assert (count, digest) == (10_000, 49_995_000)
    connection.close()


def big_packets():
    connection = connect(**DRIVER.big)
    query(connection, "CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)")
    data = bytes(range(256)) * (17 * 1024 * 1024 // 256)
    query(connection, "INSERT INTO packets VALUES (1, _binary %s)", (data,))
    back = query(connection, "SELECT data, LENGTH(data) FROM packets")[0]
    assert back[0] == data
    report("big packets", [back[1], hashlib.sha256(back[0]).hexdigest()])
    connection.close()


def several_results():
    connection = connect(**DRIVER.several)
    saw = []

    def collect(cursor):
        saw.append(cursor.fetchall() if cursor.description else cursor.rowcount)
        while cursor.nextset():
            saw.append(cursor.fetchall() if cursor.description else cursor.rowcount)

    cursor = connection.cursor()
    cursor.execute("SELECT 1; SET @a = 2; SELECT @a, 3")
    collect(cursor)
    cursor.execute("CREATE PROCEDURE several() BEGIN SELECT 4; SELECT 5, 6; END")
    cursor.execute("CALL several()")
    collect(cursor)
    report("several results", saw)
    connection.close()


def local_files():
    connection = connect(**DRIVER.local_files)
    query(connection, "CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))")
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.writelines(f"{number},text {number}\n" for number in range(50_000))
        file.flush()
        loaded = query(connection, f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE files FIELDS TERMINATED BY ','")
    report("local files", [loaded, query(connection, "SELECT COUNT(*), MAX(id), MAX(text) FROM files")])
    assert loaded == 50_000
    connection.close()


checks = [
    connects, connects_with_tls, migrations, types, transactions, bulk_insert, errors, big_results, big_packets,
    several_results, local_files,
]
if isinstance(DRIVER, Connector):
    checks.append(prepared_statements)
for check in checks:
    check()
