# PyMySQL, one thing for each line of the input: how each is written, ../README.md

import os
import sys

import pymysql
from pymysql.constants import CLIENT


def connect(autocommit, tls):
    return pymysql.connect(
        host=os.environ["DB_HOST"],
        port=int(os.environ["DB_PORT"]),
        user=os.environ["DB_USER"],
        password=os.environ["DB_PASSWORD"],
        database=os.environ["DB_SCHEMA"],
        autocommit=autocommit,
        client_flag=CLIENT.MULTI_STATEMENTS,
        ssl={"check_hostname": False} if tls else None,
    )


connection = None
for line in sys.stdin:
    what = line.strip()
    if what.startswith("connect"):
        if connection:
            connection.close()
        # Without being told otherwise, PyMySQL switches autocommit off.
        connection = connect(what != "connect, autocommit off", what == "connect with TLS")
    elif what == "disconnect":
        connection.close()
        connection = None
    elif what == "begin":
        connection.begin()
    elif what == "commit":
        connection.commit()
    elif what == "rollback":
        connection.rollback()
    elif what == "ping":
        connection.ping(reconnect=False)
    else:
        with connection.cursor() as cursor:
            cursor.execute(what)
            cursor.fetchall()
            while cursor.nextset():
                cursor.fetchall()
    print("done", flush=True)
