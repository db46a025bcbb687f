"""A database beside the test database, for tests that empty a schema or fill it with a million rows."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.core.management import call_command
from django.db import connection
from psycopg import sql

from missions import policies


@contextmanager
def opened(name: str) -> Iterator[None]:
    """Make a migrated database and let Django's connection lead there; dropped again afterwards."""
    usual = str(connection.settings_dict["NAME"])
    _run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), name)
    _run(sql.SQL("CREATE DATABASE {} TEMPLATE template0"), name)
    try:
        _lead_to(name)
        call_command("migrate", verbosity=0, interactive=False)
        yield
    finally:
        _lead_to(usual)
        _run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), name)


def _lead_to(name: str) -> None:
    policies.at.cache_clear()  # another database, another company
    connection.close()
    connection.settings_dict["NAME"] = name


def _run(statement: sql.SQL, name: str) -> None:
    with connect("postgres", autocommit=True) as admin:
        admin.execute(statement.format(sql.Identifier(name)))


def connect(name: str, *, autocommit: bool = False, **changes: str) -> psycopg.Connection[object]:
    """A connection of our own to a database of the same server."""
    settings = connection.settings_dict
    given = {
        "dbname": name,
        "user": settings["USER"],
        "password": settings["PASSWORD"],
        "host": settings["HOST"],
        "port": settings["PORT"],
    }
    return psycopg.connect(autocommit=autocommit, **{**given, **changes})
