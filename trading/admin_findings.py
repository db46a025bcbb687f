"""The reconciliation console: steps in doubt and open findings first, with age, evidence, and verbs that are safe.

What the nodes say now is asked when the page is asked for it (`?nodes=now`), never by looking at a list.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from missions.models import Step
from tradeco.common import admin_base, db
from tradeco.common import admin_show as show
from tradeco.common.admin_acts import Act, ActsAdmin, Said
from tradeco.common.admin_base import Button, Panel, ReadOnlyAdmin, Rows
from tradeco.common.outside import VenueUnavailable
from trading import money, movements, network, settling
from trading.models import Agreement, Asset, Attempt, Finding, Order
from trading.venues.http import VenueRefused
from trading.venues.rpc import SolanaRpc
from trading.vocabulary import OrderStatus

MAY_SETTLE = "missions.change_proposal"  # who may decide on proposals
SHOWN = 50  # steps in doubt on the console; the list of steps shows all

# --- an order in doubt ----------------------------------------------------------------------------


def _settle_order(request: HttpRequest, order: Order, reason: str, *, verb: settling.Verb) -> Said:
    by: Any = request.user
    said = settling.settle(step_id=order.step_id, verb=verb, by=by, reason=reason, now=db.now())
    if said.missing:
        return Said(messages.WARNING, f"Your word is kept; {said.missing} more person must say the same. {said.says}")
    if said.ending == "waits":
        return Said(messages.WARNING, f"Still in doubt. {said.says}")
    return Said(messages.SUCCESS, f"Its step is {said.ending} now. {said.says}")


def _in_doubt(order: Order) -> bool:
    return order.status == OrderStatus.IN_DOUBT


def _order_act(verb: settling.Verb, explains: str, *, grave: bool = False) -> Act:
    return Act(
        slug=verb.value,
        label=verb.label,
        explains=explains,
        permission=MAY_SETTLE,
        operation=partial(_settle_order, verb=verb),
        offered=_in_doubt,
        grave=grave,
    )


ORDER_ACTS = (
    _order_act(settling.Verb.LOOK_UP, "Every node is asked again. Where the answers are proof, the step ends by them."),
    _order_act(settling.Verb.CONFIRM, "It landed: allowed where the chain shows it. What the chain says is booked."),
    _order_act(
        settling.Verb.FAIL,
        "It did nothing: allowed where no node says that it landed and it no longer can. The money is free again.",
        grave=True,
    ),
    _order_act(
        settling.Verb.REQUEUE,
        "The order is tried once more: only where it was never sent, or provably didn't land.",
        grave=True,
    ),
)


def evidence(order: Order) -> tuple[str, Rows]:
    """Each attempt that may have reached the venue, with what was last seen of it."""
    rows: Rows = []
    for attempt in order.attempts.order_by("n"):
        seen = format_html(
            "{} {}, valid up to height {}, sent {} times, {} looks without an answer {}",
            show.pill(attempt.status, attempt.get_status_display()),
            attempt.reference or show.NOTHING,
            attempt.valid_until or show.NOTHING,
            attempt.sends,
            attempt.unanswered,
            show.folded("evidence", attempt.evidence),
        )
        rows.append((f"Attempt {attempt.n}", seen, None))
        rows += _words(attempt.agreements)
    return "Evidence", rows


def nodes_now(order: Order) -> tuple[str, Rows]:
    """What every node says of the newest attempt now: heights, status, balances before and after."""
    attempt = order.attempts.filter(reference__isnull=False).order_by("-n").first()
    if attempt is None:
        return "What the nodes say now", [("Nodes", "Nothing was signed, so there is nothing to ask.", None)]
    if not order.wallet.address:
        return "What the nodes say now", [("Venue", "The paper venue has no nodes.", None)]
    return "What the nodes say now", [row for node in network.nodes() for row in _asked(node, attempt, order)]


def _asked(node: SolanaRpc, attempt: Attempt, order: Order) -> Rows:
    assert attempt.reference is not None, "the query has seen to it"
    try:
        heights = [node.block_height("confirmed"), node.block_height("finalized")]
        (status,) = node.signature_statuses([attempt.reference], search_history=True)
        found = node.transaction(attempt.reference)
    except (VenueUnavailable, VenueRefused) as away:
        return [(node.name, format_html("{} {}", show.pill("failed", "no answer"), away.detail), None)]
    confirmed, finalized = heights
    word = "knows nothing of it" if status is None else f"{status.confirmation} in slot {status.slot}"
    if status is not None and status.err is not None:
        word += f", failed: {status.err}"
    rows: Rows = [(node.name, f"{word}; height {confirmed}, finalized {finalized}", None)]
    if found is not None:
        rows.append((f"{node.name}, the network's fee", f"{show.units(found.fee, 9)} SOL", None))
        address = order.wallet.address
        for asset in Asset.objects.filter(mint__in=[order.market.base_id, order.market.quote_id, money.NATIVE]):
            native = asset.mint == money.NATIVE
            delta = found.lamports_delta(address) if native else found.token_delta(address, asset.mint)
            rows.append((f"{node.name}, moved", f"{show.units(delta, asset.decimals)} {asset.symbol}", None))
    return rows


def _words(agreements: Any) -> Rows:
    return [
        (f"{each.person.get_username()} said {each.verb}", f"{each.reason} ({each.at:%Y-%m-%d %H:%M:%S} UTC)", None)
        for each in agreements.select_related("person").order_by("id")
    ]


class AsksNodes(ActsAdmin):
    """A page that asks the nodes when it is asked for that."""

    def asked_now(self, request: HttpRequest, row: Any) -> bool:
        return request.GET.get("nodes") == "now" and request.user.has_perm(MAY_SETTLE)

    def get_buttons(self, request: HttpRequest, row: Any) -> list[Button]:
        asking = [Button(label="Ask the nodes now", url="?nodes=now")] if request.user.has_perm(MAY_SETTLE) else []
        return [*asking, *super().get_buttons(request, row)]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is not None and self.has_view_permission(request, row) and self.asked_now(request, row):
            said = admin_base.panel(nodes_now, row)
            extra_context = {"panels": [said, *self.get_panels(row)], **(extra_context or {})}
        return super().change_view(request, object_id, form_url, extra_context)


# --- findings -------------------------------------------------------------------------------------


def _settle_finding(request: HttpRequest, finding: Finding, reason: str, *, verb: movements.Verb) -> Said:
    by: Any = request.user
    settled = movements.settle(finding_id=finding.pk, verb=verb, by=by, reason=reason, now=db.now())
    if settled.missing:
        return Said(messages.WARNING, f"Your word is kept; {settled.missing} more person must say the same.")
    return Said(messages.SUCCESS, f"It is {settled.finding.how}.")


def _settles(kinds: tuple[str, ...]) -> Callable[[Finding], bool]:
    return lambda finding: finding.settled_at is None and finding.kind in kinds


FINDING_ACTS = (
    Act(
        slug="book",
        label="Book it",
        explains="What the chain says is booked, once: USDC and SOL as capital, other tokens and differences that"
        " nothing explains as drift. A transaction must be final first.",
        permission=MAY_SETTLE,
        operation=partial(_settle_finding, verb=movements.Verb.BOOK),
        offered=_settles(movements.BOOKABLE),
    ),
    Act(
        slug="dismiss",
        label="Dismiss",
        explains="It was seen and handled; nothing is booked. Where balances differ because of it, that stays open.",
        permission=MAY_SETTLE,
        operation=partial(_settle_finding, verb=movements.Verb.DISMISS),
        offered=_settles(movements.DISMISSIBLE),
        grave=True,
    ),
)


def words_on_finding(finding: Finding) -> tuple[str, Rows]:
    return "Who has said what", _words(finding.agreements)


def moved(finding: Finding) -> tuple[str, Rows]:
    """What the evidence says was moved, in whole tokens."""
    raw = dict(finding.evidence.get("moved", {}))
    assets = {asset.mint: asset for asset in Asset.objects.filter(mint__in=[*raw, finding.key])}
    rows: Rows = [
        (assets[mint].symbol, show.units(int(amount), assets[mint].decimals), None)
        for mint, amount in raw.items()
        if mint in assets
    ]
    asset = assets.get(finding.key)
    for name, label in (("on_chain", "On chain"), ("in_books", "In the books")):
        if asset is not None and name in finding.evidence:
            rows.append((label, f"{show.units(int(finding.evidence[name]), asset.decimals)} {asset.symbol}", None))
    return "What was moved", rows


@admin.register(Finding)
class FindingAdmin(ActsAdmin, ReadOnlyAdmin):
    """The console's list: what is in doubt stands above the findings."""

    change_list_template = "admin/trading/finding/change_list.html"
    list_display = ("state", "kind_shown", "what", "age_shown", "settled_by_key", "how")
    list_display_links = ("what",)
    list_filter = ("kind", ("settled_at", admin.EmptyFieldListFilter), "how")
    search_fields = ("key__exact",)
    search_help_text = "A signature or a mint, whole, or a number such as #42"
    fields = (
        ("kind_shown", "state"),
        "what",
        "key",
        "wallet",
        "opened_at",
        ("settled_at", "settled_by", "how"),
        "reason",
        "evidence_shown",
    )
    acts = FINDING_ACTS
    panels = (moved, words_on_finding)

    settled_by_key = show.key_of("settled_by")
    evidence_shown = show.json_of("evidence")

    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Finding]:
        found: QuerySet[Finding] = super().get_queryset(request)
        return found.annotate(age=Now() - F("opened_at"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        open_findings = Finding.objects.filter(settled_at=None).order_by("opened_at")[:SHOWN]
        extra = {
            "panels": [
                Panel(title="Steps in doubt", rows=_steps_in_doubt()),
                Panel(title="Open findings", rows=[_line(finding) for finding in open_findings]),
            ],
            **(extra_context or {}),
        }
        return super().changelist_view(request, extra)

    @admin.display(description="state", ordering="settled_at")
    def state(self, finding: Finding) -> SafeString:
        return show.pill("open", "Open") if finding.settled_at is None else show.pill("settled", "Settled")

    @admin.display(description="kind", ordering="kind")
    def kind_shown(self, finding: Finding) -> str:
        return finding.get_kind_display()

    @admin.display(description="age", ordering="opened_at")
    def age_shown(self, finding: Any) -> str:
        return show.span(finding.age) if finding.settled_at is None else show.NOTHING


def _steps_in_doubt() -> Rows:
    now = db.now()
    steps = Step.objects.in_doubt().select_related("order__asset_in").order_by("started_at", "id")[:SHOWN]
    rows: Rows = []
    for step in steps:
        order = getattr(step, "order", None)
        if order is None:
            rows.append((str(step), f"{step.code}: {step.reason}", show.change_url(Step, step.pk)))
            continue
        gives = f"{show.units(order.amount_in, order.asset_in.decimals)} {order.asset_in.symbol}"
        says = f"{order}, gives {gives}, for {show.span(settling.age(step, now=now))}: {step.code}: {step.reason}"
        rows.append((str(step), says, show.change_url(Order, order.pk)))
    return rows


def _line(finding: Finding) -> tuple[object, object, str | None]:
    return (finding.get_kind_display(), finding.what, show.change_url(Finding, finding.pk))


@admin.register(Agreement)
class AgreementAdmin(ReadOnlyAdmin):
    list_display = ("person", "verb", "attempt_key", "finding_key", "reason", "at")
    list_filter = ("verb", ("person", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("person",)
    search_fields = ("reason", "person__username")
    ordering = ("-id",)

    attempt_key = show.key_of("attempt")
    finding_key = show.key_of("finding")
