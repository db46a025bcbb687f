"""What a proposal may say: whatever comes, there is a Draft or InvalidInput with pointers, and nothing else."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from missions import drafts
from missions.drafts import Draft
from missions.models import Proposal
from missions.vocabulary import StepKind
from tests import cast
from tradeco.common.errors import InvalidInput

GOOD: dict[str, Any] = {
    "agent": "scout",
    "title": "Buy SOL",
    "rationale": "It looks good.",
    "steps": [{"kind": "execute_trade", "params": {"side": "buy", "market": "SOL/USDC", "size_usd": "20.00"}}],
    "confidence": "0.7",
    "forecast": {"probability": "0.6", "horizon_minutes": 10},
}


def mistakes(data: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        drafts.read(data)
    return {error["pointer"]: error["message"] for error in refused.value.errors}


def with_params(**changes: Any) -> dict[str, Any]:
    step = {"kind": "execute_trade", "params": {"side": "buy", "market": "SOL/USDC", "size_usd": "20.00", **changes}}
    return {**GOOD, "steps": [step]}


# --- what is refused, and where -------------------------------------------------------------------


@pytest.mark.parametrize("data", [None, [], "draft", 7, True, 1.5])
def test_a_proposal_is_an_object(data: Any) -> None:
    assert mistakes(data) == {"": "not an object"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"agent": "Scout"}, "/agent"),
        ({"agent": None}, "/agent"),
        ({"title": ""}, "/title"),
        ({"title": "x" * 201}, "/title"),
        ({"title": "a\x00b"}, "/title"),
        ({"title": "half \ud83d of a smile"}, "/title"),
        ({"rationale": "bell \x07"}, "/rationale"),
        ({"rationale": "x" * 4001}, "/rationale"),
        ({"steps": []}, "/steps"),
        ({"steps": [{"kind": "reflect"}] * 6}, "/steps"),
        ({"steps": {"kind": "reflect"}}, "/steps"),
        ({"steps": [{"kind": "rob_a_bank"}]}, "/steps/0/kind"),
        ({"steps": [{"kind": "reflect", "when": "now"}]}, "/steps/0/when"),
        ({"steps": [{"kind": "reflect", "params": []}]}, "/steps/0/params"),
        ({"confidence": "1.01"}, "/confidence"),
        ({"confidence": "-0.01"}, "/confidence"),
        ({"confidence": "0.1234567"}, "/confidence"),
        ({"confidence": True}, "/confidence"),
        ({"confidence": "NaN"}, "/confidence"),
        ({"confidence": float("nan")}, "/confidence"),
        ({"confidence": float("inf")}, "/confidence"),
        ({"confidence": 10**400}, "/confidence"),
        ({"confidence": None}, "/confidence"),
        ({"forecast": {"probability": "0.6", "horizon_minutes": True}}, "/forecast/horizon_minutes"),
        ({"forecast": {"probability": "0.6", "horizon_minutes": 0}}, "/forecast/horizon_minutes"),
        ({"forecast": {"probability": "0.6"}}, "/forecast/horizon_minutes"),
        ({"secret": 1}, "/secret"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"protective": True}, "/protective"),
    ],
)
def test_a_mistake_is_pointed_at(change: dict[str, Any], pointer: str) -> None:
    found = mistakes({**GOOD, **change})
    assert list(found) == [pointer]
    assert found[pointer]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"side": "short"}, "/side"),
        ({"market": "SOL"}, "/market"),
        ({"market": "SOL/USDC\n"}, "/market"),
        ({"market": "../../etc"}, "/market"),
        ({"size_usd": "0"}, "/size_usd"),
        ({"size_usd": "-5"}, "/size_usd"),
        ({"size_usd": "Infinity"}, "/size_usd"),
        ({"size_usd": "1e30"}, "/size_usd"),
        ({"size_usd": "0.0000001"}, "/size_usd"),
        ({"size_usd": True}, "/size_usd"),
        ({"size_usd": ["20"]}, "/size_usd"),
        ({"slippage_bps": "50"}, "/slippage_bps"),
        ({"slippage_bps": 50.0}, "/slippage_bps"),
        ({"slippage_bps": True}, "/slippage_bps"),
        ({"slippage_bps": 10**30}, "/slippage_bps"),
        ({"stop_loss_pct": "101"}, "/stop_loss_pct"),
        ({"position": 1}, "/position"),
        ({"token": "x"}, "/token"),
    ],
)
def test_a_mistake_in_a_step_is_pointed_at_below_its_params(params: dict[str, Any], pointer: str) -> None:
    assert list(mistakes(with_params(**params))) == [f"/steps/0/params{pointer}"]


def test_stops_belong_to_a_buy() -> None:
    found = mistakes(with_params(side="sell", stop_loss_pct="2"))
    assert found == {"/steps/0/params": "stop_loss_pct and take_profit_pct belong to a buy"}


def test_every_mistake_is_told_at_once_and_no_value_is_echoed() -> None:
    found = mistakes({**with_params(size_usd="a secret"), "agent": "another secret", "title": ""})
    assert set(found) == {"/agent", "/title", "/steps/0/params/size_usd"}
    assert "secret" not in "".join(found.values())


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("close_position", {"position": 0}),
        ("close_position", {"position": 2**63}),
        ("close_position", {"position": "1"}),
        ("close_position", {}),
        ("scale_position", {"position": 1, "direction": "sideways", "size_usd": "5"}),
        ("analyze_signal", {"market": 7}),
        ("monitor_position", {"position": -1}),
        ("hold_roundtable", {"format": "a fight"}),
        ("reflect", {"window_hours": 0}),
        ("reflect", {"topic": "x" * 81}),
    ],
)
def test_each_kind_has_a_schema_of_its_own(kind: str, params: dict[str, Any]) -> None:
    assert mistakes({**GOOD, "steps": [{"kind": kind, "params": params}]})


def test_there_is_a_schema_for_every_kind() -> None:
    assert set(drafts.PARAMS) == set(StepKind)


# --- what is accepted -----------------------------------------------------------------------------


@pytest.mark.parametrize(("given_as", "read_as"), [("20.00", "20.00"), (20, "20"), (0.1, "0.1"), ("1e2", "1e2")])
def test_amounts_come_as_numerals_or_numbers_and_never_through_binary(given_as: Any, read_as: str) -> None:
    (step,) = drafts.read(with_params(size_usd=given_as)).steps
    assert step.typed.size_usd == Decimal(read_as)  # type: ignore[attr-defined]


def test_what_is_stored_reads_back_as_the_same_draft() -> None:
    draft = drafts.read(with_params(stop_loss_pct="1.5", slippage_bps=50))
    stored = json.loads(json.dumps(drafts.steps_as_json(draft)))
    assert stored[0]["params"] == {
        "side": "buy", "market": "SOL/USDC", "size_usd": "20.00", "stop_loss_pct": "1.5", "slippage_bps": 50,
    }  # fmt: skip
    again = drafts.read({**GOOD, "steps": stored})
    assert [step.typed for step in again.steps] == [step.typed for step in draft.steps]


@pytest.mark.parametrize(
    ("kind", "params", "exits"),
    [
        ("execute_trade", {"side": "buy", "market": "SOL/USDC", "size_usd": "5"}, False),
        ("execute_trade", {"side": "sell", "market": "SOL/USDC", "size_usd": "5"}, True),
        ("close_position", {"position": 1}, True),
        ("scale_position", {"position": 1, "direction": "up", "size_usd": "5"}, False),
        ("scale_position", {"position": 1, "direction": "down", "size_usd": "5"}, True),
        ("reflect", {}, True),
    ],
)
def test_an_exit_makes_no_position_larger(kind: str, params: dict[str, Any], exits: bool) -> None:
    assert drafts.is_exit(drafts.read({**GOOD, "steps": [{"kind": kind, "params": params}]})) is exits


# --- whatever comes -------------------------------------------------------------------------------

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**310)
    | st.floats()
    | st.text(alphabet=st.characters(), max_size=20)
    | st.sampled_from(
        [
            "",
            "\x00",
            "\ud800",
            "NaN",
            "Infinity",
            "-0",
            "1e999999999",
            "0x1f",
            "١٢",
            "1_0",
            "SOL/USDC",
            "buy",
            "reflect",
        ]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PARAM_NAMES = sorted({name for params in drafts.PARAMS.values() for name in params.model_fields})
steps = st.fixed_dictionaries(
    {"kind": st.sampled_from([*StepKind.values, "nonsense"]) | anything},
    optional={"params": st.dictionaries(st.sampled_from(PARAM_NAMES) | st.text(max_size=5), anything) | anything},
)
proposals = st.fixed_dictionaries(
    {},
    optional={
        "agent": st.just("scout") | anything,
        "title": st.text(max_size=30) | anything,
        "rationale": anything,
        "steps": st.lists(steps, max_size=6) | anything,
        "confidence": st.decimals(0, 1, places=3).map(str) | anything,
        "forecast": st.none() | anything,
        "unknown": anything,
    },
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(anything | proposals)
def test_whatever_comes_is_a_draft_or_told_to_be_none(data: Any) -> None:
    draft, errors = read_or_errors(data)
    if draft is None:
        assert errors
        assert all(error["pointer"] == "" or error["pointer"].startswith("/") for error in errors)
        json.dumps(errors)
    else:
        json.dumps(drafts.steps_as_json(draft)).encode()
        draft.title.encode()


def read_or_errors(data: Any) -> tuple[Draft | None, list[dict[str, str]]]:
    try:
        return drafts.read(data), []
    except InvalidInput as refused:
        return None, refused.errors


@pytest.mark.parametrize("levels", [50, 5_000])
def test_depth_is_no_way_in(levels: int) -> None:
    deep: Any = []
    for _ in range(levels):
        deep = [deep]
    for place in ("steps", "title", "forecast"):
        assert mistakes({**GOOD, place: deep})
    assert mistakes({**GOOD, "steps": [{"kind": "reflect", "params": {"topic": deep}}]})


@pytest.mark.usefixtures("company")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(title=st.text(min_size=1, max_size=200), topic=st.text(max_size=80), hours=st.integers(1, 2160))
def test_what_is_accepted_can_be_stored(title: str, topic: str, hours: int) -> None:
    step = {"kind": "reflect", "params": {"topic": topic, "window_hours": hours}}
    try:
        draft = drafts.read({**GOOD, "agent": "growth", "title": title, "steps": [step]})
    except InvalidInput:
        return
    proposal = cast.submit(draft)
    assert Proposal.objects.get(pk=proposal.pk).title == title
