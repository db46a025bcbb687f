"""One process of the company for race tests: what a fork of the warm process does.

It says what it does by lines in the file `said`, stops (SIGSTOP), dies (SIGKILL) or loses its database session at the
point that the plan names, and works on the database that the plan names.
"""

import os
import signal
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradeco.settings")


def main(plan: dict[str, Any]) -> None:
    import django
    from django.conf import settings

    os.environ.update(plan.get("environ", {}))
    settings.DATABASES["default"]["NAME"] = plan["database"]
    settings.STEP_HANDLERS.update(plan.get("handlers", {}))
    if "heartbeat" in plan:
        settings.HEARTBEAT = plan["heartbeat"]
    for name, value in plan.get("settings", {}).items():
        setattr(settings, name, value)
    django.setup()

    from missions import claims
    from tests.race import old_way
    from tradeco.common import crashpoints

    claims.FENCED = plan.get("fenced", True)
    old_way.take_away(plan.get("guard_off", ""))
    crashpoints.watch(lambda name: _reached(name, plan))
    say(plan, "ready")
    say(plan, f"ended {ACTS[plan['act']](plan)}")


def say(plan: dict[str, Any], line: str) -> None:
    descriptor = os.open(plan["said"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def _reached(name: str, plan: dict[str, Any]) -> None:
    if name == plan.get("die_at"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name == plan.get("stop_at"):
        del plan["stop_at"]
        say(plan, f"reached {name}")
        os.kill(os.getpid(), signal.SIGSTOP)
    if name == plan.get("cut_at"):
        del plan["cut_at"]
        cut_my_session()


def cut_my_session() -> None:
    """End the database session of this process's connection, as an administrator's command does."""
    import psycopg
    from django.db import connection

    settings = connection.settings_dict
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (victim,) = cursor.fetchone()
    with psycopg.connect(
        dbname=settings["NAME"], user=settings["USER"], host=settings["HOST"], port=settings["PORT"]
    ) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [victim])


def work(plan: dict[str, Any]) -> str:
    """Drain the queue, as `manage.py work --until-empty` does."""
    from django.core.management import call_command

    call_command("work", until_empty=True)
    return "work"


def one_step(plan: dict[str, Any]) -> str:
    """Claim one step under a short lease and run it."""
    from django.db import DatabaseError, connection

    from missions import claims, execution

    with connection.cursor() as cursor:  # who stops inside a transaction is let go by the database, as after 15 s
        cursor.execute("SET idle_in_transaction_session_timeout = 400")
    claim = claims.claim_next(worker="the child", lease_seconds=plan.get("lease_seconds", 1.0))[0]
    try:
        return execution.run(claim)
    except DatabaseError:
        return "cut off"


def select_then_update(plan: dict[str, Any]) -> str:
    """The seed's way to claim: look for a queued step, then mark it. For the control."""
    from missions.models import Step
    from tests.race.handlers import leave_a_line
    from tradeco.common import db

    while step := Step.objects.filter(status="queued").order_by("priority", "run_after", "id").first():
        Step.objects.filter(pk=step.pk).update(status="executing", finished_at=None)
        leave_a_line(str(step.pk))
        Step.objects.filter(pk=step.pk).update(status="succeeded", finished_at=db.now())
    return "work"


def beat(plan: dict[str, Any]) -> str:
    from missions import heartbeat
    from tradeco.common import db

    heartbeat.LEASE_SECONDS = plan["lease_seconds"]
    done = heartbeat.run(asked_by="the child", now=db.now())
    return f"beat {done.pk}" if done else "no beat"


ACTS = {"work": work, "one_step": one_step, "select_then_update": select_then_update, "beat": beat}
