"""What must be true of a company's database at any moment, whoever dies meanwhile; asked in one statement each, so
that an answer is of one moment.
"""

import threading
from typing import Any

import psycopg
import requests

from tests.e2e.company_run import CompanyRun

# what transactions cost that failed on chain, in USDC: no position paid it
FAILED = """
SELECT coalesce(sum(entry.amount), 0) FROM trading_ledgerentry entry
  JOIN trading_ledgertransaction booked ON booked.id = entry.transaction_id
  JOIN trading_account account ON account.id = entry.account_id
  JOIN trading_asset asset ON asset.mint = entry.asset_id
  WHERE booked.kind = 'fee' AND account.kind = 'fees' AND asset.symbol = 'USDC'
"""
WRONG = """
SELECT 'asset out of balance: ' || asset_id FROM trading_ledgerentry GROUP BY asset_id HAVING sum(amount) <> 0
UNION ALL
SELECT 'account is not the sum of its entries: ' || account.id FROM trading_account account
  WHERE balance <> (SELECT coalesce(sum(amount), 0) FROM trading_ledgerentry WHERE account_id = account.id)
UNION ALL
SELECT 'reserved is not what live orders hold: ' || account.id FROM trading_account account
  WHERE kind = 'wallet' AND reserved <> (
    SELECT coalesce(sum(amount_in), 0) FROM trading_order
    WHERE wallet_id = account.wallet_id AND asset_in_id = account.asset_id
      AND status IN ('reserved', 'submitted', 'in_doubt'))
UNION ALL
SELECT 'position is not the sum of its fills: ' || position.id FROM trading_position position
  WHERE quantity <> (
    SELECT coalesce(sum(CASE o.side WHEN 'buy' THEN fill.amount_out ELSE -fill.amount_in END), 0)
    FROM trading_fill fill JOIN trading_order o ON o.id = fill.order_id WHERE o.position_id = position.id)
UNION ALL
SELECT 'wallet is not what positions hold: ' || account.asset_id FROM trading_account account
  JOIN trading_asset asset ON asset.mint = account.asset_id
  WHERE kind = 'wallet' AND asset.symbol NOT IN ('USDC', 'SOL') AND balance <> (
    SELECT coalesce(sum(quantity), 0) FROM trading_position position
    JOIN trading_market market ON market.name = position.market_id WHERE market.base_id = account.asset_id)
UNION ALL
SELECT 'fee reserve is not what was paid in, less fees and deposits: ' || wallet.name FROM trading_wallet wallet
  WHERE (SELECT coalesce(sum(balance), 0) FROM trading_account account
         JOIN trading_asset asset ON asset.mint = account.asset_id
         WHERE account.wallet_id = wallet.name AND asset.symbol = 'SOL'
           AND kind IN ('wallet', 'capital', 'network', 'rent'))
    <> (SELECT coalesce(sum(quantity), 0) FROM trading_position position
        JOIN trading_market market ON market.name = position.market_id
        JOIN trading_asset asset ON asset.mint = market.base_id WHERE asset.symbol = 'SOL')
UNION ALL
SELECT 'equity is not cash plus marks: ' || id FROM trading_equitysnapshot WHERE equity <> cash + positions
UNION ALL
SELECT 'realised is not cash and cost beyond capital: ' || wallet.name FROM trading_wallet wallet
  WHERE (SELECT coalesce(sum(realized - cost), 0) FROM trading_position WHERE wallet_id = wallet.name) - ({failed}) <> (
    SELECT sum(balance) FROM trading_account account JOIN trading_asset asset ON asset.mint = account.asset_id
    WHERE account.wallet_id = wallet.name AND asset.symbol = 'USDC' AND kind IN ('wallet', 'capital'))
UNION ALL
SELECT 'fees are not what positions paid: ' || wallet.name FROM trading_wallet wallet
  WHERE (SELECT coalesce(sum(fees), 0) FROM trading_position WHERE wallet_id = wallet.name) + ({failed}) <> (
    SELECT balance FROM trading_account account JOIN trading_asset asset ON asset.mint = account.asset_id
    WHERE account.wallet_id = wallet.name AND asset.symbol = 'USDC' AND kind = 'fees')
UNION ALL
SELECT 'filled more than once: ' || order_id FROM trading_fill GROUP BY order_id HAVING count(*) > 1
UNION ALL
SELECT 'filled order without its fill: ' || o.id FROM trading_order o
  WHERE (status = 'filled') <> EXISTS (SELECT 1 FROM trading_fill WHERE order_id = o.id)
UNION ALL
SELECT 'spent more or less than charged: ' || use.cap FROM missions_capuse use
  WHERE used <> (SELECT coalesce(sum(amount), 0) FROM missions_capcharge charge
                 WHERE charge.cap = use.cap AND charge.day = use.day AND returned_at IS NULL)
UNION ALL
SELECT 'opened more than once: ' || count(*) FROM trading_ledgertransaction WHERE kind = 'opening' HAVING count(*) > 1
""".replace("{failed}", FAILED)

STUCK = """
SELECT 'held beyond its lease: step ' || id || ' ' || status FROM missions_step
  WHERE token IS NOT NULL AND lease_expires_at < clock_timestamp() - interval '30 seconds'
UNION ALL
SELECT 'nobody visits: step ' || id || ' ' || kind || ' ' || status FROM missions_step
  WHERE token IS NULL AND status IN ('queued', 'executing') AND blocked_by_id IS NULL
    AND run_after < clock_timestamp() - interval '60 seconds'
UNION ALL
SELECT 'sent and never concluded: ' || reference FROM trading_attempt
  WHERE status IN ('signed', 'broadcast') AND created_at < clock_timestamp() - interval '150 seconds'
UNION ALL
SELECT 'a finding asks for a person: ' || what FROM trading_finding WHERE settled_at IS NULL
UNION ALL
SELECT 'asks for a person: step ' || id FROM missions_step WHERE status = 'needs_reconciliation'
"""


class Watch(threading.Thread):
    """Reads the books all the time, until ended; a database that is away is asked again."""

    def __init__(self, run: CompanyRun) -> None:
        super().__init__(name="books", daemon=True)
        self.run_ = run
        self.reads = 0
        self.away = 0
        self.wrong: list[str] = []
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                with self.run_.connect() as connection:
                    self._read(connection)
            except psycopg.Error:
                self.away += 1
                self._ending.wait(0.1)

    def _read(self, connection: psycopg.Connection[Any]) -> None:
        while not self._ending.wait(0.1):
            self.wrong += [row[0] for row in connection.execute(WRONG).fetchall()]
            self.reads += 1

    def end(self) -> None:
        """Stop reading. What was wrong at any moment is wrong."""
        self._ending.set()
        self.join(timeout=20)


def wrong(run: CompanyRun) -> list[str]:
    return [row[0] for row in run.asked(WRONG)]


def beside_the_chain(run: CompanyRun) -> list[str]:
    """Where our fills and the chain's own ledger tell of different swaps. Ask when nothing is under way."""
    port = (run.home / "run" / "sandbox-port").read_text()
    on_chain: dict[str, dict[str, Any]] = {}
    after = 0
    while page := requests.get(f"http://127.0.0.1:{port}/sandbox/ledger?after={after}", timeout=10).json()[
        "transactions"
    ]:
        on_chain |= {row["signature"]: row for row in page if row["swap"] and row["err"] is None}
        after = page[-1]["number"]
    fills = {
        reference: (int(given), int(got))
        for reference, given, got in run.asked(
            "SELECT reference, fill.amount_in, fill.amount_out FROM trading_fill fill"
            " JOIN trading_attempt attempt ON attempt.id = fill.attempt_id WHERE reversed_at IS NULL"
        )
    }
    signed = [row[0] for row in run.asked("SELECT reference FROM trading_attempt WHERE reference IS NOT NULL")]
    found = [f"landed and not booked: {signature}" for signature in on_chain.keys() - fills.keys()]
    found += [f"booked and not landed: {signature}" for signature in fills.keys() - on_chain.keys()]
    found += [f"landed without a committed intent: {signature}" for signature in on_chain.keys() - set(signed)]
    found += [
        f"other amounts than the chain's: {signature}"
        for signature, row in on_chain.items()
        if signature in fills and fills[signature] != (int(row["swap"]["amount_in"]), int(row["swap"]["amount_out"]))
    ]
    return found


def stuck(run: CompanyRun) -> list[str]:
    return [row[0] for row in run.asked(STUCK)]
