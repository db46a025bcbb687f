"""Named places at which a process may be stopped or killed in tests. In production `reach` does nothing.

Rare interleavings enter here and nowhere else, so that no test has to patch internals.
"""

from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Say that this point is reached."""
    if _hook is not None:
        _hook(name)


def watch(hook: Callable[[str], None] | None) -> None:
    """Call `hook` with the name of each point reached from now on; None ends it. For tests only."""
    global _hook
    _hook = hook
