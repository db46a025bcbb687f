"""What an agent's words may cost in a UTC day: tokens are reserved before asking and corrected after.

One conditional upsert takes them or refuses, so that no two workers spend the same. A worker that dies between the two
leaves its estimate spent: too little is spoken then, never too much paid.
"""

from datetime import UTC, date, datetime

from django.db import connection

from tradeco.common import db

TOKENS_MOST = 10_000_000  # of one answer; whoever says more is mistaken


def reserve(*, agent: str, tokens: int, most: int, now: datetime) -> bool:
    """Take `tokens` of the agent's day, if that leaves it within `most`."""
    if not 0 <= tokens <= min(most, TOKENS_MOST):
        return False
    with db.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO roundtable_voiceuse AS used (agent_id, day, tokens, asked) VALUES (%s, %s, %s, 1)"
            " ON CONFLICT (agent_id, day) DO UPDATE"
            " SET tokens = used.tokens + EXCLUDED.tokens, asked = used.asked + 1"
            " WHERE used.tokens + EXCLUDED.tokens <= %s",
            [agent, day_of(now), tokens, most],
        )
        return bool(cursor.rowcount == 1)


def correct(*, agent: str, reserved: int, used: int, now: datetime) -> None:
    """Put what was used in the place of what was reserved; `now` is the moment of the reservation."""
    with db.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE roundtable_voiceuse SET tokens = GREATEST(0, tokens + %s) WHERE agent_id = %s AND day = %s",
            [min(used, TOKENS_MOST) - reserved, agent, day_of(now)],
        )


def day_of(now: datetime) -> date:
    return now.astimezone(UTC).date()
