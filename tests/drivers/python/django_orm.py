"""Django's ORM, over mysqlclient. What is printed and how it is told where to connect to: ../README.md"""

import datetime
import decimal
import json
import os
import sys
import uuid

import django
from django.apps import AppConfig
from django.conf import settings


class Cats(AppConfig):
    """The application, which is this file."""

    name = label = "cats"
    path = os.path.dirname(__file__)


DATABASE = {
    "ENGINE": "django.db.backends.mysql",
    "HOST": os.environ["DB_HOST"],
    "PORT": os.environ["DB_PORT"],
    "USER": os.environ["DB_USER"],
    "PASSWORD": os.environ["DB_PASSWORD"],
    "NAME": os.environ["DB_SCHEMA"],
    "OPTIONS": {"charset": "utf8mb4", "isolation_level": "repeatable read"},
    "CONN_MAX_AGE": None,
}
TLS = {"ssl": {"ca": os.environ["DB_CA"]}, "ssl_mode": "VERIFY_IDENTITY"}
settings.configure(
    DATABASES={"default": DATABASE, "tls": {**DATABASE, "OPTIONS": TLS}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", Cats("cats", sys.modules[__name__])],
    MIGRATION_MODULES={"cats": None},
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, connection, connections, models, transaction  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402
from django.db.models import Count, Sum, Value  # noqa: E402
from django.db.models.functions import Concat  # noqa: E402


class Owner(models.Model):
    name = models.CharField(max_length=50, unique=True)

    class Meta:
        app_label = "cats"


class Cat(models.Model):
    owner = models.ForeignKey(Owner, models.CASCADE)
    name = models.CharField(max_length=50, db_index=True)

    class Meta:
        app_label = "cats"


class Typed(models.Model):
    big = models.PositiveBigIntegerField()
    exact = models.DecimalField(max_digits=30, decimal_places=10)
    approximate = models.FloatField()
    truth = models.BooleanField()
    day = models.DateField()
    at = models.DateTimeField()
    took = models.DurationField()
    time = models.TimeField()
    text = models.TextField()
    data = models.BinaryField()
    document = models.JSONField()
    key = models.UUIDField()
    address = models.GenericIPAddressField()
    nothing = models.IntegerField(null=True)

    class Meta:
        app_label = "cats"


def report(check, saw):
    print(json.dumps({"check": check, "saw": saw}, default=str), flush=True)


def error(action):
    try:
        with transaction.atomic():
            action()
    except DatabaseError as error:
        return [type(error).__name__, *error.args]
    raise AssertionError("an error was expected")


def connects():
    connection.ensure_connection()
    assert connection.is_usable()
    report("connect", [connection.mysql_version, sorted(connection.sql_mode), connection.vendor])


def connects_with_tls():
    with connections["tls"].cursor() as cursor:
        cursor.execute("SELECT %s", ["text"])
        report("connect with TLS", cursor.fetchone())
    connections["tls"].close()


def migrations():
    call_command("migrate", verbosity=0)
    executor = MigrationExecutor(connection)
    assert not executor.migration_plan(executor.loader.graph.leaf_nodes())
    with connection.schema_editor() as editor:
        for model in (Owner, Cat, Typed):
            editor.create_model(model)
        lives = models.IntegerField(default=9)
        lives.set_attributes_from_name("lives")
        editor.add_field(Cat, lives)
        editor.remove_field(Cat, lives)
        editor.add_index(Cat, models.Index(fields=["name", "owner"], name="names"))
    with connection.cursor() as cursor:
        tables = sorted(table.name for table in connection.introspection.get_table_list(cursor))
        columns = [column.name for column in connection.introspection.get_table_description(cursor, "cats_cat")]
        constraints = connection.introspection.get_constraints(cursor, "cats_cat")
    report("migrations", [tables, columns, constraints])


def types():
    values = {
        "big": 2**63 - 1, "exact": decimal.Decimal("-12345678901234567890.0123456789"), "approximate": -2.5e300,
        "truth": True, "day": datetime.date(1000, 1, 1), "took": datetime.timedelta(hours=-800, microseconds=-1),
        "at": datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, datetime.UTC), "time": datetime.time(23, 59, 59, 1),
        "text": "naïve 海峡 🌉 'q' \"d\" \\ \n %s", "data": bytes(range(256)), "document": {"a": [1, None, "海峡"]},
        "key": uuid.UUID(int=7), "address": "2001:db8::1", "nothing": None,
    }
    Typed.objects.create(**values)
    back = Typed.objects.filter(document__a__0=1).values(*values).get()
    assert back == values, back
    report("types", back)


def transactions():
    saw = []
    try:
        with transaction.atomic():
            Owner.objects.create(name="Ada")
            raise InterruptedError
    except InterruptedError:
        saw.append(Owner.objects.count())
    with transaction.atomic():
        ada = Owner.objects.create(name="Ada")
        saw.append(error(lambda: Owner.objects.create(name="Ada")))
        savepoint = transaction.savepoint()
        Owner.objects.create(name="Grace")
        transaction.savepoint_rollback(savepoint)
        Cat.objects.bulk_create([Cat(owner=ada, name="Mia"), Cat(owner=ada, name="Leo")])
    with transaction.atomic():
        leo = Cat.objects.select_for_update().get(name="Leo")
        leo.name = "Leon"
        leo.save()
    created = Owner.objects.get_or_create(name="Grace")[1], Owner.objects.get_or_create(name="Ada")[1]
    saw.append([list(Owner.objects.annotate(cats=Count("cat")).order_by("id").values_list("name", "cats")), created])
    Owner.objects.filter(name="Ada").delete()
    saw.append([Cat.objects.count(), Owner.objects.count()])
    assert [saw[0], *saw[2:]] == [0, [[("Ada", 2), ("Grace", 0)], (True, False)], [0, 1]], saw
    report("transactions", saw)


def bulk_insert():
    Owner.objects.bulk_create([Owner(name=f"owner {number}") for number in range(3000)], batch_size=1000)
    updated = Owner.objects.filter(name__startswith="owner 1").update(name=Concat("name", Value("!")))
    counted = Owner.objects.filter(name__endswith="!").count()
    Owner.objects.bulk_create([Owner(id=1, name="owner 2")], ignore_conflicts=True)
    report("bulk insert", [updated, counted, Owner.objects.aggregate(Sum("id"))])
    assert updated == counted == 1111


def errors():
    def execute(statement):
        with connection.cursor() as cursor:
            cursor.execute(statement)

    saw = [
        error(lambda: execute(statement))
        for statement in ("SELEKT 1", "SELECT * FROM missing", "INSERT INTO cats_owner (name) VALUES (NULL)")
    ]
    Owner.objects.create(name="Edsger")
    saw.append(error(lambda: Owner.objects.create(name="Edsger")))
    saw.append(error(lambda: Cat.objects.create(owner_id=-1, name="Tom")))
    assert saw[3][:2] == ["IntegrityError", 1062] and saw[4][:2] == ["IntegrityError", 1452], saw
    report("errors", saw)


def big_results():
    count = total = 0
    for owner in Owner.objects.order_by("id").iterator(chunk_size=500):
        count, total = count + 1, total + len(owner.name)
    report("big results", [count, total])
    assert count > 3000, count


for check in (connects, connects_with_tls, migrations, types, transactions, bulk_insert, errors, big_results):
    check()
