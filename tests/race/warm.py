"""A company's process that is ready to be forked: importing this sets Django up. No connection is open in it.

A new interpreter needs a second and more to get so far; a fork of this one some 20 ms. So the crash matrix and the
chaos run can afford hundreds of processes that die.
"""

import multiprocessing
import os
from multiprocessing.context import ForkServerContext

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradeco.settings")


def forks() -> ForkServerContext:
    """Where forks of the warm process come from; it begins with the environment of its first use."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.race.warm_django"])
    return context
