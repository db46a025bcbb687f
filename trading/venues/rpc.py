"""A Solana node asked over JSON-RPC: reads that may be repeated, and one send that never is.

solana-py has no client without asyncio, and solders' parsers refuse an answer that holds an error newer than they are;
so requests are plain JSON, answers are checked by `rpc_answers`, and what a send proved is judged by `rpc_sending`.
"""

from base64 import b64encode
from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar

import structlog
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from trading.venues import rpc_answers as answers
from trading.venues import rpc_sending as sending
from trading.venues.http import BreakerOpen, Guard, HttpClient, Patience, VenueRefused, VenueUnavailable
from trading.venues.rpc_answers import (
    Account,
    ChainTransaction,
    Commitment,
    SignatureInfo,
    SignatureStatus,
    Simulation,
    TokenBalance,
)
from trading.venues.rpc_sending import Accepted, AlreadyProcessed, Refused, Sent, Unsure
from trading.venues.shapes import shaped

__all__ = [
    "Accepted",
    "Account",
    "AlreadyProcessed",
    "ChainTransaction",
    "Commitment",
    "Refused",
    "RpcError",
    "Sent",
    "SignatureInfo",
    "SignatureStatus",
    "Simulation",
    "SolanaRpc",
    "TokenBalance",
    "Unsure",
]

log = structlog.get_logger(__name__)

STATUSES_MOST = 256  # signatures a request, the protocol's bound
ACCOUNTS_MOST = 100
TRANSACTION_MOST_BYTES = 1232  # one packet
NODE_UNHEALTHY = -32005


class RpcError(VenueRefused):
    """The node's own error of a read: its number, words and data, such as -32602 for wrong parameters."""

    code: ClassVar[str] = "rpc_error"
    title: ClassVar[str] = "The Solana node answered with an error"

    def __init__(self, number: int, message: str, data: object = None) -> None:
        super().__init__(f"rpc_{number}", f"The node answered with error {number}. {message}".strip())
        self.number = number
        self.data = data


class SolanaRpc:
    """One node, or a provider's gateway to many. Threads may share it.

    Reads raise VenueUnavailable where no usable answer came, RpcError for the node's own errors, and VenueRefused
    (`bad_answer`, `http_401`, …) where an answer can't be used. No exception of a read says anything about a send.

    Args:
        url: of the node; a key in it stays out of logs, errors and `name`.
        timeout_seconds: to connect, to read.
        guard: makes the context manager that each call runs in, such as a breaker's.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: tuple[float, float] = (2, 8),
        guard: Guard | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._http = HttpClient(url, timeout_seconds=timeout_seconds, guard=guard, patience=patience)
        self._numbers = count(1)
        self.name = self._http.name

    def __repr__(self) -> str:
        return f"<SolanaRpc {self.name}>"

    # --- the chain --------------------------------------------------------------------------------

    def genesis_hash(self) -> str:
        """Which chain this is."""
        return shaped(answers.GENESIS, self._call("getGenesisHash"), what="getGenesisHash")

    def health(self) -> None:
        """Return where the node is well.

        Raises:
            VenueUnavailable: it is behind, or doesn't answer.
        """
        try:
            self._call("getHealth")
        except RpcError as exc:
            if exc.number == NODE_UNHEALTHY:
                raise VenueUnavailable(f"{self.name} is behind the chain.") from None
            raise

    def version(self) -> str:
        found = shaped(answers.VERSION, self._call("getVersion"), what="getVersion")
        return shaped(answers.TEXT, found.get("solana-core"), what="getVersion")

    def slot(self, commitment: Commitment = "confirmed") -> int:
        return self._whole("getSlot", {"commitment": commitment})

    def block_height(self, commitment: Commitment = "confirmed") -> int:
        """The number of blocks, which a transaction's last valid height is compared with; not the slot."""
        return self._whole("getBlockHeight", {"commitment": commitment})

    def slot_and_height(self, commitment: Commitment = "confirmed") -> tuple[int, int]:
        """Both of one answer: behind a gateway two answers may be two nodes'."""
        found = shaped(answers.EPOCH, self._call("getEpochInfo", {"commitment": commitment}), what="getEpochInfo")
        return found.absolute_slot, found.block_height

    def block_time(self, slot: int) -> int:
        """When a slot's block was made, in seconds of the epoch by its validators' clocks."""
        return self._whole("getBlockTime", slot)

    def latest_blockhash(self, commitment: Commitment = "confirmed") -> tuple[str, int]:
        """A blockhash and the last block height at which a transaction with it is valid."""
        _, found = self._in_context("getLatestBlockhash", {"commitment": commitment})
        latest = shaped(answers.LATEST, found, what="getLatestBlockhash")
        return latest.blockhash, latest.last_valid_block_height

    def is_blockhash_valid_at(self, blockhash: str, commitment: Commitment = "confirmed") -> tuple[int, bool]:
        """The slot of the answer, and whether a transaction with that blockhash may land then."""
        slot, found = self._in_context("isBlockhashValid", blockhash, {"commitment": commitment})
        return slot, shaped(answers.TRUTH, found, what="isBlockhashValid")

    # --- accounts ---------------------------------------------------------------------------------

    def balance(self, address: str, commitment: Commitment = "confirmed") -> int:
        """Lamports; 0 for an account that isn't there."""
        _, found = self._in_context("getBalance", address, {"commitment": commitment})
        return shaped(answers.WHOLE, found, what="getBalance")

    def accounts(self, addresses: Sequence[str], commitment: Commitment = "confirmed") -> list[Account | None]:
        """Each account as it lies on chain, None for one that isn't there; at most ACCOUNTS_MOST."""
        assert len(addresses) <= ACCOUNTS_MOST, "ask for fewer accounts at once"
        config = {"commitment": commitment, "encoding": "base64"}
        _, found = self._in_context("getMultipleAccounts", list(addresses), config)
        return answers.accounts(found, count=len(addresses))

    def token_balances(self, owner: str, commitment: Commitment = "confirmed") -> list[TokenBalance]:
        """Every token account of `owner`, of both token programs; empty ones too."""
        held: list[TokenBalance] = []
        for program in (answers.SPL_PROGRAM, answers.SPL_2022_PROGRAM):
            config = {"commitment": commitment, "encoding": "base64"}
            _, found = self._in_context("getTokenAccountsByOwner", owner, {"programId": program}, config)
            held += answers.holdings(found)
        if any(each.owner != owner for each in held):
            raise VenueRefused("bad_answer", "getTokenAccountsByOwner: the node answered for another owner.")
        return held

    # --- transactions -----------------------------------------------------------------------------

    def signature_statuses(self, signatures: Sequence[str], *, search_history: bool) -> list[SignatureStatus | None]:
        """The status of each signature, None where the node knows nothing of it.

        Without `search_history` a node knows the last 150 slots only; nothing may be concluded from a None then.
        """
        return self.signature_statuses_at(signatures, search_history=search_history)[1]

    def signature_statuses_at(
        self, signatures: Sequence[str], *, search_history: bool
    ) -> tuple[int, list[SignatureStatus | None]]:
        """The same with the lowest slot at which the node answered: a None says nothing about what came after it."""
        slots: list[int] = []
        found: list[SignatureStatus | None] = []
        for first in range(0, len(signatures), STATUSES_MOST):
            some = list(signatures[first : first + STATUSES_MOST])
            config = {"searchTransactionHistory": search_history}
            slot, tree = self._in_context("getSignatureStatuses", some, config)
            slots.append(slot)
            found += answers.statuses(tree, count=len(some))
        return min(slots, default=0), found

    def transaction(self, signature: str, commitment: Commitment = "confirmed") -> ChainTransaction | None:
        """A landed transaction with balances before and after; None where the node doesn't have it (yet).

        A failed one is an answer too: look at `err`. Nodes don't answer this for `processed`.
        """
        config = {"commitment": commitment, "encoding": "json", "maxSupportedTransactionVersion": 0}
        return answers.transaction(self._call("getTransaction", signature, config), signature=signature)

    def signatures_for(
        self,
        address: str,
        *,
        until: str | None = None,
        before: str | None = None,
        limit: int = 1000,
        commitment: Commitment = "confirmed",
    ) -> list[SignatureInfo]:
        """Transactions in which `address` has a part, newest first: those after `until` and before `before`."""
        config: dict[str, object] = {"commitment": commitment, "limit": limit}
        config |= {name: value for name, value in (("until", until), ("before", before)) if value}
        return answers.infos(self._call("getSignaturesForAddress", address, config))

    def simulate(
        self,
        transaction: bytes,
        *,
        addresses: Sequence[str],
        sig_verify: bool = False,
        replace_blockhash: bool = False,
        commitment: Commitment = "confirmed",
    ) -> Simulation:
        """What the transaction would do now, and how it would leave the accounts at `addresses`."""
        assert not (sig_verify and replace_blockhash), "another blockhash makes every signature wrong"
        config: dict[str, object] = {
            "commitment": commitment,
            "encoding": "base64",
            "sigVerify": sig_verify,
            "replaceRecentBlockhash": replace_blockhash,
        }
        if addresses:
            config["accounts"] = {"encoding": "base64", "addresses": list(addresses)}
        _, found = self._in_context("simulateTransaction", b64encode(transaction).decode(), config)
        return answers.simulation(found, addresses=addresses)

    def send(
        self,
        transaction: bytes,
        *,
        preflight_commitment: Commitment = "confirmed",
        skip_preflight: bool = False,
        min_context_slot: int | None = None,
    ) -> Sent:
        """Send a signed transaction once, and say what the answer proves. Sending the same bytes again is harmless.

        Args:
            preflight_commitment: the one at which the blockhash was asked for.

        Raises:
            BreakerOpen: nothing was sent.
            ValueError: these bytes aren't a signed transaction; nothing was sent.
        """
        signature = signature_of(transaction)
        number = next(self._numbers)
        config: dict[str, object] = {
            "encoding": "base64",
            "skipPreflight": skip_preflight,
            "preflightCommitment": preflight_commitment,
            "maxRetries": 0,  # whether and when to send again is decided here, by height
        }
        if min_context_slot is not None:
            config["minContextSlot"] = min_context_slot
        body = _body(number, "sendTransaction", (b64encode(transaction).decode(), config))
        outcome = self._send(body, signature=signature, number=number)
        log.info(
            "A transaction was sent.",
            action="transaction_sent",
            venue=self.name,
            signature=signature,
            outcome=type(outcome).__name__,
            code=getattr(outcome, "code", "") or getattr(outcome, "reason", ""),
        )
        return outcome

    def _send(self, body: dict[str, object], *, signature: str, number: int) -> Sent:
        try:
            answer = self._http.send("POST", body=body, what="sendTransaction")
        except BreakerOpen:
            raise
        except VenueUnavailable as exc:
            return Unsure(exc.detail)
        return sending.judge(answer, signature=signature, number=number)

    # --- JSON-RPC ---------------------------------------------------------------------------------

    def _whole(self, method: str, *params: object) -> int:
        return shaped(answers.WHOLE, self._call(method, *params), what=method)

    def _in_context(self, method: str, *params: object) -> tuple[int, Any]:
        return answers.in_context(self._call(method, *params), what=method)

    def _call(self, method: str, *params: object) -> Any:
        """The result of a read."""
        number = next(self._numbers)
        tree = self._http.read("POST", body=_body(number, method, params), what=method)
        if not isinstance(tree, dict):
            raise VenueRefused("bad_answer", f"{method}: the answer isn't JSON-RPC.")
        error = tree.get("error")
        if isinstance(error, dict) and type(error.get("code")) is int:
            message = error.get("message")
            words = self._http.clean(message) if isinstance(message, str) else ""
            raise RpcError(error["code"], words, error.get("data"))
        if tree.get("id") != number or "result" not in tree:
            raise VenueRefused("bad_answer", f"{method}: the answer isn't to this request.")
        return tree["result"]


def signature_of(transaction: bytes) -> str:
    """The signature by which the chain will know these bytes: their fee payer's.

    Raises:
        ValueError: they aren't a transaction that fits into a packet, or its fee payer hasn't signed.
    """
    if len(transaction) > TRANSACTION_MOST_BYTES:
        raise ValueError(f"a transaction has at most {TRANSACTION_MOST_BYTES} bytes, this one {len(transaction)}")
    signatures = VersionedTransaction.from_bytes(transaction).signatures
    if not signatures or signatures[0] == Signature.default():
        raise ValueError("the transaction isn't signed by its fee payer")
    return str(signatures[0])


def _body(number: int, method: str, params: tuple[object, ...]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
