"""SQLAlchemy with its ORM: `sqlalchemy_orm.py pymysql`, `… mysqldb`, `… mysqlconnector`.
What is printed and how it is told where to connect to: ../README.md"""

import datetime
import decimal
import json
import os
import sys

import sqlalchemy as sa
from sqlalchemy import exc, orm
from sqlalchemy.dialects import mysql

URL = sa.URL.create(
    f"{os.environ['DB_FLAVOR']}+{sys.argv[1]}",
    os.environ["DB_USER"], os.environ["DB_PASSWORD"], os.environ["DB_HOST"], int(os.environ["DB_PORT"]),
    os.environ["DB_SCHEMA"], {"charset": "utf8mb4"},
)
ENGINE = sa.create_engine(URL, pool_size=2, max_overflow=0, pool_pre_ping=True)


class Base(orm.DeclarativeBase):
    pass


class Owner(Base):
    __tablename__ = "owners"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    cats: orm.Mapped[list["Cat"]] = orm.relationship(
        back_populates="owner", cascade="all, delete-orphan", order_by="Cat.id"
    )


class Cat(Base):
    __tablename__ = "cats"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    owner_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("owners.id"), index=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50))
    owner: orm.Mapped[Owner] = orm.relationship(back_populates="cats")


class Typed(Base):
    __tablename__ = "types"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    big: orm.Mapped[int] = orm.mapped_column(mysql.BIGINT(unsigned=True))
    exact: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(30, 10))
    approximate: orm.Mapped[float] = orm.mapped_column(sa.Double)
    truth: orm.Mapped[bool]
    day: orm.Mapped[datetime.date]
    at: orm.Mapped[datetime.datetime] = orm.mapped_column(mysql.DATETIME(fsp=6))
    took: orm.Mapped[datetime.time]
    text: orm.Mapped[str] = orm.mapped_column(sa.Text)
    data: orm.Mapped[bytes] = orm.mapped_column(sa.LargeBinary(100_000))
    choice: orm.Mapped[str] = orm.mapped_column(sa.Enum("one", "two"))
    document: orm.Mapped[dict] = orm.mapped_column(sa.JSON)
    nothing: orm.Mapped[int | None]


def report(check, saw):
    print(json.dumps({"check": check, "saw": saw}, default=str), flush=True)


def error(action):
    try:
        action()
    except exc.DBAPIError as error:
        return [type(error).__name__, str(error.orig)]
    raise AssertionError("an error was expected")


def connects():
    with ENGINE.connect() as connection:
        version = connection.scalar(sa.text("SELECT VERSION()"))
        report("connect", [version, connection.get_isolation_level(), ENGINE.dialect.server_version_info])
    with ENGINE.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        assert connection.get_isolation_level() == "SERIALIZABLE"


def connects_with_tls():
    tls = {
        "pymysql": {"ssl": {"ca": os.environ["DB_CA"]}},
        "mysqldb": {"ssl": {"ca": os.environ["DB_CA"]}, "ssl_mode": "VERIFY_IDENTITY"},
        "mysqlconnector": {"ssl_ca": os.environ["DB_CA"], "ssl_verify_cert": True},
    }[sys.argv[1]]
    engine = sa.create_engine(URL, connect_args=tls)
    with engine.connect() as connection:
        report("connect with TLS", connection.scalar(sa.select(sa.literal("text"))))
    engine.dispose()


def migrations():
    Base.metadata.create_all(ENGINE)
    Base.metadata.create_all(ENGINE)
    with ENGINE.begin() as connection:
        connection.execute(sa.text("ALTER TABLE cats ADD COLUMN lives INT NOT NULL DEFAULT 9"))
        sa.Index("names", Cat.name).create(connection)
    inspector = sa.inspect(ENGINE)
    columns = {table: [column["name"] for column in inspector.get_columns(table)] for table in inspector.get_table_names()}
    report("migrations", [columns, inspector.get_foreign_keys("cats"), inspector.get_indexes("cats")])


def types():
    values = {
        "big": 2**64 - 1, "exact": decimal.Decimal("-12345678901234567890.0123456789"), "approximate": -2.5e300,
        "truth": True, "day": datetime.date(1000, 1, 1), "at": datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
        "took": datetime.time(13, 14, 15), "text": "naïve 海峡 🌉 'q' \"d\" \\ \n % :a", "choice": "two",
        "data": bytes(range(256)), "document": {"a": [1, None, "海峡"]}, "nothing": None,
    }
    with orm.Session(ENGINE) as session:
        session.add(Typed(id=1, **values))
        session.commit()
        row = session.get(Typed, 1)
        back = {name: getattr(row, name) for name in values}
    assert back == values, back
    back["data"] = len(back["data"])
    report("types", back)


def transactions():
    saw = []
    with orm.Session(ENGINE) as session:
        session.add(Owner(name="Ada", cats=[Cat(name="Mia"), Cat(name="Tom")]))
        session.flush()
        session.rollback()
        saw.append(session.scalar(sa.select(sa.func.count()).select_from(Owner)))
        ada = Owner(name="Ada", cats=[Cat(name="Mia")])
        session.add(ada)
        session.flush()
        with session.begin_nested() as savepoint:
            session.add(Owner(name="Grace"))
            session.flush()
            savepoint.rollback()
        try:
            with session.begin_nested():
                session.add(Owner(name="Ada"))
        except exc.IntegrityError as duplicate:
            saw.append(str(duplicate.orig))
        ada.cats.append(Cat(name="Leo"))
        session.commit()
        saw.append([[owner.name, [cat.name for cat in owner.cats]] for owner in session.scalars(sa.select(Owner))])
        locked = session.scalars(sa.select(Cat).where(Cat.name == "Leo").with_for_update()).one()
        locked.name = "Leon"
        session.commit()
        session.delete(ada.cats[0])
        session.commit()
        statement = sa.select(Cat.name, Owner.name).join(Owner).order_by(Cat.id)
        saw.append([list(row) for row in session.execute(statement)])
    assert saw[0] == 0 and saw[2:] == [[["Ada", ["Mia", "Leo"]]], [["Leon", "Ada"]]], saw
    report("transactions", saw)


def bulk_insert():
    with orm.Session(ENGINE) as session:
        session.execute(sa.insert(Owner), [{"name": f"owner {number}"} for number in range(3000)])
        session.add_all([Owner(name=f"other {number}", cats=[Cat(name="cat")]) for number in range(200)])
        session.commit()
        updated = session.execute(sa.update(Owner).where(Owner.name.like("owner 1%")).values(name=Owner.name + "!"))
        session.commit()
        counted = session.scalar(sa.select(sa.func.count()).where(Owner.name.like("%!")))
        upsert = mysql.insert(Owner).values(id=1_000_000, name="other 1")
        session.execute(upsert.on_duplicate_key_update(name="other one"))
        session.commit()
        names = session.scalars(sa.select(Owner.name).where(Owner.name.like("other o%"))).all()
    report("bulk insert", [updated.rowcount, counted, names])
    assert updated.rowcount == counted == 1111


def errors():
    def execute(statement):
        with ENGINE.begin() as connection:
            connection.execute(sa.text(statement))

    statements = (
        "SELEKT 1", "SELECT * FROM missing", "INSERT INTO owners (id, name) VALUES (1000001, 'other 2')",
        "INSERT INTO cats (owner_id, name) VALUES (-1, 'Tom')", "INSERT INTO owners (name) VALUES (NULL)",
    )
    report("errors", [error(lambda: execute(statement)) for statement in statements])
    wrong = sa.create_engine(URL.set(password="wrong"))
    assert "1045" in error(wrong.connect)[1]


def big_results():
    count = total = 0
    with ENGINE.connect().execution_options(yield_per=500) as connection:
        numbers = sa.select(Owner.id, Owner.name, sa.func.repeat("x", 3000)).order_by(Owner.id)
        for id, name, text in connection.execute(numbers):
            assert len(text) == 3000
            count, total = count + 1, total + len(name)
    report("big results", [count, total])
    assert count == 3201, count


for check in (
    connects, connects_with_tls, migrations, types, transactions, bulk_insert, errors, big_results,
):
    check()
