"""manage.py reduce."""

from missions.management.switching import SwitchCommand
from missions.vocabulary import CompanyStatus


class Command(SwitchCommand):
    help = "Lets exits through only. Exit codes: as of resume, since it ends a halt too."
    to = CompanyStatus.REDUCING
