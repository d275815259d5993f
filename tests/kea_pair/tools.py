"""
Fetches Prometheus and promtool from Debian's packages, without installing them on the host (where a service would start).

They are unpacked in the laboratory's cache and linked beside this Python's own programs, where ``make`` puts them on the path.

    python -m tests.kea_pair.tools
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.kea_pair.roots import cache_folder

PROGRAMS = ("prometheus", "promtool")


def ensure() -> str | None:
    """Make both programs available, and return why that is not possible, or None."""
    wanted = [name for name in PROGRAMS if not shutil.which(name) and not (_beside() / name).exists()]
    if not wanted:
        return None
    unpacked = cache_folder() / "prometheus"
    if not (unpacked / "usr/bin/promtool").exists():
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            return "it needs root and apt"
        try:
            _unpack(unpacked)
        except subprocess.CalledProcessError as error:
            return f"{error.cmd[0]} failed: {error.stderr.strip()[-300:]}"
    for name in wanted:
        link = _beside() / name
        link.unlink(missing_ok=True)
        link.symlink_to(unpacked / "usr/bin" / name)
    return None


def _beside() -> Path:
    return Path(sys.executable).parent


def _unpack(target: Path) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        # apt drops root for the download, and its user must be able to write there.
        Path(folder).chmod(0o777)
        if not _run("apt-cache", "show", "prometheus", folder=folder, check=False):
            _run("apt-get", "update", "-q", folder=folder)
        _run("apt-get", "download", "-q", "prometheus", folder=folder)
        package = next(Path(folder).glob("prometheus_*.deb"))
        made = Path(folder) / "unpacked"
        _run("dpkg", "-x", str(package), str(made), folder=folder)
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)


def _run(*command: str, folder: str, check: bool = True) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=check, timeout=300).stdout


if __name__ == "__main__":
    reason = ensure()
    if reason:
        print(f"Prometheus can't be had here: {reason}", file=sys.stderr)
