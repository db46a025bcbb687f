"""The mind at size: real heartbeats beside 10,000 memories and 100,000 outcomes with all that belongs to them, and each
phase that reacts, remembers, learns, forecasts or talks beside the budget that the heartbeat gives it.

The company is thirty days old. Every agent has as many live memories as policy lets it, the rest were laid aside;
memories wait for their promotion, outcomes of the last six hours to be learnt from, forecasts to be settled, so that
no beat is idle. A phase's time is what the heartbeat itself records, of the slowest of all beats. Nothing else runs
meanwhile: no worker, no market.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg import Connection

from bench.crew import Member, crew
from bench.figures import Figure, middle, ratio
from bench.stage import Address, Stage
from missions import heartbeat
from missions.vocabulary import PhaseStatus
from tradeco.common import db

NAME = "mind"
PHASES = ("triggers", "reactions", "initiative", "promote", "learn", "forecasts", "talks", "stale_talks", "votes")
BEATS_APART = timedelta(seconds=3)  # beyond heartbeat.APART_SECONDS
LIVE = 1_200  # memories: policy's 200 of each of six agents
OUTCOMES_A_DAY = 100_000 / 30
UNREAD_HOURS = 6  # of history that nobody has learnt from yet
FIRST = 1_000_000  # ids of ours, beyond the company's own


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase took in the slowest and in the middle one of all beats, and what it may take; milliseconds."""

    slowest: float
    median: float
    budget: float


def measure(stage: Stage) -> list[Figure]:
    memories, outcomes = stage.count(10_000, 1_500), stage.count(100_000, 5_000)
    full = _beats(stage, memories=memories, outcomes=outcomes)
    few = stage.count(5_000, 2_000)
    young = _beats(stage, memories=LIVE, outcomes=few)
    size, most = f"{memories:,} memories, {outcomes:,} outcomes", ratio(most=1)
    return [
        *(
            Figure(NAME, f"{name}, slowest beat, {size}", phase.slowest, "ms", phase.budget, "its budget", most)
            for name, phase in full.items()
        ),
        Figure(NAME, f"all of them, median beat, {size}", _together(full), "ms", _together(young),
               f"ours beside {LIVE:,} and {few:,}"),
    ]  # fmt: skip


def _together(phases: Mapping[str, Phase]) -> float:
    return sum(phase.median for phase in phases.values())


def _beats(stage: Stage, *, memories: int, outcomes: int) -> dict[str, Phase]:
    with stage.company() as address:
        stage.tell(f"mind: loading {memories:,} memories and {outcomes:,} outcomes")
        _load(address, memories=memories, outcomes=outcomes)
        stage.tell(f"mind: beats beside {outcomes:,} outcomes")
        with crew(size=1, env=stage.env(address)) as alone:
            (found,) = alone.run(beat, times=stage.count(10, 2))
    return found


def _load(address: Address, *, memories: int, outcomes: int) -> None:
    with address.connect() as database:
        fill(database, memories=memories, outcomes=outcomes)


# --- in the crew's process --------------------------------------------------------------------------


def beat(member: Member, *, times: int) -> dict[str, Phase]:
    """The mind's phases in so many beats, after one that isn't counted: it meets the opening's own work."""
    now, took = db.now(), dict[str, list[float]]()
    budgets = dict[str, float]()
    for number in range(times + 1):
        done = heartbeat.run(asked_by="bench", now=now + number * BEATS_APART)
        assert done is not None, "nobody else beats here"
        phases = {phase.name: phase for phase in done.phases.filter(name__in=PHASES)}
        assert {phase.status for phase in phases.values()} == {PhaseStatus.SUCCESS}, {
            name: phase.error for name, phase in phases.items()
        }
        assert phases["learn"].did["outcomes"] == 5, "nothing was left to learn from"
        for name in PHASES if number else ():
            took.setdefault(name, []).append(phases[name].milliseconds)
            budgets[name] = phases[name].budget_milliseconds
    return {name: Phase(max(found), middle(found), budgets[name]) for name, found in took.items()}


# --- rows -------------------------------------------------------------------------------------------


def fill(database: Connection[Any], *, memories: int, outcomes: int) -> None:
    """Missions and their outcomes, 100,000 in thirty days, an eighth of them sales, and what was remembered of them."""
    given = {
        "first": FIRST,
        "outcomes": outcomes,
        "memories": memories,
        "live": LIVE,
        "days": outcomes / OUTCOMES_A_DAY,
    }
    for statement in _ROWS:
        database.execute(statement, given)
    database.execute(_CURSORS, {"hours": UNREAD_HOURS})
    for table in _TABLES:
        database.execute(f"VACUUM (ANALYZE) {table}")  # names of ours


_TABLES = (
    "missions_proposal", "missions_mission", "missions_step", "missions_outcome", "missions_forecast",
    "missions_influence", "agents_memory", "agents_score", "common_event", "missions_triggerstate",
)  # fmt: skip

# In every statement n is the mission's number, the newest last; one in eight is a sale, one an entry. Events of one
# moment bear the same time, so it is the statement's.
_AGENT = "(ARRAY['atlas', 'sage', 'scout', 'growth', 'intel', 'observer'])[1 + (n / 8) %% 6]"
_KIND = (
    "(ARRAY['exit', 'entry', 'analysis', 'analysis', 'analysis', 'monitor', 'analysis', 'conversation'])[1 + n %% 8]"
)
_MARKET = "(ARRAY['SOL/USDC', 'JUP/USDC', 'BONK/USDC', 'WIF/USDC'])[1 + (n / 8) %% 4]"
_AT = "now() - make_interval(secs => (%(outcomes)s - n + 1) * %(days)s * 86400.0 / %(outcomes)s)"
_ALL = "FROM generate_series(1, %(outcomes)s) AS n"

_ROWS = (
    f"""
    INSERT INTO missions_proposal (id, agent_id, source, cause, protective, title, rationale, steps, confidence,
      value_usd, status, code, reason, decided_by, revision, seed, created_at, expires_at, decided_at)
    SELECT %(first)s + n, {_AGENT}, 'trigger', '', false, 'Buy ' || {_MARKET} || ' for 100 USD on momentum', '',
      CASE n %% 8 WHEN 0 THEN jsonb_build_array(jsonb_build_object('kind', 'close_position', 'params',
        jsonb_build_object('position', %(first)s + n))) ELSE '[]' END,
      0.7, 100, 'approved', 'approved', '', 'policy', 1, n, {_AT}, {_AT} + interval '30 min', {_AT} {_ALL}
    """,
    f"""
    INSERT INTO missions_mission (id, proposal_id, agent_id, kind, status, created_at, started_at, finished_at)
    SELECT %(first)s + n, %(first)s + n, {_AGENT}, {_KIND}, 'succeeded', {_AT}, {_AT}, {_AT} {_ALL}
    """,
    f"""
    INSERT INTO missions_step (id, mission_id, place, kind, params, priority, status, run_after, worker, attempts,
      attempts_max, created_at, started_at, finished_at, result, code, reason)
    SELECT %(first)s + n, %(first)s + n, 1, 'reflect', '{{}}', 100, 'succeeded', {_AT}, 'a:1', 0, 5, {_AT}, {_AT},
      {_AT}, '{{}}', '', '' {_ALL}
    """,
    f"""
    INSERT INTO missions_outcome (id, mission_id, agent_id, kind, succeeded, code, pnl_usd, details, at)
    SELECT %(first)s + n, %(first)s + n, {_AGENT}, {_KIND}, true, '',
      CASE n %% 8 WHEN 0 THEN (n / 8 %% 21 - 10) * 0.37 + 0.05 END,
      jsonb_build_object('market', {_MARKET}, 'order', %(first)s + n), {_AT} {_ALL}
    """,
    # of each mission its end; of each sale also its position's purchase and end, as their events tell them
    f"""
    INSERT INTO common_event (number, kind, subject, agent, data, at, request_id)
    SELECT newest.number + row_number() OVER (ORDER BY n, place), kind, subject, {_AGENT}, data, {_AT}, ''
    FROM (SELECT coalesce(max(number), 0) AS number FROM common_event) newest, (
      SELECT n, 9 AS place, 'mission.succeeded' AS kind, 'mission:' || %(first)s + n AS subject, '{{}}'::jsonb AS data
      {_ALL}
      UNION ALL
      SELECT n - had.ago, had.place, had.kind,
        had.what || CASE had.what WHEN 'position:' THEN %(first)s + n ELSE %(first)s + n - had.ago END,
        jsonb_build_object('position', %(first)s + n, 'market', {_MARKET}, 'side', had.side, 'step',
          %(first)s + n - had.ago, 'realized_pnl_usd', '1.000000', 'realized_pct', '1.000', 'held_seconds', 90)
      FROM generate_series(8, %(outcomes)s, 8) AS n, (VALUES
        (7, 1, 'order.reserved', 'order:', 'buy'), (7, 2, 'order.filled', 'order:', 'buy'),
        (7, 3, 'position.opened', 'position:', 'buy'), (0, 4, 'order.filled', 'order:', 'sell'),
        (0, 5, 'position.closed', 'position:', 'sell')) AS had (ago, place, kind, what, side)
    ) AS told
    """,
    # the newest are alive; every fifth has proved itself and waits for its promotion, every tenth was promoted
    """
    INSERT INTO agents_memory (id, agent_id, type, text, confidence, tags, cause, confirmations, contradictions,
      promoted_at, archived_at, created_at)
    SELECT %(first)s + n, (ARRAY['atlas', 'sage', 'scout', 'growth', 'intel', 'observer'])[1 + n %% 6],
      (ARRAY['insight', 'pattern', 'strategy', 'preference', 'lesson'])[1 + n / 6 %% 5],
      'Buying SOL/USDC on momentum paid: ' || n || ' USD in 4 min, closed at its take-profit.',
      CASE WHEN n %% 5 = 0 THEN 0.85 ELSE 0.6 + n %% 20 * 0.01 END,
      ARRAY[(ARRAY['SOL/USDC', 'JUP/USDC', 'BONK/USDC', 'WIF/USDC'])[1 + n %% 4], 'momentum'],
      'outcome:' || %(first)s + n, CASE WHEN n %% 5 = 0 THEN 3 ELSE n %% 2 END, 0,
      CASE WHEN n %% 10 = 0 THEN clock_timestamp() - interval '1 day' END,
      CASE WHEN n <= %(memories)s - %(live)s THEN clock_timestamp() - interval '1 day' END,
      clock_timestamp() - make_interval(secs => (%(memories)s - n + 1) * %(days)s * 86400.0 / %(memories)s)
    FROM generate_series(1, %(memories)s) AS n
    """,
    # each entry asked one memory and stated a forecast; the newest wait to be judged and settled
    f"""
    INSERT INTO missions_influence (proposal_id, memory_id, effect, judged, at)
    SELECT %(first)s + n, %(first)s + 1 + n %% %(memories)s, 0.010, n < %(outcomes)s * 0.98, {_AT}
    FROM generate_series(1, %(outcomes)s, 8) AS n
    """,
    f"""
    INSERT INTO missions_forecast (id, proposal_id, agent_id, probability, horizon_minutes, status, happened, made_at,
      settled_at)
    SELECT %(first)s + n, %(first)s + n, {_AGENT}, 0.55, 10, CASE WHEN open THEN 'open' ELSE 'scored' END,
      CASE WHEN NOT open THEN n %% 2 = 0 END, {_AT}, CASE WHEN NOT open THEN {_AT} END
    FROM generate_series(1, %(outcomes)s, 8) AS n, LATERAL (SELECT n > %(outcomes)s - 8 * 600 AS open) AS state
    """,
    f"""
    INSERT INTO agents_score (agent_id, kind, cause, probability, happened, brier, log_score, at)
    SELECT {_AGENT}, 'entry', 'forecast:' || %(first)s + n, 0.55, n %% 2 = 0, 0.2025, 0.6, {_AT}
    FROM generate_series(1, %(outcomes)s, 8) AS n
    """,
)

_CURSORS = """
INSERT INTO missions_triggerstate (key, next_at, fired, cursor)
SELECT key, 'epoch', 0, (
  SELECT max(number) FROM common_event WHERE at < clock_timestamp() - make_interval(hours => %(hours)s))
FROM unnest(ARRAY['learning:cursor', 'reactive:cursor', 'reactions:cursor', 'talk:cursor']) AS key
ON CONFLICT (key) DO UPDATE SET cursor = EXCLUDED.cursor
"""
