"""What the warm process imports: Django, set up, and what a worker needs."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradeco.settings")

import django

django.setup()

from missions import execution, heartbeat, rescue  # noqa: E402  models need what is set up above
from trading import attempts, market, network, reconciliation  # noqa: E402

__all__ = ["attempts", "execution", "heartbeat", "market", "network", "reconciliation", "rescue"]
