"""
Runs keawatch so that it kills itself, as by ``kill -9``, at one instant of a plan.

    python -m tests.kea_pair.crashing standby-aside:before run -c config.toml

``before``: the step is in the journal and its command has not left. ``after``: the command has been answered and nothing
of that is written down. ``primary-reset+1`` is the first command that follows in the same burst. For a step that works on
leases it is the first batch of lease commands, which is in the backup by then; ``begun`` is before the first of them is
even sought.
"""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keawatch.core.plan import Order
from keawatch.daemon.performer import Performer
from keawatch.errors import KeaError
from keawatch.leases import reconcile, write


@dataclass
class Instant:
    """When to die, and where the performer is."""

    key: str
    moment: str
    order: int
    """Which order of the step's burst; 0 is the first."""
    at: str = ""
    sent: int = -1

    def strikes(self, moment: str) -> bool:
        """Return whether this is the moment, at the step and the order of it."""
        return (self.at, self.sent, moment) == (self.key, self.order, self.moment)


def crash_at(instant: Instant) -> None:
    """Make the performer kill this process at *instant*."""
    _note_steps(instant)
    order_of = Performer._order

    async def order(self: Performer, what: Order, arguments: Mapping[str, Any] | None) -> str | KeaError:
        instant.sent += 1
        _die(instant, "before")
        answer = await order_of(self, what, arguments)
        _die(instant, "after")
        return answer

    async def apply(*arguments: Any, **more: Any) -> Any:
        instant.sent = 0
        if arguments[2]:
            _die(instant, "before")
        done = await write.apply(*arguments, **more)
        if arguments[2]:
            _die(instant, "after")
        return done

    Performer._order = order  # type: ignore[method-assign, assignment]
    reconcile.__dict__["apply"] = apply


def _note_steps(instant: Instant) -> None:
    """Have *instant* know which step the performer is at."""
    send, work = Performer._send, Performer._work

    async def send_noting(self: Performer, run: Any, step: Any) -> Any:
        instant.at, instant.sent = step.key, -1
        return await send(self, run, step)

    async def work_noting(self: Performer, run: Any, step: Any) -> Any:
        instant.at, instant.sent = step.key, 0
        _die(instant, "begun")
        return await work(self, run, step)

    Performer._send, Performer._work = send_noting, work_noting  # type: ignore[method-assign]


def _die(instant: Instant, moment: str) -> None:
    if instant.strikes(moment):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    step, _, when = sys.argv[1].partition(":")
    step, _, follower = step.partition("+")
    crash_at(Instant(step, when, int(follower or 0)))
    from keawatch.cli import main

    main(sys.argv[2:])
