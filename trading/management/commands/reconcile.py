"""manage.py reconcile: one pass of books beside chain now, or what it would find."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from missions.models import Step
from tradeco.common import db
from trading import reconciliation
from trading.models import Finding

LIMIT = 1000


class Command(BaseCommand):
    help = (
        "Brings books and chain together once, as each beat does. Exit code 0: nothing is left to explain; "
        "1: a step is in doubt, a finding is open, or the chain is away; the output says which."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what a pass would find, and change nothing")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        told = self._foreseen() if options["dry_run"] else self._passed()
        if options["json"]:
            self.stdout.write(json.dumps(told))
        else:
            for name, value in told.items():
                self.stdout.write(f"{name:12} {_in_words(value)}")
        if not told["clean"]:
            raise CommandError("Something is left to explain.", returncode=1)

    def _foreseen(self) -> dict[str, Any]:
        foreseen = reconciliation.foresee(now=db.now(), limit=LIMIT)
        return {"dry_run": True, **asdict(foreseen), "clean": foreseen.clean}

    def _passed(self) -> dict[str, Any]:
        did = reconciliation.run(now=db.now(), limit=LIMIT)
        doubtful = [step.pk for step in Step.objects.in_doubt().order_by("pk")]
        found = [f"#{row.pk} {row.what}" for row in Finding.objects.filter(settled_at=None).order_by("pk")]
        clean = not (doubtful or found or did.get("away"))
        return {"dry_run": False, **did, "in_doubt": doubtful, "findings": found, "clean": clean}


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "none" if not value else "\n             ".join(str(each) for each in value)
    return str(value) if value != "" else "–"
