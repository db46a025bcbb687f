"""Votes of agents on proposals. Conversations come to stand beside them."""

from typing import ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from agents.models import Agent
from missions.models import Proposal


class Stance(models.TextChoices):
    AGREE = "agree", "Agrees"
    NEUTRAL = "neutral", "Neutral"
    DISAGREE = "disagree", "Disagrees"
    VETO = "veto", "Vetoes"


class Vote(models.Model):
    """What one agent says of a proposal, with the facts it looked at. Stance is a field, never guessed from words."""

    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="votes")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="votes")
    stance = models.CharField(max_length=8, choices=Stance)
    reason = models.CharField(max_length=300)
    facts = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(name="vote_once_per_agent", fields=["proposal", "agent"])]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.stance}s #{self.proposal_id}"
