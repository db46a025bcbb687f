"""What agents remember before they enter a market: by dice, within bounds, named and counted."""

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import memory
from agents.memory import Recalled
from agents.models import Memory, MemoryType
from missions import influence, policies, triggers
from missions.drafts import Draft
from missions.influence import Considered
from missions.models import Influence, Proposal
from tests import cast
from tradeco.common import db, events

SHARE = st.decimals(min_value=0, max_value=1, places=3)


@pytest.fixture
def asked(company: None) -> None:
    """Agents always ask their memory."""
    cast.set_policy(memory_influence="1")


def learns(
    type: str = "strategy",
    *,
    agent: str = "scout",
    tags: tuple[str, ...] = ("SOL/USDC",),
    text: str = "It worked before.",
    confidence: str = "0.75",
) -> Memory:
    """A memory that the agent keeps, of a cause of its own."""
    with db.savepoint():
        kept = memory.remember(
            agent=agent,
            type=MemoryType(type),
            text=text,
            confidence=Decimal(confidence),
            cause=f"outcome:{Memory.objects.count()}",
            now=db.now(),
            floor=Decimal(0),
            most=200,
            tags=tags,
        )
    assert kept is not None
    return kept


def consider(draft: Draft | None = None, seed: str = "a") -> Considered:
    _, policy = policies.current()
    return influence.consider(draft or cast.buy(), seed=seed, policy=policy, now=db.now())


# --- which way and how far ------------------------------------------------------------------------


@pytest.mark.usefixtures("asked")
class TestWeighing:
    @pytest.mark.parametrize(("type", "effect"), [("strategy", "0.037"), ("pattern", "0.037"), ("lesson", "-0.037")])
    def test_lessons_make_less_sure_and_strategies_and_patterns_surer(self, type: str, effect: str) -> None:
        kept = learns(type)  # 0.75 × 0.05, rounded towards nothing
        considered = consider()
        assert considered.memories == ((kept.pk, Decimal(effect)),)
        assert considered.draft.confidence == Decimal("0.7") + Decimal(effect)

    def test_the_rationale_names_the_memory_and_the_rest_stays(self) -> None:
        kept = learns(text="Entries on momentum worked.")
        before = cast.buy()
        after = consider(before).draft
        assert after.rationale == f"It looks good. Remembers #{kept.pk}: Entries on momentum worked."
        assert after.model_copy(update={"rationale": before.rationale, "confidence": before.confidence}) == before

    def test_several_share_what_one_could_add(self) -> None:
        for type in ("strategy", "lesson", "pattern"):
            learns(type)
        effects = [effect for _, effect in consider().memories]
        assert sorted(effects) == [Decimal("-0.012"), Decimal("0.012"), Decimal("0.012")]

    @pytest.mark.parametrize("type", ["insight", "preference"])
    def test_what_says_nothing_of_entries_is_not_asked(self, type: str) -> None:
        learns(type)
        assert consider() == Considered(cast.buy())

    def test_nor_what_is_about_another_market_or_another_s_or_laid_aside(self) -> None:
        learns(tags=("WIF/USDC",))
        learns(agent="growth")
        with db.savepoint():
            assert memory.archive(memory_id=learns().pk, why="a test", now=db.now())
        assert consider() == Considered(cast.buy())

    def test_what_all_know_counts_too(self) -> None:
        kept = learns(agent="growth")
        Memory.objects.filter(pk=kept.pk).update(promoted_at=db.now())
        assert [pk for pk, _ in consider().memories] == [kept.pk]

    def test_what_has_faded_is_not_asked(self) -> None:
        kept = learns()
        Memory.objects.filter(pk=kept.pk).update(created_at=cast.later(days=-9))  # 0.75 × e^-0.3 = 0.556
        assert consider().memories
        Memory.objects.filter(pk=kept.pk).update(created_at=cast.later(days=-10))  # 0.537, below the demo's 0.55
        assert not consider().memories

    @pytest.mark.parametrize(
        "steps",
        [
            [{"kind": "execute_trade", "params": {"side": "sell", "market": "SOL/USDC", "size_usd": "20"}}],
            [{"kind": "analyze_signal", "params": {"market": "SOL/USDC"}}],
            [{"kind": "close_position", "params": {"position": 1}}],
        ],
    )
    def test_what_is_no_entry_stays_as_it_is(self, steps: list[dict[str, Any]]) -> None:
        learns()
        draft = cast.draft(steps=steps)
        assert consider(draft) == Considered(draft)
        assert consider().memories

    def test_a_long_rationale_gives_way_to_the_memory_s_name(self) -> None:
        kept = learns(text="word " * 99)
        after = consider(cast.draft(rationale="x" * 4000)).draft
        assert len(after.rationale) <= 4000
        assert f"Remembers #{kept.pk}: word word" in after.rationale


class TestWords:
    def test_a_memory_is_quoted_as_one_line_that_a_draft_can_hold(self) -> None:
        hostile = Memory(pk=3, text="one\ntwo\x00\ud800\x1b[31m " + "y" * 400)
        said = influence.words(hostile)
        assert said.startswith("#3: one two[31m yyy")
        assert len(said) <= influence.WORDS_MOST + 4
        cast.draft(rationale=said)

    @given(confidence=SHARE, found=st.lists(st.tuples(st.sampled_from(list(influence.SIGN)), SHARE), max_size=6))
    def test_all_memories_together_stay_within_their_bound_and_add_up(
        self, confidence: Decimal, found: list[tuple[MemoryType, Decimal]]
    ) -> None:
        recalled = [Recalled(Memory(pk=pk, type=type, text="x"), strength) for pk, (type, strength) in enumerate(found)]
        draft = cast.draft(confidence=str(confidence))
        shaded, memories = influence._shaded(draft, recalled)
        assert abs(shaded.confidence - confidence) <= influence.MOST
        assert 0 <= shaded.confidence <= 1
        assert sum((effect for _, effect in memories), confidence) == shaded.confidence
        assert all(effect for _, effect in memories)
        assert all((effect > 0) == (influence.SIGN[found[pk][0]] > 0) for pk, effect in memories)


# --- dice -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("company")
class TestDice:
    def test_the_share_of_entries_that_ask_is_policy_s_and_the_seed_says_which(self) -> None:
        learns()
        cast.set_policy(memory_influence="0.6")
        seeds = [str(number) for number in range(60)]
        asked = [bool(consider(seed=seed).memories) for seed in seeds]
        assert asked == [random.Random(f"influence:{seed}").random() < 0.6 for seed in seeds]
        assert 0 < sum(asked) < len(seeds)
        assert asked == [bool(consider(seed=seed).memories) for seed in seeds]

    @pytest.mark.parametrize(("share", "asks"), [("0", False), ("1", True)])
    def test_it_can_be_switched_off(self, share: str, asks: bool) -> None:
        learns()
        cast.set_policy(memory_influence=share)
        assert {bool(consider(seed=str(number)).memories) for number in range(20)} == {asks}


# --- where it counts ------------------------------------------------------------------------------


def signal_rises(confidence: str = "0.7") -> None:
    data = {"market": "SOL/USDC", "direction": "buy", "kind": "momentum", "why": "it rises", "strength": "0.9"}
    with db.savepoint():
        events.emit(
            kind="signal.strong", subject="market:SOL/USDC", now=db.now(), data={**data, "confidence": confidence}
        )


@pytest.mark.usefixtures("asked")
class TestEntries:
    def test_a_trigger_s_entry_remembers_and_the_proposal_is_linked_to_what_it_remembered(self) -> None:
        cast.set_policy(proactive=[])
        kept = learns()
        signal_rises()
        assert triggers.run(now=db.now(), limit=20)["fired"] == ["signal.strong:scout"]
        proposal = Proposal.objects.get()
        assert (proposal.status, proposal.confidence) == ("approved", Decimal("0.737"))
        assert f"Remembers #{kept.pk}" in proposal.rationale
        link = Influence.objects.get()
        assert (link.proposal_id, link.memory_id, link.effect) == (proposal.pk, kept.pk, Decimal("0.037"))

    @pytest.mark.parametrize(("type", "status"), [("lesson", "rejected"), ("strategy", "approved")])
    def test_a_lesson_may_keep_an_entry_below_what_the_gates_ask(self, type: str, status: str) -> None:
        cast.set_policy(proactive=[])
        learns(type)
        signal_rises(confidence="0.58")
        triggers.run(now=db.now(), limit=20)
        assert Proposal.objects.get().status == status
