"""
Compares keawatch's plays of a fault with Kea's alone, and names whatever was not for the better.

Where a fault was played several times, what one play of Kea alone came to is the fault's own doing. Of keawatch's plays the middle
one counts for the exchanges that were lost, which hang on when a heartbeat falls and which frame is lost, and the worst one for
the rest. Addresses that two clients have are compared by the middle one of either: a single play of Kea alone may have many.
"""

import statistics
from collections.abc import Iterator, Sequence
from typing import Protocol

from tests.chaos.play import Json, Played
from tests.chaos.stage import RATE

SLACK_SECONDS = 1.0
SLACK_EXCHANGES = 30
"""Of an outage that depends on when a heartbeat falls, so many exchanges more or less say nothing."""
LATE_SECONDS = 5.0
"""How much longer a fault may last in one play than in another."""
SLACK_TWICE = 25
"""Of addresses that two servers give away at the same time, chance decides so many."""


class Asked(Protocol):
    """One play of a fault, as its clients saw it."""

    @property
    def gaps(self) -> Sequence[Sequence[float]] | None:
        """Return when, in seconds since the fault began, and for how long clients asked and got no lease."""

    @property
    def acted(self) -> float:
        """Return for how many seconds the fault was there."""


def wrong(alone: Sequence[Played], watched: Sequence[Played]) -> list[str]:
    """Return what keawatch did wrong, in sentences, each once."""
    said = [text for played in watched for text in (*_of_plans(alone, played), *_of_words(played))]
    if alone and watched:
        said += [*(text for played in watched for text in _of_ends(alone, played))]
        said += [*_of_exchanges(alone, watched), *_of_addresses(alone, watched)]
    return list(dict.fromkeys(said))


def _of_plans(alone: Sequence[Played], watched: Played) -> Iterator[str]:
    for plan in watched.plans:
        more = plan["clients_waited"] - plan["announced_pause"] - SLACK_SECONDS
        if more > 0 and more > waited_anyway(alone, watched, plan):
            yield (
                f"{name(plan)} announced {plan['announced_pause']:.1f} s without service and clients waited "
                f"{plan['clients_waited']:.1f} s"
            )


def waited_anyway(alone: Sequence[Asked], watched: Asked, plan: Json) -> float:
    """
    Return how long the clients of Kea alone waited at most in the seconds of the fault in which the plan was under way.

    What the fault does without a plan is not the plan's doing. These are the same seconds and not its worst ones, and only while
    the fault is there: a plan that makes clients wait where Kea alone serves them is told of, and so is one that does it later,
    however long Kea alone takes to come back.
    """
    begun, ended = plan["began"], plan["began"] + plan["took"]
    ended = max([ended, *(at + length for at, length in watched.gaps or () if begun <= at <= ended)])
    ended = min(ended, watched.acted)
    waited = []
    for played in alone:
        # On a busy machine a fault may last a little longer in one play than in the other.
        late = min(max(ended - played.acted, 0.0), LATE_SECONDS)
        waited.append(sum(_within(gap, begun - late, min(ended - late, played.acted)) for gap in played.gaps or ()))
    return max(waited, default=0.0)


def _within(gap: Sequence[float], begun: float, ended: float) -> float:
    at, length = gap
    return max(min(at + length, ended) - max(at, begun), 0.0)


def _of_words(watched: Played) -> Iterator[str]:
    if watched.code == "OK" and not watched.redundant:
        yield f"said OK beside {' / '.join(watched.states)}"
    if watched.code == "OK" and watched.apart:
        yield f"said OK while {watched.apart} leases differed"
    if watched.untrue and not watched.apart:
        yield f"named the wrong client as the one that keeps its address, at {watched.untrue} of {watched.told_twice}"


def _of_ends(alone: Sequence[Played], watched: Played) -> Iterator[str]:
    if any(played.redundant for played in alone) and not watched.redundant:
        yield f"ended in {' / '.join(watched.states)}, where Kea alone ended redundant"
    lost = max(played.lost - played.taken for played in alone)
    if watched.lost - watched.taken > lost:
        yield f"{watched.lost - watched.taken} leases were lost, {lost} with Kea alone"
    # Of two clients with one address only one can keep it, once the databases are alike again, and Kea alone tells of neither.
    shared = max(max(played.taken, played.twice) for played in alone)
    untold = watched.taken - min(watched.taken, watched.told_twice)
    if untold > shared:
        yield f"{untold} clients lost their address to another without a word; with Kea alone {shared} had one with another"
    # Beyond the cap it mends nothing without a person, and says so.
    capped = "reconcile-cap" in watched.withheld
    known = [played.apart for played in alone if played.apart is not None]
    if known and not capped and (watched.apart is None or watched.apart > max(known)):
        yield f"{watched.apart} leases differ at the end, {max(known)} with Kea alone"


def _of_exchanges(alone: Sequence[Played], watched: Sequence[Played]) -> Iterator[str]:
    until = _silent_from(*alone, *watched)
    announced = min(sum(plan["announced_pause"] for plan in played.plans) for played in watched)
    lost, own = ([_lost(played, until) for played in plays] for plays in (watched, alone))
    more = statistics.median(lost) - max(own)
    if more > SLACK_EXCHANGES + announced * RATE:
        yield f"{more:.0f} exchanges more were lost than with Kea alone, {announced:.1f} s without service were announced"


def _of_addresses(alone: Sequence[Played], watched: Sequence[Played]) -> Iterator[str]:
    ours, own = (statistics.median(float(played.twice) for played in plays) for plays in (watched, alone))
    if ours > own + SLACK_TWICE:
        yield f"{ours:.0f} addresses were given to two clients, {own:.0f} with Kea alone"


def _lost(played: Played, until: float | None) -> float:
    return float(played.exchanges["lost"]) - _lost_after(played, until)


def _silent_from(*plays: Played) -> float | None:
    """Return until when all were looked at, if each of them ended without service; else None."""
    ends = [played.asked_until for played in plays]
    if any(end is None or not _silence_at_end(played) for end, played in zip(ends, plays, strict=True)):
        return None
    return min(end for end in ends if end is not None)


def _lost_after(played: Played, until: float | None) -> float:
    """
    Return how many exchanges were lost only because a play in which nobody is served any more was looked at for longer.

    A silence that begins sooner than in the other play is counted in full up to that moment.
    """
    silence = _silence_at_end(played)
    if until is None or played.asked_until is None or not silence:
        return 0.0
    return RATE * max(played.asked_until - max(until, silence), 0.0)


def _silence_at_end(played: Played) -> float | None:
    """Return since when nobody is served, if nobody is at the end."""
    if not played.gaps or played.asked_until is None:
        return None
    at, length = played.gaps[-1]
    return at if length > SLACK_SECONDS and at + length > played.asked_until - SLACK_SECONDS / 2 else None


def name(plan: Json) -> str:
    """Return what a plan is called."""
    return f"`{plan['strategy']}` against `{plan['code']}`"
