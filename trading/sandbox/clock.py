"""When a slot begins: by the clock on the wall, or when a test says so. What happens in it is others' affair."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

SLOT_SECONDS = 0.4  # Solana's own
LATE_SLOTS_MAX = 25  # a process that slept longer doesn't hurry after the slots it missed


class Clock(Protocol):
    """What a sandbox needs of a clock. `manual` says that nothing comes to pass by waiting."""

    manual: bool
    failure: BaseException | None  # why no slot will come any more

    def start(self, tick: Callable[[], None]) -> None: ...

    def stop(self) -> None: ...


class RunningClock:
    """A slot every `slot_seconds`, from a thread of its own."""

    manual = False

    def __init__(self, slot_seconds: float = SLOT_SECONDS) -> None:
        if slot_seconds <= 0:
            raise ValueError("a slot lasts longer than nothing")
        self.failure: BaseException | None = None
        self.slot_seconds = slot_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, tick: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=self._run, args=(tick,), name="sandbox-clock", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, tick: Callable[[], None]) -> None:
        due = time.monotonic() + self.slot_seconds
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            try:
                tick()
            except BaseException as exc:
                self.failure = exc  # memory and journal may differ now: whoever runs the sandbox has to end it
                raise
            due = max(due, time.monotonic() - LATE_SLOTS_MAX * self.slot_seconds) + self.slot_seconds


class ManualClock:
    """Slots pass only by `advance`: for tests."""

    manual = True

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self._tick: Callable[[], None] | None = None

    def start(self, tick: Callable[[], None]) -> None:
        self._tick = tick

    def stop(self) -> None:
        """Nothing runs, so nothing stops; slots may pass until the last."""

    def advance(self, slots: int = 1) -> None:
        assert self._tick is not None, "the sandbox isn't started"
        for _ in range(slots):
            self._tick()
