"""Rows that every layer uses: events, leases, pulses, breakers."""

from typing import ClassVar

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.fields.json import KeyTransform

from tradeco.common.vocabulary import EventKind


class Event(models.Model):
    """Something that happened, written in the transaction in which it happened.

    `number` is the event's public id. It is given after the commit, by whoever tails first, so that its order
    is the order in which readers may see events (`events.number_new`).
    """

    key = models.BigAutoField(primary_key=True)
    number = models.BigIntegerField(null=True, unique=True, editable=False)
    kind = models.CharField(max_length=40, choices=EventKind)
    subject = models.CharField(max_length=80, help_text="What it is about, such as proposal:42")
    agent = models.CharField(max_length=20, blank=True, help_text="Key of the agent that acted, if any")
    data = models.JSONField(default=dict)
    at = models.DateTimeField()
    request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        indexes: ClassVar = [
            # events.number_new: the few rows that nobody has numbered yet
            models.Index(name="event_unnumbered", fields=["key"], condition=Q(number__isnull=True)),
            # triggers: newest of a kind since a cursor
            models.Index(name="event_kind_number", fields=["kind", "number"]),
            # the history of one thing
            models.Index(name="event_subject_number", fields=["subject", "number"]),
            models.Index(name="event_agent_number", fields=["agent", "number"], condition=~Q(agent="")),
            models.Index(name="event_at", fields=["at"]),
            # provenance: which rules an event woke
            models.Index(
                KeyTransform("event", "data"), "number", name="event_woke", condition=Q(kind=EventKind.TRIGGER_FIRED)
            ),
        ]
        triggers: ClassVar = [
            pgtrigger.Trigger(
                name="append_only",
                operation=pgtrigger.Update,
                when=pgtrigger.Before,
                func=(
                    "IF OLD.number IS NOT NULL"
                    " OR row(NEW.kind, NEW.subject, NEW.agent, NEW.data, NEW.at, NEW.request_id)"
                    " IS DISTINCT FROM row(OLD.kind, OLD.subject, OLD.agent, OLD.data, OLD.at, OLD.request_id)"
                    " THEN RAISE EXCEPTION 'events are append-only'; END IF; RETURN NEW;"
                ),
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class Lease(models.Model):
    """Who may do a thing that only one may do, until when. `epoch` fences out those who lost it."""

    name = models.CharField(max_length=60, primary_key=True)
    holder = models.CharField(max_length=120, blank=True)
    epoch = models.BigIntegerField(default=0)
    acquired_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} held by {self.holder or 'nobody'}"


class Pulse(models.Model):
    """The last sign of life of a process, for readiness and the watchdog."""

    service = models.CharField(max_length=20)
    instance = models.CharField(max_length=120)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="pulse_once_per_instance", fields=["service", "instance"])
        ]
        indexes: ClassVar = [models.Index(name="pulse_newest", fields=["service", "-at"])]

    def __str__(self) -> str:
        return f"{self.service} {self.instance}"


class Breaker(models.Model):
    """What calls to one place outside have come to, for all processes; there is none before its first failure.

    Closed while `opened_at` is null. Open, it lets one caller try at `probe_at`, and whoever tries moves that on.
    """

    name = models.CharField(max_length=60, primary_key=True)
    failures = ArrayField(
        models.DateTimeField(), default=list, help_text="While closed: those within the window of the last one"
    )
    opened_at = models.DateTimeField(null=True)
    probe_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="breaker_probed_iff_open",
                condition=Q(opened_at__isnull=True, probe_at__isnull=True)
                | Q(opened_at__isnull=False, probe_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {'open' if self.opened_at else 'closed'}"
