"""manage.py resume."""

from missions.management.switching import SwitchCommand
from missions.vocabulary import CompanyStatus


class Command(SwitchCommand):
    help = "Ends a halt."
    to = CompanyStatus.ACTIVE
