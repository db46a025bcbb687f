"""What must hold before the company starts: Django system checks with ids and hints.

`tradeco.E…` stops a command, `tradeco.W…` is told. The one that asks the database carries the tag `database`:
it runs with `migrate` and `check --database default`, never with a command that needs none. Whether the
company that runs is well is readiness' affair.
"""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connection, connections

from tradeco.common.outside import host_of

POSTGRES_OLDEST = 14  # the oldest major version that its makers still mend
POLICY_SETS = ("demo", "production")
VOICES = ("scripted", "openai")
VOICE_TIMEOUT_MOST = 15.0  # seconds; two of them, and a drain before, stay below a worker's 45 s
NETWORKS = ("paper", "sandbox", "mainnet")
WIRING = (
    "STEP_HANDLERS",
    "GATES",
    "FACTS",
    "TALKED_OF",
    "DECIDERS",
    "VENUE",
    "FEED",
    "REACTIVE_TRIGGERS",
    "INITIATIVES",
    "HEARTBEAT",
    "PRUNE",
    "READINESS",
    "METRICS",
    "BOOTSTRAP",
    "WATCHDOGS",
    "DOORBELL_TASK",
    "BEAT_TASK",
    "ADMIN_PANELS",
    "ADMIN_WAITING",
)
"""The settings that name our own code by dotted path; a test keeps this list equal to the settings."""

Apps = Sequence[AppConfig] | None


@register()
def database_is_postgresql(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.E001: locks, SKIP LOCKED and partial indexes mean what they mean on PostgreSQL only."""
    if connection.vendor == "postgresql":
        return []
    return [
        Error(
            f"The database is {connection.vendor}, and tradeco runs on PostgreSQL only.",
            hint="Unset DATABASE_URL for the embedded server, or set it to postgres://user:password@host/name.",
            id="tradeco.E001",
        )
    ]


@register(Tags.database)
def database_answers(app_configs: Apps, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.E002: PostgreSQL must be reachable and new enough; there is no fallback of any kind."""
    if DEFAULT_DB_ALIAS not in (databases or ()) or connection.vendor != "postgresql":
        return []
    asked = connections[DEFAULT_DB_ALIAS]
    try:
        asked.ensure_connection()
        version: int = asked.connection.info.server_version // 10_000
    except (DatabaseError, InterfaceError) as exc:
        return [_unreachable(exc)]
    if version >= POSTGRES_OLDEST:
        return []
    return [
        Error(
            f"This is PostgreSQL {version}; {POSTGRES_OLDEST} or newer is needed.",
            hint="Point DATABASE_URL at a newer server, or unset it for the embedded one.",
            id="tradeco.E002",
        )
    ]


def _unreachable(exc: Exception) -> Error:
    """Only the first line of the driver's message: it names host and port, never a password."""
    reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
    hint = (
        "The embedded server runs while the company does: start it with `make run`, or set DATABASE_URL."
        if settings.EMBEDDED_POSTGRES
        else "Is the server of DATABASE_URL up, and are its user, password and name right?"
    )
    return Error(f"PostgreSQL can't be reached: {reason}", hint=hint, id="tradeco.E002")


@register()
def wiring_resolves(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.E003: every dotted path of the wiring tables must name something that is there."""
    return [
        Error(
            f"{table} names {path}, which can't be used: {problem}",
            hint="Correct the path in tradeco/settings.py, or add what it names.",
            id="tradeco.E003",
        )
        for table, path in wiring_paths()
        if (problem := _problem_of(path))
    ]


def wiring_paths() -> Iterator[tuple[str, str]]:
    """Each dotted path of the settings' wiring tables, with the table's name."""
    for table in WIRING:
        for path in _paths_in(getattr(settings, table, ())):
            yield table, path


def _paths_in(value: Any) -> Iterator[str]:
    """The strings with a dot, wherever in the table they stand; a dictionary's keys are names."""
    if isinstance(value, str):
        if "." in value:
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _paths_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _paths_in(each)


def _problem_of(path: str) -> str | None:
    module, _, name = path.rpartition(".")
    try:
        found = import_module(module)
    except ImportError as exc:
        return str(exc)
    return None if hasattr(found, name) else f"{module} has no {name}"


@register()
def pool_is_for_web_only(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.E004: forked workers would share a pool's sockets and mix up each other's results."""
    options: Any = settings.DATABASES[DEFAULT_DB_ALIAS].get("OPTIONS", {})
    if not options.get("pool") or settings.TRADECO_PROCESS == "web":
        return []
    return [
        Error(
            f"The process {settings.TRADECO_PROCESS!r} has a connection pool; only web may have one.",
            hint="Remove `pool` from DATABASE_URL and from the database's OPTIONS.",
            id="tradeco.E004",
        )
    ]


@register()
def network_is_set_up(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.E005: on a chain, nodes must be named; nothing falls back to another network."""
    if settings.NETWORK not in NETWORKS:
        problem, hint = f"TRADECO_NETWORK is {settings.NETWORK!r}.", f"Use one of: {', '.join(NETWORKS)}."
    elif settings.NETWORK == "mainnet" and not settings.RPC_URLS:
        problem, hint = "No Solana node is named.", "Set TRADECO_RPC_URLS to one or two https addresses, with commas."
    elif settings.JUPITER_API not in ("v1", "v2"):
        problem, hint = f"TRADECO_JUPITER_API is {settings.JUPITER_API!r}.", "Use v2, or v1."
    else:
        return []
    return [Error(problem, hint=hint, id="tradeco.E005")]


@register()
def policy_set_is_known(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.W001: a company can open with one of the sets that ship only."""
    if settings.POLICY_SET in POLICY_SETS:
        return []
    return [
        Warning(
            f"TRADECO_POLICY_SET is {settings.POLICY_SET!r}; a new company couldn't be opened with it.",
            hint=f"Use one of: {', '.join(POLICY_SETS)}.",
            id="tradeco.W001",
        )
    ]


@register()
def real_money_has_careful_policies(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.E006: the demo's caps last a night of play money, and one person alone may change them."""
    if settings.NETWORK != "mainnet" or settings.POLICY_SET != "demo":
        return []
    return [
        Error(
            "The network is mainnet, real money, and a new company would open with the policies of `demo`.",
            hint="Set TRADECO_POLICY_SET=production.",
            id="tradeco.E006",
        )
    ]


@register()
def voice_is_set_up(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.E007: a language model speaks only where its address and name are known."""
    if settings.VOICE not in VOICES:
        problem, hint = f"TRADECO_VOICE is {settings.VOICE!r}.", f"Use one of: {', '.join(VOICES)}."
    elif settings.VOICE == "openai" and not (settings.VOICE_URL and settings.VOICE_MODEL):
        problem = "TRADECO_VOICE is openai, and nothing says which model is asked where."
        hint = "Set TRADECO_VOICE_URL and TRADECO_VOICE_MODEL, and TRADECO_VOICE_KEY where it asks for one."
    elif settings.VOICE == "openai" and not _may_be_asked(settings.VOICE_URL):
        problem = "TRADECO_VOICE_URL is no address that a key may be sent to."
        hint = "It is https://host/path, or http://localhost:port/path on this machine, without a user's name or query."
    elif not 0 < settings.VOICE_TIMEOUT_SECONDS <= VOICE_TIMEOUT_MOST:
        problem = f"TRADECO_VOICE_TIMEOUT_SECONDS is {settings.VOICE_TIMEOUT_SECONDS}."
        hint = f"At most {VOICE_TIMEOUT_MOST:.0f}: a turn may ask twice, and a worker's task ends after 45 s."
    else:
        return []
    return [Error(problem, hint=hint, id="tradeco.E007")]


def _may_be_asked(url: str) -> bool:
    try:
        return bool(host_of(url)) and "?" not in url
    except ValueError:
        return False


@register(Tags.security, deploy=True)
def traffic_is_encrypted(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.W010: sessions and tokens in the clear are readable by whoever is on the way."""
    if settings.TRADECO_TLS:
        return []
    return [
        Warning(
            "TRADECO_TLS is off: cookies and tokens travel unencrypted.",
            hint="Put a TLS proxy in front that sets X-Forwarded-Proto, and set TRADECO_TLS=1.",
            id="tradeco.W010",
        )
    ]


@register(Tags.security, deploy=True)
def hosts_are_named(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.W011: with `*` any Host is believed, and websockets of any origin are let in."""
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "TRADECO_ALLOWED_HOSTS contains *: any Host header is believed.",
            hint="Name the hosts that people use, such as TRADECO_ALLOWED_HOSTS=desk.example.org.",
            id="tradeco.W011",
        )
    ]


@register(Tags.security, deploy=True)
def database_is_durable(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """tradeco.W012: the embedded server is a laptop's; nobody backs it up."""
    if not settings.EMBEDDED_POSTGRES or settings.POLICY_SET != "production":
        return []
    return [
        Warning(
            "A company with production policies keeps its books in the embedded PostgreSQL.",
            hint="Set DATABASE_URL to a PostgreSQL that is backed up.",
            id="tradeco.W012",
        )
    ]
