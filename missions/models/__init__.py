"""The rows of the flow, a file a subject."""

from missions.models.company import CapCharge, CapUse, Company
from missions.models.heartbeat import Beat, BeatPhase, TriggerState
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
    "Mission",
    "Outcome",
    "PolicyVersion",
    "Proposal",
    "Step",
    "TriggerState",
    "Verdict",
    "Word",
]
