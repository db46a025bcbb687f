"""A database's clock that stands until it is set, for companies that live days within minutes.

The company reads time from its database: `tradeco.common.db.now`, and `clock_timestamp()` and its like within
statements that claim steps and hold leases. In a database of an experiment functions of the same names stand in a
schema that comes before PostgreSQL's own, so that the company's code runs as it is and sees the time of its market.
A process sees it only after `start`, and nobody else does.
"""

from datetime import datetime
from typing import Any

from django.db import connection
from django.db.backends.signals import connection_created

SCHEMA = "simulated"
SHADOWED = ("clock_timestamp", "statement_timestamp", "transaction_timestamp", "now")
VARIABLE = (
    f"{SCHEMA}.now"  # a variable of the connection; without it the functions fail, rather than tell the real time
)


def install() -> None:
    """Lay the functions into this process's database, where they mean nothing until somebody looks there first."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {SCHEMA}")
        for name in SHADOWED:
            # STABLE and plain SQL, so that the planner may put the value itself in its place and use an index
            cursor.execute(
                f"CREATE FUNCTION {SCHEMA}.{name}() RETURNS timestamptz LANGUAGE sql STABLE"
                f" AS $$ SELECT current_setting('{VARIABLE}')::timestamptz $$"
            )


class Clock:
    """This process's time; every connection that it opens from now on tells it."""

    def __init__(self, at: datetime) -> None:
        self.now = at

    def start(self) -> None:
        connection_created.connect(self._lead, weak=False)
        connection.close()  # whatever is open still tells the real time

    def set(self, at: datetime) -> None:
        """Go on to a later moment."""
        assert at >= self.now, "time doesn't run back"
        self.now = at
        self._tell()

    def _lead(self, **of_the_signal: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET search_path TO {SCHEMA}, pg_catalog, public")
        self._tell()

    def _tell(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, false)", [VARIABLE, self.now.isoformat()])
