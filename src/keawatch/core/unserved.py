"""
Tells of a server that should serve and gives nobody a lease: it answers no request, can't store a lease, or hears nobody.

By Kea's packet counters (``traffic``) and, where it is read, by its log; its HA state is a serving one all the while.
"""

from __future__ import annotations

from dataclasses import dataclass

from keawatch.core.codes import Code, Finding, Severity
from keawatch.core.conflicts import FEWEST, STILL_ASKED, UNANSWERED_FOR, rate, refused_subnets, unanswered
from keawatch.core.facts import Facts, evidence, subnets_apart
from keawatch.core.logged import NOT_STORED
from keawatch.core.model import Observation
from keawatch.core.traffic import Answering

_FROZEN_FOR = 60.0
_HEARD_BESIDE = 20
_REFUSED = 5
_MISSED = 5.0
"""Acknowledgements that were to be expected by the usual rate, and did not come: by chance that is so once in 150 times."""


def no_acks(facts: Facts) -> Finding | None:
    """Return that a server that should serve gives nobody a lease of those it hears, or hears none of what its partner hears."""
    for server, partner in facts.ways():
        if not server.serves:
            continue
        found = next((told for rule in _WHY_NOT if (told := rule(facts, server, partner))), None)
        if found is not None:
            known = facts.history.answering_of(server.server)
            proof = (*found.proof, _counters(known)) if known else found.proof
            return Finding(Code.NO_ACKS, Severity.CRITICAL, found.sentence, evidence(facts, *proof))
    return None


@dataclass(frozen=True, slots=True)
class _Told:
    """Why a server gives nobody a lease."""

    sentence: str
    proof: tuple[str, ...] = ()


def _dumb(facts: Facts, server: Observation, partner: Observation) -> _Told | None:
    """Tell of a server that reads requests and answers none."""
    dumb = unanswered(facts, server)
    if dumb is None or dumb.since is None:
        return None
    seconds = (facts.history.now - dumb.since).total_seconds()
    return _Told(
        f"{server.server} is {server.word} with its DHCP on and acknowledges nothing: {dumb.unanswered} requests without an answer in "
        f"{seconds:.0f} s. {_why_dumb(facts, server, partner)}"
    )


def _unable(facts: Facts, server: Observation, partner: Observation) -> _Told | None:
    """Tell of a server whose own log says that it can't store leases."""
    since = facts.history.now - STILL_ASKED
    failed = [event for event in facts.history.logged_by(server.server, NOT_STORED) if event.at >= since]
    if len(failed) < _REFUSED or len({event.client for event in failed}) < FEWEST or _acknowledges(facts, server):
        return None
    return _Told(
        f"{server.server} is {server.word} and can't store leases, as its log says: who asks for one gets none. {_make_room(server, partner)}",
        tuple(event.text for event in failed[-3:]),
    )


def _acknowledges(facts: Facts, server: Observation) -> bool:
    """Return whether the newest reading shows acknowledgements beside; DHCPv6 does not count whom it refuses."""
    known = facts.history.answering_of(server.server)
    return bool(known and known.last.refusals and known.pace and known.pace.until == known.last.at)


def _refuses(facts: Facts, server: Observation, partner: Observation) -> _Told | None:
    """
    Tell of a server that offers addresses and then refuses whoever takes one, as Kea 2.x does when it can't store a lease.

    Where all pools are used up it offers nothing, and a client that has come with an address of elsewhere is refused that one and
    acknowledged the next. One client that errs again and again is told from all by the rate at which others were served.
    """
    known = facts.history.answering_of(server.server)
    seen, pace = (known.refusing, known.pace) if known else (None, None)
    if seen is None or pace is None or min(seen.refusals, seen.offers) < _REFUSED:
        return None
    seconds = min((facts.history.now - seen.since).total_seconds(), facts.in_state(server))
    if seconds < UNANSWERED_FOR or pace.due_within(seconds) < _MISSED or facts.history.now - seen.at > STILL_ASKED:
        return None
    return _Told(
        f"{server.server} is {server.word} and gives nobody a lease: since {seen.since:%H:%M:%S} UTC it has refused {seen.refusals} requests, "
        f"acknowledged none and made {seen.offers} offers beside, where it acknowledged {rate(pace.per_minute)} before. Most likely it can't "
        f"store leases, which its log tells as ALLOC_ENGINE_V4_ALLOC_ERROR. {_make_room(server, partner)}"
    )


def _make_room(server: Observation, partner: Observation) -> str:
    room = f"Make room on the disk of its lease file, on {server.server}'s host, or see to its lease database: it goes on by itself then"
    if partner.status is None:
        return f"{room}."
    return f"{room}. Until then {partner.server} takes over only once Kea on {server.server} is stopped."


def _deaf(facts: Facts, server: Observation, partner: Observation) -> _Told | None:
    """Tell of a server that hears nothing of what its partner hears."""
    deaf = _frozen(facts, server)
    if deaf is None or deaf.frozen_since is None:
        return None
    return _Told(
        f"{server.server} is {server.word} and has read no packet of a client since {deaf.frozen_since:%H:%M:%S} UTC, in which time "
        f"{partner.server} heard {deaf.heard_beside}: its DHCP is off, or no packet reaches it; look at its interface and its sockets."
    )


_WHY_NOT = (_dumb, _unable, _refuses, _deaf)


def _why_dumb(facts: Facts, server: Observation, partner: Observation) -> str:
    if refused_subnets(server, partner):
        return f"{partner.server} refuses what it leases, since the subnets differ: {subnets_apart(facts)}; make them equal in both files."
    if partner.status is None or (server.partner and server.partner.communication_interrupted):
        return f"Kea answers a client only when {partner.server} has its lease, and {partner.server} is not reached."
    return (
        f"Most likely {partner.server} refuses its lease updates, such as for a full disk: look for LEASE_CMDS and HA_LEASE_UPDATE in both "
        "logs, and at the disk of its lease file."
    )


def _counters(known: Answering) -> str:
    last = known.last
    refused = f" ({last.refusals} of them refusals)" if last.refusals else ""
    return f"{known.server} has counted {last.received} packets, {last.requests} requests and {last.answers} answers{refused} by {last.at:%H:%M:%S} UTC"


def _frozen(facts: Facts, server: Observation) -> Answering | None:
    known = facts.history.answering_of(server.server)
    if known is None or known.frozen_since is None or known.heard_beside < _HEARD_BESIDE:
        return None
    frozen = (facts.history.now - known.frozen_since).total_seconds()
    return known if min(frozen, facts.in_state(server)) >= _FROZEN_FOR else None
