"""The company's words for work: step kinds, mission kinds, states. Each list exists once."""

from django.db import models


class StepKind(models.TextChoices):
    ANALYZE_SIGNAL = "analyze_signal", "Analyse signals"
    CALCULATE_RISK = "calculate_risk", "Calculate risk"
    MONITOR_POSITION = "monitor_position", "Monitor positions"
    EXECUTE_TRADE = "execute_trade", "Execute a trade"
    CLOSE_POSITION = "close_position", "Close a position"
    SCALE_POSITION = "scale_position", "Scale a position"
    HOLD_ROUNDTABLE = "hold_roundtable", "Hold a roundtable"
    REFLECT = "reflect", "Reflect"


TRADING_KINDS = frozenset({StepKind.EXECUTE_TRADE, StepKind.CLOSE_POSITION, StepKind.SCALE_POSITION})


class MissionKind(models.TextChoices):
    ENTRY = "entry", "Entry"
    EXIT = "exit", "Exit"
    SCALE = "scale", "Scale"
    HEDGE = "hedge", "Hedge"
    ANALYSIS = "analysis", "Analysis"
    MONITOR = "monitor", "Monitor"
    CONVERSATION = "conversation", "Conversation"


class ProposalStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"
    CANCELLED = "cancelled", "Cancelled"
    EXPIRED = "expired", "Expired"


class ProposalSource(models.TextChoices):
    PERSON = "person", "A person"
    TRIGGER = "trigger", "A trigger"
    REACTION = "reaction", "A reaction"
    INITIATIVE = "initiative", "An initiative"
    CONVERSATION = "conversation", "A conversation"
    PROTECTION = "protection", "A protective exit"


class MissionStatus(models.TextChoices):
    APPROVED = "approved", "Approved"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class StepStatus(models.TextChoices):
    QUEUED = "queued", "Queued"
    CLAIMED = "claimed", "Claimed"
    EXECUTING = "executing", "Executing"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    NEEDS_RECONCILIATION = "needs_reconciliation", "Needs reconciliation"


class CompanyStatus(models.TextChoices):
    ACTIVE = "active", "Active"
    REDUCING = "reducing", "Reducing: exits only"
    HALTED = "halted", "Halted"


class PhaseStatus(models.TextChoices):
    SUCCESS = "success", "Success"
    PARTIAL_FAILURE = "partial_failure", "Partial failure"
    FAILURE = "failure", "Failure"
    SKIPPED = "skipped", "Skipped"


class CapKey(models.TextChoices):
    TRADES = "trades_per_day", "Trades a day"
    ANALYSES = "analyses_per_day", "Analyses a day"
    CONVERSATIONS = "conversations_per_day", "Conversations a day"


CAP_OF_KIND = {
    StepKind.ANALYZE_SIGNAL: CapKey.ANALYSES,
    StepKind.CALCULATE_RISK: CapKey.ANALYSES,
    StepKind.MONITOR_POSITION: CapKey.ANALYSES,
    StepKind.REFLECT: CapKey.ANALYSES,
    StepKind.EXECUTE_TRADE: CapKey.TRADES,
    StepKind.CLOSE_POSITION: CapKey.TRADES,
    StepKind.SCALE_POSITION: CapKey.TRADES,
    StepKind.HOLD_ROUNDTABLE: CapKey.CONVERSATIONS,
}


class ConversationFormat(models.TextChoices):
    MORNING_STANDUP = "morning_standup", "Morning stand-up"
    POSITION_REVIEW = "position_review", "Position review"
    POST_MORTEM = "post_mortem", "Post-mortem"
    DEBATE = "debate", "Debate"
    STRATEGY_SESSION = "strategy_session", "Strategy session"
    WATERCOOLER = "watercooler", "At the watercooler"
    TRADE_REVIEW = "trade_review", "Trade review"


class ReactionStatus(models.TextChoices):
    QUEUED = "queued", "Queued"
    PROCESSING = "processing", "Processing"
    PROCESSED = "processed", "Processed"
    FAILED = "failed", "Failed"


class ForecastStatus(models.TextChoices):
    OPEN = "open", "Open"
    SCORED = "scored", "Scored"
    VOID = "void", "Void: nothing was traded"


PRIORITY_PROTECTIVE = 10
"""Of the steps of protective exits; lower goes first, and no talk before it."""
