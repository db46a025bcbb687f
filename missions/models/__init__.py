"""The rows of the flow, a file a subject."""

from missions.models.company import CapCharge, CapUse, Company
from missions.models.heartbeat import Beat, BeatPhase, TriggerState
from missions.models.mind import Forecast, Influence, Reaction
from missions.models.mission import Mission, Outcome
from missions.models.policy import PolicyVersion
from missions.models.proposal import Approval, Proposal, Verdict
from missions.models.step import Step
from missions.models.word import Word

__all__ = [
    "Approval",
    "Beat",
    "BeatPhase",
    "CapCharge",
    "CapUse",
    "Company",
    "Forecast",
    "Influence",
    "Mission",
    "Outcome",
    "PolicyVersion",
    "Proposal",
    "Reaction",
    "Step",
    "TriggerState",
    "Verdict",
    "Word",
]
