"""
Compares keawatch's play of a fault with Kea's alone, and names whatever was not for the better.
"""

from collections.abc import Iterator

from tests.chaos.play import Json, Played
from tests.chaos.stage import RATE

SLACK_SECONDS = 1.0
SLACK_EXCHANGES = 30
"""Of an outage that depends on when a heartbeat falls, so many exchanges more or less say nothing."""


def wrong(alone: Played | None, watched: Played) -> list[str]:
    """Return what keawatch did wrong, in sentences."""
    return [*_of_plans(watched), *_of_words(watched), *(_of_ends(alone, watched) if alone else ())]


def _of_plans(watched: Played) -> Iterator[str]:
    for plan in watched.plans:
        if plan["clients_waited"] > plan["announced_pause"] + SLACK_SECONDS:
            yield (
                f"{name(plan)} announced {plan['announced_pause']:.1f} s without service and clients waited "
                f"{plan['clients_waited']:.1f} s"
            )


def _of_words(watched: Played) -> Iterator[str]:
    if watched.code == "OK" and not watched.redundant:
        yield f"said OK beside {' / '.join(watched.states)}"
    if watched.code == "OK" and watched.apart:
        yield f"said OK while {watched.apart} leases differed"
    if watched.untrue and not watched.apart:
        yield f"named the wrong client as the one that keeps its address, at {watched.untrue} of {watched.told_twice}"


def _of_ends(alone: Played, watched: Played) -> Iterator[str]:
    if alone.redundant and not watched.redundant:
        yield f"ended in {' / '.join(watched.states)}, where Kea alone ended redundant"
    if _silently_lost(watched) > alone.lost:
        yield f"{_silently_lost(watched)} leases were lost without a word, {alone.lost} with Kea alone"
    # Beyond the cap it mends nothing without a person, and says so.
    capped = "reconcile-cap" in watched.withheld
    if alone.apart is not None and not capped and (watched.apart is None or watched.apart > alone.apart):
        yield f"{watched.apart} leases differ at the end, {alone.apart} with Kea alone"
    announced = sum(plan["announced_pause"] for plan in watched.plans)
    more = watched.exchanges["lost"] - alone.exchanges["lost"]
    if more > SLACK_EXCHANGES + announced * RATE:
        yield f"{more} exchanges more were lost than with Kea alone, {announced:.1f} s without service were announced"


def _silently_lost(watched: Played) -> int:
    """Return how many leases were lost beside those whose address two clients were given, of which keawatch tells who keeps it."""
    return watched.lost - min(watched.taken, watched.told_twice)


def name(plan: Json) -> str:
    """Return what a plan is called."""
    return f"`{plan['strategy']}` against `{plan['code']}`"
