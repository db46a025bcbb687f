"""A chain of one process for the signer's tests, and the swaps that are put before the signer.

The chain is the real Solana VM; only its transport is left out. Run as a module it is a signer whose chain is
this one, for tests that kill it.
"""

import base64
import json
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from solders.account import Account as SvmAccount
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.token.state import Mint, TokenAccount, TokenAccountState
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import (
    close_account,
    create_idempotent_associated_token_account,
    get_associated_token_address,
    sync_native,
    transfer_checked,
)
from spl.token.models import CloseAccountParams, SyncNativeParams, TransferCheckedParams

from tradeco.common import crashpoints
from trading.signer import limits, networks
from trading.signer.effects import Account, ChainUnavailable, Simulated
from trading.signer.keys import SigningKey
from trading.signer.limits import Book, Limits
from trading.signer.networks import GENESIS, Network
from trading.signer.protocol import Intent, SignRequest
from trading.signer.quotes import QuoteUnavailable
from trading.signer.server import Server
from trading.signer.service import RightChain, Service
from trading.signer.transactions import Rules

SANDBOX = GENESIS[Network.SANDBOX]
USDC, SOL = Pubkey.from_string(networks.USDC), Pubkey.from_string(networks.WRAPPED_SOL)
BONK = Pubkey.from_string(networks.MINTS[3])
DECIMALS = {USDC: 6, SOL: 9, BONK: 5}
TOKEN_RENT = 2_039_280
PROGRAM = Pubkey.from_string(networks.TOKEN)

OUR_SEED = bytes(range(100, 132))
US = Keypair.from_seed(OUR_SEED).pubkey()
POOL = Keypair.from_seed(bytes([7] * 32))
THIEF = Keypair.from_seed(bytes([66] * 32))

RULES = Rules(wallet=str(US), transfers_may_swap=True)
CAPS = Limits(spend_cap=1_000_000_000, signatures_a_day=50)
BUYS_SOL = Intent(mint_in=str(USDC), amount_in=150_000_000, mint_out=str(SOL), least_out=990_000_000)
SELLS_SOL = Intent(mint_in=str(SOL), amount_in=1_000_000_000, mint_out=str(USDC), least_out=149_000_000)


def shapes_of(seed: bytes) -> dict[str, bytes]:
    """Every way in which a key's bytes may turn up in a text."""
    public = bytes(Keypair.from_seed(seed).pubkey())
    shapes = {"raw": seed, "base58 of 64": str(Keypair.from_seed(seed)).encode()}
    shapes["base58 of 32"] = str(Pubkey(seed)).encode()
    for name, secret in (("32", seed), ("64", seed + public)):
        shapes[f"hex of {name}"] = secret.hex().encode()
        shapes[f"base64 of {name}"] = base64.b64encode(secret).rstrip(b"=")[:-1]
        shapes[f"numbers of {name}"] = json.dumps(list(secret))[1:-1].encode()
        shapes[f"tight numbers of {name}"] = ",".join(map(str, secret)).encode()
        shapes[f"repr of {name}"] = repr(secret)[2:-1].encode()
    return shapes


def leaks(text: bytes, seed: bytes = OUR_SEED) -> list[str]:
    """In which shapes the key is in it; nothing where it isn't."""
    folded = text.lower()
    return [name for name, shape in shapes_of(seed).items() if shape in text or (name[:3] == "hex" and shape in folded)]


def ata(owner: Pubkey, mint: Pubkey) -> Pubkey:
    return get_associated_token_address(owner, mint)


def holding(owner: Pubkey, mint: Pubkey, amount: int, *, delegate: Pubkey | None = None) -> SvmAccount:
    native = TOKEN_RENT if mint == SOL else None
    delegated = amount if delegate else 0
    token = TokenAccount(mint, owner, amount, delegate, TokenAccountState.Initialized, native, delegated)
    return SvmAccount(TOKEN_RENT + (amount if native else 0), bytes(token), TOKEN_PROGRAM_ID)


class Ground:
    """A chain with USDC, SOL and BONK, where we have 10,000 USDC, 10 SOL and 500 BONK, and the pool plenty."""

    def __init__(self) -> None:
        self.svm = LiteSVM().with_sigverify(False).with_blockhash_check(False)
        self.genesis = SANDBOX
        self.up = True
        self.simulations = 0
        self.open = True
        """Whether the market answers."""
        self.prices = {(str(SOL), str(USDC)): Fraction(15, 100), (str(BONK), str(USDC)): Fraction(1, 10)}
        """Raw units for one, of what may be sold: 150 USDC for a SOL."""
        self.between = lambda: None
        """Called before each simulation: what changes on the chain after the wallet was looked at."""
        self._lock = threading.Lock()  # LiteSVM is one thread's at a time
        for mint, decimals in DECIMALS.items():
            self.put(mint, SvmAccount(1_461_600, bytes(Mint(None, 10**18, decimals, True, None)), TOKEN_PROGRAM_ID))
        for who in (US, POOL.pubkey(), THIEF.pubkey()):
            self.svm.airdrop(who, 10_000_000_000)
        for mint, amount in ((USDC, 10_000_000_000), (BONK, 50_000_000)):
            self.put(ata(US, mint), holding(US, mint, amount))
        for mint in DECIMALS:
            self.put(ata(POOL.pubkey(), mint), holding(POOL.pubkey(), mint, 10**15))

    def put(self, address: Pubkey, account: SvmAccount) -> None:
        self.svm.set_account(address, account)

    def genesis_hash(self) -> str:
        self._must_be_up()
        return self.genesis

    def accounts(self, addresses: Sequence[str]) -> list[Account | None]:
        self._must_be_up()
        with self._lock:
            return [_read(self.svm.get_account(Pubkey.from_string(address))) for address in addresses]

    def simulate(self, transaction: bytes, *, addresses: Sequence[str]) -> Simulated:
        self._must_be_up()
        with self._lock:
            self.simulations += 1
            self.between()
            done = self.svm.simulate_transaction(VersionedTransaction.from_bytes(transaction))
            if isinstance(done, FailedTransactionMetadata):
                return Simulated(err=str(done.err()), accounts=[])
            after = {str(address): account for address, account in done.post_accounts()}
            return Simulated(err=None, accounts=[_read(after.get(address)) for address in addresses])

    def out_for(self, *, mint_in: str, amount_in: int, mint_out: str) -> int:
        if not self.open:
            raise QuoteUnavailable("ConnectionError")
        return int(self.prices[mint_in, mint_out] * amount_in)

    def _must_be_up(self) -> None:
        if not self.up:
            raise ChainUnavailable("getGenesisHash: ConnectionError")


def _read(account: SvmAccount | None) -> Account | None:
    if account is None or account.lamports == 0:
        return None
    return Account(lamports=account.lamports, owner=str(account.owner), data=bytes(account.data))


@contextmanager
def rpc_of(ground: Ground) -> Iterator[str]:
    """The ground behind Solana's JSON-RPC and Jupiter's orders, as far as the signer speaks them; gives the address."""

    class Rpc(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            asked = dict(parse_qsl(query))
            try:
                assert path == "/swap/v2/order"
                out = ground.out_for(
                    mint_in=asked["inputMint"], amount_in=int(asked["amount"]), mint_out=asked["outputMint"]
                )
            except QuoteUnavailable:
                self.send_error(503)
                return
            self._answer({**asked, "inAmount": asked["amount"], "outAmount": str(out), "transaction": None})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = {"jsonrpc": "2.0", "id": asked["id"]}
            try:
                answer["result"] = _result(ground, asked["method"], asked["params"])
            except ChainUnavailable:
                answer["error"] = {"code": -32005, "message": "unhealthy"}
            self._answer(answer)

        def _answer(self, answer: Any) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Silent: pytest's output is for failures."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Rpc) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _result(ground: Ground, method: str, params: list[Any]) -> Any:
    def shown(found: Account | None) -> dict[str, Any] | None:
        if found is None:
            return None
        data = [base64.b64encode(found.data).decode(), "base64"]
        return {"lamports": found.lamports, "owner": found.owner, "data": data, "executable": False, "rentEpoch": 0}

    match method:
        case "getGenesisHash":
            return ground.genesis_hash()
        case "getMultipleAccounts":
            value: Any = [shown(account) for account in ground.accounts(params[0])]
        case "simulateTransaction":
            done = ground.simulate(base64.b64decode(params[0]), addresses=params[1]["accounts"]["addresses"])
            accounts = None if done.err else [shown(account) for account in done.accounts]
            value = {"err": done.err, "logs": [], "accounts": accounts, "unitsConsumed": 1}
    return {"context": {"slot": 1, "apiVersion": "3.0.0"}, "value": value}


def ensure(mint: Pubkey, *, owner: Pubkey = US) -> Instruction:
    return create_idempotent_associated_token_account(US, owner, mint)


def wrap(lamports: int) -> list[Instruction]:
    return [
        transfer(TransferParams(from_pubkey=US, to_pubkey=ata(US, SOL), lamports=lamports)),
        sync_native(SyncNativeParams(program_id=PROGRAM, account=ata(US, SOL))),
    ]


def unwrap() -> Instruction:
    return close_account(CloseAccountParams(program_id=PROGRAM, account=ata(US, SOL), dest=US, owner=US))


def pay(mint: Pubkey, amount: int, *, source: Pubkey = US, dest: Pubkey | None = None) -> Instruction:
    to = POOL.pubkey() if source == US else US
    return transfer_checked(
        TransferCheckedParams(
            program_id=PROGRAM,
            source=ata(source, mint),
            mint=mint,
            dest=dest or ata(to, mint),
            owner=source,
            amount=amount,
            decimals=DECIMALS[mint],
        )
    )


def buy(*, amount_in: int = 150_000_000, amount_out: int = 1_000_000_000) -> list[Instruction]:
    """USDC into SOL, as the sandbox builds it."""
    return [
        set_compute_unit_limit(200_000),
        set_compute_unit_price(50_000),
        ensure(SOL),
        pay(USDC, amount_in),
        pay(SOL, amount_out, source=POOL.pubkey()),
        unwrap(),
    ]


def sell(*, amount_in: int = 1_000_000_000, amount_out: int = 150_000_000) -> list[Instruction]:
    """SOL into USDC."""
    return [
        ensure(SOL),
        *wrap(amount_in),
        ensure(USDC),
        pay(SOL, amount_in),
        pay(USDC, amount_out, source=POOL.pubkey()),
        unwrap(),
    ]


def unsigned(
    instructions: Sequence[Instruction],
    *,
    payer: Pubkey = US,
    cosigners: Sequence[Keypair] = (POOL,),
    number: int = 0,
    legacy: bool = False,
    tables: Sequence[AddressLookupTableAccount] = (),
) -> bytes:
    """A transaction that lacks our signature; `number` makes it another message."""
    blockhash = Hash.from_bytes(number.to_bytes(32, "big"))
    message = (
        Message.new_with_blockhash(list(instructions), payer, blockhash)
        if legacy
        else MessageV0.try_compile(payer, list(instructions), list(tables), blockhash)
    )
    raw = to_bytes_versioned(message)
    by_address = {keypair.pubkey(): keypair for keypair in cosigners}
    signers = message.account_keys[: message.header.num_required_signatures]
    signatures = [by_address[key].sign_message(raw) if key in by_address else Signature.default() for key in signers]
    return bytes(VersionedTransaction.populate(message, signatures))


def jupiter(
    *,
    name: bytes = bytes.fromhex("bb64facc31c4af14"),
    amount_in: int = 150_000_000,
    quoted_out: int = 1_000_000_000,
    slippage_bps: int = 100,
    platform_fee_bps: int = 0,
    shared: bool = False,
    intent: Intent = BUYS_SOL,
    named: Mapping[int, Pubkey] | None = None,
) -> Instruction:
    """What Jupiter's v6 program is told; its plan of pools is left empty, since nothing here runs it.

    Args:
        named: other accounts than ours, by their places.
    """
    arguments = struct.pack("<QQHHH", amount_in, quoted_out, slippage_bps, platform_fee_bps, 0) + bytes(4)
    mint_in, mint_out = Pubkey.from_string(intent.mint_in), Pubkey.from_string(intent.mint_out)
    router, ours, gets = Pubkey.from_string(networks.JUPITER), ata(US, mint_in), ata(US, mint_out)
    pools = POOL.pubkey()
    places = (
        [pools, US, ours, ata(pools, mint_in), ata(pools, mint_out), gets, mint_in, mint_out, PROGRAM, PROGRAM]
        if shared
        else [US, ours, gets, mint_in, mint_out, PROGRAM, PROGRAM, router]
    )
    for place, other in (named or {}).items():
        places[place] = other
    accounts = [AccountMeta(one, is_signer=one == US, is_writable=one in (ours, gets)) for one in places]
    return Instruction(router, name + (b"\x03" if shared else b"") + arguments, accounts)


@dataclass
class Signing:
    """A service on a ground, with what its parts would be in the signer's process."""

    folder: Path
    ground: Ground = field(default_factory=Ground)
    limits: Limits = CAPS
    rules: Rules = RULES

    def service(self) -> Service:
        return Service(
            key=SigningKey(bytearray(OUR_SEED)),
            rules=self.rules,
            book=Book(self.folder / "state.json", wallet=str(US), limits=self.limits),
            right_chain=RightChain(self.ground, genesis=SANDBOX),
            market=self.ground,
        )


def request(transaction: bytes, *, intent: Intent = BUYS_SOL, genesis: str = SANDBOX) -> SignRequest:
    return SignRequest(transaction=base64.b64encode(transaction).decode(), intent=intent, genesis=genesis)


def serve(folder: Path, *, spend_cap: int, kill_at: str) -> None:
    """Be a signer in `folder` until killed: by a test, or by oneself at a crash point."""
    crashpoints.watch(lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == kill_at else None)
    signing = Signing(folder, limits=Limits(spend_cap=spend_cap, signatures_a_day=50))
    with limits.held(folder / "state.json"):
        Server(signing.service(), path=folder / "s" / "signer.sock").run(threading.Event())


if __name__ == "__main__":
    serve(Path(sys.argv[1]), spend_cap=int(sys.argv[2]), kill_at=sys.argv[3])
