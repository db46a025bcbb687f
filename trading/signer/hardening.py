"""Making the signer's process hard to read: no core dumps, no debugger, no /proc for its own user."""

import ctypes
import resource
import sys

PR_SET_DUMPABLE = 4  # linux/prctl.h


def harden() -> None:
    """Before the key is read. What a system doesn't offer is left out: file modes guard the key there."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
