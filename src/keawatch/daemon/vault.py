"""
Keeps the running configuration of a server that a plan changes, so that it can be put back byte for byte.

It holds secrets (a peer's password stands in the reply of ``config-get`` in clear), hence a file only its owner can read,
gone as soon as the plan has ended well. It never enters the journal, a log or a plan.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from keawatch.durable import sync_folder
from keawatch.errors import JournalError


class Vault:
    """The recorded configurations of one pair."""

    def __init__(self, state_dir: Path, pair: str) -> None:
        self._folder = state_dir / "recorded" / _safe(pair)

    def keep(self, plan_id: str, server: str, arguments: dict[str, Any]) -> None:
        """Write down a configuration and return when it is on disk; raises JournalError."""
        path = self._path(plan_id, server)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(arguments, file)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._folder)
        except OSError as error:
            raise JournalError(
                f"the configuration of {server} can't be kept in {path} ({error}); nothing is done without it"
            ) from error

    def recall(self, plan_id: str, server: str) -> dict[str, Any] | None:
        """Return a kept configuration; None when there is none that can be read."""
        try:
            kept: dict[str, Any] = json.loads(self._path(plan_id, server).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return kept

    def forget(self, plan_id: str) -> None:
        """Remove what was kept for a plan; where the disk does not let it, that stays, readable to its owner only."""
        with suppress(OSError):
            for path in self._folder.glob(f"{plan_id}--*.json"):
                path.unlink(missing_ok=True)

    def _path(self, plan_id: str, server: str) -> Path:
        return self._folder / f"{plan_id}--{_safe(server)}.json"


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else f"%{ord(c):x}" for c in name)
