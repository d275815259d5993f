"""
Tells what a comparison of the two lease databases came to, and which addresses two clients were given.

The counting is done in ``leases``; here it is put into words.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from keawatch.core.codes import Code, Finding, Severity
from keawatch.core.comparison import Comparison, Example, Kind, Rival
from keawatch.core.facts import Facts, evidence

_EXAMPLES = 5
_RIVALS_BESIDE = 5
_RIVALS = 20


def leases_diverged(facts: Facts) -> Finding | None:
    """Return that the databases differ, by the newest comparison; None when they do not, or were never compared."""
    comparison = facts.history.comparison
    if comparison is None or not (comparison.differences or comparison.suspicious):
        return None
    if _outdated(comparison, facts):
        return None  # Kea's own sync may have mended it, or torn it wider: the next comparison tells.
    sentence = _suspicion(comparison) if comparison.suspicious else _difference(comparison, facts)
    return Finding(Code.LEASES_DIVERGED, Severity.WARNING, sentence, evidence(facts, *lines_of(comparison)))


def _outdated(comparison: Comparison, facts: Facts) -> bool:
    """Return whether a server that answers has gone from one state into another since the comparison."""
    # The same change makes another comparison due as soon as both are at work (watchful): nothing is forgotten by this.
    return any(facts.steady_since(o) > comparison.at for o in (facts.a, facts.b) if o.status)


def _suspicion(comparison: Comparison) -> str:
    """Return the sentence for a database that is not to be believed: nothing is done about it without a person."""
    said = (comparison.suspicious or "").rstrip(".")
    return (
        f"{said}. Nothing is changed by itself: `keawatch diff` shows the differences, and `keawatch reconcile` "
        f"{_what_reconcile_copies(comparison)} and deletes none."
    )


def _what_reconcile_copies(comparison: Comparison) -> str:
    by_size = sorted(comparison.compared, key=lambda name: comparison.compared[name])
    if len(by_size) == 2 and comparison.compared[by_size[0]] < comparison.compared[by_size[1]]:
        return f"copies {by_size[1]}'s leases to {by_size[0]}"
    return "copies the leases that either server lacks"


def _difference(comparison: Comparison, facts: Facts) -> str:
    if comparison.authority is None:
        n = comparison.differences
        return (
            f"{facts.a.server} and {facts.b.server} differ about {n} address{'' if n == 1 else 'es'}: "
            f"{_parts(comparison, _SHARED, '', '')}; should one of them fail now, the other would answer by wrong records."
        )
    authority, other = comparison.authority, _other(comparison.authority, facts)
    told = differences_of(comparison, authority, other)
    return f"{told}; should {authority} fail now, {other} would answer by wrong records."


def _other(authority: str, facts: Facts) -> str:
    return facts.b.server if facts.a.server == authority else facts.a.server


_HOT_STANDBY: Mapping[Kind, str] = {
    Kind.MISSING: "{b} lacks {leases} that {a} has",
    Kind.EXTRA: "{b} holds {leases} that {a} does not",
    Kind.OWNER: "{n} {are} leased to another client at {b}",
    Kind.OLDER: "{n} {are} older at {b}",
    Kind.NEWER: "{n} {are} newer at {b}",
    Kind.STATE: "{n} {are} in another state at {b} (leased, declined or released)",
    Kind.DIFFERS: "{n} {are} different in another field at {b}",
}

_SHARED: Mapping[Kind, str] = {
    Kind.MISSING: "{n} {are} known only to the server whose client it is",
    Kind.EXTRA: "{n} {are} unknown to the server whose client it is",
    Kind.OWNER: "{n} {are} leased to two clients",
    Kind.OLDER: "{n} {are} older at the partner",
    Kind.NEWER: "{n} {are} newer at the partner",
    Kind.STATE: "{n} {are} in two states (leased, declined or released)",
    Kind.DIFFERS: "{n} {are} different in another field",
}


def differences_of(comparison: Comparison, authority: str, other: str) -> str:
    """Return what *other* lacks, holds or has otherwise than *authority*, whose word counts, as a clause."""
    return _parts(comparison, _HOT_STANDBY, authority, other)


def _parts(comparison: Comparison, words: Mapping[Kind, str], authority: str, other: str) -> str:
    counted = [(kind, n) for kind in words if (n := comparison.counts.get(kind, 0))]
    parts = [
        words[kind].format(
            n=n, are="is" if n == 1 else "are", leases=f"{n} lease{'' if n == 1 else 's'}", a=authority, b=other
        )
        for kind, n in counted
    ]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


# --- evidence


def lines_of(comparison: Comparison) -> tuple[str, ...]:
    """Return what was compared, when and why, with a few examples and the addresses that two clients have."""
    counts = ", ".join(f"{server} {count}" for server, count in comparison.compared.items())
    when = f"compared at {comparison.at:%Y-%m-%d %H:%M:%S} UTC in {comparison.seconds:.1f} s: {comparison.why}"
    unsettled = () if comparison.settled else ("some addresses changed each time they were looked at; not counted",)
    rivals = _listed([rival_line(rival) for rival in comparison.rivals], _RIVALS_BESIDE)
    examples = tuple(_example(example) for example in comparison.examples[:_EXAMPLES])
    return (f"leases compared: {counts}", when, *unsettled, *examples, *rivals)


def _example(example: Example) -> str:
    return (
        f"{example.address} ({example.kind}): {example.authority}, whose word counts, has {example.has or 'nothing'}; "
        f"its partner has {example.other or 'nothing'}"
    )


def rival_line(rival: Rival) -> str:
    """Return one address that two clients were given, as evidence."""
    return (
        f"{rival.address}: {rival.kept} stays, since the authority's word stands; {rival.lost} goes on using it until "
        f"{rival.until:%Y-%m-%d %H:%M} UTC"
    )


def _listed(lines: list[str], most: int) -> tuple[str, ...]:
    more = len(lines) - most
    return tuple(lines[:most]) + ((f"and {more} more of them",) if more > 0 else ())


# --- one address, two clients


def address_twice(facts: Facts) -> Finding | None:
    """Return that two clients use one address, for as long as the losing one may; no command can undo that."""
    now = facts.history.now
    rivals = sorted((r for r in facts.history.rivals if r.until > now), key=lambda r: r.until, reverse=True)
    if not rivals:
        return None
    n, last = len(rivals), rivals[0]
    given = "1 address was" if n == 1 else f"{n} addresses were"
    which = f"of {last.address}" if n == 1 else f"of {last.address}, the last to pass,"
    return Finding(
        Code.ADDRESS_TWICE,
        Severity.INFO,
        f"{given} given to two clients, one by the records of {facts.a.server} and one by those of {facts.b.server}: the lease {which} by "
        f"{last.kept} stays, and {last.lost} goes on using it until {_moment(last.until, now)}.",
        evidence(facts, *_listed([rival_line(rival) for rival in rivals], _RIVALS)),
    )


def _moment(moment: datetime, now: datetime) -> str:
    return f"{moment:%H:%M} UTC" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M} UTC"
