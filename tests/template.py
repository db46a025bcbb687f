"""The opened company as rows kept aside: opening it takes 0.2 s, which thousands of tests would spend anew.

Each test process opens one for real, once, and copies what its tables then hold. A test that needs a company gets these
rows, their moments moved to now by whole candles; who tests the opening itself calls it.
"""

from datetime import timedelta
from functools import cache

from django.db import connection

from agents.models import Agent
from missions import policies
from tests import cast
from tradeco.common import db
from trading.models import Feed

KEPT = ("django_migrations", "django_content_type", "auth_permission")  # what migrations leave is everybody's
COLUMNS = """
SELECT c.relname, array_agg(quote_ident(a.attname) ORDER BY a.attnum),
    array_agg(a.atttypid = 'timestamptz'::regtype ORDER BY a.attnum)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attgenerated = '' AND c.relname <> ALL(%s)
  GROUP BY c.relname
"""


def make() -> None:
    """Open a company, keep its rows, and leave the tables empty."""
    cast.open_company()
    policies.at.cache_clear()
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA template; CREATE TABLE template.made AS SELECT now() AS at")
        for table in _columns():
            cursor.execute(f'CREATE TABLE template."{table}" AS SELECT * FROM public."{table}"')
    empty()


def put() -> None:
    """The rows of the company, as if it had been opened now, unless there is one."""
    if Agent.objects.exists():
        return
    with db.savepoint() if connection.in_atomic_block else db.transaction(), connection.cursor() as cursor:
        cursor.execute(_put(), {"age": _age()})


def empty() -> None:
    """Delete what tests committed. Django's own flush would make all permissions anew, with other numbers."""
    with connection.cursor() as cursor:
        cursor.execute(_empty())


@cache
def _columns() -> dict[str, list[tuple[str, bool]]]:
    """The columns of each table, and whether they hold a moment."""
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS, [list(KEPT)])
        return {table: list(zip(names, moments, strict=True)) for table, names, moments in cursor.fetchall()}


@cache
def _put() -> str:
    filled = []
    with connection.cursor() as cursor:
        for table, columns in _columns().items():
            cursor.execute(f'SELECT EXISTS (SELECT FROM template."{table}")')
            if cursor.fetchone() == (True,):
                names = ", ".join(name for name, _ in columns)
                values = ", ".join(f"{name} + %(age)s" if is_moment else name for name, is_moment in columns)
                filled.append(f'INSERT INTO public."{table}" ({names}) SELECT {values} FROM template."{table}"')
    return "; ".join(filled)


@cache
def _bar_seconds() -> int:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT bar_seconds FROM template."{Feed._meta.db_table}"')
        return int(cursor.fetchone()[0])


@cache
def _empty() -> str:
    return "TRUNCATE " + ", ".join(f'public."{table}"' for table in _columns())


def _age() -> timedelta:
    """How long ago the rows were made, in whole candles: candles begin at whole multiples of their length."""
    bar = timedelta(seconds=_bar_seconds())
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() - at FROM template.made")
        age: timedelta = cursor.fetchone()[0]
    return age // bar * bar
