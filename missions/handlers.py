"""What a step's handler is: the port through which trading and roundtable carry work out.

`settings.STEP_HANDLERS` names one class a step kind. A handler decides how its work is done; when it may run, and
what its ending means for step and mission, is `claims`', `execution`'s and `outcomes`' affair.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings

from missions.claims import Claim
from missions.drafts import StepDraft
from missions.models import Step
from missions.policy_keys import Policy
from missions.vocabulary import StepKind
from tradeco.common.wiring import load


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The work is done. `book` runs in the transaction that ends the step, after the fence; then `pnl_usd` is asked
    what the mission earned, None where it earned nothing.
    """

    result: Mapping[str, Any] = field(default_factory=dict)
    book: Callable[[], None] | None = None
    pnl_usd: Callable[[], Decimal | None] | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The work can't be done. `book` releases what was held; `nothing_sent` gives the caps back."""

    code: str
    reason: str
    nothing_sent: bool = True
    book: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """A passing trouble, and nothing can have been sent: back to the queue, one attempt poorer."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Park:
    """One state further, and not finished: free the worker and come back after `delay`. `book` runs after the fence."""

    delay: timedelta
    reason: str = ""
    book: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Whether the effect happened is unknown: a person or evidence must settle it. Never a retry."""

    code: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    book: Callable[[], None] | None = None


Ending = Succeeded | Failed | Retry | Park | InDoubt


class Handler:
    """One kind of work. All methods get `now`; none opens a network connection inside a transaction."""

    def lock(self, draft: StepDraft) -> None:
        """In the approving transaction, before the gates: lock what approving would make scarcer."""

    def prepare(self, step: Step, *, policy: Policy, now: datetime) -> None:
        """In the approving transaction, after the gates: reserve what the step will need."""

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        """Advance the work of `claim.step`; what is written outside an ending must be fenced by the claim."""
        raise NotImplementedError

    def may_have_sent(self, step: Step) -> bool:
        """Whether an effect may be under way outside. If so a lost step is visited again, never requeued."""
        return False

    def release(self, step: Step, *, now: datetime) -> None:
        """In the transaction that cancels or fails the step unsent: let go of what `prepare` held."""

    def doubt(self, step: Step, *, now: datetime) -> None:
        """In the transaction that puts the step before a person: mark what may have been sent as in doubt."""


def of(kind: str) -> Handler | None:
    """The handler of a step kind, None where this deployment has none."""
    path = settings.STEP_HANDLERS.get(StepKind(kind).value)
    return load(path)() if path else None
