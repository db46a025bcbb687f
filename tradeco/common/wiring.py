"""How lower layers reach upper ones: dotted paths in settings, looked up here and checked at start-up."""

from functools import cache
from typing import Any

from django.utils.module_loading import import_string


@cache
def load(path: str) -> Any:
    """The object at a dotted path of one of the settings' tables.

    Raises:
        ImportError: the table names something that isn't there; `manage.py check` says so first.
    """
    return import_string(path)
