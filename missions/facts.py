"""Facts that missions itself provides to gates. Each is JSON, and is stored with the verdict that read it."""

from typing import Any

from missions import caps as caps_module
from missions import policies
from missions.gates import Known
from missions.models import Company


def company(known: Known) -> dict[str, Any]:
    """Whether trading is active, and why not."""
    row = Company.objects.get()
    return {"status": row.status, "reason": row.reason}


def caps(known: Known) -> list[dict[str, Any]]:
    """Limit, left and needed of each daily cap that the case would spend."""
    _, policy = policies.current()
    needed = caps_module.needed(known.case.draft.kinds)
    return [
        {"key": cap["key"], "limit": cap["limit"], "left": cap["left"], "needed": needed[cap["key"]]}  # type: ignore[index]
        for cap in caps_module.overview(policy=policy, now=known.now)
        if cap["key"] in needed
    ]
