"""The company's face as ASGI: HTTP and websockets, served by daphne."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradeco.settings")
os.environ.setdefault("TRADECO_PROCESS", "web")  # before settings are read: only web has a pool

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

http = get_asgi_application()  # loads the apps; what follows needs their models

from dashboard.routing import websockets  # noqa: E402

application = ProtocolTypeRouter({"http": http, "websocket": websockets})
