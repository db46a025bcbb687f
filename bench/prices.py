"""`python -m bench.prices`: the opening candles and fresh prices, as the market process would store them."""

import django

django.setup()

from tradeco.common import db, leases  # noqa: E402
from trading import feeds, market  # noqa: E402

if __name__ == "__main__":
    held = leases.acquire(market.LEASE, holder="bench", seconds=60)
    assert held is not None, "a new company's market is free"
    market.Loop(feeds.computed(), held).store(now=db.now())
    leases.release(held)
