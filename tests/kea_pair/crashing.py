"""
Runs keawatch so that it kills itself, as by ``kill -9``, at one instant of a plan.

    python -m tests.kea_pair.crashing standby-aside:before run -c config.toml

``before``: the step is in the journal and its command has not left. ``after``: the command has been answered and nothing
of that is written down.
"""

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from keawatch.core.plan import Order
from keawatch.daemon.performer import Performer
from keawatch.errors import KeaError


def crash_at(key: str, moment: str) -> None:
    """Make the performer kill this process around the command of the step *key*."""
    send, order_of = Performer._send, Performer._order
    current = {"key": ""}

    async def send_noting(self: Performer, run: Any, step: Any) -> Any:
        current["key"] = step.key
        return await send(self, run, step)

    async def order(self: Performer, what: Order, arguments: Mapping[str, Any] | None) -> str | KeaError:
        hit = current["key"] == key
        if hit and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await order_of(self, what, arguments)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Performer._send, Performer._order = send_noting, order  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    step, _, when = sys.argv[1].partition(":")
    crash_at(step, when)
    from keawatch.cli import main

    main(sys.argv[2:])
