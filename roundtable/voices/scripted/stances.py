"""Where a speaker stands: by its opinion in a trade review, elsewhere by tone, dice and what the facts say."""

import random
from collections.abc import Mapping

from roundtable.models import Stance, Tone
from roundtable.voices.port import Brief
from roundtable.voices.scripted import claims

# weights of agree, neutral, disagree
_BY_TONE: Mapping[Tone, tuple[float, float, float]] = {
    Tone.PLAIN: (0.45, 0.35, 0.20),
    Tone.SUPPORTIVE: (0.85, 0.15, 0.00),
    Tone.CRITICAL: (0.15, 0.30, 0.55),
    Tone.CHALLENGE: (0.05, 0.15, 0.80),
}
_ORDER = (Stance.AGREE, Stance.NEUTRAL, Stance.DISAGREE)
_BRIGHT, _GLOOMY = 1.4, 1.4  # growth likes good news, sage bad


def of(brief: Brief, answered: str, truth: str, dice: random.Random) -> Stance:
    """The stance towards the proposal, or towards what was `answered`; `truth` is what the facts say against that."""
    if brief.opinion is not None:
        return Stance.DISAGREE if brief.opinion.stance == Stance.VETO else brief.opinion.stance
    if not answered:
        return Stance.NEUTRAL
    if truth:
        return Stance.DISAGREE
    agree, neutral, disagree = _BY_TONE[brief.tone]
    mood = claims.mood(answered)
    if (brief.agent, mood) in (("growth", 1), ("sage", -1)):
        agree *= _BRIGHT
    if (brief.agent, mood) in (("growth", -1), ("sage", 1)):
        disagree *= _GLOOMY
    return dice.choices(_ORDER, weights=(agree, neutral, disagree))[0]
