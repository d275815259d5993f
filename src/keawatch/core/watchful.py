"""
Says when the two lease databases should be compared, by what was seen of the pair.

Kea tells nobody when a lease reached one server only: a failed update raises no counter, a split heals only half, a sync can
leave leases out and answer success (facts in docs/kea.md). So every occasion on which that happens calls for a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise, takewhile

from keawatch.core.comparison import Comparison
from keawatch.core.facts import Facts, facts_of
from keawatch.core.model import NORMAL_STATES, HaState, History, Mode, Observation, Snapshot
from keawatch.core.policy import Policy

IN_FLIGHT = 1.0
"""Seconds after both came together in which updates are still on their way."""

SPLIT_EVERY = 3.0
"""Seconds from one comparison to the next while both serve the same clients: the losers' leases are only seen then."""

BALANCED_SHARE = 20.0
"""How many times as long as a comparison takes there is none in load-balancing."""

UNSETTLED_EVERY = 60.0
"""Seconds until what changed too fast to be counted is counted again."""

ROUNDING = 2.0
"""Seconds by which Kea's own count of seconds may be off from ours."""

COUNTS = "the lease counts differ"
"""How the reason of the cheap look begins."""

COUNTS_AGAIN = 10.0
"""How many cheap looks must pass before counts that differ still call for another comparison."""


def comparison_due(history: History, policy: Policy) -> str | None:
    """Return why both databases should be compared now, as a clause; None when there is no reason to, or it can't be done."""
    if history.comparing is not None:
        return None
    facts = _known(history, policy)
    return None if facts is None or _in_flight(facts) else _wanted(facts)


def comparison_wanted(history: History, policy: Policy) -> str | None:
    """Return why both databases are to be compared, as a clause, also when one is under way or updates are still in flight."""
    facts = _known(history, policy)
    return None if facts is None else _wanted(facts)


def _known(history: History, policy: Policy) -> Facts | None:
    """Return the facts, or None where there is nobody to compare."""
    return facts_of(history, policy) if history.snapshots and history.newest.both_answered else None


def _wanted(facts: Facts) -> str | None:
    split = facts.snapshot.served_twice
    return _while_split(split, facts) if split else _while_together(facts)


def _in_flight(facts: Facts) -> bool:
    """Return whether the servers came together only just now."""
    if facts.snapshot.served_twice:
        return False
    return (facts.history.now - _together_since(facts)).total_seconds() < IN_FLIGHT


def _while_split(scopes: list[str], facts: Facts) -> str | None:
    last = facts.history.comparison
    if last is not None and _seconds_since(last, facts) < SPLIT_EVERY:
        return None
    return f"both servers serve the scope {', '.join(scopes)}"


def _while_together(facts: Facts) -> str | None:
    if any(state not in NORMAL_STATES for state in facts.states):
        return None
    last = facts.history.comparison
    if last is None:
        return "it is the first since keawatch was started"
    return next((reason for check in _CHECKS if (reason := check(last, facts))), None)


def _seconds_since(last: Comparison, facts: Facts) -> float:
    return (facts.history.now - last.at).total_seconds()


def _began(last: Comparison) -> datetime:
    """Return when *last* began; what was seen after it may have changed a lease that it had already read."""
    return last.at - timedelta(seconds=last.seconds)


def _since(last: Comparison, facts: Facts) -> Iterator[Snapshot]:
    """Yield what was seen since *last* began, newest first."""
    began = _began(last)
    return takewhile(lambda snapshot: snapshot.taken_at > began, reversed(facts.history.snapshots))


def _together_since(facts: Facts) -> datetime:
    """Return since when both are at work, given that they are."""
    return max(facts.steady_since(facts.a), facts.steady_since(facts.b))


# --- what calls for another one


def _came_together(last: Comparison, facts: Facts) -> str | None:
    since = _together_since(facts)
    return f"the servers came together at {since:%H:%M:%S} UTC" if since > last.at else None


def _restarted(last: Comparison, facts: Facts) -> str | None:
    """Return that a server was restarted so fast that nobody saw it: Kea tells for how long it has its configuration."""
    seconds = _seconds_since(last, facts)
    return next((said for o in (facts.a, facts.b) if (said := started_within(o, seconds))), None)


def started_within(observation: Observation, seconds: float) -> str | None:
    """Return that a server was started or reconfigured within the last *seconds*, as a clause; None when it was not."""
    reload = observation.status.reload if observation.status else None
    if reload is None or reload + ROUNDING >= seconds:
        return None
    return f"{observation.server} was started or reconfigured {reload:.0f} s ago"


def _attempt_ended(last: Comparison, facts: Facts) -> str | None:
    for attempt in reversed(facts.history.attempts):
        if attempt.strategy in _ENDS_COMPARED and attempt.result == "ok":
            continue
        if attempt.ended_at and attempt.ended_at > last.at and attempt.result != "refused":
            return f"the plan {attempt.plan_id} has ended"
    return None


def _lost_touch(last: Comparison, facts: Facts) -> str | None:
    """
    Return that a server had lost touch with its partner for a while, and has it again, though no state has changed.

    A link that fails for less than max-response-delay leaves both at work; the updates that were sent meanwhile are lost, and
    no counter tells (seen on 2.6 and 3.0 over a flapping link).
    """
    if any(_out_of_touch(o, facts) for o in (facts.a, facts.b)):
        return None
    for snapshot in _since(last, facts):
        for observation in snapshot:
            if _out_of_touch(observation, facts):
                return f"{observation.server} had lost touch with its partner at {snapshot.taken_at:%H:%M:%S} UTC"
    return None


def _out_of_touch(observation: Observation, facts: Facts) -> bool:
    view = observation.partner
    if view is None:
        return False
    late = view.age > 2 * facts.h + ROUNDING
    return view.communication_interrupted or view.state is HaState.UNAVAILABLE or late


def _unseen(last: Comparison, facts: Facts) -> str | None:
    """
    Return that nobody saw for a while what either server did: both hung, or keawatch was cut off from both.

    They may have lost touch meanwhile and found each other again. Two that were stopped for 19 s went on as if nothing had been,
    with an address that each had for another client (3.0.4 in load-balancing).
    """
    for later, earlier in pairwise(_since(last, facts)):  # A single lost poll is no while.
        if not any(seen.status for seen in (*earlier, *later)):
            return f"neither server answered at {later.taken_at:%H:%M:%S} UTC"
    return None


def _unsent(last: Comparison, facts: Facts) -> str | None:
    """Return that a server could not send updates: Kea counts those it skipped while it thought its partner down."""
    for observation in (facts.a, facts.b):
        before = _unsent_before(last, observation, facts)
        now = observation.status.unsent_updates if observation.status else None
        if before is not None and now is not None and now > before:
            return f"{observation.server} has kept {now - before} lease updates from its partner"
    return None


def _unsent_before(last: Comparison, observation: Observation, facts: Facts) -> int | None:
    """Return a server's count when the last comparison began, or the oldest that is remembered."""
    began = _began(last)
    known: int | None = None
    for snapshot in facts.history.snapshots:
        count = _count(snapshot, observation.server)
        if count is not None and (known is None or snapshot.taken_at <= began):
            known = count
    return known


def _count(snapshot: Snapshot, server: str) -> int | None:
    status = snapshot.of(server).status
    return status.unsent_updates if status else None


def _counts_apart(last: Comparison, facts: Facts) -> str | None:
    apart, looked_at = facts.history.counts_apart, facts.history.counts_at
    if apart is None or looked_at is None or looked_at <= last.at:
        return None
    return counts_call(last, apart, facts)


def counts_call(last: Comparison, apart: str, facts: Facts) -> str | None:
    """Return why counts that are *apart* call for another comparison after *last*; None when it is too early for one."""
    # What was compared for this reason and is left as it is, such as with autonomy "observe", is no news each minute.
    if last.why.startswith(COUNTS) and _seconds_since(last, facts) < COUNTS_AGAIN * facts.policy.watch_leases:
        return None
    return f"{COUNTS}: {apart.rstrip('.')}"


def unsettled(last: Comparison, facts: Facts) -> str | None:
    """Return that *last* left addresses uncounted, and some time has passed since."""
    if last.settled or _seconds_since(last, facts) <= UNSETTLED_EVERY:
        return None
    return "some addresses changed too fast to be counted the last time"


def _balanced(last: Comparison, facts: Facts) -> str | None:
    """
    Return that both servers lease, in load-balancing, and that nobody has looked for a while.

    From pools that they share both may give one address to two clients within milliseconds. Each then takes the other's update, so
    that each has the address for the other's client, and neither a count nor a state tells: 4 addresses of 215 on 3.0.4 in DHCPv6,
    in a second after one had been switched on again.
    """
    # What was found to differ is told, and waits for somebody.
    if facts.mode is not Mode.LOAD_BALANCING or not last.is_alike:
        return None
    seconds = _seconds_since(last, facts)
    if seconds < max(facts.policy.watch_leases, BALANCED_SHARE * last.seconds):
        return None
    return f"both servers lease, and the last comparison is {seconds:.0f} s old"


_ENDS_COMPARED = frozenset({"reconcile", "upkeep"})
"""Plans whose last act is a comparison."""

_Check = Callable[[Comparison, Facts], str | None]

_CHECKS: tuple[_Check, ...] = (
    _came_together,
    _restarted,
    _attempt_ended,
    _unsent,
    _lost_touch,
    _unseen,
    _counts_apart,
    unsettled,
    _balanced,
)
