"""The reconciliation console: what is in doubt first, with age and evidence; verbs with reasons, by who may."""

from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from missions.models import Step
from tests import admin_rows, cast
from tests.chain_company import ChainCompany
from tests.chain_weather import agreed, into_doubt, paid_in, second_node, sent
from tests.test_admin_lists import what_is_blocked
from tradeco.common import db
from tradeco.common.models import Event
from trading.models import Agreement, Finding, Order, Wallet

pytestmark = pytest.mark.usefixtures("impatient")
CONSOLE = "/admin/trading/finding/"


@pytest.fixture
def doubtful(chain: ChainCompany) -> ChainCompany:
    """An order in doubt, which landed meanwhile."""
    sent(chain)
    into_doubt(chain)
    chain.slots(2)
    return chain


def as_person(user: AbstractUser) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page() -> str:
    return reverse("admin:trading_order_change", args=[Order.objects.get().pk])


def act(client: Client, verb: str, reason: str = "I looked.") -> str:
    address = reverse(f"admin:trading_order_{verb}", args=[Order.objects.get().pk])
    answer = client.post(address, {"reason": reason}, follow=True)
    assert answer.status_code == 200
    return str(answer.text)


def on_finding(client: Client, finding: Finding, verb: str, reason: str = "It was me.") -> str:
    address = reverse(f"admin:trading_finding_{verb}", args=[finding.pk])
    return str(client.post(address, {"reason": reason}, follow=True).text)


def test_the_console_shows_what_is_in_doubt_and_open_findings_with_their_age(
    doubtful: ChainCompany, alice: AbstractUser
) -> None:
    paid_in(doubtful, USDC=5_000_000)
    Finding.objects.create(
        wallet=Wallet.objects.get(), kind="movement", key="k", what="<b>Something</b> came.", opened_at=db.now()
    )
    text = as_person(alice).get(CONSOLE).text
    assert "Steps in doubt" in text
    assert "gives 100.000000 USDC, for" in text
    assert page() in text
    assert "&lt;b&gt;Something&lt;/b&gt; came." in text
    assert what_is_blocked(text) == []


def test_an_orders_page_asks_the_nodes_only_when_it_is_asked_to(doubtful: ChainCompany, alice: AbstractUser) -> None:
    client = as_person(alice)
    asked = doubtful.sandbox.faults.add("delay", route="getSignatureStatuses", seconds=0)
    seen = client.get(page()).text
    assert asked.fired == 0
    assert Order.objects.get().attempts.get().reference in seen
    assert "?nodes=now" in seen
    told = client.get(f"{page()}?nodes=now").text
    assert asked.fired == 1
    assert "confirmed in slot" in told
    assert "-100.000000 USDC" in told
    assert "JUP" in told
    assert what_is_blocked(told) == []


def test_a_node_that_is_away_is_shown_beside_one_that_answers(doubtful: ChainCompany, alice: AbstractUser) -> None:
    with second_node(doubtful) as faults:
        faults.add("drop")
        text = as_person(alice).get(f"{page()}?nodes=now").text
        assert "no answer" in text
        assert "confirmed in slot" in text


def test_a_viewer_sees_and_neither_asks_nor_settles(doubtful: ChainCompany) -> None:
    client = as_person(admin_rows.person("vera", "viewer"))
    asked = doubtful.sandbox.faults.add("delay", route="getSignatureStatuses", seconds=0)
    assert client.get(CONSOLE).status_code == 200
    text = client.get(f"{page()}?nodes=now").text
    assert "confirm/" not in text
    assert asked.fired == 0
    for verb in ("look_up", "confirm", "fail", "requeue"):
        address = reverse(f"admin:trading_order_{verb}", args=[Order.objects.get().pk])
        assert client.post(address, {"reason": "mine"}).status_code == 403
    assert Step.objects.get().status == "needs_reconciliation"


def test_a_verb_needs_a_reason_and_explains_itself(doubtful: ChainCompany, alice: AbstractUser) -> None:
    client = as_person(alice)
    address = reverse("admin:trading_order_confirm", args=[Order.objects.get().pk])
    assert "What the chain says is booked" in client.get(address).text
    assert "errorlist" in client.post(address, {"reason": " "}).text
    assert Step.objects.get().status == "needs_reconciliation"


def test_confirming_books_what_the_chain_says_and_keeps_who_said_so(
    doubtful: ChainCompany, alice: AbstractUser
) -> None:
    text = act(as_person(alice), "confirm")
    assert "Its step is succeeded now." in text
    agreed(doubtful)
    assert Event.objects.get(kind="step.settled").data["by"] == "alice"
    assert "Nothing is in doubt here" in act(as_person(alice), "look_up")


def test_what_the_evidence_forbids_is_said_and_nothing_changes(doubtful: ChainCompany, alice: AbstractUser) -> None:
    assert "The evidence doesn&#x27;t allow this" in act(as_person(alice), "fail")
    assert "The evidence doesn&#x27;t allow this" in act(as_person(alice), "requeue")
    doubtful.sandbox.faults.add("drop")
    assert "Still in doubt." in act(as_person(alice), "look_up")
    assert Step.objects.get().status == "needs_reconciliation"


def test_a_first_persons_word_is_kept_and_shown_to_the_second(
    doubtful: ChainCompany, alice: AbstractUser, bob: AbstractUser
) -> None:
    cast.force_policy(quorum=2)
    assert "1 more person must say the same" in act(as_person(alice), "confirm", "Seen on the explorer.")
    assert "You have said this already" in act(as_person(alice), "confirm")
    seen = as_person(bob).get(page()).text
    assert "alice said confirm" in seen
    assert "Seen on the explorer." in seen
    assert "Its step is succeeded now." in act(as_person(bob), "confirm")
    assert as_person(bob).get("/admin/trading/agreement/").status_code == 200


def test_a_movement_is_booked_at_the_desk_once_it_is_final(chain: ChainCompany, alice: AbstractUser) -> None:
    paid_in(chain, USDC=5_000_000)
    chain.slots(2)
    chain.reconcile()
    found = Finding.objects.get(kind="movement")
    client = as_person(alice)
    seen = client.get(reverse("admin:trading_finding_change", args=[found.pk])).text
    assert "5.000000" in seen
    assert "/book/" in seen
    assert "isn&#x27;t final on every node" in on_finding(client, found, "book")
    chain.slots(40)
    assert "It is booked." in on_finding(client, found, "book")
    assert chain.held() == chain.books()
    assert "settled already" in on_finding(client, found, "book")
    assert Agreement.objects.get().reason == "It was me."


def test_a_vanished_trade_is_dismissed_and_a_difference_is_not(chain: ChainCompany, alice: AbstractUser) -> None:
    wallet, now = Wallet.objects.get(), db.now()
    gone = Finding.objects.create(wallet=wallet, kind="vanished", key="s", what="Gone.", opened_at=now)
    drift = Finding.objects.create(wallet=wallet, kind="balance_drift", key="m", what="Differs.", opened_at=now)
    client = as_person(alice)
    assert "It is dismissed." in on_finding(client, gone, "dismiss")
    assert "isn&#x27;t how this finding is settled" in on_finding(client, drift, "dismiss")
    assert "isn&#x27;t how this finding is settled" in on_finding(client, gone, "book")
    drift.refresh_from_db()
    assert drift.settled_at is None


def test_the_console_asks_no_more_of_fifty_rows_than_of_five(company: None, alice: AbstractUser) -> None:
    client = as_person(alice)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert client.get(CONSOLE).status_code == 200
        return len(asked)

    admin_rows.populate(5)
    queries()
    few = queries()
    admin_rows.populate(20)
    assert queries() == few <= 15


@pytest.mark.usefixtures("company")
def test_a_paper_order_has_no_nodes_to_ask(alice: AbstractUser) -> None:
    cast.bought()
    text: Any = as_person(alice).get(f"{page()}?nodes=now").text
    assert "The paper venue has no nodes." in text
