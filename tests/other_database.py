"""A database beside the test database, for tests that empty a schema or fill it with a million rows."""

import os
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
    name += os.environ.get("PYTEST_XDIST_WORKER", "")
    _drop(name)
    _run(sql.SQL("CREATE DATABASE {} TEMPLATE template0"), name)
    try:
        _lead_to(name)
        call_command("migrate", verbosity=0, interactive=False)
        yield
    finally:
        _lead_to(usual)
        _drop(name)


def _lead_to(name: str) -> None:
    policies.at.cache_clear()  # another database, another company
    connection.close()
    connection.settings_dict["NAME"] = name


def _drop(name: str) -> None:
    """End our own sessions there, then drop it. FORCE would ask for the right to end autovacuum's, a superuser's."""
    with connect("postgres", autocommit=True) as admin:
        ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user"
        admin.execute(ours, [name])
    _run(sql.SQL("DROP DATABASE IF EXISTS {}"), name)


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
