"""Every policy: its type, its unit, why it is there, and its value in the two sets that ship.

`production` is for real money. `demo` is what `make run` opens with: quick cadence, caps that last a night,
exits close enough that positions close within minutes. Values are data: staff change them as versions
(`policies.change`), never here.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from agents.models import DRIFT_MOST
from missions.vocabulary import TRADING_KINDS, ConversationFormat, StepKind

AgentKey = Annotated[str, Field(pattern=r"^[a-z]{1,20}$")]
Word = Annotated[str, Field(pattern=r"^[a-z_.]{1,40}$")]
Share = Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False)]
SignedShare = Annotated[Decimal, Field(ge=-1, le=1, allow_inf_nan=False)]
Usd = Annotated[Decimal, Field(ge=0, le=Decimal(10) ** 12, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
AtLeastOne = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Bps = Annotated[int, Field(ge=0, le=5_000, strict=True)]
Days = Annotated[int, Field(ge=1, le=36_500, strict=True)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Minutes = Annotated[float, Field(gt=0, le=525_600, allow_inf_nan=False)]


class About(NamedTuple):
    """What stands beside each policy: its unit, why it is there, and the opening values."""

    unit: str
    why: str
    production: Any
    demo: Any


class Proactive(BaseModel):
    """An agent's routine: what it proposes to do, how often."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    agent: AgentKey
    topic: Word
    step: Literal["analyze_signal", "calculate_risk", "monitor_position", "reflect"]
    every_minutes: Minutes


class Reactive(BaseModel):
    """What an agent does about an event, at most once in its cooldown."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    event: Word
    agent: AgentKey
    cooldown_minutes: Minutes


class Reaction(BaseModel):
    """One row of the reaction matrix: how likely a target agent answers a source agent's doing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    source: AgentKey
    target: AgentKey
    does: Word
    probability: Share
    cooldown_minutes: Minutes


class VoteTier(BaseModel):
    """From this share of equity on, a trade needs so many voters."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    from_share: Share
    voters: Annotated[int, Field(ge=2, le=5, strict=True)]


class Talk(BaseModel):
    """A conversation that comes round: each `every_minutes`, `at_minutes` into it, counted from midnight UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: ConversationFormat
    every_minutes: Minutes
    at_minutes: Annotated[float, Field(ge=0, le=525_600, allow_inf_nan=False)]
    probability: Share


_AUTO = (
    StepKind.ANALYZE_SIGNAL,
    StepKind.MONITOR_POSITION,
    StepKind.CALCULATE_RISK,
    StepKind.REFLECT,
    StepKind.HOLD_ROUNDTABLE,
)
_VOTE = (StepKind.EXECUTE_TRADE, StepKind.CLOSE_POSITION, StepKind.SCALE_POSITION)
_PROACTIVE = (
    {"agent": "intel", "topic": "signal_scan", "step": "analyze_signal", "every_minutes": 30},
    {"agent": "atlas", "topic": "position_review", "step": "monitor_position", "every_minutes": 120},
    {"agent": "intel", "topic": "research", "step": "analyze_signal", "every_minutes": 180},
    {"agent": "sage", "topic": "risk_review", "step": "calculate_risk", "every_minutes": 240},
    {"agent": "growth", "topic": "performance", "step": "reflect", "every_minutes": 360},
    {"agent": "observer", "topic": "audit", "step": "reflect", "every_minutes": 480},
)
# the demo looks at each beat until its pace tells it to wait: a newcomer sees a trade within a minute
_PROACTIVE_DEMO = ({**_PROACTIVE[0], "every_minutes": 12}, *_PROACTIVE[1:])
_REACTIVE = (
    {"event": "position.win", "agent": "growth", "cooldown_minutes": 60},
    {"event": "position.loss", "agent": "sage", "cooldown_minutes": 60},
    {"event": "position.alarm", "agent": "atlas", "cooldown_minutes": 30},
    {"event": "signal.strong", "agent": "scout", "cooldown_minutes": 15},
    {"event": "positions.many", "agent": "observer", "cooldown_minutes": 60},
    {"event": "stop.hit", "agent": "growth", "cooldown_minutes": 30},
)
_REACTIONS = tuple(
    dict(zip(("source", "target", "does", "probability", "cooldown_minutes"), row, strict=True))
    for row in (
        ("any", "sage", "diagnose", "1.0", 60),
        ("intel", "atlas", "evaluate", "0.8", 30),
        ("scout", "growth", "analyze", "0.3", 120),
        ("sage", "atlas", "review", "1.0", 15),
        ("growth", "atlas", "propose_strategy", "0.6", 180),
        ("observer", "atlas", "alert", "1.0", 5),
    )
)
_VOTE_TIERS = (
    {"from_share": "0", "voters": 2},
    {"from_share": "0.01", "voters": 3},
    {"from_share": "0.03", "voters": 5},
)
_DAY = 1440
_TALKS = tuple(
    dict(zip(("format", "every_minutes", "at_minutes", "probability"), row, strict=True))
    for row in (
        ("morning_standup", _DAY, 6 * 60 + 30, "1.0"),
        ("position_review", _DAY, 11 * 60, "0.8"),
        ("post_mortem", _DAY, 13 * 60 + 30, "1.0"),
        ("debate", _DAY, 16 * 60, "0.6"),
        ("watercooler", _DAY, 18 * 60, "0.4"),
        # the epoch was a Thursday: three days later it is Sunday
        ("strategy_session", 7 * _DAY, 3 * _DAY + 9 * 60, "1.0"),
    )
)


class Policy(BaseModel):
    """All policies at one revision. Frozen: a decision sees one policy from beginning to end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _revision: int = PrivateAttr(default=0)

    @property
    def revision(self) -> int:
        """The revision that these values are of; 0 where they were never in force."""
        return self._revision

    starting_cash_usd: Annotated[Usd, About("USDC", "Opening ledger entry of a paper or sandbox company", "0", "10000")]
    auto_approve_kinds: Annotated[
        tuple[StepKind, ...], About("step kinds", "Work that risks nothing needs no decision", _AUTO, _AUTO)
    ]
    needs_vote_kinds: Annotated[
        tuple[StepKind, ...], About("step kinds", "Money moves after a vote only", _VOTE, _VOTE)
    ]
    human_from_usd: Annotated[Usd, About("USD", "From this value on a person must approve", "40", "500")]
    four_eyes_from_usd: Annotated[
        Usd, About("USD", "From this value on two people, neither of them the author", "100", "2000")
    ]
    quorum: Annotated[AtLeastOne, About("people", "For ending a halt, policy changes and reconciliation verbs", 2, 1)]
    trades_per_day: Annotated[Count, About("a UTC day", "Approved trades; protective exits are free", 8, 500)]
    analyses_per_day: Annotated[Count, About("a UTC day", "Approved analyses and reviews", 20, 2000)]
    conversations_per_day: Annotated[Count, About("a UTC day", "Approved conversations", 8, 500)]
    pace_burst: Annotated[
        Count,
        About(
            "approvals",
            "The company's own routine spreads a day's cap over the day and may run ahead of it by this many",
            8,
            40,
        ),
    ]
    open_positions_max: Annotated[Count, About("positions", "Attention is scarce", 3, 6)]
    position_usd_max: Annotated[Usd, About("USD", "One position's cost, reserved orders included", "60", "400")]
    exposure_max: Annotated[Share, About("share of equity", "All open risk together", "0.05", "0.30")]
    position_max: Annotated[Share, About("share of equity", "One position", "0.02", "0.06")]
    confidence_min: Annotated[Share, About("0–1", "Below it a proposal is refused", "0.60", "0.55")]
    stop_loss: Annotated[Share, About("share", "Loss on cost at which a position is closed", "0.30", "0.015")]
    take_profit: Annotated[Share, About("share", "Gain on cost at which it is closed", "0.30", "0.02")]
    max_hold_minutes: Annotated[
        Minutes | None, About("minutes of market time", "Longest holding; none means no limit", None, 10)
    ]
    max_hold_bars_min: Annotated[
        Count, About("bars", "With coarse candles a position is held at least this many bars", 0, 12)
    ]
    slippage_max_bps: Annotated[Bps, About("basis points", "Worst price a trade may accept", 100, 100)]
    fee_reserve_sol: Annotated[
        Decimal,
        Field(ge=0, le=1000, allow_inf_nan=False),
        About("SOL", "What the wallet keeps for the network's fees", "0.05", "0.05"),
    ]
    reconciled_after_seconds: Annotated[
        Seconds, About("s", "Entries wait where books and chain weren't compared for so long", 900, 300)
    ]
    surplus_ignored_usd: Annotated[
        Usd, About("USD", "Less than this beyond the books holds up no entry: anybody may send us dust", "1", "1")
    ]
    token_verified_only: Annotated[bool, About("flag", "Only tokens that Jupiter has verified are bought", True, True)]
    token_liquidity_min_usd: Annotated[
        Usd, About("USD", "A token with less liquidity isn't bought", "1000000", "100000")
    ]
    token_stale_after_seconds: Annotated[
        Seconds, About("s", "A token of whose safety nothing was heard for so long isn't bought", 7200, 7200)
    ]
    price_impact_max: Annotated[Share, About("share", "What our own order may move the price", "0.05", "0.05")]
    daily_loss_halt: Annotated[Share, About("share of equity", "Loss of the UTC day that ends entries", "0.05", "0.20")]
    drawdown_halt: Annotated[Share, About("share of the equity peak", "Drawdown that ends entries", "0.15", "0.40")]
    big_loss: Annotated[Share, About("share of cost", "A loss worth a post-mortem", "0.30", "0.012")]
    win_trigger: Annotated[Share, About("share of cost", "A win that wakes growth", "0.50", "0.015")]
    loss_trigger: Annotated[Share, About("share of cost", "A loss that wakes sage", "0.30", "0.012")]
    position_alarm: Annotated[Share, About("share of cost", "Open loss that wakes atlas", "0.20", "0.01")]
    positions_many: Annotated[AtLeastOne, About("positions", "Open positions that wake observer", 3, 3)]
    signal_strong: Annotated[Share, About("0–1", "Signal strength that wakes scout", "0.80", "0.60")]
    scale_refused_below: Annotated[
        SignedShare,
        About("share of cost", "A position this deep in the red isn't enlarged", "-0.20", "-0.01"),
    ]
    price_stale_after_seconds: Annotated[Seconds, About("s", "An older price is no price for an entry", 30, 30)]
    proposal_expires_minutes: Annotated[Minutes, About("minutes", "An undecided proposal lapses", 240, 30)]
    vote_deadline_minutes: Annotated[Minutes, About("minutes", "After it an open vote goes to people", 15, 3)]
    step_attempts_max: Annotated[AtLeastOne, About("attempts", "Then a step fails", 5, 5)]
    step_lease_seconds: Annotated[Seconds, About("s", "How long a worker may hold a step without renewing", 60, 60)]
    sweep_seconds: Annotated[Seconds, About("s", "How often loops look for lost work", 15, 15)]
    beat_every_seconds: Annotated[Seconds, About("s", "The heartbeat's cadence", 300, 15)]
    proactive: Annotated[
        tuple[Proactive, ...], About("routines", "What agents do of themselves", _PROACTIVE, _PROACTIVE_DEMO)
    ]
    reactive: Annotated[
        tuple[Reactive, ...],
        About("reactions to events", "What agents do about events", _REACTIVE, _REACTIVE),
    ]
    trigger_pace: Annotated[
        float,
        Field(gt=0, le=10, allow_inf_nan=False),
        About("factor", "Multiplies every trigger's cadence and cooldown", 1, 1 / 60),
    ]
    trigger_skip: Annotated[
        Share, About("0–1", "Share of routines skipped, so that they don't move in step", "0.12", "0.12")
    ]
    venue_fee_bps: Annotated[Bps, About("basis points", "Fee of the paper venue", 10, 10)]
    venue_slippage_bps: Annotated[Bps, About("basis points", "Slippage of the paper venue", 5, 5)]
    roundtable_from_usd: Annotated[Usd, About("USD", "From this value on a trade is talked over", "40", "0")]
    roundtables_at_once: Annotated[AtLeastOne, About("conversations", "Running at the same time", 3, 3)]
    talks: Annotated[
        tuple[Talk, ...],
        About("conversations", "What is talked over as the day goes; trigger_pace scales it", _TALKS, _TALKS),
    ]
    debate_below: Annotated[Share, About("affinity", "A pair this far apart debates", "0.40", "0.40")]
    reviews_waiting_max: Annotated[
        Count, About("conversations", "With so many trades waiting for a table the next is voted on by rule", 6, 6)
    ]
    vote_tiers: Annotated[
        tuple[VoteTier, ...],
        Field(min_length=1),
        About("voters by share of equity", "The more a trade risks, the more agents vote", _VOTE_TIERS, _VOTE_TIERS),
    ]
    turn_seconds: Annotated[Seconds, About("s", "Between two turns of a conversation", 4, 1.5)]
    conversation_stale_minutes: Annotated[
        Minutes, About("minutes", "A conversation in which nobody spoke for so long is given up", 60, 3)
    ]
    turn_chars_max: Annotated[int, Field(ge=20, le=120, strict=True), About("characters", "Length of a turn", 120, 120)]
    action_items_per_day: Annotated[Count, About("a UTC day", "Proposals that conversations may end in", 3, 30)]
    memories_per_conversation_max: Annotated[Count, About("memories", "Kept of one conversation", 6, 6)]
    memory_floor: Annotated[Share, About("0–1", "What is less sure isn't remembered", "0.55", "0.55")]
    memories_live_max: Annotated[AtLeastOne, About("memories", "Of one agent; the weakest is laid aside", 200, 200)]
    learning_window_hours: Annotated[
        int, Field(ge=1, le=2160, strict=True), About("h", "How far back outcomes are compared", 48, 48)
    ]
    learning_samples_min: Annotated[AtLeastOne, About("outcomes", "Fewer say nothing", 3, 3)]
    learnt_per_day: Annotated[Count, About("a UTC day", "Patterns and lessons of one agent", 3, 30)]
    voice_tokens_per_day: Annotated[
        Count, About("tokens", "What a language model may cost one agent in a UTC day", 20_000, 200_000)
    ]
    context_turns: Annotated[AtLeastOne, About("turns", "How far back a speaker hears", 5, 5)]
    memory_influence: Annotated[
        Share, About("0–1", "Probability that a memory is asked before a proposal", "0.30", "0.60")
    ]
    memory_influence_confidence_min: Annotated[
        Share, About("0–1", "Only memories as sure as this influence", "0.60", "0.55")
    ]
    drift_max: Annotated[
        Decimal,
        Field(ge=0, le=DRIFT_MOST, allow_inf_nan=False),
        About("affinity", "Most that one conversation moves a pair", "0.03", "0.03"),
    ]
    initiative_on: Annotated[bool, About("flag", "Agents propose of their own accord", False, True)]
    initiative_memories_min: Annotated[Count, About("memories", "What an agent must know first", 5, 3)]
    initiatives_per_day: Annotated[Count, About("a UTC day", "Of one agent", 3, 50)]
    initiatives_apart_hours: Annotated[
        float, Field(ge=0, le=168, allow_inf_nan=False), About("h", "Between two of one agent", 4, 0.05)
    ]
    breaker_failures: Annotated[AtLeastOne, About("failures", "Within the window, open the breaker", 3, 3)]
    breaker_window_seconds: Annotated[Seconds, About("s", "The breaker's window", 300, 300)]
    breaker_probe_after_seconds: Annotated[Seconds, About("s", "Before an open breaker tries once", 60, 60)]
    reactions: Annotated[
        tuple[Reaction, ...], About("reaction matrix", "Who answers whom, how often", _REACTIONS, _REACTIONS)
    ]
    retention_days: Annotated[Days, About("days", "How long events and history are kept", 400, 30)]
    flag_reactive_triggers: Annotated[
        bool, About("flag", "Agents react to events; new behaviour starts off in production", False, True)
    ]
    flag_reactions: Annotated[bool, About("flag", "Agents answer each other's doings", False, True)]
    flag_talks: Annotated[bool, About("flag", "Agents talk by the clock and about events", False, True)]
    flag_learning: Annotated[bool, About("flag", "Agents learn from outcomes", False, True)]
    flag_capital_by_record: Annotated[
        bool, About("flag", "An agent whose forecasts turned out badly proposes smaller trades", False, False)
    ]
    flag_scaling: Annotated[bool, About("flag", "Growth may propose to scale winners", False, True)]

    @model_validator(mode="after")
    def thresholds_in_order(self) -> "Policy":
        if not TRADING_KINDS.isdisjoint(self.auto_approve_kinds):
            raise ValueError("what moves money can't be approved by policy alone")
        if self.vote_deadline_minutes > self.proposal_expires_minutes:
            raise ValueError("vote_deadline_minutes must not exceed proposal_expires_minutes")
        if self.human_from_usd > self.four_eyes_from_usd:
            raise ValueError("human_from_usd must not exceed four_eyes_from_usd")
        return self


def about(key: str) -> About:
    """The unit, reason and opening values of a policy."""
    found: About = next(part for part in Policy.model_fields[key].metadata if isinstance(part, About))
    return found


def opening_values(name: Literal["production", "demo"]) -> Mapping[str, Any]:
    """The JSON values with which a company of this set opens."""
    raw = {key: getattr(about(key), name) for key in Policy.model_fields}
    return Policy.model_validate(raw).model_dump(mode="json")
