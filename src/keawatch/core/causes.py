"""
Says why a pair terminated.

Kea tells the cause only to its log. Where that is followed it is believed, unless the cause is there to be seen now (the clocks,
the subnets of both running configurations); where it is not, the cause is found by what a server remembers, by what was seen
just before, and at last by elimination.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keawatch.core.codes import Code
from keawatch.core.facts import Facts, skew_line, subnets_apart
from keawatch.core.logged import Logged, LogKind
from keawatch.core.model import NORMAL_STATES, HaState, Observation, Spell


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause, as the clause behind “both servers have terminated HA”."""

    code: Code
    because: str
    evidence: tuple[str, ...] = ()


def cause_of_termination(facts: Facts) -> Cause:
    """Return why a pair terminated; Kea itself tells only its log (communication_state.cc; ha_service.cc, shouldTerminate)."""
    for judge in (skewed_now, _subnets_differ, _told_by_log, _skewed_then, _by_elimination):
        cause = judge(facts)
        if cause:
            return cause
    return Cause(
        Code.TERMINATED_UNKNOWN,
        "for a reason that can't be seen from here (a clock skew that has passed, or rejected lease updates)",
        tuple(line for line in (skew_line(facts), "what came before was not watched") if line),
    )


def skewed_now(facts: Facts) -> Cause | None:
    """Return the cause that the clocks are too far apart at this moment, or None."""
    if facts.skew is None or abs(facts.skew) <= facts.policy.skew_warning:
        return None
    ahead, behind = (facts.b, facts.a) if facts.skew > 0 else (facts.a, facts.b)
    return Cause(
        Code.TERMINATED_SKEW,
        f"because the clock of {ahead.server} is {abs(facts.skew):.0f} s ahead of {behind.server}'s (Kea allows 60 s)",
        tuple(line for line in (skew_line(facts),) if line),
    )


def _subnets_differ(facts: Facts) -> Cause | None:
    apart = subnets_apart(facts)
    if apart is None:
        return None
    return Cause(
        Code.TERMINATED_REJECTS,
        f"because lease updates were rejected: the servers' subnets differ ({apart})",
        (f"running configurations: {apart}",),
    )


_MOVES = frozenset({LogKind.HA_STATE_TRANSITION, LogKind.HA_SERVICE_STARTED})
_SAYS = {
    LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION: (
        Code.TERMINATED_REJECTS,
        "because too many lease updates were rejected, as the log of {server} says (the subnets agree)",
    ),
    LogKind.HA_HIGH_CLOCK_SKEW_CAUSED_TERMINATION: (
        Code.TERMINATED_SKEW,
        "because the clocks were apart, as the log of {server} says; they agree now",
    ),
}


def _told_by_log(facts: Facts) -> Cause | None:
    """Return the cause that a server's log names for the termination that it is in, or None."""
    for server, _ in facts.ways():
        said = _last_word(facts, server) if server.state is HaState.TERMINATED else None
        if said:
            code, because = _SAYS[said.kind]
            line = f"log of {server.server} at {said.at:%Y-%m-%d %H:%M:%S} UTC: {said.text}"
            return Cause(code, because.format(server=server.server), (line,))
    return None


def _last_word(facts: Facts, server: Observation) -> Logged | None:
    """Return the line by which a server's log ends HA, unless it has begun again since."""
    for event in reversed(facts.history.logged_by(server.server, _MOVES | _SAYS.keys())):
        if event.kind in _SAYS:
            return event
        if event.enters != HaState.TERMINATED:
            return None
    return None


def _skewed_then(facts: Facts) -> Cause | None:
    """Return a skew that has passed: remembered by a server (Kea 2.7.2+ tells) or seen by us just before."""
    for server, _ in facts.ways():
        skew = server.partner.clock_skew if server.partner else None
        if skew is not None and abs(skew) > 60.0:
            return Cause(
                Code.TERMINATED_SKEW,
                f"because of a clock skew of {abs(skew):.0f} s that {server.server} still remembers; the clocks agree now",
                (f"{server.server} remembers a clock-skew of {skew:.0f} s in status-get",),
            )
    for server, _ in facts.ways():
        for skew, at in _skews_around(facts, server):
            if abs(skew) > _NEARLY_FATAL:
                earlier = facts.history.before(server.server, HaState.TERMINATED)
                when = f"left {earlier.word}" if earlier else "was first seen terminated"
                return Cause(
                    Code.TERMINATED_SKEW,
                    f"because the clocks were {abs(skew):.0f} s apart when {server.server} {when}; they agree now",
                    (f"measured at {at:%H:%M:%S} UTC",),
                )
    return None


_NEARLY_FATAL = 58.0
"""Kea terminates above 60 s; our own reading is off by up to a second or two."""


def _skews_around(facts: Facts, server: Observation) -> tuple[tuple[float, datetime], ...]:
    """Return the skews measured just before a server was first seen terminated, and just then."""
    earlier = facts.history.before(server.server, HaState.TERMINATED)
    spells = [spell for spell in facts.history.spells_of(server.server) if spell.word == HaState.TERMINATED]
    readings = [(earlier.skew, earlier.until)] if earlier else []
    readings += [(spells[-1].skew_at_first, spells[-1].since)] if spells else []
    return tuple((skew, at) for skew, at in readings if skew is not None)


def _by_elimination(facts: Facts) -> Cause | None:
    """
    Return rejected updates when nothing else is left.

    Kea terminates only for a skew above 60 s, rejected updates (2.3.1 and later), or a terminated partner
    (ha_service.cc, shouldTerminate); if we saw the clocks agree just before, it was the updates.
    """
    if facts.ha is not None and not facts.ha.max_rejected_lease_updates:
        return None  # Unknown to that Kea, or never.
    for server, _ in facts.ways():
        earlier = facts.history.before(server.server, HaState.TERMINATED)
        watched = earlier is not None and earlier.word in NORMAL_STATES and earlier.skew is not None
        if earlier and watched and all(abs(skew) < 30.0 for skew, _ in _skews_around(facts, server)):
            return Cause(
                Code.TERMINATED_REJECTS,
                "because too many lease updates were rejected (the subnets agree, so most likely two updates met at one address)",
                (_elimination(server, earlier),),
            )
    return None


def _elimination(server: Observation, earlier: Spell) -> str:
    return (
        f"by elimination: the clocks were {abs(earlier.skew or 0.0):.0f} s apart when {server.server} left {earlier.word} "
        f"at {earlier.until:%H:%M:%S} UTC, and Kea terminates for nothing else"
    )
