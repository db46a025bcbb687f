"""Swaps on a sandbox chain: how many a second from the claim to the booked fill, and what one of them costs.

A sandbox of its own with short slots, the real signer, and workers that claim and carry out as they are shipped. The
limit is the bare chain by the same clients: quote, sign with a key at hand, send, and ask until all are final; nothing
is stored, checked or proven. A swap's own work is the time in which somebody works on it, without the waits for slots.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

from django.conf import settings
from django.contrib.auth import get_user_model
from solders.keypair import Keypair
from solders.message import to_bytes_versioned
from solders.transaction import VersionedTransaction

from bench.crew import Crew, Member, Span, crew, rate
from bench.figures import Figure, itself, middle
from bench.servers import running, until
from bench.stage import Address, Stage, free_port
from missions import claims, drafts, execution, policies, proposals
from missions.vocabulary import ProposalSource, ProposalStatus
from tradeco.common import db
from tradeco.common.outside import VenueUnavailable
from trading import fire, money, network, reconciliation, safety, verdict
from trading.models import LedgerTransaction, Market, Order
from trading.signer import keyfile, place
from trading.signer.networks import Network
from trading.venues.jupiter import JupiterV2
from trading.venues.rpc import signature_of
from trading.vocabulary import OrderStatus

NAME = "swaps"
WORKERS = (1, 4, 8)
SANDBOX = ("--slot-seconds", "0.05", "--finalized-after", "8", "--usdc", "1000000", "--sol", "1000")
AMOUNT = 5_000_000  # raw USDC
LEASE_SECONDS = 30.0
APART_SECONDS = 0.02  # between two looks of who has nothing to do
MARKET = "SOL/USDC"
BENCH_POLICIES = {
    "price_stale_after_seconds": 3600,  # no feed here
    "position_usd_max": "1000000",  # one position takes all the buys
    "position_max": "1",
    "exposure_max": "1",
    "roundtable_from_usd": "1000000",  # what is measured is the swap
}
MANY = {"TRADECO_SIGNER_SIGNATURES": "1000000", "TRADECO_SIGNER_SPEND_CAP": "1000000000"}


def measure(stage: Stage) -> list[Figure]:
    stage.tell("swaps: a chain and a signer")
    stranger = Keypair()
    figures, working, bare_working = [], list[float](), list[float]()
    with stage.company() as address, _chain(stage, address, stranger) as env, crew(size=1, env=env) as office:
        office.run(open_books)
        for workers in WORKERS:
            ours, bare = list[float](), list[float]()
            with crew(size=workers, env=env) as hands:
                for _ in range(stage.rounds):
                    stage.tell(f"swaps: {workers} at work")
                    bare.append(_bare(stage, hands, stranger, workers, bare_working))
                    ours.append(_ours(stage, office, hands, workers, working))
            figures.append(
                Figure(NAME, f"from the claim to the booked fill, workers: {workers}", middle(ours), "swaps/s",
                       middle(bare), "bare chain, as many clients")
            )  # fmt: skip
    own, limit = middle(working), middle(bare_working)
    return [
        *figures,
        Figure(NAME, "a swap's own work, one worker", own, "ms", limit, "bare chain, the same calls"),
        Figure(NAME, "added by state machine, signer and books", own - limit, "ms", goal=itself(most=10)),
    ]


def _ours(stage: Stage, office: Crew, hands: Crew, workers: int, working: list[float]) -> float:
    count = stage.count(20, 2) * workers
    office.run(propose, count=count)
    found = hands.run(carry_out)
    assert sum(span.done for span, _ in found) == count, "each was carried out, once"
    if workers == 1:
        working += [milliseconds for _, each in found for milliseconds in each]
    return rate(span for span, _ in found)


def _bare(stage: Stage, hands: Crew, stranger: Keypair, workers: int, working: list[float]) -> float:
    found = hands.run(swap_barely, count=stage.count(20, 2), key=str(stranger))
    if workers == 1:
        working += [milliseconds for _, each in found for milliseconds in each]
    return rate(span for span, _ in found)


@contextlib.contextmanager
def _chain(stage: Stage, address: Address, stranger: Keypair) -> Iterator[dict[str, str]]:
    """The sandbox and the signer, as they are shipped; the environment of those who trade there."""
    port = free_port()
    env = stage.env(address, TRADECO_NETWORK="sandbox", TRADECO_SANDBOX_PORT=str(port), **MANY)
    key = place.key_path(stage.home, Network.SANDBOX)
    secret = key.with_suffix(".passphrase")
    funds = ["--fund", str(stranger.pubkey()), "--fund", keyfile.describe(key).address]
    with (
        running(["manage.py", "sandbox", *SANDBOX, *funds], env=env),
        running(["manage.py", "signer"], env=env | {"TRADECO_WALLET_PASSPHRASE_FILE": str(secret)}),
    ):
        yield env


# --- in the crew's processes ------------------------------------------------------------------------


def open_books(member: Member) -> None:
    """As the first beats do, once chain and signer answer."""
    fire.prepare()
    admin = get_user_model().objects.get(username="admin")
    for key, value in BENCH_POLICIES.items():
        policies.change(key=key, value=value, author=admin, reason="to measure swaps", now=db.now())
    until(_opened, what="the books")
    safety.run(now=db.now(), limit=100)


def _opened() -> bool:
    with contextlib.suppress(VenueUnavailable):
        reconciliation.run(now=db.now(), limit=100)
    return LedgerTransaction.objects.exists()


def propose(member: Member, *, count: int) -> None:
    """So many approved buys, whose orders hold their money."""
    prices = network.prices().usd(list(Market.objects.values_list("base", flat=True)))
    for market in Market.objects.all():
        Market.objects.filter(pk=market.pk).update(price=prices[market.base_id].usd, received_at=db.now())
    for number in range(count):
        step = {"kind": "execute_trade", "params": {"side": "buy", "market": MARKET, "size_usd": "5"}}
        draft = {"agent": "scout", "title": f"Swap {number}", "confidence": "0.9", "steps": [step]}
        made = proposals.submit(draft=drafts.read(draft), source=ProposalSource.PERSON, now=db.now())
        assert made.status == ProposalStatus.APPROVED, made.reason


def carry_out(member: Member) -> tuple[Span, list[float]]:
    """Work until nothing is left; and the ms that each visit of a step took, summed up by step."""
    took: dict[int, float] = defaultdict(float)
    member.start()
    begun, done = time.monotonic(), 0
    while verdict.under_way().exists():
        visit = time.monotonic()
        found = claims.claim_next(worker=f"bench-{member.number}", lease_seconds=LEASE_SECONDS)
        if not found:
            time.sleep(APART_SECONDS)
            continue
        done += execution.run(found[0]) == "succeeded"
        took[found[0].step.pk] += (time.monotonic() - visit) * 1000
    assert not Order.objects.exclude(status=OrderStatus.FILLED).exists(), "every swap lands here"
    return Span(begun, time.monotonic(), done), list(took.values())


def swap_barely(member: Member, *, count: int, key: str) -> tuple[Span, list[float]]:
    """Quote, sign and send so many, then ask for all until they are final; and the ms of each one's calls."""
    wallet, base = Keypair.from_base58_string(key), Market.objects.get(name=MARKET).base_id
    (node,), swaps = network.nodes(), JupiterV2(settings.JUPITER_URL)
    took: list[float] = []
    waiting: list[str] = []
    member.start()
    begun = time.monotonic()
    for _ in range(count):
        at = time.monotonic()
        quote = swaps.quote(
            input_mint=money.USDC, output_mint=base, amount=AMOUNT, slippage_bps=300, taker=str(wallet.pubkey())
        )
        unsigned = swaps.build(quote, wallet=str(wallet.pubkey()), priority_fee_max_lamports=10**7)
        built = VersionedTransaction.from_bytes(unsigned.transaction)
        ours = wallet.sign_message(to_bytes_versioned(built.message))
        signed = bytes(VersionedTransaction.populate(built.message, [ours, *built.signatures[1:]]))
        node.send(signed)
        waiting.append(signature_of(signed))
        took.append((time.monotonic() - at) * 1000)
    while waiting:
        at = time.monotonic()
        statuses = node.signature_statuses(waiting, search_history=False)
        took[0] += (time.monotonic() - at) * 1000
        waiting = [
            each
            for each, status in zip(waiting, statuses, strict=True)
            if status is None or status.confirmation != "finalized"
        ]
        time.sleep(APART_SECONDS)
    return Span(begun, time.monotonic(), count), took
