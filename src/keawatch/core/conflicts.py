"""
Tells of refused lease updates before they terminate the pair: which clients, why, and how near the limit.

The counting is done in ``rejects`` (by the logs) and ``traffic`` (by the packet counters); here it is judged and put into words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta

from keawatch.core.codes import Code, Finding, Severity
from keawatch.core.facts import Facts, evidence, subnets_apart
from keawatch.core.logged import LogKind
from keawatch.core.model import NORMAL_STATES, Observation, network_of
from keawatch.core.rejects import Forecast, Rejected, Why, by_subnet, forecast, top, why_of
from keawatch.core.traffic import Answering

LATELY = timedelta(hours=1)
"""For how long after the last conflict it is told of."""

NEAR = 0.6
"""The part of the limit from which on it is near at any rate."""

SOON = timedelta(hours=1)
"""A limit that is reached within this is near from half of that on."""

FEWEST = 3
"""Clients from which on a conflict is more than a chance meeting."""

_UNANSWERED = 5
UNANSWERED_FOR = 10.0
STILL_ASKED = timedelta(seconds=60)


# --- how near


def counted(facts: Facts, server: Observation) -> tuple[Rejected, ...]:
    """Return the clients that *server* counts as rejected, those rejected first in front."""
    return facts.history.rejects.counted(server.server, facts.history.now)


def nearness(facts: Facts, server: Observation) -> Forecast:
    """Return how near *server* is to terminating for rejected updates, by its own limit."""
    limit = server.facts.ha.max_rejected_lease_updates if server.facts.ha else None
    return forecast(counted(facts, server), server.server, limit, facts.history.now)


def is_near(seen: Forecast, facts: Facts) -> bool:
    """Return whether a server will terminate soon if that goes on."""
    if not seen.limit or not seen.count:
        return False
    soon = seen.full_at is not None and seen.full_at - facts.history.now <= SOON
    some = max(FEWEST, math.ceil(NEAR / 2 * seen.limit))
    return seen.count >= math.ceil(NEAR * seen.limit) or (soon and seen.count >= some)


def nearest(facts: Facts) -> tuple[Observation, Observation, Forecast] | None:
    """Return the working server that is near its limit, its partner, and how near; None when neither is."""
    for server, partner in facts.ways():
        seen = nearness(facts, server)
        if server.state in NORMAL_STATES and is_near(seen, facts):
            return server, partner, seen
    return None


def rejects_near_limit(facts: Facts) -> Finding | None:
    """Return that a server will soon terminate HA for rejected lease updates."""
    near = nearest(facts)
    if near is None:
        return None
    server, partner, seen = near
    clients = counted(facts, server)
    sentence = (
        f"{partner.server} has refused lease updates of {_how_many(seen)} of the {seen.limit} clients at which {server.server} terminates "
        f"HA ({_causes(clients)}){_when(seen)}. {_cure(clients, facts)}"
    )
    return Finding(Code.REJECTS_NEAR_LIMIT, Severity.WARNING, sentence, evidence(facts, *_client_lines(clients)))


def _how_many(seen: Forecast) -> str:
    return f"{seen.count}" if seen.sure >= seen.count else f"{seen.sure} to {seen.count}"


def _when(seen: Forecast) -> str:
    if seen.full_at is None or seen.per_minute is None:
        return ""
    return f"; at the present rate ({rate(seen.per_minute)}) that is at {seen.full_at:%H:%M:%S} UTC"


def rate(per_minute: float) -> str:
    """Return a rate in words."""
    return f"{per_minute:.0f} a minute" if per_minute >= 1.0 else f"{per_minute * 60.0:.1f} an hour"


def _causes(clients: Iterable[Rejected]) -> str:
    found = Counter(client.why for client in clients)
    return ", ".join(f"{why.value}: {number}" for why, number in found.most_common())


def _cure(clients: Iterable[Rejected], facts: Facts) -> str:
    apart = subnets_apart(facts)
    if apart or any(client.why is Why.SUBNET for client in clients):
        return f"Only equal subnets end it{f': {apart}' if apart else ''}."
    if all(client.why is Why.BUSY for client in clients):
        return _BUSY_CURE
    return "The clients and Kea's words stand in the evidence (keawatch explain)."


_BUSY_CURE = (
    "On Kea 2.x, http-listener-threads 1 (multi-threading of the HA hook, both servers) ends it; a resync does not."
)


# --- why


def conflicts_busy(facts: Facts) -> Finding | None:
    """Return that lease updates meet one another at one address, which no resync cures."""
    for server, partner in facts.ways():
        busy = _lately(facts, server, Why.BUSY)
        if len(busy) < FEWEST:
            continue
        since = min(client.first_at for client in busy)
        sentence = (
            f"{partner.server} refuses lease updates of {server.server} as ResourceBusy, of {len(busy)} clients since {since:%H:%M} UTC: two "
            f"updates for one address meet there at once, such as of a client that is heard twice. {_BUSY_CURE}"
        )
        return Finding(Code.CONFLICTS_BUSY, Severity.WARNING, sentence, evidence(facts, *_client_lines(busy)))
    return None


def _lately(facts: Facts, server: Observation, why: Why) -> tuple[Rejected, ...]:
    """Return the clients of whom the last conflict was of this kind and is not long ago."""
    since = facts.history.now - LATELY
    return tuple(client for client in counted(facts, server) if client.why is why and client.last_at >= since)


def conflicts_subnet(facts: Facts) -> Finding | None:
    """Return that a server refuses what its partner leases because their subnets differ: nothing but the configuration cures it."""
    for server, partner in facts.ways():
        if server.state not in NORMAL_STATES:
            continue
        refused, unknown = _lately(facts, server, Why.SUBNET), refused_subnets(server, partner)
        failed = _failed_v6(facts, server)
        if not (refused or failed or (unknown and server.serves)):
            continue
        proof = (*_client_lines(refused), *failed, *_unknown_lines(partner, unknown))
        unserved = bool(refused or failed) or unanswered(facts, server) is not None
        return Finding(
            Code.CONFLICTS_SUBNET,
            Severity.CRITICAL if unserved else Severity.WARNING,
            _subnet_sentence(facts, server, partner, refused, unserved=unserved),
            evidence(facts, *proof),
        )
    return None


def _subnet_sentence(
    facts: Facts, server: Observation, partner: Observation, refused: tuple[Rejected, ...], *, unserved: bool
) -> str:
    apart = subnets_apart(facts) or _by_words(refused)
    limit = nearness(facts, server).limit
    so_far = f" ({len(refused)} so far{f'; at {limit} both terminate HA' if limit else ''})" if refused else ""
    clients = f"its clients there get no answer{so_far}" if unserved else "a client that asks there gets no answer"
    return (
        f"{partner.server} refuses what {server.server} leases in subnets that it does not have, and {clients}: {apart}. "
        "Make the subnets equal in both files and reload both; nothing else helps."
    )


def _by_words(refused: tuple[Rejected, ...]) -> str:
    return refused[-1].reason.rstrip(".") if refused else "Kea's words stand in the evidence"


def refused_subnets(server: Observation, partner: Observation) -> Mapping[int, str]:
    """
    Return the subnets of *server*, by id, whose leases *partner* would refuse; empty where either's can't be read.

    An update carries the subnet's id, and the receiver wants that id and an address within (lease_parser.cc).
    """
    mine, theirs = server.facts.subnets, partner.facts.subnets
    if mine is None or theirs is None:
        return {}
    return {number: prefix for number, prefix in mine.items() if not _within(prefix, theirs.get(number))}


def _within(prefix: str, other: str | None) -> bool:
    if other is None:
        return False
    one, whole = network_of(prefix), network_of(other)
    if one is None or whole is None:
        return prefix == other
    return one.version == whole.version and one.subnet_of(whole)  # type: ignore[arg-type]


def _unknown_lines(partner: Observation, unknown: Mapping[int, str]) -> tuple[str, ...]:
    theirs = partner.facts.subnets or {}
    return tuple(
        f"{prefix} (id {number}): {partner.server} has {theirs.get(number, 'no subnet of that id')}"
        for number, prefix in sorted(unknown.items())
    )[:10]


def _failed_v6(facts: Facts, server: Observation) -> tuple[str, ...]:
    """Return what the sender's log says of DHCPv6 leases that were not taken: Kea does not count those."""
    since = facts.history.now - LATELY
    kinds = {LogKind.HA_LEASE_UPDATE_CREATE_UPDATE_FAILED_ON_PEER, LogKind.HA_LEASE_UPDATE_FAILED}
    events = facts.history.logged_by(server.server, kinds)
    return tuple(e.text for e in events if e.at >= since and why_of(e.reason or e.text) is Why.SUBNET)[-3:]


# --- no answer


def unanswered(facts: Facts, server: Observation) -> Answering | None:
    """Return what is known of a server's requests if they go unanswered, by more than a chance."""
    known = facts.history.answering_of(server.server)
    if known is None or known.since is None or known.asked_at is None or known.unanswered < _UNANSWERED:
        return None
    now = facts.history.now
    long_enough = min((now - known.since).total_seconds(), facts.in_state(server)) >= UNANSWERED_FOR
    return known if long_enough and now - known.asked_at <= STILL_ASKED else None


# --- who


def _client_lines(clients: tuple[Rejected, ...]) -> tuple[str, ...]:
    """Return the clients refused most often, and how they spread over subnets, as evidence."""
    if not clients:
        return ()
    spread = ", ".join(f"{name}: {number}" for name, number in by_subnet(clients).items())
    known = f"clients refused by subnet: {spread}" if set(by_subnet(clients)) != {"?"} else None
    lines = [_client_line(client) for client in top(clients)]
    rest = [f"and {len(clients) - len(lines)} clients more"] if len(clients) > len(lines) else []
    return tuple(line for line in (known, *lines, *rest) if line)


def _client_line(client: Rejected) -> str:
    times = "once" if client.times == 1 else f"{client.times} times"
    unsure = ", may have got through at the same moment" if client.twin else ""
    return (
        f"{client.client} ({client.address or 'address not told'}) refused {times}, last at {client.last_at:%H:%M:%S} UTC, {client.why.value}{unsure}: "
        f"{client.reason or 'no reason told'}"
    )


def storm_lines(facts: Facts) -> tuple[str, ...]:
    """Return what a terminated server had counted by then, as evidence; empty when nothing was seen of it."""
    lines: list[str] = []
    for server, partner in facts.ways():
        storm = next((s for s in facts.history.rejects.storms if s.server == server.server), None)
        if storm is None or server.state in NORMAL_STATES or storm.at < facts.steady_since(server) - LATELY:
            continue
        lines.append(
            f"{partner.server} had refused lease updates of {len(storm.clients)} clients of {server.server} by {storm.at:%H:%M:%S} UTC "
            f"({_causes(storm.clients)})"
        )
        lines += _client_lines(storm.clients)
    return tuple(lines)
