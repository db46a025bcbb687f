"""The addresses of pages and health; the API's are in `dashboard.api.urls`."""

from django.urls import path
from django.views.generic import RedirectView

from dashboard import health, views

app_name = "dashboard"
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="dashboard:desk"), name="root"),
    path("dashboard/", views.desk, name="desk"),
    path("dashboard/panels/<slug:name>/", views.panel, name="panel"),
    path("dashboard/words.json", views.words, name="words"),
    path("dashboard/company/<slug:to>/", views.switch, name="switch"),
    path("favicon.ico", views.favicon),
    path("healthz", health.alive, name="alive"),
    path("readyz", health.ready, name="ready"),
    path("metrics", health.metrics, name="metrics"),
]
