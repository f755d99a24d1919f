"""PyMySQL. What is printed and how it is told where to connect to: ../README.md"""

import datetime
import decimal
import hashlib
import json
import os
import tempfile

import pymysql

SCHEMA = os.environ["DB_SCHEMA"]


def connect(**options):
    return pymysql.connect(
        host=os.environ["DB_HOST"],
        port=int(os.environ["DB_PORT"]),
        user=os.environ["DB_USER"],
        **{
            "password": os.environ["DB_PASSWORD"],
            "database": SCHEMA,
            "charset": "utf8mb4",
            "autocommit": True,
            **options,
        },
    )


def query(connection, statement, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def error(action):
    try:
        action()
    except pymysql.MySQLError as error:
        return [type(error).__name__, *error.args]
    raise AssertionError("an error was expected")


def report(check, saw):
    print(json.dumps({"check": check, "saw": saw}, default=str), flush=True)


def connects():
    connection = connect(ssl_disabled=True)
    assert connection.thread_id() == query(connection, "SELECT CONNECTION_ID()")[0][0]
    connection.ping(reconnect=False)
    report("connect", [query(connection, "SELECT 1, 'text'"), connection.get_server_info()])
    connection.close()


def connects_with_tls():
    connection = connect(ssl={"ca": os.environ["DB_CA"]})
    # From here on it is a TLS socket, with the certificate and the name verified.
    version = connection._sock.version()
    assert version in ("TLSv1.2", "TLSv1.3"), version
    big = "x" * 300_000
    report("connect with TLS", query(connection, "SELECT SHA2(%s, 256)", (big,)))
    connection.close()


def types():
    connection = connect()
    query(
        connection,
        """CREATE TABLE types (
            id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED, exact DECIMAL(30,10), approximate DOUBLE,
            bits BIT(12), day DATE, at DATETIME(6), took TIME(6), year YEAR, text VARCHAR(200), fixed CHAR(5),
            bytes VARBINARY(300), long_text MEDIUMTEXT, long_bytes LONGBLOB, choice ENUM('one', 'two'),
            choices SET('a', 'b'), document JSON, nothing INT
        ) CHARACTER SET utf8mb4""",
    )
    row = (
        1, -128, 2**64 - 1, decimal.Decimal("-12345678901234567890.0123456789"), -2.5e300,
        b"\x0a\xbc", datetime.date(1000, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
        datetime.timedelta(hours=800, seconds=1, microseconds=1), 2155, "naïve 海峡 🌉 'q' \"d\" \\ \n \x00 %", "abc",
        bytes(range(256)), "long" * 50_000, b"\x00\xff" * 100_000, "two", "a,b", '{"a": [1, null]}', None,
    )
    query(connection, f"INSERT INTO types VALUES ({', '.join(['%s'] * len(row))})", row)
    back = query(connection, "SELECT * FROM types")[0]
    assert json.loads(back[17]) == {"a": [1, None]}, back[17]
    for number, (got, put) in enumerate(zip(back, row, strict=True)):
        assert number == 17 or got == put, (number, got, put)
    report("types", hashlib.sha256(repr(back).encode()).hexdigest())
    connection.close()


def transactions():
    connection, other = connect(autocommit=False), connect()
    query(other, "CREATE TABLE transactions (id INT PRIMARY KEY)")
    saw = []

    def look():
        saw.append(
            [query(viewer, "SELECT id FROM transactions ORDER BY id FOR UPDATE NOWAIT"
                   if viewer is connection else "/* isthmus:writer */ SELECT id FROM transactions ORDER BY id")
             for viewer in (connection, other)]
        )

    query(connection, "INSERT INTO transactions VALUES (1)")
    look()
    connection.rollback()
    look()
    connection.begin()
    query(connection, "INSERT INTO transactions VALUES (2)")
    query(connection, "SAVEPOINT here")
    query(connection, "INSERT INTO transactions VALUES (3)")
    query(connection, "ROLLBACK TO SAVEPOINT here")
    connection.commit()
    look()
    assert saw[0] == [((1,),), ()] and saw[1] == [(), ()] and saw[2] == [((2,),), ((2,),)], saw
    report("transactions", saw)
    connection.close()
    other.close()


def errors():
    connection = connect()
    query(connection, "CREATE TABLE errors (id INT PRIMARY KEY)")
    query(connection, "INSERT INTO errors VALUES (1)")
    saw = [
        error(lambda: query(connection, statement))
        for statement in (
            "SELEKT 1", "SELECT * FROM missing", "SELECT missing FROM errors", "INSERT INTO errors VALUES (1)",
            "USE missing_schema", "CALL missing()", "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'",
        )
    ]
    codes = [code for _, code, _ in saw]
    assert codes == [1064, 1146, 1054, 1062, 1049, 1305, 1644], codes
    assert query(connection, "SELECT id FROM errors") == ((1,),)
    assert error(lambda: connect(password="wrong"))[1] == 1045
    assert error(lambda: connect(database="missing_schema"))[1] == 1049
    report("errors", saw)
    connection.close()


def big_result():
    connection = connect(cursorclass=pymysql.cursors.SSCursor)
    numbers = "(SELECT 0 d UNION ALL " + " UNION ALL ".join(f"SELECT {digit}" for digit in range(1, 10)) + ")"
    digits = ", ".join(f"{numbers} AS d{place}" for place in range(4))
    count, length, digest = 0, 0, 0
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT d0.d + 10 * d1.d + 100 * d2.d + 1000 * d3.d, REPEAT('x', 3000) FROM {digits}")
        while row := cursor.fetchone():
            assert row[1] == "x" * 3000
            count, length, digest = count + 1, length + len(row[1]), digest + row[0]
    report("big results", [count, length, digest])
    assert (count, digest) == (10_000, 49_995_000)
    connection.close()


def big_packets():
    connection = connect(max_allowed_packet=64 * 1024 * 1024)
    query(connection, "CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)")
    data = bytes(range(256)) * (17 * 1024 * 1024 // 256)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO packets VALUES (1, _binary %s)", (data,))
    back = query(connection, "SELECT data, LENGTH(data) FROM packets")[0]
    assert back[0] == data
    report("big packets", [back[1], hashlib.sha256(back[0]).hexdigest()])
    connection.close()


def several_results():
    connection = connect(client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS)
    saw = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1; SET @a = 2; SELECT @a, 3")
        saw.append(cursor.fetchall())
        while cursor.nextset():
            saw.append(cursor.fetchall())
        cursor.execute("CREATE PROCEDURE several() BEGIN SELECT 4; SELECT 5, 6; END")
        cursor.callproc("several")
        saw.append(cursor.fetchall())
        while cursor.nextset():
            saw.append(cursor.fetchall())
    # Without the option a client must not send several.
    assert error(lambda: query(connect(), "SELECT 1; SELECT 2"))[1] == 1064
    report("several results", saw)
    connection.close()


def local_file():
    connection = connect(local_infile=True)
    query(connection, "CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))")
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.writelines(f"{number},text {number}\n" for number in range(50_000))
        file.flush()
        with connection.cursor() as cursor:
            loaded = cursor.execute(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE files FIELDS TERMINATED BY ','")
    report("local files", [loaded, query(connection, "SELECT COUNT(*), MAX(id), MAX(text) FROM files")])
    assert loaded == 50_000
    connection.close()


for check in (
    connects, connects_with_tls, types, transactions, errors, big_result, big_packets, several_results, local_file,
):
    check()
