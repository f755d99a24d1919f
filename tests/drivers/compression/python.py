"""Python's drivers with compression: mysqlclient (libmariadb) and mysql-connector-python (its own)."""

import json
import os
import sys

host, port = os.environ["DB_HOST"], int(os.environ["DB_PORT"])
login = {name: os.environ["DB_" + name.upper()] for name in ("user", "password")}
schema = os.environ["DB_SCHEMA"]
driver = sys.argv[1]
if driver == "mysqlclient":
    import MySQLdb

    db = MySQLdb.connect(host=host, port=port, database=schema, compress=True, local_infile=1, **login)
    error_class = MySQLdb.Error
else:
    import mysql.connector

    db = mysql.connector.connect(
        host=host, port=port, database=schema, compress=True, use_pure=True, allow_local_infile=True,
        ssl_disabled=driver == "connector without TLS", **login
    )
    error_class = mysql.connector.Error


def say(*what):
    print(json.dumps(what), flush=True)


def rows(sql, values=None):
    cursor = db.cursor()
    cursor.execute(sql, values)
    fetched = cursor.fetchall()
    cursor.close()
    return fetched


def run(sql, values=None):
    cursor = db.cursor()
    cursor.execute(sql, values)
    cursor.close()


run("CREATE TABLE python_lines (id INT PRIMARY KEY, text VARCHAR(2000))")
run("LOAD DATA LOCAL INFILE 'lines.tsv' INTO TABLE python_lines")
fetched = rows("SELECT * FROM python_lines WHERE id < 9000 ORDER BY id")
say(len(fetched), fetched[8999])
if driver != "mysqlclient":
    cursor = db.cursor(prepared=True)
    for number in (1, 500, 49999):
        cursor.execute("SELECT id, text FROM python_lines WHERE id = %s", (number,))
        say(cursor.fetchall())
    cursor.close()
for length in (100, 40_000, 100_000, 500_000):
    say([len(text) for (text,) in rows(f"SELECT REPEAT(text, {length}) FROM python_lines WHERE id < 10")])
say(rows("SELECT LENGTH(%s)", ("x" * (17 << 20),)))
say(len(rows("SELECT REPEAT('z', 17825792)")[0][0]))
try:
    rows("SELECT missing FROM python_lines")
except error_class as error:
    say(str(error.args))
run("UPDATE python_lines SET text = REPEAT('y', 2000) WHERE id < 100")
say(rows("SELECT COUNT(*) FROM python_lines WHERE text LIKE 'yy%'"))
db.rollback()
say(rows("SELECT MAX(text) FROM python_lines WHERE id < 100"))
