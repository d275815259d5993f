"""
Makes of a history what the journal keeps of it, and of that a history again, on which ``decide()`` says the same.

The newest snapshot is kept whole. Of an earlier one only what a condition may ask of it, once for all polls that saw the same:
ages, clocks and counters are another each time. What was not kept can't be read back by mistake: whoever asks a history for
it gets NotReplayableError, so that a rule of tomorrow that looks at more than was kept is told from one that decides otherwise.
Times are kept to the microsecond, since "held for 6 s" is true or false within one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from keawatch.core.comparison import Comparison
from keawatch.core.model import (
    KEEP_AT_MOST,
    HaStatus,
    History,
    Observation,
    PartnerView,
    ServerStatus,
    Silence,
    Snapshot,
)
from keawatch.core.policy import Policy
from keawatch.daemon.jsonable import jsonable
from keawatch.errors import KeawatchError

FORM = 1
"""Of an entry; another one is not read."""

LOOKED_AT = frozenset({"snapshot", "history", "policy"})
"""The parts of an entry that ``recorded`` makes."""

MOST_RIVALS = 20
"""Addresses with two owners that are kept, those that last longest: the decision asks only whether there are any."""

HOLE = 30.0
"""Seconds between two snapshots from which on each is kept for itself; a condition takes twice as much for a break."""

_PASSING: Mapping[str, frozenset[str]] = {
    "observation": frozenset({"at", "facts", "seconds"}),
    "answer": frozenset({"clock", "clock_read_at", "unsent_updates", "pid", "uptime", "reload", "note", "detail"}),
    "partner": frozenset(
        {"age", "connecting_clients", "unacked_clients", "unacked_clients_left", "analyzed_packets", "clock_skew"}
    ),
}
"""What is not kept of an earlier snapshot."""

_TABLES = frozenset({"spells", "attempts", "rivals", "logged"})
"""Parts of a history that are kept as rows, since there are many alike."""

Json = dict[str, Any]


class NotReplayableError(KeawatchError):
    """What was kept is not all that must be known to decide again."""


# --- writing


def recorded(history: History, policy: Policy) -> Json:
    """
    Return what the journal keeps of what ``decide()`` looked at.

    *history* may have ``diagnosed`` as the decision left it: each finding keeps its time by that, and nothing else asks for it.
    """
    *earlier, newest = history.snapshots
    kept: Json = {
        field.name: _exact(getattr(history, field.name))
        for field in dataclasses.fields(history)
        if field.name not in {*_TABLES, "snapshots", "comparison"}
    }
    rivals = sorted(history.rivals, key=lambda rival: rival.until)[-MOST_RIVALS:]
    kept["spells"], kept["attempts"], kept["rivals"] = _rows(history.spells), _rows(history.attempts), _rows(rivals)
    kept["logged"] = _rows(history.logged)
    kept["rivals_in_all"] = len(history.rivals)
    kept["comparison"] = _exact(_bare(history.comparison))
    return {
        "snapshot": _exact(newest),
        "history": {"form": FORM, **kept, "earlier": _looks(earlier)},
        "policy": _exact(policy),
    }


def _exact(value: Any) -> Any:
    return jsonable(value, "microseconds")


def _bare(comparison: Comparison | None) -> Comparison | None:
    """Return a comparison without what is evidence for people."""
    return comparison and dataclasses.replace(comparison, examples=(), rivals=())


def _rows(items: Sequence[Any]) -> Json:
    if not items:
        return {"fields": [], "rows": []}
    return {
        "fields": [field.name for field in dataclasses.fields(items[0])],
        "rows": [list(row.values()) for row in _exact(items)],
    }


def _looks(snapshots: Iterable[Snapshot]) -> Json:
    """Return what was seen as a list of looks at one server, and runs of polls: both looks, first, last, and how many."""
    looks: dict[object, int] = {}
    kept: list[Json] = []
    runs: list[tuple[list[int], list[datetime]]] = []
    for snapshot in snapshots:
        both = []
        for observation in snapshot:
            number = looks.setdefault(_alike(observation), len(looks))
            if number == len(kept):
                kept.append(look_at(observation))
            both.append(number)
        at = snapshot.taken_at
        if runs and runs[-1][0] == both and (at - runs[-1][1][-1]).total_seconds() <= HOLE:
            runs[-1][1].append(at)
        else:
            runs.append((both, [at]))
    return {"looks": kept, "runs": [[*both, _exact(times[0]), _exact(times[-1]), len(times)] for both, times in runs]}


def _alike(observation: Observation) -> object:
    """Return what two looks have in common if the same is kept of them; there may be a thousand, while a plan waits."""
    answer = observation.answer
    told = (observation.server, type(answer), _KEPT[type(answer)](answer))
    if isinstance(answer, Silence) or answer.ha is None:
        return told
    partner = answer.ha.partner
    return (*told, _KEPT[HaStatus](answer.ha), partner and _KEPT[PartnerView](partner))


def _getter(kind: type, but: frozenset[str]) -> Callable[[Any], object]:
    return attrgetter(*(field.name for field in dataclasses.fields(kind) if field.name not in but))


_KEPT: Mapping[type, Callable[[Any], object]] = {
    Silence: _getter(Silence, _PASSING["answer"]),
    ServerStatus: _getter(ServerStatus, _PASSING["answer"] | {"ha"}),
    HaStatus: _getter(HaStatus, frozenset({"partner"})),
    PartnerView: _getter(PartnerView, _PASSING["partner"]),
}


def look_at(observation: Observation) -> Json:
    """Return what is kept of an earlier observation."""
    look: Json = _without(_exact(observation), "observation")
    answer = look["answer"] = _without(look["answer"], "answer")
    if answer.get("ha") and answer["ha"]["partner"]:
        answer["ha"]["partner"] = _without(answer["ha"]["partner"], "partner")
    return look


def _without(data: Mapping[str, Any], part: str) -> Json:
    return {key: value for key, value in data.items() if key not in _PASSING[part]}


# --- reading


@lru_cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def history_from(body: Mapping[str, Any]) -> tuple[History, Policy]:
    """Return what ``recorded`` has made *body* of; raises NotReplayableError where that can't be had."""
    if "history" not in body or "policy" not in body:
        raise NotReplayableError("it was written by a keawatch that did not keep what it looked at")
    kept = body["history"]
    if not isinstance(kept, dict) or kept.get("form") != FORM:
        raise NotReplayableError("it was written in another form, by a newer keawatch")
    try:
        newest: Snapshot = _read(Snapshot, body["snapshot"])
        history: History = _read(History, _plain(kept))
        earlier = tuple(_snapshots(kept["earlier"]))
        policy: Policy = _read(Policy, body["policy"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise NotReplayableError(f"{where} is not understood ({first['msg']})") from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise NotReplayableError(f"it is not whole ({type(error).__name__}: {error})") from None
    return dataclasses.replace(history, snapshots=(*earlier, newest)), policy


def _read(kind: type, data: Any) -> Any:
    value = _adapter(kind).validate_python(data)
    lost = _lost(data, _exact(value), "")
    if lost:
        raise NotReplayableError(f"this keawatch does not know {lost}")
    return value


def _lost(data: Any, known: Any, where: str) -> str | None:
    """Return what of *data* was not taken over into *known*; None if all was, whatever is new beside it."""
    if isinstance(data, dict) and isinstance(known, dict):
        unknown = next((key for key in data if key not in known), None)
        if unknown is not None:
            return f"{where}{unknown}"
        return next((lost for key in data if (lost := _lost(data[key], known[key], f"{where}{key}."))), None)
    if isinstance(data, list) and isinstance(known, list) and len(data) == len(known):
        return next((lost for one, other in zip(data, known, strict=True) if (lost := _lost(one, other, where))), None)
    return None if data == known else where.rstrip(".")


def _plain(kept: Mapping[str, Any]) -> Json:
    """Return the history's fields as they were before they became rows."""
    rest = {key: value for key, value in kept.items() if key not in {*_TABLES, "form", "earlier", "rivals_in_all"}}
    return rest | {
        name: [dict(zip(kept[name]["fields"], row, strict=True)) for row in kept[name]["rows"]]
        for name in _TABLES
        if name in kept  # An entry of before there were logs has none.
    }


def _snapshots(earlier: Mapping[str, Any]) -> Iterator[Snapshot]:
    """Yield the earlier snapshots; within a run the first and the last are at their times, and the others evenly between."""
    looks = [_observation(look) for look in earlier["looks"]]
    if sum(count for *_, count in earlier["runs"]) > KEEP_AT_MOST:
        raise ValueError("more snapshots than a history has")
    for first, second, begin, end, count in earlier["runs"]:
        since, until = datetime.fromisoformat(begin), datetime.fromisoformat(end)
        for number in range(count):
            at = until if number == count - 1 else since + (until - since) / max(1, count - 1) * number
            yield Snapshot(at, looks[first], looks[second])


def _observation(look: Mapping[str, Any]) -> Observation:
    veiled: Observation = _veiled(_read(Observation, {**look, "at": _UNKNOWN}), look)
    return veiled


_UNKNOWN = "1970-01-01T00:00:00.000000Z"


def _veiled(value: Any, kept: Any) -> Any:
    """Return *value* as one of its kind from which nothing can be read but what was *kept*."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type) or not isinstance(kept, Mapping):
        return value
    parts = {
        field.name: _veiled(getattr(value, field.name), kept.get(field.name)) for field in dataclasses.fields(value)
    }
    return _veil(type(value), frozenset(parts) - set(kept))(**parts)


@lru_cache
def _veil(kind: type, missing: frozenset[str]) -> type:
    def get(self: object, name: str) -> Any:
        if name in missing:
            raise NotReplayableError(f"it asks for {name} of an earlier look, which is not kept")
        return object.__getattribute__(self, name)

    return type(kind.__name__, (kind,), {"__slots__": (), "__getattribute__": get}) if missing else kind
