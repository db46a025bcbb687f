"""What a language model is asked: the rules as system message, everything else as fenced data.

Facts, memories, topics and what others said come from markets, strangers and models: they enter as JSON strings between
two lines with a fence that nobody could know beforehand. Texts live in prompts/*.txt. A request is known by its hash.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

from roundtable.models import Tone
from roundtable.voices.port import Brief
from roundtable.voices.schema import JSON_SCHEMA, on_one_line

FOLDER = Path(__file__).parent / "prompts"
ANSWER_TOKENS_MOST = 200  # room for 120 characters, their JSON, and a chatty model
CHARS_PER_TOKEN = 3  # cautious for English and JSON; real counts come with the answer
STRING_MOST, ITEMS_MOST, DEPTH_MOST = 300, 12, 6  # bounds of what enters of each fact
DATA_MOST = 12_000  # characters of a turn's data; facts are left out from the last one on

_STANCE = {
    True: "towards the proposed trade: agree means you are for it, disagree means you are against it.",
    False: "towards what the agent whom you answer said; neutral where you answer nobody.",
}
_PROBABILITY = {True: "the probability from 0 to 1 that the trade ends in profit.", False: "always null."}
_TONES = {
    Tone.PLAIN: "plain.",
    Tone.SUPPORTIVE: "supportive; still say what is true.",
    Tone.CRITICAL: "critical; look for what is weak.",
    Tone.CHALLENGE: "challenging; ask for proof.",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request without whom it goes to: what is hashed, stored, and sent. It holds no key."""

    model: str
    messages: tuple[Mapping[str, str], ...]

    @property
    def stored(self) -> dict[str, Any]:
        return {"model": self.model, "messages": [dict(each) for each in self.messages], "schema": JSON_SCHEMA}

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON of model, messages and schema."""
        canonical = json.dumps(self.stored, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return sha256(canonical.encode("utf-8", "replace")).hexdigest()

    @property
    def tokens(self) -> int:
        """The most that asking is estimated to cost."""
        asked = sum(len(each["content"]) for each in self.messages)
        return asked // CHARS_PER_TOKEN + ANSWER_TOKENS_MOST


def first(brief: Brief, *, model: str) -> Prompt:
    """The request for a turn."""
    data = _data(brief)
    fence = sha256(f"{brief.seed}:{brief.agent}:{brief.place}:{data}".encode()).hexdigest()[:24]
    system = _text("system").substitute(
        agent=on_one_line(brief.agent).capitalize(),
        role=on_one_line(brief.role),
        manner=on_one_line(brief.manner),
        format=_formats().get(brief.format, ""),
        chars_max=brief.chars_max,
        stance=_STANCE[brief.opinion is not None],
        probability=_PROBABILITY[brief.opinion is not None and brief.opinion.probability is not None],
        tone=_TONES[brief.tone],
    )
    user = _text("turn").substitute(fence=fence, data=data)
    return Prompt(model, ({"role": "system", "content": system}, {"role": "user", "content": user}))


def again(prompt: Prompt, *, answer: str, why: str) -> Prompt:
    """The same, once more, with what came back and what was wrong with it."""
    said = {"role": "assistant", "content": on_one_line(answer)[:500] or "(nothing)"}
    told = {"role": "user", "content": _text("again").substitute(why=on_one_line(why))}
    return Prompt(prompt.model, (*prompt.messages, said, told))


def _data(brief: Brief) -> str:
    """The turn's data as JSON on one line, which no text inside can leave. Facts give way where it grows too long."""
    told: dict[str, Any] = {
        "topic": clean(brief.topic),
        "turn": brief.place + 1,
        "turns_planned": brief.planned,
        "you_answer": brief.to,
        "heard": [{"agent": turn.agent, "text": clean(turn.text), "stance": str(turn.stance)} for turn in brief.heard],
        "your_memories": [{"type": each.type, "text": clean(each.text)} for each in brief.memories],
        "how_experience_shaped_you": [clean(each) for each in brief.modifiers],
    }
    if brief.opinion is not None:
        told["your_opinion_by_rule"] = {
            "stance": brief.opinion.stance.value,
            "reason": clean(brief.opinion.reason),
            "probability": None if brief.opinion.probability is None else str(brief.opinion.probability),
        }
    facts: dict[str, Any] = {}
    for name, fact in brief.facts.items():
        tried = {**facts, str(name): clean(fact)}
        if len(_json({**told, "facts": tried})) <= DATA_MOST:
            facts = tried
    return _json({**told, "facts": facts})


def clean(value: Any, depth: int = 0) -> Any:
    """JSON without control characters, and within bounds of length, number and depth."""
    if depth >= DEPTH_MOST:
        return None
    if isinstance(value, str):
        return on_one_line(value)[:STRING_MOST]
    if isinstance(value, Mapping):
        pairs = islice(value.items(), ITEMS_MOST)
        return {on_one_line(str(name))[:60]: clean(item, depth + 1) for name, item in pairs}
    if isinstance(value, list | tuple):
        return [clean(item, depth + 1) for item in value[:ITEMS_MOST]]
    return value if value is None or isinstance(value, bool | int) else on_one_line(str(value))[:STRING_MOST]


def _json(tree: Any) -> str:
    """ASCII: no character of another script can pass for the fence or for the end of a line."""
    return json.dumps(tree, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


@cache
def _text(name: str) -> Template:
    return Template((FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip())


@cache
def _formats() -> Mapping[str, str]:
    lines = (FOLDER / "formats.txt").read_text(encoding="utf-8").splitlines()
    return {name: said.strip() for name, _, said in (line.partition(":") for line in lines if ":" in line)}
