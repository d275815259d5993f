"""
Writes leases to a server: the one place where a lease command that changes something is made.

A command that Kea refuses for now (result 4: the lease is busy, or is there already) or whose answer is lost is not sent
again here. Whoever writes reads both servers again, and what still differs is judged anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from keawatch.errors import KeaCommandError, KeaTimeoutError
from keawatch.leases.backup import Change
from keawatch.leases.lease import Record, arguments_of, key_of, same
from keawatch.leases.pages import Answer, Source, records_at

DEADLINE = 10.0
"""Seconds one lease command may take."""

AT_ONCE = 4
"""Commands on their way at the same time: Kea carries them out one by one, more would only queue there."""

_GONE, _BUSY = 3, 4


class Target(Source, Protocol):
    """A server that can be written to (``kea.client.KeaServer``)."""

    def takes(self, command: str) -> bool:
        """Return whether some address of the server accepts *command*."""

    async def send(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Answer:
        """Send one command once; raises KeaError."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A change that was not made, as far as is known."""

    change: Change
    reason: str
    passing: bool = False
    """Whether it may pass the next time: the lease is busy, or is there already, or the answer was lost."""


async def apply(target: Target, family: int, changes: Sequence[Change], *, if_still: bool) -> list[Refusal]:
    """
    Make *changes* on *target*, and return what was not made; raises KeaError when the server is lost.

    With *if_still* each is made only where the record still is what it is to replace, so that an address that was given out
    or renewed meanwhile stays as it is. Where there is none Kea sees to that (``lease4-add``); else it is read once more, as
    late as can be.
    """
    if not changes:
        return []
    if family == 6 and not if_still and target.takes("lease6-bulk-apply"):
        return await _in_bulk(target, changes)
    return await _singly(target, family, changes, if_still=if_still)


async def _singly(target: Target, family: int, changes: Sequence[Change], *, if_still: bool) -> list[Refusal]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(change: Change) -> Refusal | None:
        async with gate:
            return await _one(target, family, change, if_still=if_still)

    done = await asyncio.gather(*(one(change) for change in changes), return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return [result for result in done if isinstance(result, Refusal)]


async def _one(target: Target, family: int, change: Change, *, if_still: bool) -> Refusal | None:
    command, arguments = _command(target, family, change, if_still=if_still)
    if if_still and not command.endswith("-add") and not await _still(target, family, change):
        return Refusal(change, "it was given out or changed meanwhile", passing=True)
    try:
        await target.send(command, arguments, deadline=DEADLINE)
    except KeaTimeoutError as error:
        return Refusal(change, str(error), passing=True)  # Whether it was done is unknown, and will be read.
    except KeaCommandError as error:
        return Refusal(change, error.text, passing=_passes(error.result, error.text))
    return None


async def _still(target: Target, family: int, change: Change) -> bool:
    """Return whether *target* still has what the change is to replace."""
    key = key_of({"ip-address": change.address}, family)
    there = (await records_at(target, family, [(key, 0)])).get(key)
    return there == change.before or (there is not None and change.before is not None and same(there, change.before))


_PASSING = ("already exists", "lost race", "resourcebusy", "retry might succeed")
"""What conflicts are called (lease_cmds.cc, addOrUpdate4 and leaseAddHandler): 2.2 says 1 where later ones say 4."""


def _passes(result: object, words: str) -> bool:
    words = words.lower()
    # A subnet that is not configured there is a conflict to Kea as well (lease_parser.cc), and will not pass.
    return (result == _BUSY and "subnet" not in words) or any(passing in words for passing in _PASSING)


def _command(target: Target, family: int, change: Change, *, if_still: bool) -> tuple[str, dict[str, Any]]:
    if change.after is None:
        return f"lease{family}-del", _name(change.before or {}, change.address)
    if if_still and change.before is None and target.takes(f"lease{family}-add"):
        return f"lease{family}-add", arguments_of(change.after, force=False)
    # Where a lease that is over is still on record nothing can be added, and a restricted HA listener takes no lease4-add.
    return f"lease{family}-update", arguments_of(change.after, force=True)


def _name(record: Record, address: str) -> dict[str, Any]:
    """Return what names one lease: a prefix and an address may be spelled alike, so DHCPv6 wants the type."""
    named = {"ip-address": address}
    return named | {"type": record["type"]} if "type" in record else named


async def _in_bulk(target: Target, changes: Sequence[Change]) -> list[Refusal]:
    arguments: dict[str, Any] = {}
    if gone := [change for change in changes if change.after is None]:
        arguments["deleted-leases"] = [_name(change.before or {}, change.address) for change in gone]
    if kept := [change.after for change in changes if change.after is not None]:
        arguments["leases"] = [arguments_of(record, force=False) for record in kept]
    try:
        reply = await target.send("lease6-bulk-apply", arguments, deadline=3 * DEADLINE)
    except KeaTimeoutError as error:
        return [Refusal(change, str(error), passing=True) for change in changes]
    except KeaCommandError:
        # One lease that Kea can't read refuses them all, before the first was written: so it is found out which.
        return await _singly(target, 6, changes, if_still=False)
    return _refused(reply.arguments, changes)


def _refused(told: object, changes: Sequence[Change]) -> list[Refusal]:
    """
    Return what a bulk command says of single leases that it could not apply (lease_cmds.cc, lease6BulkApply).

    What can't be read of it tells nothing: the next reading of the leases does.
    """
    by_address = {change.address: change for change in changes}
    refused = []
    for failed in (*_maps(told, "failed-deleted-leases"), *_maps(told, "failed-leases")):
        change = by_address.get(str(failed.get("ip-address")))
        if change and failed.get("result") != _GONE:
            reason = str(failed.get("error-message", "no reason given"))
            refused.append(Refusal(change, reason, passing=_passes(failed.get("result"), reason)))
    return refused


def _maps(told: object, key: str) -> list[Mapping[str, Any]]:
    listed = told.get(key) if isinstance(told, Mapping) else None
    return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
