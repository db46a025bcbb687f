"""Who speaks: the script, or a language model within its budget, and the script again wherever the model fails.

Called outside transactions, since it may ask the network; its own writes are the budget's alone. What was asked and
answered comes back unsaved in `Said`, to be stored with the turn.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import structlog
from django.conf import settings

from roundtable.models import Exchange
from roundtable.voices import budget, openai, scripted
from roundtable.voices.endpoint import Came, Endpoint, VoiceRefused, VoiceUnavailable
from roundtable.voices.openai import Ask, NotAsked, NoWords, OpenAi
from roundtable.voices.port import Brief, Said
from roundtable.voices.prompting import Prompt
from tradeco.common.outside import BreakerOpen

log = structlog.get_logger(__name__)


def speak(
    brief: Brief,
    *,
    tokens_per_day: int,
    now: datetime,
    recorded: Mapping[str, str] | None = None,
    model: str | None = None,
) -> Said:
    """One turn's words by the voice of `settings.VOICE`; never fails for what a model does.

    Args:
        tokens_per_day: what a language model may cost this agent in a UTC day.
        recorded: answers by the hash of their prompt, for replay: then no network and no budget is asked, and where
            there are none the script speaks.
        model: the model that was asked then, for replay; the settings' one unless given.
    """
    name = settings.VOICE_MODEL if model is None else model
    if recorded is not None:
        return _by_model(brief, name, _remembering(recorded), now) if recorded else scripted.speak(brief)
    if settings.VOICE != openai.NAME:
        return scripted.speak(brief)
    try:
        endpoint = Endpoint(settings.VOICE_URL, settings.VOICE_KEY, settings.VOICE_TIMEOUT_SECONDS)
    except ValueError as exc:
        log.error("The language model's address can't be used.", action="voice_misconfigured", why=str(exc))
        return _instead(brief, "misconfigured")
    return _by_model(brief, name, _asking(endpoint, brief, tokens_per_day, now), now)


def _by_model(brief: Brief, model: str, ask: Ask, now: datetime) -> Said:
    try:
        return OpenAi(model=model, ask=ask, now=now).speak(brief)
    except NoWords as exc:
        return _instead(brief, exc.why, exc.failed)


def _instead(brief: Brief, why: str, failed: tuple[Exchange, ...] = ()) -> Said:
    log.info("The script speaks instead.", action="voice_fell_back", agent=brief.agent, why=why)
    return replace(scripted.speak(brief), fell_back=True, failed=failed)


def _remembering(recorded: Mapping[str, str]) -> Ask:
    def ask(prompt: Prompt) -> Came:
        answer = recorded.get(prompt.hash)
        if answer is None:
            raise NotAsked("not_recorded")
        return Came(answer, None, None)

    return ask


def _asking(endpoint: Endpoint, brief: Brief, tokens_per_day: int, now: datetime) -> Ask:
    """Reserve, ask, correct; what surely wasn't worked on costs nothing."""

    def ask(prompt: Prompt) -> Came:
        reserved = used = prompt.tokens
        if not budget.reserve(agent=brief.agent, tokens=reserved, most=tokens_per_day, now=now):
            raise NotAsked("budget_spent")
        try:
            came = endpoint.ask(openai.body_of(prompt, temperature=brief.temperature))
            used = _used(came, prompt)
        except BreakerOpen:
            used = 0
            raise NotAsked("breaker_open") from None
        except VoiceUnavailable as exc:
            used = reserved if exc.sent else 0
            raise
        except VoiceRefused as exc:
            used = reserved if exc.why == "too_large" else 0
            raise
        finally:
            budget.correct(agent=brief.agent, reserved=reserved, used=used, now=now)
        return came

    return ask


def _used(came: Came, prompt: Prompt) -> int:
    """What the endpoint counted; the estimate where it counted nothing."""
    if came.prompt_tokens is None or came.answer_tokens is None:
        return prompt.tokens
    return came.prompt_tokens + came.answer_tokens
