"""The market process: where prices come from, who may write them, and what happens at their end."""

from datetime import timedelta
from pathlib import Path

import pytest

from missions import heartbeat
from tests import cast
from tradeco.common import db, leases
from tradeco.common.models import Event, Lease
from trading import feeds, market, sources, stops
from trading.models import Candle, Feed, Market, Position

pytestmark = pytest.mark.usefixtures("company")


def loop(feed: feeds.Feed | None = None) -> market.Loop:
    held = leases.acquire(market.LEASE, holder="test", seconds=60)
    assert held is not None
    return market.Loop(feed or feeds.computed(), held)


def csv_of(tmp_path: Path, bars: int) -> Path:
    lines = ["time,open,high,low,close,volume"]
    lines += [f"{1_700_000_000 + n * 900},100,{101 + n % 3},99,{100 + n % 2},5" for n in range(bars)]
    path = tmp_path / "candles.csv"
    path.write_text("\n".join(lines))
    return path


def of_file(path: Path, *, speed: float) -> feeds.Computed:
    return feeds.Computed(sources.Replay(path, market="SOL/USDC", speed=speed))


def replay(tmp_path: Path, *, bars: int, speed: float) -> feeds.Computed:
    made = of_file(csv_of(tmp_path, bars), speed=speed)
    Feed.objects.update(source=made.source, bar_seconds=900, read=0, market_time=None)
    Candle.objects.all().delete()
    return made


def test_the_seeded_market_goes_on_where_it_stopped() -> None:
    before = Market.objects.get(name="SOL/USDC")
    later = cast.later(seconds=17)
    assert loop().store(now=later) >= 3 * 4
    newest = Candle.objects.filter(market="SOL/USDC").order_by("-start").first()
    after = Market.objects.get(name="SOL/USDC")
    assert newest is not None
    assert (newest.close, newest.start + timedelta(seconds=5)) == (after.price, after.price_at)
    first_new = Candle.objects.filter(market="SOL/USDC", start=before.price_at).get()
    assert first_new.open == before.price


def test_after_a_night_off_it_catches_up_with_the_last_candles_only() -> None:
    stored = loop().store(now=cast.later(hours=9))
    assert stored == sources.CATCH_UP_BARS * 4


def test_looking_twice_at_the_same_moment_stores_nothing_twice() -> None:
    first, moment = loop(), cast.later(seconds=17)
    assert first.store(now=moment) > 0
    assert first.store(now=moment) == 0


def test_a_replay_begins_with_history_and_keeps_its_place(tmp_path: Path) -> None:
    candles = replay(tmp_path, bars=200, speed=1000)
    serving = loop(candles)
    assert serving.store(now=db.now()) == sources.WARM_UP_BARS
    feed = Feed.objects.get()
    assert feed.read == sources.WARM_UP_BARS
    # another process goes on from there
    again = of_file(tmp_path / "candles.csv", speed=1)
    assert again.news(feed, now=db.now()) == feeds.News(read=sources.WARM_UP_BARS)


def test_at_the_end_of_a_replay_entries_stop_and_positions_are_closed(tmp_path: Path) -> None:
    position = cast.bought()
    Position.objects.update(stop_price="0.01", take_profit_price="100000", hold_until=None)
    candles = replay(tmp_path, bars=100, speed=1)
    loop(candles).store(now=db.now())
    assert Feed.objects.get().ended_at is not None
    assert cast.submit(cast.buy("SOL/USDC")).code == "market_closed"
    stops.run(now=db.now(), limit=10)
    cast.work()
    position.refresh_from_db()
    assert position.status == "closed"
    assert Event.objects.filter(kind="market.ended").count() == 1


def test_another_source_is_refused_for_a_company_that_has_one(tmp_path: Path) -> None:
    with pytest.raises(feeds.FeedChanged, match="TRADECO_HOME"):
        feeds.require_same(of_file(csv_of(tmp_path, 50), speed=1), Feed.objects.get())


def test_a_market_process_that_lost_its_lease_writes_nothing() -> None:
    paused = loop()
    Lease.objects.update(expires_at=db.now() - timedelta(seconds=1))
    successor = leases.acquire(market.LEASE, holder="another", seconds=60)
    assert successor is not None
    before = Candle.objects.count()
    with pytest.raises(leases.LeaseLost):
        paused.store(now=cast.later(seconds=30))
    with pytest.raises(leases.LeaseLost):
        paused.tick(now=db.now())
    assert Candle.objects.count() == before


def test_the_metronome_rings_for_a_beat_when_the_cadence_asks_for_one() -> None:
    from django_q.models import OrmQ

    OrmQ.objects.all().delete()
    serving = loop()
    serving.tick(now=db.now())
    serving.tick(now=db.now())
    beats = [row for row in OrmQ.objects.all() if row.task["func"] == "missions.tasks.beat"]
    assert len(beats) == 1
    assert heartbeat.run(asked_by="clock", now=db.now(), only_if_due=True) is not None
    assert heartbeat.run(asked_by="clock", now=db.now(), only_if_due=True) is None


def test_readiness_tells_the_truth() -> None:
    from tradeco.common import pulses

    assert market.readiness()[0] is False
    pulses.beat("market", now=db.now())
    assert market.readiness()[0] is True
    pulses.beat("market", now=cast.later(minutes=-2))
    assert market.readiness()[0] is False


def test_candles_beyond_their_retention_are_pruned_by_when_we_had_them() -> None:
    Candle.objects.filter(market="WIF/USDC").update(received_at=cast.later(days=-31))
    wif = Candle.objects.filter(market="WIF/USDC").count()
    assert market.prune(now=db.now(), limit=1000, retention=timedelta(days=30)) == wif
    assert Candle.objects.filter(market="SOL/USDC").exists()
