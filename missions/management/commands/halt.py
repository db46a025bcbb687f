"""manage.py halt."""

from missions.management.switching import SwitchCommand
from missions.vocabulary import CompanyStatus


class Command(SwitchCommand):
    help = "Halts trading at once: nothing new is sent, protective exits included. What is under way is finished."
    to = CompanyStatus.HALTED
