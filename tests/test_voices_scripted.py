"""The scripted voice: real figures, whole words, nobody twice the same, and never on the side of what isn't so."""

import re
import string
from decimal import Decimal
from typing import Any

import pytest

from missions.vocabulary import ConversationFormat
from roundtable.models import Stance, Tone
from roundtable.voices import scripted
from roundtable.voices.port import Brief, Heard, Opinion, Remembered, Said
from roundtable.voices.scripted import claims, figures, lines, points
from tests import voice_briefs
from tests.voice_briefs import MEMORIES, SIX

FORMATS = list(ConversationFormat)
Turns = list[tuple[Brief, Said]]


def conversations(number: int, **more: Any) -> list[Turns]:
    return [
        voice_briefs.conversation(f"talk {seed}", scripted.speak, of_format=FORMATS[seed % len(FORMATS)], **more)
        for seed in range(number)
    ]


@pytest.fixture(scope="module")
def spoken() -> list[Turns]:
    found = conversations(80)
    assert sum(map(len, found)) >= 500
    return found


def turns_of(spoken: list[Turns]) -> Turns:
    return [turn for conversation in spoken for turn in conversation]


def numbers_in(value: Any) -> set[Decimal]:
    """Every number of some facts, as they are and as per cent, without signs."""
    if isinstance(value, dict):
        return {found for key in value for found in numbers_in(value[key])}
    if isinstance(value, list):
        return {found for item in value for found in numbers_in(item)}
    number = figures.number(value)
    return set() if number is None else {abs(number), abs(number * 100)}


def is_a_fact(figure: str, known: set[Decimal]) -> bool:
    """Whether a figure, as said, is one of the facts rounded to as many places."""
    said = Decimal(figure.replace(",", ""))
    places = -int(said.as_tuple().exponent)
    return any(round(number, places) == said for number in known)


def test_all_of_500_turns_are_fit_to_be_said(spoken: list[Turns]) -> None:
    for brief, said in turns_of(spoken):
        assert 0 < len(said.text) <= 120
        assert not re.search(r"[{}]|\bNone\b|\bnan\b|\binf\b|  ", said.text), said.text
        assert said.text[0].isupper() or not said.text[0].isalpha(), said.text
        assert said.text[-1] in ".!?", said.text
        assert said.stance in (Stance.AGREE, Stance.NEUTRAL, Stance.DISAGREE)
        assert (said.voice, said.fell_back, said.exchange, said.failed) == ("scripted", False, None, ())
        assert brief.opinion is not None or said.probability is None


def test_most_turns_name_a_figure_of_the_facts(spoken: list[Turns]) -> None:
    turns = turns_of(spoken)
    with_figures = [
        said.text
        for brief, said in turns
        if any(is_a_fact(figure, numbers_in(brief.facts)) for figure in figures.figures_in(said.text))
    ]
    assert len(with_figures) / len(turns) >= 0.6


def test_no_figure_is_invented(spoken: list[Turns]) -> None:
    """What isn't in the facts is a share of equity, a count, half way to a coin, or another's very words."""
    for brief, said in turns_of(spoken):
        portfolio = brief.facts["portfolio"]
        equity, wins, losses = Decimal(portfolio["equity_usd"]), brief.facts["outcomes"]["wins"], 0
        losses = brief.facts["outcomes"]["losses"]
        of_equity = [Decimal(portfolio["exposure_usd"]), Decimal(brief.facts.get("trade", {}).get("value_usd", 0))]
        chances = [(Decimal("0.5") + Decimal(row["confidence"])) / 2 for row in brief.facts["outlook"].values()]
        derived = {*(value / equity * 100 for value in of_equity), *(chance * 100 for chance in chances)}
        derived |= {Decimal(wins + losses), Decimal(wins) / (wins + losses) * 100}
        words = " ".join([*(m.text for m in brief.memories), brief.opinion.reason if brief.opinion else "", "148.20"])
        for figure in figures.figures_in(said.text):
            known = numbers_in(brief.facts) | derived
            assert figure in words or is_a_fact(figure, known), said.text


def test_nobody_repeats_what_was_heard(spoken: list[Turns]) -> None:
    for brief, said in turns_of(spoken):
        assert said.text not in [turn.text for turn in brief.heard]


def test_hardly_anything_is_said_twice(spoken: list[Turns]) -> None:
    """Beyond what a speaker hears there is no look, only variety."""
    repeated = sum(len(turns) - len({said.text for _, said in turns}) for turns in spoken)
    texts = [said.text for _, said in turns_of(spoken)]
    assert repeated <= len(texts) * 0.005
    assert len(set(texts)) / len(texts) > 0.9


def test_the_same_brief_finds_the_same_words_and_another_seed_others(spoken: list[Turns]) -> None:
    turns = turns_of(spoken)[:100]
    assert [scripted.speak(brief) for brief, _ in turns] == [said for _, said in turns]
    assert len({scripted.speak(voice_briefs.brief(seed=f"{seed}")).text for seed in range(30)}) > 15


def test_the_previous_speaker_is_answered_by_name(spoken: list[Turns]) -> None:
    answers = [(brief, said) for brief, said in turns_of(spoken) if brief.to and said.stance == Stance.DISAGREE]
    named = [said for brief, said in answers if brief.to and brief.to.capitalize() in said.text]
    assert len(named) / len(answers) > 0.6


@pytest.mark.parametrize("chars_max", [20, 40, 60, 90])
def test_a_shorter_sentence_is_chosen_rather_than_a_cut_one(chars_max: int) -> None:
    for turns in conversations(14, chars_max=chars_max):
        for _, said in turns:
            assert len(said.text) <= chars_max
            assert said.text[-1] in ".!?", said.text


@pytest.mark.parametrize("agent", SIX)
def test_each_agent_has_lines_for_everything(agent: str) -> None:
    """Of each kind that points or stances ask for, at least two, and none with a slot that nothing fills."""
    own, asked = lines.of(agent), lines.of("sage")
    assert own.keys() == asked.keys()
    for kind, variants in own.items():
        assert len(set(variants)) == len(variants) >= (1 if kind == "opinion.veto" else 2), kind
    known = {"reason", "lower", "to", "truth", "memory"} | {
        slot for seed in range(40) for point in points.of(voice_briefs.trade_facts(str(seed))) for slot in point.slots
    }
    known |= {"title", "status"}
    for variants in own.values():
        for line in variants:
            assert {name for _, name, _, _ in string.Formatter().parse(line) if name} <= known, line
    assert any(len(line) <= 40 for line in own["again.agree"])


def test_agents_don_t_speak_alike() -> None:
    texts = {agent: set().union(*lines.of(agent).values()) for agent in SIX}
    for agent in SIX:
        others = set().union(*(texts[other] for other in SIX if other != agent))
        assert len(texts[agent] & others) / len(texts[agent]) < 0.06


def test_every_point_can_be_spoken_by_everybody() -> None:
    """Controls the test above: no point falls silent because its lines lack."""
    for seed in range(20):
        for point in points.of(voice_briefs.trade_facts(str(seed))):
            for agent in SIX:
                usable = [line for line in lines.of(agent)[point.kind] if lines.slots_of(line) <= point.slots.keys()]
                assert usable, (agent, point.kind)


# --- stances --------------------------------------------------------------------------------------


@pytest.mark.parametrize("opinion", voice_briefs.OPINIONS)
@pytest.mark.parametrize("agent", SIX)
def test_in_a_trade_review_the_stance_is_the_opinion_s(agent: str, opinion: Opinion) -> None:
    facts = voice_briefs.trade_facts("review")
    said = scripted.speak(voice_briefs.brief(agent, format="trade_review", facts=facts, opinion=opinion))
    assert said.stance == (Stance.DISAGREE if opinion.stance == Stance.VETO else opinion.stance)
    assert said.probability == opinion.probability
    assert opinion.reason.rstrip(".").lower()[3:] in said.text.lower(), "the reason comes first"


def test_of_an_exit_nobody_states_a_probability() -> None:
    exit_ = Opinion(Stance.AGREE, "An exit makes our risk smaller.")
    assert scripted.speak(voice_briefs.brief(format="trade_review", opinion=exit_)).probability is None


def stances(tone: Tone, heard: str, facts: dict[str, Any]) -> list[Stance]:
    answered = (Heard("intel", heard, Stance.AGREE, Tone.PLAIN),)
    brief = {"to": "intel", "heard": answered, "tone": tone, "facts": facts}
    return [scripted.speak(voice_briefs.brief("atlas", seed=str(seed), **brief)).stance for seed in range(200)]


def test_tone_bends_the_stance() -> None:
    facts = voice_briefs.facts("tone")
    neutral = "Let us look at the figures."
    support, challenge = stances(Tone.SUPPORTIVE, neutral, facts), stances(Tone.CHALLENGE, neutral, facts)
    assert support.count(Stance.AGREE) > 150
    assert support.count(Stance.DISAGREE) == 0
    assert challenge.count(Stance.DISAGREE) > 120
    assert len(set(stances(Tone.PLAIN, neutral, facts))) == 3


FALLING = {"SOL/USDC": {"price": "150", "change": "-0.021", "high": "155", "low": "149", "bars": 24}}
BOOK = {"equity_usd": "10000", "exposure_usd": "1000", "drawdown": "0.041", "free_cash_usd": "9000"}
LOSING = {"hours": 48, "wins": 2, "losses": 5, "pnl_usd": "-31.5"}
FALSE = {
    "SOL/USDC is up 3% and climbing.": "SOL/USDC is down 2.1%",
    "SOL rose again.": "SOL/USDC is down 2.1%",
    "Our drawdown is 0.5%, no worry.": "drawdown is 4.1%",
    "Exposure 22% is too much.": "exposure is 10.0%",
    "Enjoy it: we're winning.": "we stand at -31.50 USD in 48 h",
}
TRUE = (
    "SOL/USDC is down 2% or so.",
    "Drawdown is 4.1%.",
    "Exposure of 10.0% is fine.",
    "SOL up or down, who knows?",
    "BONK is up 3%.",
    "Exposure would be 22% after it.",
    "SOL up and JUP/USDC down.",
    "We are losing.",
)


@pytest.mark.parametrize("tone", [Tone.SUPPORTIVE, Tone.PLAIN])
@pytest.mark.parametrize("claim", FALSE)
def test_nobody_agrees_with_what_the_facts_contradict(claim: str, tone: Tone) -> None:
    facts = {"prices": FALLING, "portfolio": BOOK, "outcomes": LOSING}
    assert claims.contradicted(claim, facts) == FALSE[claim]
    assert set(stances(tone, claim, facts)) == {Stance.DISAGREE}
    heard = (Heard("intel", claim, Stance.AGREE, Tone.PLAIN),)
    said = scripted.speak(voice_briefs.brief("scout", to="intel", heard=heard, tone=tone, facts=facts))
    assert FALSE[claim] in said.text
    assert "Intel" in said.text


@pytest.mark.parametrize("claim", TRUE)
def test_what_is_true_or_can_t_be_told_is_not_corrected(claim: str) -> None:
    assert claims.contradicted(claim, {"prices": FALLING, "portfolio": BOOK, "outcomes": LOSING}) == ""


def test_without_the_look_at_facts_somebody_would_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the guard above."""
    monkeypatch.setattr(claims, "contradicted", lambda text, facts: "")
    assert Stance.AGREE in stances(Tone.SUPPORTIVE, "SOL/USDC is up 3%.", {"prices": FALLING})


# --- memories and odd facts -----------------------------------------------------------------------


def test_a_memory_is_told_whole_and_named(spoken: list[Turns]) -> None:
    told = [(brief, said) for brief, said in turns_of(spoken) if said.memories]
    assert 0.03 < len(told) / len(turns_of(spoken)) < 0.3
    by_id = {memory.id: memory.text for memory in MEMORIES}
    for _, said in told:
        (memory,) = said.memories
        assert "I remember: " in said.text
        assert by_id[memory].startswith(said.text.partition("I remember: ")[2])


def test_no_memory_is_cut_in_its_middle() -> None:
    long = (Remembered(3, "lesson", "word " * 60, Decimal("0.7")),)
    for seed in range(40):
        assert scripted.speak(voice_briefs.brief(seed=str(seed), memories=long)).memories == ()


ODD: list[Any] = [None, "x", 7, [], {}, "NaN", "1e999999", [None], {"SOL/USDC": None}, {"SOL/USDC": {"price": "NaN"}}]
ODD += [{"open": [None, {"market": 7}], "closed": "x"}, {"{0}": {"price": "1", "change": "1"}}, True, {"wins": True}]


@pytest.mark.parametrize("fact", ["prices", "positions", "outlook", "outcomes", "portfolio", "trade", "talked_of"])
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_facts_are_no_figures_and_no_failure(fact: str, odd: Any) -> None:
    for agent in SIX:
        said = scripted.speak(voice_briefs.brief(agent, facts={fact: odd}))
        assert said.text
        assert not figures.figures_in(said.text)
        assert "{" not in said.text


def test_the_row_that_called_for_it_is_spoken_of_first() -> None:
    closed = {"market": "WIF/USDC", "status": "closed", "pnl_usd": "-4.5", "gain": "-0.03", "why": "stop at 2.3"}
    facts = {**voice_briefs.facts("wif"), "talked_of": closed}
    said = [
        scripted.speak(voice_briefs.brief("atlas", format="post_mortem", facts=facts, place=0, seed=str(seed))).text
        for seed in range(60)
    ]
    assert sum("4.50" in text or "-3.0%" in text for text in said) > 30
