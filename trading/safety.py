"""What Jupiter says of the tokens that are traded, kept beside them for the gate; asked every few minutes."""

from datetime import datetime, timedelta

import structlog
from django.db.models import Q

from tradeco.common.outside import VenueUnavailable
from trading import network
from trading.models import Asset
from trading.venues.http import VenueRefused

log = structlog.get_logger(__name__)

ASK_EVERY = timedelta(minutes=10)


def run(*, now: datetime, limit: int) -> int:
    """Ask for the tokens whose news are old; how many were told. What isn't told stays as it was, and grows old."""
    traded = Asset.objects.filter(market_bases__isnull=False)
    old = traded.filter(Q(checked_at__isnull=True) | Q(checked_at__lt=now - ASK_EVERY)).order_by("checked_at", "mint")
    told = 0
    for asset in old[:limit]:
        try:
            told += _ask(asset, now=now)
        except (VenueUnavailable, VenueRefused) as away:
            log.warning(
                "A token's safety can't be asked for.", action="token_unasked", mint=asset.mint, why=away.detail
            )
            break
    return told


def _ask(asset: Asset, *, now: datetime) -> bool:
    found = network.tokens().info(asset.mint)
    if found is None or found.decimals != asset.decimals:
        return False
    Asset.objects.filter(pk=asset.pk).update(
        checked_at=now,
        verified=found.verified,
        mint_authority_disabled=found.mint_authority_disabled,
        freeze_authority_disabled=found.freeze_authority_disabled,
        liquidity_usd=found.liquidity_usd,
    )
    return True
