"""The websocket addresses."""

from channels.routing import URLRouter
from django.urls import re_path

from dashboard.consumers import EventsConsumer, NoSuchSocket

websockets = URLRouter(
    [
        re_path(r"^ws/events/$", EventsConsumer.as_asgi()),
        re_path(r"", NoSuchSocket.as_asgi()),
    ]
)
