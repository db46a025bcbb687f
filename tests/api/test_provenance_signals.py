"""Which signal an entry is traced back to: the one that it trades on, not whichever came last."""

from missions import triggers
from missions.models import Proposal
from tests import cast
from tests.api.program import Program
from tradeco.common import db, events
from tradeco.common.models import Event


def signal(market: str, direction: str, strength: str) -> None:
    data = {"market": market, "direction": direction, "strength": strength, "confidence": "0.8"}
    with db.savepoint():
        events.emit(
            kind="signal.strong",
            subject=f"market:{market}",
            now=db.now(),
            data={**data, "kind": "momentum", "why": "it rises"},
        )


def test_an_entry_comes_from_the_signal_that_it_trades_on_and_not_from_the_newest(viewer: Program) -> None:
    cast.set_policy(proactive=[])
    told = [("SOL/USDC", "buy", "0.9"), ("SOL/USDC", "sell", "0.7"), ("WIF/USDC", "buy", "0.7")]
    for market, direction, strength in told:
        signal(market, direction, strength)
    assert triggers.run(now=db.now(), limit=1) == {"fired": ["signal.strong:scout"]}
    meant = Event.objects.get(kind="signal.strong", data__strength="0.9")
    made = Proposal.objects.get(cause__startswith="reactive:")
    answer = viewer.get(f"proposals/{made.pk}/provenance/")
    assert answer.status_code == 200, answer.content
    rule = "rule:reactive:signal.strong:scout"
    assert [edge["from"] for edge in answer.json()["edges"] if edge["to"] == rule] == [f"event:{meant.number}"]
