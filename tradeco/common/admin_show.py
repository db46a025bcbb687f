"""How values look in the admin: states with icon and word, money, spans of time, JSON, links.

Everything here escapes what it is given. Which values a page shows is each app's admin's affair.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

NOTHING = "–"
PRICE_DIGITS = 8  # of a price that say something
SHORT_CHARACTERS = 20

# A state is read by icon, word and tone, never by colour alone.
_LOOKS = {
    "good": ("✓", ("approved", "succeeded", "filled", "confirmed", "active", "success", "agree", "allowed")),
    "bad": ("✕", ("rejected", "failed", "failure", "halted", "veto", "disagree", "refused")),
    "wait": ("◷", ("pending", "queued", "claimed", "reserved", "quoted", "reducing", "open", "neutral")),
    "work": ("▶", ("running", "executing", "submitted", "sent")),
    "doubt": ("?", ("needs_reconciliation", "in_doubt", "partial_failure")),
}
_LOOK_OF = {state: (tone, icon) for tone, (icon, states) in _LOOKS.items() for state in states}


def pill(state: str, word: str) -> SafeString:
    """A state as icon, word and tone; states that ended without a judgement look quiet."""
    tone, icon = _LOOK_OF.get(state, ("quiet", "·"))
    return format_html('<span class="desk-pill desk-{}"><span aria-hidden="true">{}</span> {}</span>', tone, icon, word)


def as_json(value: Any) -> SafeString:
    """JSON to be read by people."""
    text = json.dumps(value, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder)
    return format_html('<pre class="desk-json">{}</pre>', text)


def folded(summary: str, value: Any) -> SafeString:
    """JSON behind a line that opens it; nothing at all where there is nothing to show."""
    if not value:
        return SafeString("")
    return format_html("<details><summary>{}</summary>{}</details>", summary, as_json(value))


def usd(amount: Decimal | None) -> str:
    return NOTHING if amount is None else f"{amount:,.2f} USD"


def price(amount: Decimal | None) -> str:
    """Whole quote per whole base token, with the places that say something."""
    if amount is None:
        return NOTHING
    places = max(4, PRICE_DIGITS - 1 - amount.adjusted()) if amount else 0
    return f"{round(amount, places).normalize():f}"


def shortened(text: str) -> SafeString | str:
    """A long reference by its beginning and end; the whole of it is told by the pointer."""
    if len(text) <= SHORT_CHARACTERS:
        return text
    return format_html('<span title="{}">{}…{}</span>', text, text[: SHORT_CHARACTERS - 7], text[-6:])


def units(raw: int | None, decimals: int) -> str:
    """A raw amount in whole tokens, exactly."""
    return NOTHING if raw is None else f"{Decimal(raw).scaleb(-decimals):f}"


def percent(share: Decimal | None) -> str:
    return NOTHING if share is None else f"{share * 100:.1f} %"


def span(length: timedelta | None) -> str:
    """A length of time, by its largest unit: `3 min`, `−2 h` when it lies behind."""
    if length is None:
        return NOTHING
    seconds = abs(length.total_seconds())
    sign = "−" if length < timedelta(0) and seconds >= 1 else ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{sign}{seconds / size:.0f} {unit}"
    return f"{sign}{seconds:.0f} s"


def change_url(model: type[Model], pk: Any) -> str | None:
    """The address of a row's admin page, None where its model has none."""
    opts = model._meta
    try:
        return reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[quote(pk)])
    except NoReverseMatch:
        return None


def link(model: type[Model], pk: Any, text: object) -> SafeString | str:
    """A link to a row's admin page by its key alone, so that a list needs no query for it."""
    address = change_url(model, pk) if pk is not None else None
    return format_html('<a href="{}">{}</a>', address, text) if address else str(text)


def subject_link(subject: str) -> SafeString | str:
    """A link to what an event is about, such as `proposal:42`; plain text where there is no such page."""
    name, _, key = subject.partition(":")
    if not key.isdecimal():
        return subject
    for model in apps.get_models():
        if model._meta.model_name == name and admin.site.is_registered(model):
            return link(model, key, subject)
    return subject


def state_of(name: str = "status", *, description: str = "") -> Callable[..., SafeString]:
    """A list column that shows a field with choices as a pill."""

    @admin.display(description=description or name, ordering=name)
    def shown(_: admin.ModelAdmin[Any], row: Any) -> SafeString:
        return pill(getattr(row, name), getattr(row, f"get_{name}_display")())

    return shown


def number_of(description: str) -> Callable[..., str]:
    """A list column that shows the row's own number, as people say it."""

    @admin.display(description=description, ordering="id")
    def shown(_: admin.ModelAdmin[Any], row: Any) -> str:
        return f"#{row.pk}"

    return shown


def json_of(name: str) -> Callable[..., SafeString]:
    """A field of a page that shows JSON to be read by people."""

    @admin.display(description=name.replace("_", " "))
    def shown(_: admin.ModelAdmin[Any], row: Any) -> SafeString:
        return as_json(getattr(row, name))

    return shown


def key_of(name: str, model: type[Model] | None = None) -> Callable[..., SafeString | str]:
    """A list column that links a foreign key by its stored value, without loading what it points to."""

    @admin.display(description=name.replace("_", " "), ordering=name)
    def shown(_: admin.ModelAdmin[Any], row: Any) -> SafeString | str:
        field = row._meta.get_field(name)
        key = getattr(row, field.attname)
        if key is None:
            return NOTHING
        return link(model or field.related_model, key, f"#{key}" if isinstance(key, int) else key)

    return shown
