"""The tax adviser's CSV: each disposal with its purchase, nothing that a spreadsheet would run."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests import cast
from tests.chain_company import ChainCompany
from tradeco.common import db
from trading import export
from trading.models import Fill, Lot, LotSale, Position


def exported(year: int | None = None) -> list[dict[str, str]]:
    file = io.StringIO()
    export.write(file, year=year or db.now().year)
    return list(csv.DictReader(io.StringIO(file.getvalue())))


def test_a_purchase_and_its_sale_on_the_chain(chain: ChainCompany) -> None:
    cast.submit(cast.buy("JUP/USDC", "100.00"))
    chain.work()
    cast.submit(cast.close(Position.objects.get().pk))
    chain.work()
    rows = exported()
    assert [row["event"] for row in rows] == ["opening", "opening", "rent", "disposal"]
    disposal = rows[-1]
    bought, sold = Fill.objects.select_related("attempt").order_by("pk")
    assert disposal["asset"] == "JUP"
    assert Decimal(disposal["quantity"]) == Decimal(bought.amount_out).scaleb(-6)
    assert (disposal["acquired_by"], disposal["reference"]) == (bought.attempt.reference, sold.attempt.reference)
    assert Decimal(disposal["cost_usd"]) == 100 + Decimal(bought.network_fee_quote).scaleb(-6)
    assert Decimal(disposal["proceeds_usd"]) == Decimal(sold.amount_out - sold.network_fee_quote).scaleb(-6)
    assert Decimal(disposal["gain_usd"]) == Decimal(disposal["proceeds_usd"]) - Decimal(disposal["cost_usd"])
    assert Decimal(disposal["gain_usd"]) == Decimal(sold.realized_quote).scaleb(-6)
    assert Decimal(disposal["fees_usd"]) == Decimal(sold.fee_quote + sold.network_fee_quote).scaleb(-6)
    assert disposal["at"].endswith("Z")


def test_what_failed_on_the_chain_is_a_fee_of_its_own(chain: ChainCompany) -> None:
    chain.sandbox.faults.add("fail_transaction", route="sendTransaction", times=1)
    cast.submit(cast.buy("JUP/USDC", "100.00"))
    assert chain.work()[-1] == "failed"
    fee = exported()[-1]
    assert (fee["event"], fee["asset"]) == ("network_fee", "SOL")
    assert Decimal(fee["quantity"]) > 0
    assert Decimal(fee["fees_usd"]) > 0


@pytest.mark.usefixtures("company")
def test_a_sale_of_two_purchases_is_two_rows_and_a_year_has_its_own() -> None:
    cast.bought("SOL/USDC", "50.00")
    position = cast.bought("SOL/USDC", "60.00")
    cast.submit(cast.close(position.pk))
    cast.work()
    disposals = [row for row in exported() if row["event"] == "disposal"]
    assert [Decimal(row["cost_usd"]) for row in disposals] == [50, 60]
    gains = sum(Decimal(row["gain_usd"]) for row in disposals)
    assert gains == Decimal(Position.objects.get().realized).scaleb(-6)
    assert exported(2001) == []
    Fill.objects.filter(order__side="sell").update(at=datetime(2001, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert [row["event"] for row in exported(2001)] == ["disposal", "disposal"]
    assert exported(2002) == []


@pytest.mark.usefixtures("company")
def test_what_came_otherwise_has_no_cost_rather_than_none_at_all() -> None:
    position = cast.bought("SOL/USDC", "50.00")
    cast.submit(cast.close(position.pk))
    cast.work()
    LotSale.objects.update(lot=None, cost=0)
    row = exported()[-1]
    assert (row["cost_usd"], row["gain_usd"], row["acquired_at"]) == ("", "", "")
    assert row["remark"] == export.UNKNOWN_COST


@pytest.mark.parametrize("text", ["=1+1", "+1", "@SUM(A1)", "-2+3", "\t=1", "\r=1", "=HYPERLINK(1)"])
def test_no_cell_is_run_by_a_spreadsheet(text: str) -> None:
    assert export._cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "shown"), [(Decimal("-12.50"), "-12.50"), (Decimal("1E-9"), "0.000000001"), (None, "")]
)
def test_numbers_stay_numbers(value: object, shown: str) -> None:
    assert export._cell(value) == shown


@pytest.mark.usefixtures("company")
def test_the_command_writes_a_private_file_and_never_over_another(tmp_path: Path) -> None:
    cast.bought("SOL/USDC", "50.00")
    Lot.objects.all().delete()
    path = tmp_path / "2026.csv"
    call_command("export", year=db.now().year, output=path, stdout=io.StringIO())
    assert Lot.objects.exists(), "lots of fills from before there were any are made first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("event,at,asset,")
    with pytest.raises(CommandError, match="can't be written"):
        call_command("export", year=2026, output=path)
    said = io.StringIO()
    call_command("export", year=db.now().year, stdout=said)
    assert said.getvalue() == path.read_text()
