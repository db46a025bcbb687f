"""The company's HTTP face as WSGI, for gunicorn beside daphne; websockets are daphne's alone."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradeco.settings")
os.environ.setdefault("TRADECO_PROCESS", "web")  # before settings are read: only web has a pool

application = get_wsgi_application()
