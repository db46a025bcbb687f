"""manage.py replay: stored decisions taken again."""

import json
from collections import Counter
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from missions.rejudging import Compared
from roundtable import replay
from roundtable.replay import Replayed
from roundtable.replay_talk import NotReplayable
from tradeco.common import db
from tradeco.common.errors import NotFound

DIFFERENT, CANNOT = 1, 2
PROGRESS_EVERY = 25  # decisions


class Command(BaseCommand):
    help = (
        "Takes stored decisions again from what was recorded: facts, dice, policy revision, and what language models"
        " answered. Says of each that it is equal, or shows the first part that differs. Writes nothing and asks no"
        " network. Exit codes: 0 all equal, 1 one differs, 2 there is no such proposal, or one can't be replayed"
        " (such as when what a model answered has outlived its retention)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("proposal", nargs="?", type=_number, help="number of a proposal, such as 12")
        which.add_argument("--last", type=_number, metavar="N", help="the newest N decisions, oldest first")
        parser.add_argument("--json", action="store_true", help="one JSON object a decision")

    def handle(self, *args: Any, proposal: int | None, last: int | None, **options: Any) -> None:
        if proposal is not None:
            self._finish(Counter([self._one(proposal, as_json=options["json"])]), many=False)
            return
        came: Counter[int] = Counter()
        keys = replay.newest(last or 0)
        for number, key in enumerate(keys, start=1):
            came[self._one(key, as_json=options["json"])] += 1
            if number % PROGRESS_EVERY == 0:
                self.stderr.write(f"{number} of {len(keys)}")
        self._finish(came, many=True)

    def _one(self, key: int, *, as_json: bool) -> int:
        """Replay one and tell; what it adds to the exit code."""
        try:
            with db.one_snapshot():
                done = replay.replay(key)
        except (NotFound, NotReplayable) as refused:
            told = {"proposal": key, "code": refused.code, "error": refused.detail}
            self.stdout.write(json.dumps(told) if as_json else f"#{key} can't be replayed: {refused.detail}")
            return CANNOT
        self.stdout.write(json.dumps(_as_json(done)) if as_json else _as_text(done))
        return 0 if done.equal else DIFFERENT

    def _finish(self, came: Counter[int], *, many: bool) -> None:
        if many:
            told = f"{came[0]} equal, {came[DIFFERENT]} different, {came[CANNOT]} can't be replayed"
            self.stderr.write(f"{came.total()} decisions: {told}.")
        for code in (DIFFERENT, CANNOT):
            if came[code]:
                raise SystemExit(code)


def _as_text(done: Replayed) -> str:
    name = f"#{done.proposal.pk} {done.proposal.title}"
    if done.difference is None:
        return f"{name}: equal, {done.parts} parts"
    lines = [f"{name}: different in “{done.difference.what}”"]
    for field, recorded, again in _differing(done.difference):
        lines += [f"  {field}recorded {_shown(recorded)}", f"  {' ' * len(field)}again    {_shown(again)}"]
    return "\n".join(lines)


def _as_json(done: Replayed) -> dict[str, Any]:
    told: dict[str, Any] = {"proposal": done.proposal.pk, "equal": done.equal, "parts": done.parts}
    if done.difference is not None:
        part = done.difference
        told["difference"] = {"what": part.what, "recorded": _plain(part.recorded), "again": _plain(part.again)}
    return told


def _differing(part: Compared) -> list[tuple[str, Any, Any]]:
    """The fields that differ, each with its name; the whole where it has none."""
    if not (isinstance(part.recorded, dict) and isinstance(part.again, dict)):
        return [("", part.recorded, part.again)]
    names = [*part.recorded, *(name for name in part.again if name not in part.recorded)]
    pairs = [(f"{name}: ", part.recorded.get(name), part.again.get(name)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _shown(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """As JSON: decimals as strings, keys too."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Decimal) else value


def _number(text: str) -> int:
    number = int(text.removeprefix("#"))
    if number < 1:
        raise ValueError("from 1 on")
    return number
