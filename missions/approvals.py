"""How many people must approve a proposal, and whose yes counts. What follows from enough of them: `proposals`."""

from decimal import Decimal

from django.db.models import QuerySet

from missions.gates import Known
from missions.models import Approval, Proposal
from missions.policy_keys import Policy
from missions.vocabulary import TRADING_KINDS


def worth(known: Known) -> Decimal:
    """What the draft's trades move, in USD; 0 for work that moves nothing."""
    if TRADING_KINDS.isdisjoint(known.case.draft.kinds):
        return Decimal(0)
    return Decimal(known["worth"])


def needed(proposal: Proposal, known: Known, *, policy: Policy) -> int:
    """Two from the four-eyes threshold on. A proposal may wait for hours while the price of what it sells multiplies:
    the larger of what it was worth when it was handed in and what it is worth by `known` is compared.
    """
    return 2 if max(proposal.value_usd, worth(known)) >= policy.four_eyes_from_usd else 1


def counting(proposal: Proposal) -> QuerySet[Approval]:
    """The yeses of people whose accounts are open, oldest first."""
    return proposal.approvals.filter(approver__is_active=True).select_related("approver").order_by("id")
