"""manage.py market: the market process, as `up` runs it."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tradeco.common.errors import DomainError
from trading import market


class Command(BaseCommand):
    help = "Runs the market process: prices in, stops watched, lost work swept. `manage.py up` starts it for you."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        try:
            market.run(stopping=stop.is_set)
        except DomainError as refused:
            raise CommandError(refused.detail) from refused
