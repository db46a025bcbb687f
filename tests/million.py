"""A million rows of everything that grows, as a year of trading leaves them; for the plans of hot queries.

Loaded by generate_series, with the triggers of the loading session off where the server lets us.
"""

from typing import Any

import psycopg
from django.db import connection

from tests import cast, other_database

MILLION = 1_000_000
BACKLOG = 200_000  # runnable steps behind the million that ended: a company whose workers were away
PENDING = 5_000
BEATS = 170_000  # thirty days of a demo company

# What every statement may use: `n` is the row's number, `ago` its age in seconds, the newest row last.
_AGES = f"make_interval(secs => ({MILLION} - n) * 2.5)"

LOADS = [
    # proposals that were approved, and those that wait: some for people
    f"""INSERT INTO missions_proposal (id, agent_id, source, cause, protective, title, rationale, steps, confidence,
        value_usd, status, code, reason, decided_by, revision, seed, created_at, expires_at, decided_at)
        SELECT 1000 + n, (ARRAY['atlas','sage','scout','growth','intel','observer'])[1 + n % 6], 'trigger', '', false,
        'Buy SOL', 'It looks good.', '[]', 0.7, 100, CASE WHEN n % 4 = 0 THEN 'rejected' ELSE 'approved' END, '', '',
        'policy', 1, n, clock_timestamp() - {_AGES}, clock_timestamp() - {_AGES} + interval '30 minutes',
        clock_timestamp() - {_AGES} FROM generate_series(1, {MILLION}) n""",
    f"""INSERT INTO missions_proposal (id, agent_id, source, cause, protective, title, rationale, steps, confidence,
        value_usd, status, code, reason, decided_by, revision, seed, created_at, expires_at, waits_for_people_since)
        SELECT 1000 + {MILLION} + n, 'scout', 'person', '', false, 'Buy SOL', '', '[]', 0.7, n % 977, 'pending', '',
        '', '', 1, n, clock_timestamp() - n * interval '1 second', clock_timestamp() + (n - 500) * interval '1 second',
        CASE WHEN n % 10 = 0 THEN clock_timestamp() END FROM generate_series(1, {PENDING}) n""",
    f"""INSERT INTO missions_mission (id, proposal_id, agent_id, kind, status, created_at, started_at, finished_at)
        SELECT 1000 + n, 1000 + n, (ARRAY['atlas','sage','scout','growth','intel','observer'])[1 + n % 6], 'entry',
        CASE WHEN n > {MILLION} - 2000 THEN 'running' ELSE 'succeeded' END, clock_timestamp() - {_AGES},
        clock_timestamp() - {_AGES}, CASE WHEN n > {MILLION} - 2000 THEN NULL ELSE clock_timestamp() - {_AGES} END
        FROM generate_series(1, {MILLION}) n""",
    f"""INSERT INTO missions_step (id, mission_id, place, kind, params, priority, status, run_after, worker, attempts,
        attempts_max, created_at, started_at, finished_at, result, code, reason)
        SELECT 1000 + n, 1000 + n, 1, 'execute_trade', '{{}}', 50, 'succeeded', clock_timestamp() - {_AGES}, 'a:1', 0,
        5, clock_timestamp() - {_AGES}, clock_timestamp() - {_AGES}, clock_timestamp() - {_AGES}, '{{}}', '', ''
        FROM generate_series(1, {MILLION}) n""",
    f"""INSERT INTO missions_step (id, mission_id, place, kind, params, priority, status, run_after, worker, attempts,
        attempts_max, created_at, result, code, reason)
        SELECT 1000 + {MILLION} + n, 1000 + n, 2, (ARRAY['analyze_signal','reflect'])[1 + n % 2], '{{}}',
        (ARRAY[10, 50, 100])[1 + n % 3], 'queued', clock_timestamp() - n % 50 * interval '1 second', '', 0, 5,
        clock_timestamp(), '{{}}', '', '' FROM generate_series(1, {BACKLOG}) n""",
    # held by workers that died, and under way but held by nobody
    f"""INSERT INTO missions_step (id, mission_id, place, kind, params, priority, status, run_after, worker, attempts,
        attempts_max, created_at, token, lease_expires_at, result, code, reason)
        SELECT 1000 + 2 * {MILLION} + n, 1000 + n, 3, 'reflect', '{{}}', 100, 'claimed', clock_timestamp(), 'a:1', 0, 5,
        clock_timestamp(), gen_random_uuid(), clock_timestamp() + (n - 300) * interval '1 second', '{{}}', '', ''
        FROM generate_series(1, 1000) n""",
    f"""INSERT INTO missions_step (id, mission_id, place, kind, params, priority, status, run_after, worker, attempts,
        attempts_max, created_at, result, code, reason)
        SELECT 1000 + 3 * {MILLION} + n, 1000 + n, 4, 'reflect', '{{}}', 100, 'executing',
        clock_timestamp() + (n - 500) * interval '1 second', 'a:1', 1, 5, clock_timestamp(), '{{}}', '', ''
        FROM generate_series(1, 1000) n""",
    f"""INSERT INTO missions_outcome (id, mission_id, agent_id, kind, succeeded, code, pnl_usd, details, at)
        SELECT n, 1000 + n, (ARRAY['atlas','sage','scout','growth','intel','observer'])[1 + n % 6], 'exit', n % 9 > 0,
        '', 1.5, '{{}}', clock_timestamp() - {_AGES} FROM generate_series(1, {MILLION} - 2000) n""",
    # the log, but for the last hundred without a number
    f"""INSERT INTO common_event (key, number, kind, subject, agent, data, at, request_id)
        SELECT 100000 + n, CASE WHEN n > {MILLION} - 100 THEN NULL ELSE 100000 + n END,
        (ARRAY['market.prices','market.prices','step.claimed','step.succeeded','proposal.created','equity.snapshot',
        'beat.finished','order.filled','position.closed','signal.found'])[1 + n % 10], 'step:' || n % 50000,
        (ARRAY['','atlas','sage','scout','growth','intel','observer'])[1 + n % 7], '{{"price": "150.25"}}',
        clock_timestamp() - {_AGES}, '' FROM generate_series(1, {MILLION}) n""",
    f"""INSERT INTO trading_candle (market_id, start, seconds, open, high, low, close, volume, received_at)
        SELECT market.name, date_trunc('hour', clock_timestamp()) - interval '1 day' - n * interval '5 seconds', 5, 1,
        2, 0.5, 1.5, 10, clock_timestamp() - interval '1 day' - n * interval '5 seconds'
        FROM generate_series(1, {MILLION} / 4) n, trading_market market""",
    f"""INSERT INTO trading_position (id, wallet_id, market_id, agent_id, status, quantity, cost, bought, realized,
        fees, stop_loss, take_profit, alarmed, exits, opened_at, opened_market_at, closed_at, closed_market_at)
        SELECT 1000 + n, 'main', 'SOL/USDC', 'scout', 'closed', 0, 0, 100000000, n % 1000 - 500, 10, 0.015, 0.02, false,
        0, clock_timestamp() - {_AGES}, clock_timestamp() - {_AGES}, clock_timestamp() - {_AGES},
        clock_timestamp() - {_AGES} FROM generate_series(1, {MILLION}) n""",
    f"""INSERT INTO trading_order (id, step_id, agent_id, wallet_id, market_id, position_id, side, asset_in_id,
        amount_in, slippage_bps, status, code, reason, created_at, ended_at)
        SELECT 1000 + n, 1000 + n, 'scout', 'main', (ARRAY['SOL/USDC','WIF/USDC','JUP/USDC','BONK/USDC'])[1 + n % 4],
        1000 + n, (ARRAY['buy','sell'])[1 + n % 2],
        usdc.mint, 100000000, 100, CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'filled' END, '', '',
        clock_timestamp() - {_AGES}, clock_timestamp() - {_AGES}
        FROM generate_series(1, {MILLION}) n, trading_asset usdc WHERE usdc.symbol = 'USDC'""",
    f"""INSERT INTO trading_signal (market_id, step_id, kind, direction, strength, confidence, why, features, at,
        market_at) SELECT (ARRAY['SOL/USDC','WIF/USDC','JUP/USDC','BONK/USDC'])[1 + n % 4], 1001,
        (ARRAY['momentum','mean_reversion','breakout'])[1 + n % 3], 'buy', 0.5, 0.6, 'for a test', '{{}}',
        clock_timestamp() - {_AGES}, clock_timestamp() - {_AGES} FROM generate_series(1, {MILLION}) n""",
    f"""INSERT INTO trading_equitysnapshot (at, market_at, cash, positions, equity, peak, realized, unrealized)
        SELECT clock_timestamp() - n * interval '15 seconds', clock_timestamp() - n * interval '15 seconds',
        9000, 1000, 10000, 10000, 0, 0 FROM generate_series({BEATS}, 1, -1) n""",
    f"""INSERT INTO missions_beat (id, started_at, finished_at, holder, epoch, asked_by, taken_over)
        SELECT 1000 + n, clock_timestamp() - ({BEATS} - n + 1) * interval '15 seconds', clock_timestamp(), 'a:1',
        -n, 'clock', false FROM generate_series(1, {BEATS}) n""",
    f"""INSERT INTO missions_beatphase (beat_id, name, place, status, milliseconds, budget_milliseconds, did, error)
        SELECT 1000 + n, 'phase' || p, p, 'success', 1, 1000, '{{}}', ''
        FROM generate_series(1, {BEATS}) n, generate_series(1, 6) p""",
]


_INDEXES = """
SELECT name.relname, pg_get_indexdef(indexrelid) FROM pg_index
JOIN pg_class name ON name.oid = indexrelid
WHERE name.relnamespace = 'public'::regnamespace AND NOT indisprimary
  AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)
"""
"""Indexes that no constraint rests on: made after the load, in a third of the time."""


def load() -> None:
    """Open a company, then give it its million rows of history and let PostgreSQL learn their statistics."""
    cast.open_company()
    with _session() as loader:
        indexes = loader.execute(_INDEXES).fetchall()
        for name, _ in indexes:
            loader.execute(f'DROP INDEX "{name}"')
        for statement in LOADS:
            loader.execute(statement)
        for _, definition in indexes:
            loader.execute(definition)
        _go_on_counting(loader)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("VACUUM (ANALYZE)")
        cursor.execute("RESET statement_timeout")


def _session() -> psycopg.Connection[Any]:
    """A session without time limits; as superuser without triggers too, since a million checks take minutes."""
    name = str(connection.settings_dict["NAME"])
    try:
        loader = other_database.connect(name, user="postgres")
        loader.execute("SET session_replication_role = replica")
    except psycopg.Error:
        loader = other_database.connect(name)
    loader.execute("SET synchronous_commit = off")
    loader.execute("SET maintenance_work_mem = '256MB'")
    return loader


def _go_on_counting(loader: psycopg.Connection[Any]) -> None:
    """Identity columns go on behind the rows that were given a key."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
    for table in tables:
        column = {"common_event": "key"}.get(table, "id")
        found = loader.execute(
            "SELECT pg_get_serial_sequence(%s, %s) FROM information_schema.columns"
            " WHERE table_name = %s AND column_name = %s",
            [table, column, table, column],
        ).fetchone()
        if found and found[0]:
            loader.execute(f'SELECT setval(%s, (SELECT coalesce(max("{column}"), 0) + 1 FROM "{table}"))', [found[0]])
