"""`python -m bench.bare`: the least that live delivery can be, as the limit of ours.

A websocket server on asyncio alone that tails the same table by key at the hub's cadence and sends one text to
all. No log-in, no replay, no bound for slow clients, no numbers: a late committer would be missed.
"""

import asyncio
import json
import sys
from typing import Any

import psycopg
from websockets.asyncio.server import ServerConnection, broadcast, serve

PAGE_EVENTS = 1_000
_READ = """
SELECT key, kind, at::text, subject, agent, data FROM common_event WHERE key > %s ORDER BY key LIMIT %s
"""
_NAMES = ("id", "kind", "at", "subject", "agent", "data")


async def tail(database: psycopg.AsyncConnection[Any], clients: set[ServerConnection], given: dict[str, Any]) -> None:
    """Send what is new to everybody, for ever."""
    found = await (await database.execute("SELECT coalesce(max(key), 0) FROM common_event")).fetchone()
    last = found[0] if found else 0
    while True:
        new = await (await database.execute(_READ, [last, PAGE_EVENTS])).fetchall() if clients else []
        if new:
            last = new[-1][0]
            events = [dict(zip(_NAMES, row, strict=True)) for row in new]
            broadcast(clients, json.dumps({"events": events, "last": last}, separators=(",", ":")))
        await asyncio.sleep(given["apart_seconds"] if new else given["look_seconds"])


async def main(given: dict[str, Any]) -> None:
    clients: set[ServerConnection] = set()

    async def welcome(client: ServerConnection) -> None:
        clients.add(client)
        try:
            await client.send('{"events":[],"last":0}')
            await client.wait_closed()
        finally:
            clients.discard(client)

    async with (
        await psycopg.AsyncConnection.connect(**given["database"], autocommit=True) as database,
        serve(welcome, "127.0.0.1", given["port"], compression=None),
    ):
        await tail(database, clients, given)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
