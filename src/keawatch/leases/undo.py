"""Puts back what a run changed, where nobody has changed it since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from keawatch.leases.backup import Change, Run
from keawatch.leases.lease import Record, key_of, same
from keawatch.leases.pages import LIMIT, records_at
from keawatch.leases.write import Refusal, Target, apply

CHUNK = 100


@dataclass(slots=True)
class Undone:
    """What an undo did."""

    restored: int = 0
    as_before: int = 0
    """Leases that were as before the run already."""
    left: list[str] = field(default_factory=list)
    """Addresses left alone because somebody changed them since, each with its server."""
    refused: list[Refusal] = field(default_factory=list)


def folded(changes: Iterable[Change]) -> list[Change]:
    """
    Return one change for each lease: from what it was before the first to what it was to be after the last.

    Where somebody else changed it in between, it is from what they made of it.
    """
    whole: dict[tuple[str, str], Change] = {}
    for change in changes:
        key = (change.server, change.address)
        first = whole.get(key)
        # One that was refused is tried again from the same record, another goes on from what the first made of it.
        unbroken = first and (_alike(change.before, first.after) or _alike(change.before, first.before))
        before = first.before if first and unbroken else change.before
        whole[key] = Change(change.server, change.address, change.kind, before, change.after)
    return list(whole.values())


async def undo(changes: Iterable[Change], targets: Mapping[str, Target], family: int, run: Run) -> Undone:
    """
    Put the records of *changes* back on *targets* (by name), keeping in *run* what they replace.

    Raises JournalError when that can't be kept, KeaError when a server is lost.
    """
    undone = Undone()
    by_server: dict[str, list[Change]] = {}
    for change in folded(changes):
        by_server.setdefault(change.server, []).append(change)
    for server, of_server in by_server.items():
        of_server.sort(key=lambda change: _key(change, family))
        for begin in range(0, len(of_server), CHUNK):
            await _put_back(of_server[begin : begin + CHUNK], targets[server], family, run, undone)
    return undone


async def _put_back(changes: list[Change], target: Target, family: int, run: Run, undone: Undone) -> None:
    # Far apart: the changes of a run may be few among many leases, and a question for each is cheaper than pages.
    places = [(_key(change, family), number * LIMIT) for number, change in enumerate(changes)]
    now = await records_at(target, family, places)
    back = []
    for change in changes:
        there = now.get(_key(change, family))
        if _alike(there, change.before):
            undone.as_before += 1
        elif _alike(there, change.after):
            back.append(Change(change.server, change.address, change.kind, there, change.before))
        else:
            undone.left.append(f"{change.address} on {change.server}")
    if not back:
        return
    run.append(back)
    # A client may renew since the reading above, and what is not in *run* must not be overwritten.
    refused = [r for r in await apply(target, family, back, if_still=True) if not r.passing]
    undone.refused += refused
    seen = await records_at(target, family, places)
    restored = [change for change in back if _alike(seen.get(_key(change, family)), change.after)]
    undone.restored += len(restored)
    lost = {change.address for change in back} - {change.address for change in restored}
    undone.left += [f"{address} on {target.name}" for address in sorted(lost - {r.change.address for r in refused})]


def _alike(there: Record | None, wanted: Record | None) -> bool:
    return there is wanted or (there is not None and wanted is not None and same(there, wanted))


def _key(change: Change, family: int) -> int:
    return key_of({"ip-address": change.address}, family)
