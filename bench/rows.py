"""Rows by the million, made inside the database: history, queues, missions to charge, events."""

from typing import Any

from psycopg import Connection

from bench.stage import Address

STEPS_PER_MISSION = 30_000  # of history and of bare queues; a step's place is a small integer


def missions(address: Address, count: int, *, ended: bool = False) -> int:
    """New missions of one agent with consecutive ids; the first one's id."""
    status, finished = ("succeeded", "clock_timestamp()") if ended else ("approved", "NULL")
    with address.connect() as database:
        found = database.execute(
            f"""
            WITH proposal AS (
              INSERT INTO missions_proposal (agent_id, source, cause, protective, title, rationale, steps, confidence,
                value_usd, status, code, reason, decided_by, revision, seed, created_at, expires_at, decided_at)
              SELECT 'intel', 'person', '', false, 'Measured', '', '[]', 0.9, 0, 'approved', 'approved', '', 'policy',
                1, 0, clock_timestamp(), clock_timestamp() + interval '30 min', clock_timestamp()
              FROM generate_series(1, %s) RETURNING id
            ), mission AS (
              INSERT INTO missions_mission (proposal_id, agent_id, kind, status, created_at, finished_at)
              SELECT id, 'intel', 'analysis', '{status}', clock_timestamp(), {finished} FROM proposal RETURNING id
            )
            SELECT min(id), max(id) FROM mission
            """,
            [count],
        ).fetchone()
    assert found is not None
    assert found[1] - found[0] + 1 == count, "nobody else makes missions in this database"
    return int(found[0])


def finished_steps(address: Address, count: int) -> None:
    """History: steps that are done and never looked at again."""
    first = missions(address, -(-count // STEPS_PER_MISSION), ended=True)
    with address.connect() as database:
        _steps(database, count, first=first, per_mission=STEPS_PER_MISSION, status="succeeded")
        database.execute("VACUUM (ANALYZE) missions_step")


def queued_steps(address: Address, count: int, *, per_mission: int = STEPS_PER_MISSION) -> None:
    """A queue. Whole executions end their missions, so they want one step in each."""
    first = missions(address, -(-count // per_mission))
    with address.connect() as database:
        _steps(database, count, first=first, per_mission=per_mission, status="queued")
        # Only the pages of rounds before are visited; without it their dead rows would slow this one down.
        database.execute("VACUUM (ANALYZE) missions_step")


def numbered_events(address: Address, count: int) -> None:
    """Events of the last three weeks, numbered and read: the triggers' cursor stands behind them."""
    with address.connect() as database:
        database.execute(
            """
            INSERT INTO common_event (number, kind, subject, agent, data, at, request_id)
            SELECT n, (ARRAY['step.claimed', 'step.succeeded', 'signal.strong', 'position.win'])[1 + n %% 4],
              'step:' || n, 'intel', '{"mission": 1}', clock_timestamp() - interval '21 days' * (1 - n / %s::float), ''
            FROM generate_series(1, %s) AS n
            """,
            [count, count],
        )
        database.execute(
            """
            INSERT INTO missions_triggerstate (key, next_at, fired, cursor)
            VALUES ('reactive:cursor', 'epoch', 0, %(newest)s)
            ON CONFLICT (key) DO UPDATE SET cursor = %(newest)s
            """,
            {"newest": count},
        )
        database.execute("VACUUM (ANALYZE) common_event")


def _steps(database: Connection[Any], count: int, *, first: int, per_mission: int, status: str) -> None:
    started = "clock_timestamp()" if status == "succeeded" else "NULL"
    database.execute(
        f"""
        INSERT INTO missions_step (mission_id, place, kind, params, priority, status, run_after, worker, attempts,
          attempts_max, created_at, started_at, finished_at, result, code, reason)
        SELECT %(first)s + n / %(per)s, 1 + n %% %(per)s, 'analyze_signal', '{{"market": "SOL/USDC"}}', 100,
          '{status}', clock_timestamp(), '', 0, 5, clock_timestamp(), {started}, {started}, '{{}}', '', ''
        FROM generate_series(0, %(count)s - 1) AS n
        """,
        {"first": first, "per": per_mission, "count": count},
    )
