"""How tests open a company, draft proposals and move its market."""

from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group

from agents import opening as agents_opening
from dashboard import opening as dashboard_opening
from dashboard.models import ApiToken
from missions import claims, drafts, execution, policies, proposals
from missions import opening as missions_opening
from missions.drafts import Draft
from missions.models import PolicyVersion, Proposal
from missions.vocabulary import ProposalSource
from tradeco.common import db
from trading import feeds, ledger, money, portfolio
from trading import market as market_module
from trading import opening as trading_opening
from trading.models import Feed, LedgerTransaction, Market
from trading.vocabulary import AccountKind, LedgerKind

TALKED_OVER_BY_NOBODY = "1000000000"  # trades are voted on by rule, at once; tests of talk set another value
SCOPES = {
    "operator": ["read", "propose", "review", "operate"],
    "reviewer": ["read", "propose", "review"],
    "viewer": ["read"],
}


def open_company() -> None:
    agents_opening.hire()
    missions_opening.open_company()
    trading_opening.open_books()
    dashboard_opening._make_roles()
    users = get_user_model().objects
    if not users.filter(username="admin").exists():
        users.create(username="admin", is_staff=True, is_superuser=True, password=hashed_password())
    force_policy(roundtable_from_usd=TALKED_OVER_BY_NOBODY)
    fill_market()


@cache
def hashed_password() -> str:
    """Everybody's "a long pass phrase". Hashing is slow on purpose, so it is done once."""
    return make_password("a long pass phrase")


def fill_market() -> None:
    """Store the warm-up candles of the seeded market, with prices of this moment."""
    now = db.now()
    feed = Feed.objects.get()
    market_module._write(feeds.computed().news(feed, now=now), feed, now=now)


def issue_tokens() -> dict[str, str]:
    now = db.now()
    secrets = {}
    for role, scopes in SCOPES.items():
        user = get_user_model().objects.create_user(username=f"{role}-program", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        _, secrets[role] = ApiToken.issue(user=user, name=role, scopes=scopes, now=now)
    return secrets


def set_price(name: str, price: Decimal | str, *, at: datetime | None = None) -> None:
    """A new price of a market, received now."""
    now = db.now()
    Market.objects.filter(pk=name).update(price=Decimal(price), price_at=at or now, received_at=now)


def set_policy(**values: Any) -> None:
    """Put policy values in force, by whatever quorum."""
    admin = get_user_model().objects.get(username="admin")
    for key, value in values.items():
        policies.change(key=key, value=value, author=admin, reason="for a test", now=db.now())


def force_policy(**values: Any) -> None:
    """The same where the quorum would ask for more people."""
    for key, value in values.items():
        newest = PolicyVersion.objects.order_by("-revision").first()
        assert newest is not None
        last = PolicyVersion.objects.filter(key=key).order_by("-version").first()
        PolicyVersion.objects.create(
            revision=newest.revision + 1,
            key=key,
            version=last.version + 1 if last else 1,
            value=value,
            reason="for a test",
            created_at=db.now(),
        )


def draft(**changes: Any) -> Draft:
    """A buy of SOL for 20 USD by scout."""
    data: dict[str, Any] = {
        "agent": "scout",
        "title": "Buy SOL",
        "rationale": "It looks good.",
        "steps": [{"kind": "execute_trade", "params": {"side": "buy", "market": "SOL/USDC", "size_usd": "20.00"}}],
        "confidence": "0.7",
    }
    return drafts.read({**data, **changes})


def buy(market: str = "SOL/USDC", size_usd: str = "20.00", **params: Any) -> Draft:
    step = {"side": "buy", "market": market, "size_usd": size_usd, **params}
    return draft(steps=[{"kind": "execute_trade", "params": step}], title=f"Buy {market}")


def close(position: int) -> Draft:
    return draft(steps=[{"kind": "close_position", "params": {"position": position}}], title=f"Close #{position}")


def analysis_draft(**changes: Any) -> Draft:
    """An analysis by intel, which policy approves by itself."""
    return draft(
        agent="intel",
        title="Scan",
        steps=[{"kind": "analyze_signal", "params": {"market": "SOL/USDC"}}],
        **changes,
    )


def submit(what: Draft, **kwargs: Any) -> Proposal:
    kwargs.setdefault("source", ProposalSource.PERSON)
    return proposals.submit(draft=what, now=db.now(), **kwargs)


def work() -> dict[str, int]:
    """Run every runnable step here and now."""
    return dict(execution.drain(budget_seconds=30))


def claim(lease_seconds: float = 60, worker: str = "test") -> claims.Claim:
    """Claim the next step."""
    found = claims.claim_next(worker=worker, lease_seconds=lease_seconds)
    assert found, "no step is runnable"
    return found[0]


def bought(market: str = "SOL/USDC", size_usd: str = "100.00") -> Any:
    """An open position, bought just now."""
    from trading.models import Position

    proposal = submit(buy(market, size_usd))
    assert proposal.status == "approved", proposal.reason
    work()
    return Position.objects.select_related("market__base", "market__quote").get(market=market, status="open")


def give_sol(lamports: int) -> None:
    """Lamports paid in, as a wallet on chain has them for fees."""
    with db.transaction():
        ledger.book(
            reference=f"test:sol:{LedgerTransaction.objects.count()}",
            kind=LedgerKind.OPENING,
            wallet=portfolio.wallet(),
            lines=[(AccountKind.WALLET, money.NATIVE, lamports), (AccountKind.CAPITAL, money.NATIVE, -lamports)],
            now=db.now(),
            market_at=None,
        )


def later(**delta: float) -> datetime:
    return db.now() + timedelta(**delta)
