"""Forgetting what has outlived its retention, a bounded number of rows at a time; a phase of the heartbeat."""

from datetime import datetime, timedelta

from django.conf import settings

from missions import policies
from tradeco.common.wiring import load


def run(*, now: datetime, limit: int) -> dict[str, int]:
    """Let each part of the company prune its own; how many rows went, by table."""
    _, policy = policies.current()
    retention = timedelta(days=policy.retention_days)
    return {name: load(path)(now=now, limit=limit, retention=retention) for name, path in settings.PRUNE.items()}
