"""The scripted voice: needs nothing, deterministic by the brief's seed, speaks from the brief's figures alone.

figures  numbers as people say them
points   what may be said about the facts: a kind, its figures, whether it is good news
lines    the sentences of each agent by kind (lines/*.txt)
claims   what somebody said that the facts contradict
stances  where the speaker stands
voice    puts it together within the limit of characters
"""

from roundtable.voices.scripted.voice import speak

__all__ = ["speak"]
