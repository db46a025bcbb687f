"""How the signer asks the two services that it needs: no redirect, no proxy, a bounded answer, and never twice."""

import json
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

TIMEOUT_SECONDS = (2.0, 8.0)  # to connect, between two bytes
ANSWER_BYTES_MOST = 4 * 1024 * 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Unanswered(Exception):
    """There was no usable answer. Says which kind of failure it was and no address, since that may hold a key."""


class Endpoint:
    """One service; one connection a thread.

    Args:
        url: https, or http on this machine. It may hold a key and is never shown.
        name: whose address it is, for the reason of a refusal.
    """

    def __init__(self, url: str, *, name: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError(f"{name}'s address must be https, or http on this machine.")
        self._url = url
        self._headers = dict(headers or {})
        self._local = threading.local()

    def get(self, path: str, *, params: Mapping[str, str]) -> Any:
        """What is there, as JSON.

        Raises:
            Unanswered.
        """
        return self._ask("GET", self._url.rstrip("/") + path, params=params)

    def post(self, body: Any) -> Any:
        """The answer to a body, both JSON.

        Raises:
            Unanswered.
        """
        return self._ask("POST", self._url, json=body)

    def _ask(self, method: str, url: str, **sent: Any) -> Any:
        try:
            with self._session().request(
                method, url, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True, **sent
            ) as response:
                if response.status_code != requests.codes.ok:
                    raise ValueError("no answer but a redirect or an error")
                content = response.raw.read(ANSWER_BYTES_MOST + 1, decode_content=True)
            if len(content) > ANSWER_BYTES_MOST:
                raise ValueError("too large an answer")
            return json.loads(content)
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as exc:
            raise Unanswered(type(exc).__name__) from None

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            session = requests.Session()
            session.trust_env = False  # neither a proxy nor a netrc of the environment's
            session.headers.update(self._headers)
            self._local.session = session
        found: requests.Session = self._local.session
        return found
