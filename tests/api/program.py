"""A program that talks to the API with a token, as the tests see it."""

import json
import uuid
from typing import Any

from django.db import connections
from django.test import Client

ROOT = "/api/v1/"


class Program:
    """One client of the API. Every act gets a fresh Idempotency-Key unless it names one."""

    def __init__(self, secret: str = "") -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    def get(self, path: str, **parameters: Any) -> Any:
        return self.client.get(self._at(path), parameters or None, headers=self.headers)

    def post(self, path: str, body: Any = None, *, key: str | None = "", **headers: str) -> Any:
        """POST JSON; `key` None leaves the header out."""
        return self.send(path, json.dumps({} if body is None else body), key=key, **headers)

    def send(
        self,
        path: str,
        raw: str | bytes,
        *,
        key: str | None = "",
        content_type: str = "application/json",
        **headers: str,
    ) -> Any:
        """POST bytes as they are."""
        sent = {**self.headers, **headers}
        if key is not None:
            sent["Idempotency-Key"] = key or uuid.uuid4().hex
        return self.client.post(self._at(path), raw, content_type=content_type, headers=sent)

    def delete(self, path: str) -> Any:
        return self.client.delete(self._at(path), headers=self.headers)

    @staticmethod
    def _at(path: str) -> str:
        return path if path.startswith("/") or "://" in path else ROOT + path


def close_connection() -> None:
    """What a thread of a test does last."""
    connections.close_all()


def analysis(**changes: Any) -> dict[str, Any]:
    """A proposal that policy approves by itself."""
    body = {
        "agent": "intel",
        "title": "Scan all markets",
        "steps": [{"kind": "analyze_signal", "params": {}}],
        "confidence": 0.8,
    }
    return {**body, **changes}


def trade(size_usd: str = "20.00", market: str = "SOL/USDC", **changes: Any) -> dict[str, Any]:
    """The Contract's example of a proposal."""
    params = {
        "side": "buy",
        "market": market,
        "size_usd": size_usd,
        "stop_loss_pct": "30",
        "take_profit_pct": "30",
    }
    body = {
        "agent": "scout",
        "title": "Buy",
        "rationale": "Price left its range.",
        "steps": [{"kind": "execute_trade", "params": params}],
        "confidence": 0.7,
        "forecast": {"probability": 0.6, "horizon_minutes": 240},
    }
    return {**body, **changes}


def is_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Assert that an answer is a complete problem of this status and code, and give it."""
    assert response.status_code == status, response.content[:500]
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["type"].endswith(code)
    assert body["title"]
    assert body["detail"]
    assert isinstance(body["errors"], list)
    assert body["request_id"] == response["X-Request-ID"]
    return body
