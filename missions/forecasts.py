"""A forecast's life: opened with its proposal, void where nothing is traded, scored once what it spoke of is known.

Which forecasts have met their end, and what happened, is trading's affair; what a score is, the track record's.
"""

from datetime import datetime

from agents import track_record
from missions.drafts import Draft
from missions.models import Forecast, Proposal
from missions.vocabulary import TRADING_KINDS, ForecastStatus
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind


def open_within(*, proposal: Proposal, draft: Draft, now: datetime) -> Forecast | None:
    """Keep what the draft forecasts, in the submitting transaction; None where nothing is traded or forecast."""
    db.requires_transaction()
    if draft.forecast is None or TRADING_KINDS.isdisjoint(draft.kinds):
        return None
    return Forecast.objects.create(
        proposal=proposal,
        agent_id=proposal.agent_id,
        probability=draft.forecast.probability,
        horizon_minutes=draft.forecast.horizon_minutes,
        made_at=now,
    )


def void_within(*, proposal: Proposal, now: datetime) -> bool:
    """Nothing was traded, so there is nothing to score; False where no forecast is open.

    In the transaction in which the proposal or its trade ended.
    """
    db.requires_transaction()
    return _settle(proposal.pk, to=ForecastStatus.VOID, happened=None, now=now)


def settle_within(*, forecast: Forecast, happened: bool, now: datetime) -> bool:
    """Score a forecast whose proposal became a mission, in the caller's transaction; False where it was settled before.

    Args:
        happened: whether the trade ended in profit.
    """
    db.requires_transaction()
    if not _settle(forecast.proposal_id, to=ForecastStatus.SCORED, happened=happened, now=now):
        return False
    kind = forecast.proposal.mission.kind
    if forecast.proposal.author_id is None:  # what a person forecasts in an agent's name is no record of the agent's
        scored = track_record.score(
            agent=forecast.agent_id,
            kind=kind,
            cause=forecast.subject,
            probability=forecast.probability,
            happened=happened,
            now=now,
        )
        assert scored is not None, "whoever settles a forecast is the first to score it"
    events.emit(
        kind=EventKind.FORECAST_SCORED,
        subject=forecast.subject,
        agent=forecast.agent_id,
        now=now,
        data={
            "proposal": forecast.proposal_id,
            "kind": kind,
            "probability": str(forecast.probability),
            "happened": happened,
            "brier": str(track_record.brier(forecast.probability, happened)),
        },
    )
    return True


def _settle(proposal_id: int, *, to: ForecastStatus, happened: bool | None, now: datetime) -> bool:
    """Compare and set: of two that settle the same forecast, the first one counts."""
    standing = Forecast.objects.filter(proposal=proposal_id, status=ForecastStatus.OPEN)
    return standing.update(status=to, happened=happened, settled_at=now) == 1
