"""manage.py wallet: make, import or show the key that the signer signs with."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tradeco.common.errors import DomainError
from trading.signer import hardening, keyfile, passphrase, place
from trading.signer.networks import GENESIS, Network

SECRET_BYTES_MOST = 4096


class Command(BaseCommand):
    help = (
        "Makes, imports or shows the wallet's key. The passphrase comes from TRADECO_WALLET_PASSPHRASE, the file "
        "named by TRADECO_WALLET_PASSPHRASE_FILE, or your terminal; an imported key from standard input."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("act", choices=["create", "import", "show"])
        parser.add_argument("--network", choices=list(Network), default=Network.SANDBOX)

    def handle(self, *args: Any, act: str, network: str, **options: Any) -> None:
        hardening.harden()
        chosen = Network(network)
        path = place.key_path(settings.TRADECO_HOME, chosen)
        try:
            if act == "create":
                keyfile.create(path, genesis=GENESIS[chosen], passphrase=passphrase.read(confirm=True))
            elif act == "import":
                seed = keyfile.read_secret(sys.stdin.read(SECRET_BYTES_MOST))
                keyfile.store(path, seed, genesis=GENESIS[chosen], passphrase=passphrase.read(confirm=True))
            found = keyfile.describe(path)
        except DomainError as refused:
            raise CommandError(refused.detail) from None
        if found.genesis != GENESIS[chosen]:
            raise CommandError(f"{path} holds a key for another chain ({found.genesis}), not for {chosen}.")
        self.stdout.write(f"address  {found.address}\nnetwork  {chosen}\nfile     {path}")
