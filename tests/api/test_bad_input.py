"""What is wrong is told as a problem that says what to do: never a 5xx, never a half-done act."""

import json
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory, override_settings

from dashboard.api import problems
from missions.models import Proposal
from tests.api.program import Program, analysis, is_problem, trade
from tradeco.common.outside import BreakerOpen

SURROGATE = '"\\ud800"'


def raw(**changes: str) -> str:
    """The example proposal as text, with values of raw JSON."""
    parts = {key: json.dumps(value) for key, value in analysis().items()} | changes
    return "{" + ",".join(f'"{key}":{value}' for key, value in parts.items()) + "}"


BODIES = {
    "nothing": (b"", 400, "invalid_input", "agent"),
    "cut off": (b"{", 400, "invalid_json", "line 1"),
    "a list": (b"[]", 400, "invalid_input", "object"),
    "null": (b"null", 400, "invalid_input", "object"),
    "a string": (b'"x"', 400, "invalid_input", "object"),
    "not UTF-8": (b'{"agent": "\xff"}', 400, "invalid_json", "UTF-8"),
    "byte order mark": ("\ufeff{}".encode(), 400, "invalid_json", "BOM"),
    "NaN": (raw(confidence="NaN"), 400, "invalid_json", "NaN"),
    "Infinity": (raw(confidence="Infinity"), 400, "invalid_json", "Infinity"),
    "-Infinity": (raw(confidence="-Infinity"), 400, "invalid_json", "Infinity"),
    "a float past the range": (raw(confidence="1e999"), 400, "invalid_json", "too large"),
    "5,000 digits": (raw(confidence="1" * 5000), 400, "invalid_json", "too large"),
    "below int64": (raw(confidence="-" + "9" * 20), 400, "invalid_json", "too large"),
    "confidence above 1": (raw(confidence="2"), 400, "invalid_input", "/confidence"),
    "a boolean as a number": (raw(confidence="true"), 400, "invalid_input", "/confidence"),
    "NaN as text": (raw(confidence='"NaN"'), 400, "invalid_input", "/confidence"),
    "no number": (raw(confidence='"0.7x"'), 400, "invalid_input", "/confidence"),
    "NUL in a value": (raw(title='"a\\u0000b"'), 400, "invalid_json", "/title"),
    "NUL in a key": (raw(**{"a\\u0000": "1"}), 400, "invalid_json", "NUL"),
    "half a surrogate pair": (raw(title=SURROGATE), 400, "invalid_json", "/title"),
    "a control character": (raw(title='"\\u0007"'), 400, "invalid_input", "/title"),
    "an empty title": (raw(title='""'), 400, "invalid_input", "/title"),
    "a long title": (raw(title=json.dumps("x" * 201)), 400, "invalid_input", "/title"),
    "a number as text": (raw(title="5"), 400, "invalid_input", "/title"),
    "no such agent": (raw(agent='"nobody"'), 400, "invalid_input", "/agent"),
    "no agent at all": (raw(agent="null"), 400, "invalid_input", "/agent"),
    "an object as text": (raw(agent='{"$ne": 1}'), 400, "invalid_input", "/agent"),
    "an unknown key": (raw(status='"approved"'), 400, "invalid_input", "/status"),
    "a key of ours": (raw(protective="true"), 400, "invalid_input", "/protective"),
    "no step": (raw(steps="[]"), 400, "invalid_input", "/steps"),
    "a kind": (raw(steps='[{"kind": "rob_bank"}]'), 400, "invalid_input", "/steps/0/kind"),
    "an unknown parameter": (
        raw(steps='[{"kind": "analyze_signal", "params": {"x": 1}}]'),
        400,
        "invalid_input",
        "/steps/0",
    ),
    "an id past int64": (
        raw(steps='[{"kind": "close_position", "params": {"position": 9223372036854775808}}]'),
        400,
        "invalid_json",
        "too large",
    ),
    "a key twice": ('{"title": 1, "title": 2}', 400, "invalid_json", "/title"),
    "33 levels": ("[" * 33 + "]" * 33, 400, "invalid_json", "32"),
    "100,000 levels": ("[" * 100_000, 400, "invalid_json", "32"),
    "5,000 objects": ('{"a":' * 5000 + "1" + "}" * 5000, 400, "invalid_json", "32"),
    "1 MB": (raw(rationale=json.dumps("x" * 1_000_000)), 413, "body_too_large", "262144"),
}


def test_a_body_that_is_wrong_says_what_is_wrong(reviewer: Program, subtests: pytest.Subtests) -> None:
    for name, (body, status, code, says) in BODIES.items():
        with subtests.test(name):
            told = is_problem(reviewer.send("proposals/", body), status, code)
            assert says in told["detail"] + str(told["errors"]), told
    assert Proposal.objects.count() == 0


def test_a_trade_whose_parameters_are_wrong_says_where(reviewer: Program, subtests: pytest.Subtests) -> None:
    for change in (
        {"size_usd": "0"},
        {"size_usd": "-5"},
        {"size_usd": "1e400"},
        {"size_usd": 1e300},
        {"size_usd": True},
        {"size_usd": ["20"]},
        {"size_usd": "20.0000001"},
        {"side": "borrow"},
        {"market": "SOL/USDC'; DROP TABLE x"},
        {"market": "../../etc"},
        {"slippage_bps": 1.5},
        {"slippage_bps": "100"},
        {"stop_loss_pct": "101"},
        {"unknown": 1},
    ):
        with subtests.test(str(change)):
            body = trade()
            body["steps"][0]["params"].update(change)
            told = is_problem(reviewer.post("proposals/", body), 400, "invalid_input")
            assert told["errors"][0]["pointer"].startswith("/steps/0")
            assert told["errors"][0]["message"]
    assert Proposal.objects.count() == 0


def test_another_media_type_is_refused(reviewer: Program, subtests: pytest.Subtests) -> None:
    for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        with subtests.test(media):
            told = reviewer.send("proposals/", json.dumps(analysis()), content_type=media)
            assert "application/json" in is_problem(told, 415, "unsupported_media_type")["detail"]


def test_a_body_longer_than_it_says_is_cut_off_at_what_it_says(reviewer: Program) -> None:
    body = json.dumps(analysis())
    is_problem(reviewer.send("proposals/", body, **{"Content-Length": "10"}), 400, "invalid_json")


def test_a_large_body_is_refused_whatever_its_length_says(reviewer: Program) -> None:
    """The parser counts for itself: a stream that goes on is read no further than the limit."""
    from dashboard.api.parsing import BodyTooLarge, StrictJSONParser

    class Endless:
        read_so_far = 0

        def read(self, size: int) -> bytes:
            self.read_so_far += size
            return b" " * size

    stream = Endless()
    with override_settings(API_BODY_MAX_BYTES=1000), pytest.raises(BodyTooLarge):
        StrictJSONParser().parse(stream)  # type: ignore[arg-type]
    assert stream.read_so_far == 1001


def test_an_answer_in_another_form_is_not_to_be_had(viewer: Program) -> None:
    for accept in ("text/html", "application/xml"):
        viewer.headers["Accept"] = accept
        is_problem(viewer.get("agents/"), 406, "not_acceptable")


def test_a_method_that_isnt_served_is_405_and_names_those_that_are(viewer: Program, subtests: pytest.Subtests) -> None:
    for method in ("put", "patch", "delete", "options", "trace"):
        with subtests.test(method):
            answer = getattr(viewer.client, method)("/api/v1/proposals/", headers=viewer.headers)
            is_problem(answer, 405, "method_not_allowed")
            assert answer["Allow"] == "GET, POST, HEAD"


def test_head_is_get_without_the_body(viewer: Program) -> None:
    answer = viewer.client.head("/api/v1/proposals/", headers=viewer.headers)
    assert (answer.status_code, answer.content) == (200, b"")


def test_an_address_of_nothing_is_404(viewer: Program, subtests: pytest.Subtests) -> None:
    for path in (
        "proposals/abc/",
        "proposals/-1/",
        "proposals/1.5/",
        "proposals/99999999999999999999/",
        "proposals/0/",
        "proposals/9223372036854775807/",
        "proposals/9223372036854775808/",
        "proposals/%00/",
        "proposals/" + "9" * 6000 + "/",
        "proposals/1",
        "proposals/%D9%A1/",
        "missions/7777777/",
        "steps/7777777/",
        "orders/7777777/",
        "positions/7777777/",
        "agents/nobody/",
        "agents/nobody/memories/",
        "agents/%00/",
        "agents/SCOUT/",
        "agents/scout",
        "nothing/",
        "",
        "policies/%27/versions/",
        "heartbeats/1/",
        "%ff/",
    ):
        with subtests.test(path[:60]):
            is_problem(viewer.get(path), 404, "not_found")


def test_deciding_on_nothing_is_404(operator: Program, subtests: pytest.Subtests) -> None:
    for verb in ("approve", "reject", "cancel"):
        for id in ("7777777", "abc", "99999999999999999999"):
            with subtests.test(f"{verb} {id}"):
                is_problem(operator.post(f"proposals/{id}/{verb}/", {"reason": "x"}), 404, "not_found")


def test_a_decision_needs_a_reason(operator: Program, subtests: pytest.Subtests) -> None:
    made = operator.post("proposals/", analysis()).json()
    for reason in (None, "", "   ", 5, [], "x" * 501, "a\u0007", {}):
        for path in (f"proposals/{made['id']}/cancel/", "missions/1/cancel/", "company/halt/"):
            with subtests.test(f"{path} {reason!r}"):
                told = is_problem(operator.post(path, {"reason": reason}), 400, "invalid_input")
                assert told["errors"][0]["pointer"] == "/reason"


PARAMETERS = [
    ("proposals/", "status=maybe", "status"),
    ("proposals/", "status=", "status"),
    ("proposals/", "status=%00", "status"),
    ("proposals/", "agent=%00", "agent"),
    ("proposals/", "agent=' OR 1=1", "agent"),
    ("proposals/", "source=me", "source"),
    ("proposals/", "limit=0", "limit"),
    ("proposals/", "limit=201", "limit"),
    ("proposals/", "limit=-1", "limit"),
    ("proposals/", "limit=abc", "limit"),
    ("proposals/", "limit=1e3", "limit"),
    ("proposals/", "limit=" + "9" * 5000, "limit"),
    ("proposals/", "limit=5&limit=6", "limit"),
    ("proposals/", "cursor=abc", "cursor"),
    ("proposals/", "cursor=%00", "cursor"),
    ("proposals/", "cursor=\u00e9", "cursor"),
    ("proposals/", "cursor=" + "x" * 5000, "cursor"),
    ("proposals/", "page=2", "page"),
    ("proposals/", "created_at__gte=1645-04-16T22:53:32%2B20:37", "created_at__gte"),
    ("proposals/", "author__password__startswith=a", "author__password__startswith"),
    ("proposals/1/", "x=1", "x"),
    ("portfolio/", "x=1", "x"),
    ("events/", "after=abc", "after"),
    ("events/", "after=-1", "after"),
    ("events/", "after=9223372036854775808", "after"),
    ("events/", "after=1.5", "after"),
    ("events/", "kind=nothing", "kind"),
    ("events/", "limit=201", "limit"),
    ("steps/", "mission=abc", "mission"),
    ("steps/", "mission=9223372036854775808", "mission"),
    ("steps/", "kind=rob", "kind"),
    ("orders/", "market=SOL", "market"),
    ("orders/", "side=hold", "side"),
    ("positions/", "status=shut", "status"),
    ("agents/scout/memories/", "type=dream", "type"),
]


def test_a_parameter_that_is_unknown_or_wrong_is_named(viewer: Program, subtests: pytest.Subtests) -> None:
    for path, query, parameter in PARAMETERS:
        with subtests.test(f"{path}?{query}"[:80]):
            told = is_problem(viewer.get(f"/api/v1/{path}?{query}"), 400, "invalid_input")
            assert parameter in told["detail"]
            assert told["errors"][0]["parameter"] == parameter


def test_a_cursor_of_one_list_is_none_of_another(reviewer: Program) -> None:
    for _ in range(2):
        reviewer.post("proposals/", analysis())
    following = reviewer.get("proposals/", limit=1).json()["next"]
    cursor = following.split("cursor=")[1].split("&")[0]
    is_problem(reviewer.get(f"/api/v1/missions/?cursor={cursor}"), 400, "invalid_input")


def test_a_token_that_cant_be_is_refused(operator: Program, subtests: pytest.Subtests) -> None:
    for wanted in (
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "", "scopes": ["read"]},
        {"name": "x", "scopes": "read"},
        {"name": "x" * 81, "scopes": ["read"]},
        {"name": "a\nb", "scopes": ["read"]},
        {"name": "x", "scopes": ["read"], "expires_in_days": 0},
        {"name": "x", "scopes": ["read"], "expires_in_days": "7"},
        {"name": "x", "scopes": ["read"], "user": 1},
        {"name": "x", "scopes": ["read"], "expires_in_days": 10**9},
    ):
        with subtests.test(str(wanted)[:80]):
            is_problem(operator.post("tokens/", wanted), 400, "invalid_input")


def test_a_host_that_isnt_ours_is_a_problem_too(viewer: Program) -> None:
    is_problem(viewer.client.get("/api/v1/agents/", headers={"Host": "evil.example"}), 400, "bad_request")


def test_a_locked_database_is_told_as_busy(reviewer: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    from missions import proposals

    def locked(**_: Any) -> None:
        raise OperationalError("canceling") from psycopg.errors.LockNotAvailable("canceling")

    monkeypatch.setattr(proposals, "submit_within", locked)
    answer = reviewer.post("proposals/", analysis())
    is_problem(answer, 503, "busy")
    assert answer["Retry-After"] == "1"


def test_a_database_that_is_away_is_told_wherever_it_was_missed() -> None:
    request = RequestFactory().get("/api/v1/agents/")
    try:
        raise OperationalError("could not connect to 10.0.0.1, password secret")
    except OperationalError:
        answer = problems.server_error(request)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert b"secret" not in answer.content


@pytest.mark.parametrize(("seconds", "told"), [(2.2, "3"), (0, "0"), (None, None)])
def test_a_venue_that_said_when_to_come_back_is_quoted(seconds: float | None, told: str | None) -> None:
    answer = problems.handle(BreakerOpen("jupiter failed too often", retry_after_seconds=seconds), {})
    assert answer is not None
    assert (answer.status_code, answer.get("Retry-After")) == (503, told)


def test_our_mistake_is_told_without_its_text(viewer: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from trading import portfolio

    def mistaken(**_: Any) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(portfolio, "summary", mistaken)
    told = is_problem(viewer.get("portfolio/"), 500, "internal_error")
    assert "secret" not in str(told)


def test_pages_for_people_keep_djangos_own_errors(company: None) -> None:
    answer = Client().get("/no-such-page/")
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")


def test_a_long_key_above_many_values_costs_no_memory() -> None:
    """The path to a value is joined for an error only; a key that is no name is refused at once."""
    import tracemalloc

    from dashboard.api.parsing import KEY_MAX, InvalidJSON, _texts

    data = {"k" * KEY_MAX: [0] * 50_000}
    tracemalloc.start()
    list(_texts(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    with pytest.raises(InvalidJSON, match="longer than"):
        list(_texts({"k" * (KEY_MAX + 1): 0}))
