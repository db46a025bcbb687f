"""manage.py heartbeat: one beat now."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from missions import heartbeat
from missions.models import Beat
from tradeco.common import db


class Command(BaseCommand):
    help = "Runs one heartbeat now and prints each phase. When one runs or has just run, prints that one instead."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        beat = heartbeat.run(asked_by="manage.py heartbeat", now=db.now())
        ran = beat is not None
        shown = beat or Beat.objects.order_by("-started_at").first()
        if shown is None:
            self.stdout.write("Another process holds the heartbeat, and none has been recorded yet.")
            return
        phases = [
            {
                "name": phase.name,
                "status": phase.status,
                "milliseconds": round(phase.milliseconds, 1),
                "budget_milliseconds": phase.budget_milliseconds,
                "did": phase.did,
                "error": phase.error,
            }
            for phase in shown.phases.all()
        ]
        if options["json"]:
            self.stdout.write(json.dumps({"beat": shown.pk, "ran": ran, "phases": phases}))
            return
        if not ran:
            self.stdout.write("Another beat runs or has just run; this is the newest:")
        self.stdout.write(f"beat #{shown.pk}")
        for phase in phases:
            self.stdout.write(
                "  {name:<16} {status:<16} {milliseconds:>8} of {budget_milliseconds} ms  {did} {error}".format(**phase)
            )
