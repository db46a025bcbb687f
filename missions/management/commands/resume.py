"""manage.py resume."""

from missions.management.switching import SwitchCommand
from missions.vocabulary import CompanyStatus


class Command(SwitchCommand):
    help = "Ends a halt. Exit codes: 0 done, 1 refused, 3 the word is kept and more people must say the same."
    to = CompanyStatus.ACTIVE
