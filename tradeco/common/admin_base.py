"""What every admin page of ours shares: lists that stay bounded, rows that nobody edits, panels that fail alone.

Rows are read-only unless an admin says otherwise: the company changes by its operations (`admin_acts`), never
by a form that writes rows.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import structlog
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import BadRequest
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest, HttpResponse

from tradeco.common.wiring import load

log = structlog.get_logger(__name__)

COUNTED_MOST = 10_000  # counting a million rows on each look would cost more than the page is worth
_NUMBER = re.compile(r"#?(\d{1,18})")

Rows = list[tuple[object, object, str | None]]
PanelOf = Callable[[Any], tuple[str, Rows]]
"""What adds a panel to a page: of a row its title and its lines (label, value, address or None)."""

M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    rows: Rows
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Button:
    label: str
    url: str
    grave: bool = False


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than COUNTED_MOST rows: what lies beyond is found by filter and search."""

    @cached_property
    def count(self) -> int:
        if isinstance(self.object_list, models.QuerySet):
            return self.object_list.order_by()[:COUNTED_MOST].count()
        return len(self.object_list)


class DeskAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A page of the staff's desk. `panels` are its own, `settings.ADMIN_PANELS` what upper apps add."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 200
    change_form_template = "admin/desk_change_form.html"
    panels: ClassVar[Sequence[PanelOf]] = ()
    number_field = ""  # what a searched number names, where it isn't the key

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if any("\x00" in value for values in request.GET.lists() for value in values[1]):
            raise BadRequest("A NUL character stands in the query.")  # PostgreSQL takes none
        return super().changelist_view(request, extra_context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is not None and self.has_view_permission(request, row):
            extra_context = {
                "panels": self.get_panels(row),
                "buttons": self.get_buttons(request, row),
                **(extra_context or {}),
            }
        return super().change_view(request, object_id, form_url, extra_context)

    def get_buttons(self, request: HttpRequest, row: Any) -> list[Button]:
        """What this person may do about the row."""
        return []

    def get_panels(self, row: models.Model) -> list[Panel]:
        """The panels of a row's page: this admin's own, then those of upper apps."""
        table: dict[str, list[str]] = getattr(settings, "ADMIN_PANELS", {})
        added = [load(path) for path in table.get(row._meta.label_lower, [])]
        return [panel(make, row) for make in (*self.panels, *added)]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return None if "\x00" in object_id else super().get_object(request, object_id, from_field)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[M], search_term: str
    ) -> tuple[models.QuerySet[M], bool]:
        """A number, with # or without, finds the row of this number at once; words search as usual."""
        if "\x00" in search_term:
            return queryset.none(), False
        number = _NUMBER.fullmatch(search_term.strip())
        if number and isinstance(self.opts.get_field(self.number_field or self.opts.pk.name), models.IntegerField):
            return queryset.filter(**{self.number_field or "pk": int(number[1])}), False
        return super().get_search_results(request, queryset, search_term)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write what the form changed and nothing else: other columns may have moved since it was loaded."""
        if change and form.changed_data:
            obj.save(update_fields=form.changed_data)
        elif not change:
            super().save_model(request, obj, form, change)


class ReadOnlyAdmin(DeskAdmin):
    """Rows that nobody adds, changes or deletes by hand, superusers included."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(admin.TabularInline):  # type: ignore[type-arg]
    """Rows shown on the page of what they belong to."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def panel(make: PanelOf, row: models.Model) -> Panel:
    """A panel of a row's page, one that says so where it could not be made."""
    try:
        title, rows = make(row)
    except Exception:
        log.exception("A panel of an admin page failed.", action="admin_panel_failed", row=row._meta.label)
        return Panel(title=getattr(make, "__name__", "panel").replace("_", " ").capitalize(), rows=[], failed=True)
    return Panel(title=title, rows=rows)
