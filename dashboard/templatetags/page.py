"""How pages write numbers, times and icons. The rules are those of `dashboard.formats`."""

from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import formats

register = template.Library()
for _name, _format in formats.FORMATS.items():
    register.filter(_name, _format)


@register.filter
def tone(value: Any) -> str:
    """good, bad or quiet, by the sign of a number."""
    text = formats.gain(value)
    return "good" if text.startswith("+") else "bad" if text.startswith(formats.MINUS) else "quiet"


@register.simple_tag
def icon(name: str) -> SafeString:
    """One of the icons of the page's sprite; what it means stands beside it in words."""
    return format_html('<svg class="icon" aria-hidden="true"><use href="#i-{}"/></svg>', name)


@register.simple_tag(takes_context=True)
def ago(context: template.Context, moment: datetime | None) -> SafeString:
    """A moment as "3 min ago", with the moment itself on hover; the browser keeps it up to date."""
    return _time(context, moment, suffix=" ago")


@register.simple_tag(takes_context=True)
def since(context: template.Context, moment: datetime | None) -> SafeString:
    """How long ago a moment is, as a bare span: an age."""
    return _time(context, moment, suffix="")


def _time(context: template.Context, moment: datetime | None, *, suffix: str) -> SafeString:
    if moment is None:
        return SafeString(formats.UNKNOWN)  # a dash of ours  # nosec B703
    utc = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC" data-span="{}">{}{}</time>',
        utc.isoformat().replace("+00:00", "Z"),
        f"{utc:%Y-%m-%d %H:%M:%S}",
        suffix,
        formats.span((context["now"] - moment).total_seconds()),
        suffix,
    )


@register.filter
def span(seconds: float | None) -> str:
    """A number of seconds as 12 s, 3 min, 5 h."""
    return formats.UNKNOWN if seconds is None else formats.span(seconds)
