"""USDC's mint was written down two characters short. The books keep it wherever they name an asset."""

from django.db import migrations

WRONG, RIGHT = "EPjFWdd5AufqSSqeM2qN1xzybapC8wEGGkZwyTDt1v", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
NAMED_IN = ("trading_market.base_id", "trading_market.quote_id", "trading_account.asset_id",
            "trading_ledgerentry.asset_id", "trading_order.asset_in_id")


def _rename(old: str, new: str) -> str:
    named = [column.split(".") for column in NAMED_IN]
    moves = [f"UPDATE {table} SET {column} = '{new}' WHERE {column} = '{old}';" for table, column in named]  # texts of ours  # nosec B608
    return "\n".join([
        "ALTER TABLE trading_ledgerentry DISABLE TRIGGER USER;",  # append-only for everybody but this
        f"UPDATE trading_asset SET mint = '{new}' WHERE mint = '{old}';",  # texts of ours  # nosec B608
        *moves,
        "SET CONSTRAINTS ALL IMMEDIATE;",
        "ALTER TABLE trading_ledgerentry ENABLE TRIGGER USER;",
        "SET CONSTRAINTS ALL DEFERRED;",
    ])


class Migration(migrations.Migration):

    dependencies = [
        ('trading', '0002_attempts_that_are_signed'),
    ]

    operations = [migrations.RunSQL(sql=_rename(WRONG, RIGHT), reverse_sql=_rename(RIGHT, WRONG))]
