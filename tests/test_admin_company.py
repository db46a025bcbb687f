"""The company at the staff's desk: its switch, its policies, missions, agents, tokens, and what waits for me."""

import json
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import AbstractUser
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from agents.models import Agent, Memory
from dashboard.models import ApiToken, digest_of
from missions import heartbeat, policies
from missions.models import CapUse, Company, Mission, PolicyVersion, Proposal, Step
from roundtable.admin_panels import votes_of_proposal
from tests import admin_rows, cast
from tradeco.common import db
from tradeco.common.models import Event

pytestmark = pytest.mark.usefixtures("company")

VERSIONS = "/admin/missions/policyversion/"
NEW_VERSION = f"{VERSIONS}add/"
NEW_TOKEN = "/admin/dashboard/apitoken/add/"


@pytest.fixture
def olga(company: None) -> Any:
    """An operator."""
    return admin_rows.person("olga", "operator")


@pytest.fixture
def desk(client: Client, olga: AbstractUser) -> Client:
    """The operator's desk."""
    client.force_login(olga)
    return client


def switch(client: Client, verb: str) -> Any:
    return client.post(reverse(f"admin:missions_company_{verb}", args=[1]), {"reason": "A storm."}, follow=True)


# --- the switch -----------------------------------------------------------------------------------


def test_an_operator_halts_reduces_and_resumes_with_a_reason(desk: Client, olga: AbstractUser) -> None:
    for verb, status in (("halt", "halted"), ("reduce", "reducing"), ("resume", "active")):
        assert switch(desk, verb).status_code == 200
        row = Company.objects.get()
        assert (row.status, row.reason, row.changed_by) == (status, "A storm.", olga)
    assert Event.objects.filter(subject="company", data__by="olga").count() == 3


def test_a_reviewer_halts_nothing(client: Client, alice: AbstractUser) -> None:
    client.force_login(alice)
    assert switch(client, "halt").status_code == 403
    assert "/halt/" not in client.get("/admin/missions/company/1/change/").text
    assert Company.objects.get().status == "active"


def test_resuming_asks_for_the_quorum_and_halting_never_does(desk: Client, admin_user: AbstractUser) -> None:
    cast.force_policy(quorum=2)
    switch(desk, "halt")
    assert Company.objects.get().status == "halted"
    page = switch(desk, "resume").text
    assert "1 more person must say the same" in page
    assert "active, says olga" in page
    assert Company.objects.get().status == "halted"
    desk.force_login(admin_user)
    assert "The company is active" in switch(desk, "resume").text
    assert Company.objects.get().status == "active"


# --- policies -------------------------------------------------------------------------------------


def test_an_operator_puts_a_new_version_in_force(desk: Client, olga: AbstractUser) -> None:
    page = desk.get(NEW_VERSION, {"key": "trades_per_day"}).text
    for words in ("Approved trades; protective exits are free", "a UTC day", "500</textarea>"):
        assert words in page, words
    answer = desk.post(f"{NEW_VERSION}?key=trades_per_day", {"value": "7", "reason": "Quiet."}, follow=True)
    assert "Policy trades_per_day goes from 500 to 7, as revision" in answer.text
    newest = PolicyVersion.objects.first()
    assert newest is not None
    assert (newest.key, newest.value, newest.previous, newest.version) == ("trades_per_day", 7, 500, 2)
    assert (newest.author, newest.reason) == (olga, "Quiet.")
    assert policies.current()[1].trades_per_day == 7
    shown = desk.get(f"{VERSIONS}{newest.pk}/change/").text
    assert "Approved trades" in shown
    assert f"{NEW_VERSION}?key=trades_per_day" in shown


def test_every_policy_can_be_put_in_force_again_as_it_stands(desk: Client) -> None:
    chosen = desk.get(NEW_VERSION).context["policies"]
    assert len(chosen) > 50
    for policy in chosen:
        value = desk.get(policy["url"]).context["form"].initial["value"]
        answer = desk.post(policy["url"], {"value": value, "reason": "The same."})
        assert answer.status_code == 302, (policy["key"], answer.context["form"].errors)


def test_a_value_that_does_not_fit_is_refused_beside_the_form(desk: Client) -> None:
    before = PolicyVersion.objects.count()
    wrong = ("", "seven", "NaN", "-Infinity", "-1", '"7"', "1.5", "null", "[" * 9_000, "1" * 5_000, "9" * 20_001, "{}")
    for value in wrong:
        answer = desk.post(f"{NEW_VERSION}?key=trades_per_day", {"value": value, "reason": "Try."})
        assert answer.status_code == 200, value[:20]
        assert "errorlist" in answer.text, value[:20]
    assert PolicyVersion.objects.count() == before


def test_characters_that_can_not_be_stored_are_refused(desk: Client) -> None:
    routine = {"agent": "sage", "topic": "POISON", "step": "reflect", "every_minutes": 5}
    for poison in ("\\u0000", "\\ud800"):
        value = json.dumps([routine]).replace("POISON", poison)
        answer = desk.post(f"{NEW_VERSION}?key=proactive", {"value": value, "reason": "Try."})
        assert answer.status_code == 200, poison
        assert "errorlist" in answer.text, poison


def test_policies_that_would_not_fit_together_are_refused(desk: Client) -> None:
    answer = desk.post(f"{NEW_VERSION}?key=human_from_usd", {"value": '"99999"', "reason": "Try."})
    assert "human_from_usd can&#x27;t have this value" in answer.text


def test_two_people_change_a_policy_where_two_must_agree(desk: Client, admin_user: AbstractUser) -> None:
    cast.force_policy(quorum=2)
    address, asked = f"{NEW_VERSION}?key=trades_per_day", {"value": "7", "reason": "Quiet."}
    assert "1 more person must say the same" in desk.post(address, asked, follow=True).text
    assert policies.current()[1].trades_per_day == 500
    desk.force_login(admin_user)
    assert "olga asks for 7: Quiet." in desk.get(address).text
    assert "goes from 500 to 7" in desk.post(address, asked, follow=True).text
    assert policies.current()[1].trades_per_day == 7


def test_who_may_not_change_policies_reads_them_only(client: Client, alice: AbstractUser) -> None:
    client.force_login(alice)
    assert client.get(NEW_VERSION).status_code == 403
    assert client.post(f"{NEW_VERSION}?key=quorum", {"value": "1", "reason": "x"}).status_code == 403
    newest = PolicyVersion.objects.first()
    assert newest is not None
    assert "New version" not in client.get(f"{VERSIONS}{newest.pk}/change/").text


def test_a_policy_that_is_none_has_no_page(desk: Client) -> None:
    assert desk.get(NEW_VERSION, {"key": "__class__"}).status_code == 404


def test_the_versions_in_force_are_one_a_policy(desk: Client) -> None:
    desk.post(f"{NEW_VERSION}?key=trades_per_day", {"value": "7", "reason": "Quiet."})
    in_force = desk.get(VERSIONS, {"in_force": "yes", "q": "trades_per_day"}).context["cl"].result_list
    replaced = desk.get(VERSIONS, {"in_force": "no", "q": "trades_per_day"}).context["cl"].result_list
    assert [row.value for row in in_force] == [7]
    assert [(row.key, row.value) for row in replaced] == [("trades_per_day", 500)]


# --- missions and steps ---------------------------------------------------------------------------


def test_an_operator_cancels_a_mission_and_its_caps_go_back(desk: Client) -> None:
    cast.submit(cast.analysis_draft())
    mission = Mission.objects.get()
    assert CapUse.objects.get().used == 1
    address = reverse("admin:missions_mission_cancel", args=[mission.pk])
    assert "is cancelled." in desk.post(address, {"reason": "Not today."}, follow=True).text
    mission.refresh_from_db()
    assert mission.status == "cancelled"
    assert Step.objects.get().reason == "olga: Not today."
    assert CapUse.objects.get().used == 0
    assert "This mission has ended" in desk.post(address, {"reason": "Again."}, follow=True).text


def test_a_mission_with_a_step_under_way_is_not_called_back(desk: Client) -> None:
    cast.submit(cast.analysis_draft())
    cast.claim()
    address = reverse("admin:missions_mission_cancel", args=[Mission.objects.get().pk])
    assert "is under way and can&#x27;t be called back" in desk.post(address, {"reason": "Stop."}, follow=True).text
    assert Mission.objects.get().status == "approved"


def test_a_reviewer_cancels_no_mission(client: Client, alice: AbstractUser) -> None:
    cast.submit(cast.analysis_draft())
    client.force_login(alice)
    address = reverse("admin:missions_mission_cancel", args=[Mission.objects.get().pk])
    assert client.post(address, {"reason": "Mine."}).status_code == 403


def test_a_trades_thread_can_be_followed_from_proposal_to_position(desk: Client) -> None:
    position = cast.bought()
    order = position.orders.get()
    proposal, mission, step = order.step.mission.proposal, order.step.mission, order.step
    to_order = f"/trading/order/{order.pk}/"
    for page, links in (
        (f"missions/proposal/{proposal.pk}", [f"/missions/mission/{mission.pk}/"]),
        (f"missions/mission/{mission.pk}", [f"/missions/step/{step.pk}/", to_order]),
        (f"missions/step/{step.pk}", [to_order, order.attempts.get().reference]),
        (f"trading/position/{position.pk}", [to_order, "At its mark"]),
    ):
        text = desk.get(f"/admin/{page}/change/").text
        assert "could not be shown" not in text, page
        for link in links:
            assert link in text, (page, link)
    title, votes = votes_of_proposal(proposal)
    assert (title, [agent for agent, _, _ in votes]) == ("Votes", ["Sage", "Atlas", "Observer"])


def test_steps_in_doubt_come_first(desk: Client) -> None:
    admin_rows.populate(1)
    doubtful = Step.objects.get(status="needs_reconciliation")
    for _ in range(2):
        cast.submit(cast.analysis_draft())
    newest = Step.objects.latest("pk")
    rows = desk.get("/admin/missions/step/").context["cl"].result_list
    assert [row.pk for row in rows][:3] == [doubtful.pk, newest.pk, newest.pk - 1]


# --- agents and memories --------------------------------------------------------------------------


def test_an_operator_tunes_an_agent_but_not_its_key(desk: Client) -> None:
    given = {
        "key": "evil",
        "name": "Scout II",
        "role": "r",
        "duties": "d",
        "manner": "m",
        "colour": "#112233",
        "active": "",
    }
    desk.post("/admin/agents/agent/scout/change/", given)
    scout = Agent.objects.get(key="scout")
    assert (scout.name, scout.active) == ("Scout II", False)
    assert not Agent.objects.filter(key="evil").exists()


def test_saving_writes_only_what_the_form_changed(company: None, admin_user: AbstractUser) -> None:
    """Somebody else's change between loading and saving survives."""
    stale = Agent.objects.get(key="scout")
    Agent.objects.filter(key="scout").update(duties="Changed meanwhile")
    stale.name = "Scout II"

    class Form:
        changed_data = ("name",)

    admin.site._registry[Agent].save_model(None, stale, Form(), change=True)
    scout = Agent.objects.get(key="scout")
    assert (scout.name, scout.duties) == ("Scout II", "Changed meanwhile")


def test_of_a_memory_only_its_archiving_changes(desk: Client) -> None:
    admin_rows.populate(1)
    memory = Memory.objects.get()
    given = {"text": "forged", "confidence": "1", "archived_at_0": "2026-01-02", "archived_at_1": "03:04:05"}
    desk.post(f"/admin/agents/memory/{memory.pk}/change/", given)
    memory.refresh_from_db()
    assert memory.archived_at is not None
    assert memory.text == admin_rows.EVIL
    assert memory.confidence < 1


# --- tokens ---------------------------------------------------------------------------------------


def test_a_tokens_secret_is_shown_once_and_kept_nowhere(desk: Client, olga: AbstractUser) -> None:
    given = {"user": olga.pk, "name": "report", "scopes": ["read"], "days": "30"}
    answer = desk.post(NEW_TOKEN, given)
    secret, token = answer.context["secret"], ApiToken.objects.get(name="report")
    assert secret in answer.text
    assert "no-store" in answer["Cache-Control"]
    assert token.digest == digest_of(secret)
    assert (token.user, token.scopes) == (olga, ["read"])
    assert (token.expires_at - token.created_at).days == 30  # type: ignore[operator]
    assert secret not in str(answer.cookies)
    assert all(secret not in json.dumps(session.get_decoded()) for session in Session.objects.all())
    pages = [NEW_TOKEN, "/admin/dashboard/apitoken/", f"/admin/dashboard/apitoken/{token.pk}/change/", "/admin/"]
    for address in pages:
        text = desk.get(address).text
        assert secret not in text
        assert token.digest not in text


def test_only_a_superuser_makes_tokens_for_others(desk: Client, alice: AbstractUser, admin_user: AbstractUser) -> None:
    given = {"user": alice.pk, "name": "for alice", "scopes": ["read"], "days": ""}
    assert "errorlist" in desk.post(NEW_TOKEN, given).text
    assert not ApiToken.objects.filter(name="for alice").exists()
    desk.force_login(admin_user)
    desk.post(NEW_TOKEN, given)
    token = ApiToken.objects.get(name="for alice")
    assert (token.user, token.expires_at) == (alice, None)


def test_a_reviewer_makes_and_revokes_no_tokens(client: Client, alice: AbstractUser, tokens: dict[str, str]) -> None:
    client.force_login(alice)
    assert client.get(NEW_TOKEN).status_code == 403
    chosen = list(ApiToken.objects.values_list("pk", flat=True))
    client.post("/admin/dashboard/apitoken/", {"action": "revoke", "_selected_action": chosen})
    assert not ApiToken.objects.filter(revoked_at__isnull=False).exists()


def test_a_revoked_token_opens_nothing_and_keeps_its_first_moment(desk: Client, tokens: dict[str, str]) -> None:
    token = ApiToken.objects.get(name="viewer")
    revoke = {"action": "revoke", "_selected_action": [token.pk]}
    assert "1 revoked" in desk.post("/admin/dashboard/apitoken/", revoke, follow=True).text
    token.refresh_from_db()
    first = token.revoked_at
    assert not token.works(now=db.now())
    assert "0 revoked" in desk.post("/admin/dashboard/apitoken/", revoke, follow=True).text
    token.refresh_from_db()
    assert token.revoked_at == first


# --- the first page -------------------------------------------------------------------------------


def test_the_first_page_says_what_waits_for_me(desk: Client) -> None:
    quiet = desk.get("/admin/").text
    assert "No proposal waits for people." in quiet
    assert "Every outcome is known." in quiet
    assert "No beat yet" in quiet
    cast.set_policy(human_from_usd="10")
    cast.submit(cast.buy())
    admin_rows.populate(1)
    heartbeat.run(asked_by="test", now=db.now())
    switch(desk, "halt")
    busy = desk.get("/admin/").text
    for words in (
        "What waits for me",
        "worth 20.00 USD, the oldest for",
        "Buy SOL/USDC",
        "Halted",
        "A storm.",
        "Last beat",
    ):
        assert words in busy, words
    assert "<script>alert" not in busy
    assert "could not be shown" not in busy


def test_a_part_of_the_first_page_that_fails_leaves_the_others(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from missions.templatetags import waiting

    class Broken:
        objects = None

    monkeypatch.setattr(waiting, "Beat", Broken)
    text = desk.get("/admin/").text
    assert text.count("could not be shown") == 1
    assert "No proposal waits for people." in text


def test_a_stranger_sees_nothing_of_the_company_on_the_first_page(client: Client, charlie: AbstractUser) -> None:
    client.force_login(charlie)
    text = client.get("/admin/").text
    assert "What waits for me" not in text
    assert Proposal.objects.count() == 0
