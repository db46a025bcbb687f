"""The words of one turn: a stance, a point that fits it, a sentence for the point, and whom it answers.

Candidates are put in an order by seeded dice and weights; the first that fits into the limit of characters and wasn't
heard is spoken. A sentence that doesn't fit gives way to a shorter one; nothing is ever cut.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from roundtable import drift
from roundtable.models import Stance, Tone
from roundtable.voices.port import Brief, Heard, Said
from roundtable.voices.scripted import claims, figures, lines, points, stances
from roundtable.voices.scripted.points import Point

NAME = "scripted"
_LEADS = 8.0  # how much the variant weighs whose turn it is
_REMEMBERS = 0.25  # how often a memory is told where one comes to mind
_URGENT, _SAME_MARKET, _STALE_FIGURES = 8.0, 3.0, 0.2
_MATCHES, _CLASHES = 2.5, 0.08  # how far a point's mood should go with the stance
_PREFIXED = {Stance.AGREE: 0.9, Stance.NEUTRAL: 0.55, Stance.DISAGREE: 0.95}
_LAST_RESORT = {Stance.AGREE: "I agree.", Stance.NEUTRAL: "I abstain.", Stance.DISAGREE: "I disagree."}

# what a format is about, and what an agent likes to speak of; what isn't named weighs 1
_ABOUT: Mapping[str, Mapping[str, float]] = {
    "morning_standup": {"price": 2, "signal": 3, "risk": 2, "held": 2, "spread": 2, "idle": 2},
    "position_review": {"held": 5, "conflict": 5, "support": 4, "closed": 1.5, "idle": 3},
    "post_mortem": {"closed": 6, "record": 3, "risk": 2, "refusals": 1.5, "matter": 3},
    "debate": {"signal": 3, "risk": 3, "conflict": 4, "record": 2, "matter": 3},
    "strategy_session": {"record": 5, "peer": 4, "refusals": 3, "risk": 2, "closed": 2},
    "watercooler": {"spread": 3, "price": 3, "peer": 2, "closed": 2, "risk": 0.5},
    "trade_review": {"trade": 3, "signal": 2, "risk": 2, "price": 1.5, "peer": 0.3, "refusals": 0.3, "idle": 0.5},
}
_LIKES: Mapping[str, Mapping[str, float]] = {
    "atlas": {"matter": 2, "trade": 2, "record": 1.5},
    "sage": {"risk": 3, "conflict": 2, "held": 1.5, "closed": 1.5},
    "scout": {"price": 3, "spread": 2, "trade": 2, "held": 1.5},
    "growth": {"record": 3, "closed": 2, "peer": 2, "support": 2},
    "intel": {"signal": 4, "conflict": 2, "spread": 1.5},
    "observer": {"record": 2, "refusals": 3, "closed": 2, "peer": 1.5},
}


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    weight: float
    memory: int | None = None
    plain: bool = False  # it names whom it answers itself, or stands alone


def speak(brief: Brief) -> Said:
    """The turn's words by the brief alone; the same brief, the same words."""
    dice = random.Random(f"{brief.seed}:{brief.agent}:{brief.place}")
    answered = _answered(brief)
    truth = claims.contradicted(answered.text, brief.facts) if answered else ""
    stance = stances.of(brief, answered.text if answered else "", truth, dice)
    sentence, text = _choose(brief, stance, answered, truth, dice)
    return Said(
        text=text,
        stance=stance,
        probability=brief.opinion.probability if brief.opinion else None,
        voice=NAME,
        memories=(sentence.memory,) if sentence.memory is not None else (),
    )


def _answered(brief: Brief) -> Heard | None:
    """The turn that this one answers: the last of whom it speaks to."""
    if brief.to is None:
        return None
    return next((turn for turn in reversed(brief.heard) if turn.agent == brief.to), None)


def _choose(
    brief: Brief, stance: Stance, answered: Heard | None, truth: str, dice: random.Random
) -> tuple[_Sentence, str]:
    prefixes = _prefixes(brief, stance, answered, dice)
    for sentence in _sentences(brief, stance, answered, truth, dice):
        for prefix in ("",) if sentence.plain else prefixes:
            text = f"{prefix} {sentence.text}".strip()
            if len(text) <= brief.chars_max and not _was_said(sentence.text, brief):
                return sentence, text
    rest = _Sentence(_LAST_RESORT[stance], 1)
    return rest, rest.text


def _was_said(sentence: str, brief: Brief) -> bool:
    return any(sentence in turn.text for turn in brief.heard)


# --- sentences ------------------------------------------------------------------------------------


def _sentences(
    brief: Brief, stance: Stance, answered: Heard | None, truth: str, dice: random.Random
) -> Iterator[_Sentence]:
    """What could be said, the best first."""
    spoke = any(turn.agent == brief.agent for turn in brief.heard)
    if truth and answered and brief.opinion is None:
        yield from _shuffled(_fill(brief, "correct", {"to": _name(answered.agent), "truth": truth}, plain=True), dice)
    if brief.opinion is not None and not spoke:
        yield from _shuffled(_opinions(brief), dice)
    if brief.memories and dice.random() < _REMEMBERS:
        yield from _shuffled(_memories(brief), dice)
    said = _points(brief, stance, answered)
    if brief.opinion is not None:
        said += _fill(brief, f"again.{stance.value}", {}, weight=2.0)
    yield from _shuffled(said, dice)
    yield from _shuffled(_fill(brief, "none", {}) if not said else [], dice)
    yield from _shuffled(_fill(brief, f"again.{stance.value}", {}, plain=True), dice)


def _shuffled(sentences: list[_Sentence], dice: random.Random) -> list[_Sentence]:
    """In an order by weighted dice (Efraimidis and Spirakis 2006)."""
    return sorted(sentences, key=lambda sentence: dice.random() ** (1 / sentence.weight), reverse=True)


def _points(brief: Brief, stance: Stance, answered: Heard | None) -> list[_Sentence]:
    found = []
    for point in points.of(brief.facts):
        if point.slots.get("peer") == _name(brief.agent):
            continue  # nobody praises or blames himself
        weight = _weight(point, brief, stance, answered)
        found += _fill(brief, point.kind, point.slots, weight=weight)
    return found


def _weight(point: Point, brief: Brief, stance: Stance, answered: Heard | None) -> float:
    """How much this point belongs here: to the format, the agent, the matter, and to what was just said."""
    kind = point.kind.split(".")[0]
    weight = _ABOUT.get(brief.format, {}).get(kind, 1.0) * _LIKES.get(brief.agent, {}).get(kind, 1.0)
    if point.urgent:
        weight *= _URGENT * (4 if brief.place == 0 else 1)
    heard = answered.text if answered else ""
    if point.market and (point.slots["base"] in heard or point.slots["base"] in brief.topic):
        weight *= _SAME_MARKET
    if brief.opinion is None and heard and stance != Stance.NEUTRAL and point.mood:
        goes_with = (point.mood == claims.mood(heard)) == (stance == Stance.AGREE)
        weight *= _MATCHES if goes_with else _CLASHES
    return weight


def _fill(
    brief: Brief, kind: str, slots: Mapping[str, str], *, weight: float = 1.0, plain: bool = False
) -> list[_Sentence]:
    """The sentences of a kind with their slots filled. Figures that were all heard before weigh less, and at each place
    another variant leads, so that long conversations don't repeat themselves.
    """
    known = lines.of(brief.agent).get(kind, ())
    heard = {figure for turn in brief.heard for figure in figures.figures_in(turn.text)}
    made = []
    for number, line in enumerate(known):
        if not lines.slots_of(line) <= slots.keys():
            continue
        text = _upper(line.format_map(slots))
        named = figures.figures_in(text)
        each = weight * (_STALE_FIGURES if named and named <= heard else 1.0)
        led = (brief.place + number) % len(known) == 0
        made.append(_Sentence(text, each * (_LEADS if led else 1.0), plain=plain))
    return made


def _opinions(brief: Brief) -> list[_Sentence]:
    assert brief.opinion is not None
    reason = figures.words(brief.opinion.reason, brief.chars_max)
    if not reason:
        return []
    lower = reason if re.match(r"[A-Z]{2}|I\b", reason) else reason[0].lower() + reason[1:]
    found = _fill(brief, f"opinion.{brief.opinion.stance.value}", {"reason": reason, "lower": lower}, weight=3.0)
    return [*found, _Sentence(reason, 0.3)]


def _memories(brief: Brief) -> list[_Sentence]:
    found = []
    for memory in brief.memories:
        text = _short(memory.text, brief.chars_max)
        if text and not _was_said(text, brief):
            each = _fill(brief, "memory", {"memory": text}, weight=float(max(memory.strength, Decimal(0))) + 0.1)
            found += [_Sentence(made.text, made.weight, memory=memory.id) for made in each]
    return found


def _short(text: str, most: int) -> str:
    """A memory's text, or its first sentence where it is too long to be told whole."""
    whole = figures.words(text, 600)
    if len(whole) <= most - 20:
        return whole
    first = re.split(r"(?<=[.!?]) ", whole)[0]
    return first if len(first) <= most - 20 else ""


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- whom it answers ------------------------------------------------------------------------------


def _prefixes(brief: Brief, stance: Stance, answered: Heard | None, dice: random.Random) -> list[str]:
    """How the sentence may begin, the wished first; without anything last, since that is the shortest."""
    kind, likely = _prefix_kind(brief, stance, answered)
    slots = {"to": _name(brief.to)} if brief.to else {}
    made = _shuffled(_fill(brief, kind, slots), dice) if kind and dice.random() < likely else []
    return [*(sentence.text for sentence in made if not _was_said(sentence.text, brief)), ""]


def _prefix_kind(brief: Brief, stance: Stance, answered: Heard | None) -> tuple[str, float]:
    if brief.place == 0:
        return "open", 0.6
    if answered is None:
        return "", 0
    if brief.opinion is not None:
        # the stance is the proposal's there: two agree with each other where they stand alike
        return f"reply.{drift.towards_each_other(stance, answered.stance).value}", 0.7
    if brief.place >= brief.planned - 1 and stance != Stance.DISAGREE:
        return "close", 0.6
    kind = stance.value
    if stance == Stance.AGREE and brief.tone == Tone.SUPPORTIVE:
        kind = "support"
    if stance == Stance.DISAGREE and brief.tone == Tone.CHALLENGE:
        kind = "challenge"
    return f"reply.{kind}", _PREFIXED[stance]


def _name(agent: str) -> str:
    return figures.words(agent, 20).capitalize() or "You"
