"""Django's sessions in the database, asked only by keys that can be one: a cookie may hold anything, NUL included."""

import re

from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession

_KEY = re.compile(r"[a-z0-9]{8,40}")


class SessionStore(db.SessionStore):
    @classmethod
    def get_model_class(cls) -> type[AbstractBaseSession]:
        return db.SessionStore.get_model_class()

    def _validate_session_key(self, key: str | None) -> bool:
        return key is not None and _KEY.fullmatch(key) is not None
