"""How every process logs: a sentence and fields, through structlog.

Children of `manage.py up` write one JSON object a line; `up` is the only writer of the log file and renders
the lines for people. A command that you run yourself prints for people at once. No Django import: settings
call `configure` while they are being read.
"""

import logging
import sys
from typing import Any

import structlog

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(*, process: str, level: str = "INFO") -> None:
    """Send structlog and the standard library's loggers to one handler.

    Args:
        process: web, worker, market or manage; bound to every line.
        level: the least level that is written, a name of `logging`.
    """
    as_json = process != "manage"
    # plain tracebacks: the pretty ones show local variables, secrets among them
    for_people = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    renderer = structlog.processors.JSONRenderer() if as_json else for_people
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout if as_json else sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _name_the_process(process),
                *([structlog.processors.format_exc_info] if as_json else []),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for noisy in ("django.request", "asyncio", "urllib3", "daphne", "django_q", "django-q"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # a stranger's wrong Host header is answered 400; a traceback of it each time would fill the log
    logging.getLogger("django.security.DisallowedHost").setLevel(logging.CRITICAL)


def _name_the_process(process: str) -> Any:
    def add(logger: Any, name: str, event: dict[str, Any]) -> dict[str, Any]:
        event.setdefault("process", process)
        return event

    return add
