"""
A PostgreSQL server for one laboratory, on the watcher's host, with Kea's tables in it. It runs with the machine's own programs.
"""

import shutil
import tempfile
import time
from pathlib import Path

from tests.kea_pair.config import Json
from tests.kea_pair.lab import Lab, LabError
from tests.kea_pair.net import ipv4
from tests.kea_pair.roots import root

_PROGRAMS = "/usr/lib/postgresql"
_USER = "postgres"
"""PostgreSQL does not run as root; Debian's package makes this user."""
_SCHEMA = "usr/share/kea/scripts/pgsql/dhcpdb_create.pgsql"
_START_SECONDS = 30
PLACE: Json = {"type": "postgresql", "name": "postgres", "host": ipv4("w"), "user": _USER, "password": "none"}
"""What a server's lease-database says of it."""


def _program(name: str) -> str:
    found = sorted(Path(_PROGRAMS).glob(f"*/bin/{name}"))
    if not found:
        raise LabError(f"{name} is not on this machine: apt-get install postgresql, then play again")
    return str(found[-1])


def start(lab: Lab, version: str) -> None:
    """Start a server that ends with its laboratory, and make the tables that a version of Kea needs."""
    data = Path(tempfile.mkdtemp(prefix="sql-", dir=lab.folder))
    shutil.chown(data, _USER)
    as_user = ["setpriv", f"--reuid={_USER}", "--clear-groups", "--"]
    lab.run_in("w", [*as_user, _program("initdb"), "--auth=trust", "--no-sync", "-D", str(data)], timeout=60)
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.77.0.0/16 trust\n")
    settings = ["-c", "fsync=off", "-c", f"unix_socket_directories={data}"]
    with (lab.folder / "postgres.txt").open("w") as output:
        lab.popen("w", [*as_user, _program("postgres"), "-D", str(data), "-h", ipv4("w"), *settings], output)
    until = time.monotonic() + _START_SECONDS
    while not _answers(lab):
        if time.monotonic() > until:
            raise LabError(f"PostgreSQL does not answer within {_START_SECONDS} s")
        time.sleep(0.2)
    query(lab, "-f", str(root(version) / _SCHEMA))


def query(lab: Lab, *told: str) -> str:
    """Run psql on the watcher's host, with "-c" and a statement or "-f" and a file, and return what it printed."""
    options = ["-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", ipv4("w"), "-U", _USER, "-d", PLACE["name"]]
    return lab.run_in("w", [_program("psql"), *options, *told], timeout=60).strip()


def _answers(lab: Lab) -> bool:
    try:
        return query(lab, "-c", "SELECT 1") == "1"
    except LabError:
        return False
