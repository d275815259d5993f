"""
Has the Kea that is installed here look at a configuration, without starting it.

`-t` checks all but the hooks' parameters: a wrong HA parameter passes it and stops the start (seen on 2.2.0, 2.6.3 and 3.0.4). `-T`
loads the hooks too, from 2.4 on; before 2.7 it refuses every dedicated HA listener, since threads are off while it tries, and that
one refusal is left out. Neither opens a socket to clients or takes the running server's ports (tried beside one); `-T` gets the
configuration without the hooks that may run programs or open files when they are loaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keawatch.core.model import Version, version_of
from keawatch.lint.model import hook_name
from keawatch.lint.nodes import Node

_SECONDS = 30.0
_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_FALSE_ALARM = "CmdHttpListener cannot be started when multi-threading is disabled"
_FOUND = re.compile(
    r"(?:Error encountered|Syntax check failed with|HA_CONFIGURATION_FAILED [^:]*|HA_MISSING_CONFIGURATION)[: ]*(.*)"
)
_LOADS_HOOKS: Version = (2, 3, 8)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Kea says of a configuration."""

    option: str
    """``-t`` or ``-T``."""
    refused: bool
    words: str = ""
    """Kea's own, when it refuses."""


def program(family: int) -> Path | None:
    """Return the Kea server of this host; None where none is installed."""
    found = shutil.which(f"kea-dhcp{family}", path=os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS]))
    return Path(found) if found else None


def installed_version(family: int) -> Version | None:
    """Return the version of the Kea server of this host."""
    kea = program(family)
    if kea is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - Kea itself
            [kea, "-v"], capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return version_of(done.stdout.splitlines()[0] if done.stdout else None)


def try_on_kea(configuration: Any, family: int, *, hooks: bool) -> list[Verdict]:
    """Return what this host's Kea says; nothing where there is none. With *hooks* it loads them too, where it can."""
    kea = program(family)
    if kea is None:
        return []
    with tempfile.TemporaryDirectory(prefix="keawatch-lint-") as folder:
        # A configuration holds passwords: the folder is ours alone.
        path = Path(folder) / f"kea-dhcp{family}.conf"
        path.write_text(json.dumps(configuration, indent=1), encoding="utf-8")
        verdicts = [_run(kea, "-t", path)]
        if hooks and not verdicts[0].refused and _loads_hooks(family):
            path.write_text(json.dumps(_with_harmless_hooks(configuration)), encoding="utf-8")
            verdicts.append(_run(kea, "-T", path))
    return [verdict for verdict in verdicts if _FALSE_ALARM not in verdict.words]


_HARMLESS = frozenset(
    {"lease_cmds", "stat_cmds", "host_cmds", "subnet_cmds", "class_cmds", "ha", "flex_id", "flex_option", "bootp"}
)
"""Hooks that do nothing beyond Kea when they are loaded; others run programs, or open files and databases."""


def _with_harmless_hooks(configuration: Any) -> Any:
    """Return the configuration without the hooks that might do something to the running server's world."""
    return {
        key: {
            **dhcp,
            "hooks-libraries": [
                one.value for one in Node(dhcp, key).maps("hooks-libraries") if hook_name(one) in _HARMLESS
            ],
        }
        for key, dhcp in configuration.items()
    }


def _loads_hooks(family: int) -> bool:
    version = installed_version(family)
    return version is not None and version >= _LOADS_HOOKS


def _run(kea: Path, option: str, path: Path) -> Verdict:
    environment = {**os.environ, "KEA_LOGGER_DESTINATION": "stdout"}
    try:
        done = subprocess.run(  # noqa: S603 - Kea itself
            [kea, option, path],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Verdict(option, refused=False, words=f"it could not be asked ({type(error).__name__})")
    words = _words(done.stdout + done.stderr).replace(str(path), path.name)
    return Verdict(option, refused=done.returncode != 0, words=words if done.returncode else "")


def _words(output: str) -> str:
    lines = [found[1].strip() for line in output.splitlines() if (found := _FOUND.search(line)) and found[1].strip()]
    if not lines:
        lines = [line.strip() for line in output.splitlines() if "rror" in line]
    # The first is the cause; what follows from it comes after.
    return lines[0] if lines else "without saying why"
