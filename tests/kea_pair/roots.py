"""
Roots of Debian with Kea inside, one for each Kea version the laboratory runs.

A root is made once by debootstrap and kept in a cache folder outside the source tree. Kea is never
installed on the machine itself, whose packages would start services.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

SUITES = {"2.2": "bookworm", "2.6": "trixie", "3.0": "forky"}
PACKAGES = ("kea-dhcp4-server", "kea-dhcp6-server", "kea-ctrl-agent", "kea-admin", "iproute2", "libfaketime")
SCRIPTS = Path("/usr/share/debootstrap/scripts")
BUILD_SECONDS = 1200


class RootsUnavailableError(RuntimeError):
    """
    Says why this machine cannot have Kea roots.
    """


def cache_folder() -> Path:
    """
    Return the folder that keeps the roots between runs.
    """
    if own := os.environ.get("KEAWATCH_LAB_CACHE"):
        return Path(own)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "keawatch" / "lab"


def root(version: str) -> Path:
    """
    Return the root of a Kea version, building it when it is not there yet.
    """
    folder = cache_folder() / SUITES[version]
    if not folder.is_dir():
        ensure([version])
    return folder


def ensure(versions: list[str]) -> None:
    """
    Build every root of the list that is missing, all at the same time.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    with _lock(cache_folder() / "lock"):
        missing = [version for version in versions if not (cache_folder() / SUITES[version]).is_dir()]
        if not missing:
            return
        if os.geteuid() != 0:
            raise RootsUnavailableError("building a Kea root needs root")
        _install_tools()
        mirror = debian_mirror()
        with ThreadPoolExecutor(len(missing)) as pool:
            list(pool.map(lambda version: _build(version, mirror), missing))


def kea_version(folder: Path) -> str:
    """
    Ask the server inside a root for its version.
    """
    return _run("chroot", str(folder), "kea-dhcp4", "-v").splitlines()[0]


def debian_mirror() -> str:
    """
    Take the address of the Debian archive from the machine's own apt sources.
    """
    targets = _run("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages")
    for line in targets.splitlines():
        origin, _, site = line.partition(" ")
        if origin == "Debian" and "security" not in site:
            return site
    raise RootsUnavailableError("apt knows no Debian archive")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _run(*command: str) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, timeout=BUILD_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RootsUnavailableError(str(error)) from error
    if done.returncode:
        raise RootsUnavailableError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def _install_tools() -> None:
    tools = {"debootstrap": "debootstrap", "ip": "iproute2"}
    missing = [package for program, package in tools.items() if not shutil.which(program)]
    # The indexes also tell where the archive is, so a bare machine needs them even with all tools in place.
    _say("apt-get update")
    _run("apt-get", "update")
    if missing:
        _say(f"apt-get install {' '.join(missing)}")
        _run("apt-get", "install", "--yes", "--no-install-recommends", *missing)


def _build(version: str, mirror: str) -> None:
    suite = SUITES[version]
    begun = time.monotonic()
    temporary = cache_folder() / f"{suite}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    _say(f"Kea {version}: debootstrap {suite}")
    script = SCRIPTS / (suite if (SCRIPTS / suite).exists() else "sid")
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    _run(*command, suite, str(temporary), mirror, str(script))
    shutil.rmtree(temporary / "var/cache/apt", ignore_errors=True)
    found = kea_version(temporary)
    # Only a finished root gets the name that others look for.
    temporary.rename(cache_folder() / suite)
    _say(f"Kea {version}: {found} ready after {time.monotonic() - begun:.0f} s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """
    Build all roots and print the version that each one really holds; or say why they can't be had here, and end with 1.
    """
    try:
        ensure(list(SUITES))
        for version in SUITES:
            print(f"Kea {version}: {kea_version(root(version))} in {root(version)}")
    except (RootsUnavailableError, OSError) as error:
        sys.exit(f"Real Kea can't be had here: {error}")


if __name__ == "__main__":
    main()
