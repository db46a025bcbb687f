"""Letting the first people in: roles, the first staff user, a token for first use. Runs again without effect."""

import os
import secrets
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from dashboard.models import ApiToken, Scope
from tradeco.common import db

ADMIN = "admin"
TOKEN_NAME = "first use"  # a name, not a secret  # nosec B105
COMPANY_APPS = ("common", "agents", "missions", "trading", "roundtable", "dashboard")
REVIEWER = ("add_proposal", "change_proposal")
OPERATOR = (
    *REVIEWER,
    "change_company",
    "change_mission",
    "change_agent",
    "change_memory",
    "add_policyversion",
    "add_beat",
    "add_apitoken",
    "change_apitoken",
    "delete_apitoken",
)


def admit() -> None:
    """Make the roles, the staff user `admin` and `$TRADECO_HOME/api-token` where they are missing."""
    _make_roles()
    password = _make_admin()
    _make_token()
    _write_banner(password)


def _make_roles() -> None:
    """viewer sees all; reviewer proposes and decides too; operator runs the company too."""
    ours = Permission.objects.filter(content_type__app_label__in=COMPANY_APPS)
    views = Q(codename__startswith="view_")
    for name, more in (("viewer", ()), ("reviewer", REVIEWER), ("operator", OPERATOR)):
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.set(ours.filter(views | Q(codename__in=more)))


def _make_admin() -> str | None:
    """The first staff user; the password when it was generated now, to be shown once."""
    users = get_user_model()
    if users.objects.filter(username=ADMIN).exists():
        return None
    given = os.environ.get("TRADECO_ADMIN_PASSWORD", "")
    password = given or secrets.token_urlsafe(12)
    users.objects.create_superuser(username=ADMIN, email="", password=password)
    return None if given else password


def _make_token() -> None:
    """An operator's token for first use, in a file that only the owner can read."""
    path: Path = settings.TRADECO_HOME / "api-token"
    if path.exists():
        return
    user = get_user_model().objects.get(username=ADMIN)
    now = db.now()
    with db.transaction():
        # its file is gone, and its secret with it
        ApiToken.objects.filter(user=user, name=TOKEN_NAME, revoked_at__isnull=True).update(revoked_at=now)
        _, secret = ApiToken.issue(user=user, name=TOKEN_NAME, scopes=list(Scope.values), now=now)
        write_privately(path, secret + "\n")


def _write_banner(password: str | None) -> None:
    """What `up` prints when the company stands; the generated password stands in it until it was shown."""
    lines = [f"Staff log-in   {ADMIN}" + (f" / {password}   (shown once: keep it)" if password else "")]
    if password is None:
        lines[0] += "   (password as set; reset: .venv/bin/python manage.py changepassword admin)"
    lines.append(f"API token      {settings.TRADECO_HOME / 'api-token'}")
    banner = settings.TRADECO_HOME / "run" / "banner.txt"
    if password is None and banner.exists() and "shown once" in banner.read_text():
        return  # a first run that was stopped before it could show it
    write_privately(banner, "\n".join(lines) + "\n")


def write_privately(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
