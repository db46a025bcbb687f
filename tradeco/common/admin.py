"""The desk's own name, and the rows that every layer uses: events, leases, signs of life. Nobody edits them."""

from django.contrib import admin

from tradeco.common import admin_show as show
from tradeco.common.admin_base import ReadOnlyAdmin
from tradeco.common.models import Breaker, Event, Lease, Pulse

admin.site.site_header = "tradeco"
admin.site.site_title = "tradeco"
admin.site.index_title = "The staff's desk"
admin.site.site_url = "/dashboard/"


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("number", "at", "kind", "about", "agent", "request_id")
    list_display_links = ("number", "at")
    list_filter = ("at", "kind", "agent")
    search_fields = ("subject__exact", "request_id__exact")
    search_help_text = "A number such as #42, a subject such as proposal:42, or a request id"
    number_field = "number"  # the public id, which is what everybody else shows
    ordering = ("-key",)
    fields = ("number", "kind", "about", "agent", "at", "request_id", "data_shown")

    data_shown = show.json_of("data")

    @admin.display(description="subject", ordering="subject")
    def about(self, event: Event) -> str:
        return show.subject_link(event.subject)


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    list_display = ("name", "holder", "epoch", "acquired_at", "expires_at")
    search_fields = ("name", "holder")
    ordering = ("name",)


@admin.register(Pulse)
class PulseAdmin(ReadOnlyAdmin):
    list_display = ("service", "instance", "at")
    list_filter = ("service",)
    search_fields = ("instance",)
    ordering = ("-at",)


@admin.register(Breaker)
class BreakerAdmin(ReadOnlyAdmin):
    list_display = ("name", "opened_at", "probe_at", "last_error")
    search_fields = ("name",)
    ordering = ("name",)
