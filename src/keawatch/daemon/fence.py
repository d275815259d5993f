"""
Runs an operator's fence command, which makes sure that a server is off before its partner is told to serve alone.

It is run without a shell and without input; only its exit status counts. What it prints may hold passwords and goes nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from keawatch.errors import KeawatchError


class FenceError(KeawatchError):
    """The fence command did not say that the server is off."""


@dataclass(frozen=True, slots=True)
class FenceCommand:
    """The fence command of one server."""

    server: str
    words: Sequence[str]

    async def __call__(self, deadline: float) -> str:
        """Return how it is known that the server is off; raises FenceError unless the command ends with 0 within *deadline* seconds."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise FenceError(
                f"the fence command of {self.server} can't be run ({reason}); look at fence in the configuration"
            ) from error
        return self._judged(await self._ended(process, deadline), deadline)

    async def _ended(self, process: asyncio.subprocess.Process, deadline: float) -> int | None:
        """Return the exit status; None when it was killed because it did not end in time."""
        try:
            async with asyncio.timeout(deadline):
                return await process.wait()
        except TimeoutError:
            return None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    def _judged(self, status: int | None, deadline: float) -> str:
        if status == 0:
            return f"the fence command of {self.server} says that it is off"
        how = f"did not end within {deadline:.0f} s" if status is None else f"ended with {status}"
        raise FenceError(
            f"the fence command of {self.server} {how}, so it is not certain that {self.server} is off; "
            f"run it by hand to see why"
        )
