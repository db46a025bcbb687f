"""Forgetting what language models were asked, once it has outlived its retention. What was said because of it stays."""

from datetime import datetime, timedelta

from roundtable.models import Exchange


def exchanges(*, now: datetime, limit: int, retention: timedelta) -> int:
    """Delete the oldest questions and answers beyond their retention; their turns can't be replayed any more."""
    doomed = Exchange.objects.filter(at__lt=now - retention).order_by("at")[:limit]
    deleted, _ = Exchange.objects.filter(pk__in=list(doomed.values_list("pk", flat=True))).delete()
    return deleted
