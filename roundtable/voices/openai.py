"""A language model's words for a turn: asked, checked, asked once more where the answer isn't one.

How the question travels and what it costs is the affair of whoever hands in `ask` (`speaking`). In a trade review a
model may doubt what the rule allows; it is never bolder than the rule, whatever it was told to say.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any

from roundtable.models import Exchange, Stance
from roundtable.voices import prompting, schema
from roundtable.voices.endpoint import Came, VoiceRefused, VoiceUnavailable
from roundtable.voices.port import Brief, Opinion, Said
from roundtable.voices.prompting import Prompt
from roundtable.voices.schema import Answer, InvalidAnswer

NAME = "openai"
ASKED_MOST = 2  # an invalid answer is asked once more
BOLDER_BY = Decimal("0.1")  # how far a probability may lie above the rule's
CAUTION = {Stance.VETO: 0, Stance.DISAGREE: 0, Stance.NEUTRAL: 1, Stance.AGREE: 2}

Ask = Callable[[Prompt], Came]


class NotAsked(Exception):
    """Nothing was asked: the budget is spent, the breaker open, or nothing recorded."""


class NoWords(Exception):
    """The model found none; `failed` is what was asked for nothing."""

    def __init__(self, why: str, failed: tuple[Exchange, ...]) -> None:
        super().__init__(why)
        self.why, self.failed = why, failed


@dataclass(frozen=True, slots=True)
class OpenAi:
    """A voice by a model behind an OpenAI-compatible endpoint."""

    model: str
    ask: Ask
    now: datetime

    def speak(self, brief: Brief) -> Said:
        """The turn's words.

        Raises:
            NoWords: it gave no valid answer.
        """
        prompt, failed = prompting.first(brief, model=self.model), list[Exchange]()
        for _ in range(ASKED_MOST):
            exchange = self._exchange(prompt, brief, failed)
            try:
                answer = schema.read(exchange.answer)
            except InvalidAnswer as exc:
                exchange.error = str(exc)[:300]
                failed.append(exchange)
                prompt = prompting.again(prompt, answer=exchange.answer, why=exchange.error)
                continue
            exchange.valid = True
            return said(brief, answer, exchange, tuple(failed))
        raise NoWords("invalid", tuple(failed))

    def _exchange(self, prompt: Prompt, brief: Brief, failed: list[Exchange]) -> Exchange:
        """What was asked and answered, unsaved and not yet found valid."""
        began = time.monotonic()
        try:
            came, why = self.ask(prompt), ""
        except NotAsked as exc:
            raise NoWords(str(exc), tuple(failed)) from None
        except (VoiceRefused, VoiceUnavailable) as exc:
            came, why = Came("", None, None), exc.why
        exchange = Exchange(
            prompt_hash=prompt.hash,
            model=prompt.model,
            agent_id=brief.agent,
            prompt=prompt.stored,
            answer=came.content,
            valid=False,
            error=why,
            prompt_tokens=came.prompt_tokens or 0,
            answer_tokens=came.answer_tokens or 0,
            milliseconds=round((time.monotonic() - began) * 1000),
            at=self.now,
        )
        if why:
            raise NoWords(why, (*failed, exchange))
        return exchange


def body_of(prompt: Prompt, *, temperature: Decimal) -> dict[str, Any]:
    """The request's JSON, as /chat/completions takes it."""
    shape = {"name": "turn", "strict": True, "schema": schema.JSON_SCHEMA}
    return {
        "model": prompt.model,
        "messages": [dict(message) for message in prompt.messages],
        "temperature": float(temperature),
        "max_tokens": prompting.ANSWER_TOKENS_MOST,
        "response_format": {"type": "json_schema", "json_schema": shape},
    }


def said(brief: Brief, answer: Answer, exchange: Exchange | None, failed: tuple[Exchange, ...]) -> Said:
    """An answer as a turn, within the turn's length and the rule's caution."""
    return Said(
        text=cut(answer.text, brief.chars_max),
        stance=answer.stands if brief.opinion is None else more_cautious(brief.opinion.stance, answer.stands),
        probability=None if brief.opinion is None else no_bolder(brief.opinion, answer.probability),
        voice=NAME,
        memories=tuple(memory.id for memory in brief.memories),
        exchange=exchange,
        failed=failed,
    )


def more_cautious(rule: Stance, model: Stance) -> Stance:
    """The more cautious of the two; a veto is the rule's alone, so it stands as disagreement here."""
    found = min(rule, model, key=lambda stance: CAUTION[stance])
    return Stance.DISAGREE if found == Stance.VETO else found


def no_bolder(opinion: Opinion, probability: Decimal | None) -> Decimal | None:
    """The model's probability, at most a little above the rule's; none where the rule has none."""
    if opinion.probability is None or probability is None:
        return opinion.probability
    most = min(Decimal(1), opinion.probability + BOLDER_BY)
    return min(probability, most).quantize(Decimal("0.001"), rounding=ROUND_DOWN)


def cut(text: str, most: int) -> str:
    """The text within `most` characters, ending after a whole word."""
    if len(text) <= most:
        return text
    head, space, _ = text[:most].rpartition(" ")  # room for the ellipsis: the space goes
    return f"{head.rstrip(' ,;:-(')}…" if space and head else f"{text[: most - 1]}…"
