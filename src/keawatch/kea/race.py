"""Asks several addresses the same question, one after the other, without waiting for one that hangs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from keawatch.core.model import NoAnswer, ServerStatus, Silence
from keawatch.errors import (
    KeaAuthenticationError,
    KeaCommandError,
    KeaError,
    KeaForbiddenError,
    KeaProtocolError,
    KeaTimeoutError,
)
from keawatch.kea.places import Place
from keawatch.kea.protocol import KeaDaemonDeadError, KeaOutcomeUnknownError, KeaUnreachableError

Ask = Callable[[Place], Awaitable[ServerStatus]]

_KINDS: tuple[tuple[NoAnswer, tuple[type[KeaError], ...]], ...] = (
    (NoAnswer.TIMEOUT, (KeaTimeoutError, KeaUnreachableError)),
    (NoAnswer.GARBLED, (KeaProtocolError, KeaCommandError, KeaOutcomeUnknownError)),
    (NoAnswer.DENIED, (KeaAuthenticationError, KeaForbiddenError)),
    (NoAnswer.REFUSED, (KeaError,)),
)
"""Kinds of silence, the least knowing first: of several addresses the one that proves least decides."""


@dataclass(slots=True)
class Race:
    """How asking the addresses went."""

    winner: Place | None = None
    status: ServerStatus | None = None
    failed: list[tuple[Place, KeaError]] = field(default_factory=list)
    hung: list[Place] = field(default_factory=list)
    """Those that had not answered when another did."""


async def race(places: Sequence[Place], ask: Ask, patience: float) -> Race:
    """Ask the first place, and the next as well once one has failed or *patience* seconds have passed; keep the first answer."""
    waiting, running = list(places), dict[asyncio.Future[ServerStatus], Place]()
    found = Race()
    try:
        while found.winner is None and (waiting or running):
            if waiting:
                place = waiting.pop(0)
                running[asyncio.ensure_future(ask(place))] = place
            done, _ = await asyncio.wait(
                running, timeout=patience if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                _note(found, running.pop(task), task)
        found.hung = list(running.values())
        return found
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _note(found: Race, place: Place, task: asyncio.Future[ServerStatus]) -> None:
    try:
        found.status, found.winner = task.result(), place
    except KeaError as error:
        found.failed.append((place, error))


def silence(failed: Sequence[tuple[Place, KeaError]]) -> Silence:
    """Return what it means that every place failed."""
    errors = [error for _, error in failed]
    dead = [error for error in errors if isinstance(error, KeaDaemonDeadError)]
    if dead:
        return Silence(NoAnswer.REFUSED, str(dead[0]), daemon_dead=True)
    kinds = {kind_of(error) for error in errors}
    kind = next((kind for kind, _ in _KINDS if kind in kinds), NoAnswer.REFUSED)
    return Silence(kind, "; ".join(str(error) for error in errors) or "no address is configured")


def kind_of(error: KeaError) -> NoAnswer:
    """Return the kind of silence that *error* stands for."""
    return next(kind for kind, errors in _KINDS if isinstance(error, errors))
