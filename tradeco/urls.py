"""Every address of the company."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("dashboard.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("dashboard.api.urls")),
    path("api/", include("dashboard.api.schema_urls")),
]

handler400 = "dashboard.api.problems.bad_request"
handler403 = "dashboard.api.problems.permission_denied"
handler404 = "dashboard.api.problems.not_found"
handler500 = "dashboard.api.problems.server_error"
