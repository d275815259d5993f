"""Numbers of the HA hook that are allowed, and what follows from them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from keawatch.lint.model import Hit, Paste, Registry, Relationship, Severity, Subject

RULES = Registry()

_DAY = 86400
_LONG_MEMORY = 2 * 3600
_FEW_REJECTS = 20
_MANY_REJECTS = 100
_MANY_UNACKED = 20
_CLIENTS_A_UNACKED = 25
"""Addresses in all pools for each client waited for, below which a network counts as quiet."""
_LONG_HEARTBEAT = 20000
_SHORT_SYNC = 10000
_SMALL_PAGE, _LARGE_PAGE = 100, 20000


def lease_time(subject: Subject) -> int:
    """Return the longest lease that a client is given by default, in seconds."""
    default = subject.dhcp.number("valid-lifetime", 7200)
    return max([default, *(subnet.number("valid-lifetime", default) for subnet in subject.subnets)])


def _longest(subject: Subject) -> str:
    """Return where the longest lease is configured."""
    own = [subnet for subnet in subject.subnets if subnet.at("valid-lifetime").value == lease_time(subject)]
    return own[0].path if own else f"Dhcp{subject.family}"


def renewal(subject: Subject) -> int:
    """Return when clients renew, in seconds: by default at half of their lease."""
    return subject.dhcp.number("renew-timer", 0) or lease_time(subject) // 2


def pool_size(subject: Subject) -> int | None:
    """Return how many addresses all pools hold; None where one can't be read."""
    total = 0
    for subnet in subject.subnets:
        for pool in subnet.maps("pools"):
            size = _size(pool.text("pool"))
            if size is None:
                return None
            total += size
    return total


def _size(pool: str) -> int | None:
    try:
        if "-" in pool:
            first, last = (int(ipaddress.ip_address(part.strip())) for part in pool.split("-", 1))
            return last - first + 1
        return int(ipaddress.ip_network(pool.strip(), strict=False).num_addresses)
    except ValueError:
        return None


@RULES.relationship(
    "ha-rejects-add-up",
    Severity.WARNING,
    "few rejected clients allowed, and each remembered for long",
    why="A client whose lease update the partner rejects is counted until its next successful update, which is its next renewal, and for "
    "a day at most. With long leases the rejects of a whole day add up, a churn of new client identities (rotating MAC addresses) adds "
    "ones that never come back, and at the limit HA terminates. heartbeat-delay does not slow that: the count is looked at "
    "after each update. A shorter lease mends more than a higher limit does.",
    source="communication_state.cc, reportRejectedLeaseUpdateInternal (86400 s); ha_service.cc, shouldTerminate",
)
def rejects_add_up(ha: Relationship) -> Iterator[Hit]:
    """Counted are distinct clients, each until it is updated."""
    limit, wait = ha.max_rejected, min(renewal(ha.subject), _DAY)
    if ha.subject.before(2, 3, 1, unknown=False) or not 0 < limit <= _FEW_REJECTS or wait < _LONG_MEMORY:
        return
    fix = Paste(
        _longest(ha.subject),
        {"valid-lifetime": 7200},
        "or raise the limit, knowing that each further one is a client that got no answer: "
        f'{{"max-rejected-lease-updates": {_MANY_REJECTS // 2}}} in the HA parameters',
    )
    yield Hit(
        ha.node.at("max-rejected-lease-updates").path,
        f"HA terminates at {limit} rejected clients, and each is remembered for up to {wait / 3600:.3g} h (leases of {lease_time(ha.subject)} s)",
        fix,
    )


@RULES.relationship(
    "ha-rejects-never",
    Severity.WARNING,
    "HA never terminates, however many updates are rejected",
    why="With 0 the server goes on for ever while its partner rejects, and each client whose update is rejected gets no answer: where "
    "the subnets differ that is every client.",
    source="manual, Load-Balancing Configuration (max-rejected-lease-updates); ha_service.cc, asyncSendLeaseUpdate",
)
def rejects_never(ha: Relationship) -> Iterator[Hit]:
    """0 is never."""
    if ha.max_rejected == 0 and not ha.subject.before(2, 3, 1, unknown=False):
        yield Hit(
            ha.node.at("max-rejected-lease-updates").path,
            "max-rejected-lease-updates is 0",
            Paste(ha.node.path, {"max-rejected-lease-updates": 50}),
        )


@RULES.relationship(
    "ha-rejects-high",
    Severity.INFO,
    "many rejected clients allowed",
    why="Each counted client got no answer. When the two configurations disagree, so many clients go unanswered before HA gives up and "
    "the primary serves on alone.",
    source="manual, Load-Balancing Configuration (max-rejected-lease-updates); measured: 60 clients, 10 rejects, within seconds",
)
def rejects_high(ha: Relationship) -> Iterator[Hit]:
    """The limit is also what an error may cost."""
    if ha.max_rejected >= _MANY_REJECTS:
        yield Hit(
            ha.node.at("max-rejected-lease-updates").path,
            f"up to {ha.max_rejected} clients go unanswered before HA terminates",
            Paste(ha.node.path, {"max-rejected-lease-updates": 50}),
        )


@RULES.relationship(
    "ha-unacked-quiet",
    Severity.WARNING,
    "a standby that waits for more clients than a quiet network has",
    why="When the primary is gone, the standby waits until more than max-unacked-clients different clients have asked for longer than "
    "max-ack-delay. At night in a small network they do not come, and nobody is served. 0 takes over after max-response-delay alone, "
    "also when only the link between the servers is cut.",
    source="manual, Load-Balancing Configuration (max-unacked-clients); ha_service.cc, shouldPartnerDown",
)
def unacked_quiet(ha: Relationship) -> Iterator[Hit]:
    """Small pools have few clients."""
    size = pool_size(ha.subject)
    if ha.max_unacked and size and size < _CLIENTS_A_UNACKED * ha.max_unacked and ha.mode != "passive-backup":
        yield Hit(
            ha.node.at("max-unacked-clients").path,
            f"it takes over after more than {ha.max_unacked} unanswered clients, and all pools together hold {size} addresses",
            Paste(ha.node.path, {"max-unacked-clients": 0}),
        )


@RULES.relationship(
    "ha-unacked-high",
    Severity.WARNING,
    "a standby that waits for very many clients",
    why="Every one of them is a client that has waited for longer than max-ack-delay without an address before the standby takes over.",
    source="manual, Load-Balancing Configuration (max-unacked-clients)",
)
def unacked_high(ha: Relationship) -> Iterator[Hit]:
    """More than the default asks a price."""
    if ha.max_unacked > _MANY_UNACKED and ha.mode != "passive-backup":
        yield Hit(
            ha.node.at("max-unacked-clients").path,
            f"more than {ha.max_unacked} clients must go unanswered before it takes over",
            Paste(ha.node.path, {"max-unacked-clients": 2}),
        )


@RULES.relationship(
    "ha-unacked-off",
    Severity.INFO,
    "a standby that takes over when the link alone is cut",
    why="With 0 a standby that does not hear its partner for max-response-delay serves, whether the partner does or not. Where the link "
    "between the servers can fail alone, both then serve and give one address to two clients (measured: 68 addresses in 20 s).",
    source="manual, Load-Balancing Configuration (max-unacked-clients); ha_service.cc, shouldPartnerDown",
)
def unacked_off(ha: Relationship) -> Iterator[Hit]:
    """It is pfSense's default."""
    if ha.max_unacked == 0 and ha.mode != "passive-backup":
        yield Hit(
            ha.node.at("max-unacked-clients").path,
            "max-unacked-clients is 0: a cut link makes both servers serve",
            Paste(ha.node.path, {"max-unacked-clients": 2}, "where the servers' link is not the clients' network"),
        )


@RULES.relationship(
    "ha-heartbeat-long",
    Severity.WARNING,
    "a long heartbeat-delay",
    why="When the standby comes back, the primary serves nobody from the end of the sync until its next heartbeat (2.6 and later), and "
    "each state takes a heartbeat: a restart of both is three of them without service.",
    source="ha_service.cc, processSyncCompleteNotify; measured: 8.9 s of 10 s on 2.6.3",
)
def heartbeat_long(ha: Relationship) -> Iterator[Hit]:
    """The pause of a rejoin is up to one heartbeat."""
    delay = ha.milliseconds("heartbeat-delay")
    if delay > _LONG_HEARTBEAT:
        yield Hit(
            ha.node.at("heartbeat-delay").path,
            f"clients may wait up to {delay / 1000:.3g} s at each return of the standby",
            Paste(ha.node.path, {"heartbeat-delay": 10000}),
        )


@RULES.relationship(
    "ha-response-before-heartbeat",
    Severity.WARNING,
    "max-response-delay is not longer than two heartbeats",
    why="It counts from the last good heartbeat, so one that is late looks like an interrupted link: with max-unacked-clients 0 the "
    "standby then serves beside the primary.",
    source="manual, Load-Balancing Configuration (max-response-delay); communication_state.cc, isCommunicationInterrupted",
)
def response_before_heartbeat(ha: Relationship) -> Iterator[Hit]:
    """It should be a multiple of heartbeat-delay."""
    beat, patience = ha.milliseconds("heartbeat-delay"), ha.milliseconds("max-response-delay")
    if 0 < patience <= 2 * beat:
        yield Hit(
            ha.node.at("max-response-delay").path,
            f"max-response-delay is {patience} ms, and heartbeat-delay {beat} ms",
            Paste(ha.node.path, {"max-response-delay": min(6 * beat, 60000)}),
        )


@RULES.relationship(
    "ha-lease-shorter-than-failover",
    Severity.WARNING,
    "leases that run out before the standby takes over",
    why="A client whose server is gone keeps its address until the lease ends. The standby takes over after max-response-delay, and "
    "max-ack-delay more where it waits for clients.",
    source="ha_service.cc, shouldPartnerDown",
)
def lease_shorter_than_failover(ha: Relationship) -> Iterator[Hit]:
    """Half a lease is what a client has left at worst."""
    wait = (ha.milliseconds("max-response-delay") + ha.milliseconds("max-ack-delay")) / 1000
    shortest = min(
        [
            ha.subject.dhcp.number("valid-lifetime", 7200),
            *(s.number("valid-lifetime", _DAY) for s in ha.subject.subnets),
        ]
    )
    if 0 < shortest <= 2 * wait and ha.mode != "passive-backup":
        yield Hit(
            f"Dhcp{ha.subject.family}.valid-lifetime",
            f"a lease lasts {shortest} s, and the standby may need {wait:.4g} s to take over",
            Paste(f"Dhcp{ha.subject.family}", {"valid-lifetime": max(600, int(4 * wait))}),
        )


@RULES.relationship(
    "ha-sync-timeout-short",
    Severity.WARNING,
    "a short sync-timeout",
    why="A page of leases that is not there in time ends the sync, which begins again at the next heartbeat, for ever. It is also how "
    "long the partner's DHCP stays off when the syncing server dies.",
    source="manual, Timeouts (sync-timeout)",
)
def sync_timeout_short(ha: Relationship) -> Iterator[Hit]:
    """A page must come within it."""
    value = ha.node.number("sync-timeout", 60000)
    if value < _SHORT_SYNC:
        yield Hit(
            ha.node.at("sync-timeout").path, f"sync-timeout is {value} ms", Paste(ha.node.path, {"sync-timeout": 60000})
        )


@RULES.relationship(
    "ha-sync-page",
    Severity.WARNING,
    "a sync-page-limit that makes syncs slow",
    why="The partner serves nobody while it is synced from. Small pages cost a round each; large ones are slow in Kea itself (measured, "
    "60,000 leases: 5.6 s in pages of 1000, 21.6 s in pages of 50,000).",
    source="manual, Controlling Lease-Page Size Limit; measured on 2.6.3 and 3.0.4",
)
def sync_page(ha: Relationship) -> Iterator[Hit]:
    """Measured: small pages are faster, up to a point."""
    value = ha.node.number("sync-page-limit", 10000)
    if not _SMALL_PAGE <= value <= _LARGE_PAGE:
        yield Hit(
            ha.node.at("sync-page-limit").path,
            f"a sync reads {value} leases a page",
            Paste(ha.node.path, {"sync-page-limit": 1000}),
        )


@RULES.relationship(
    "ha-listener-threads",
    Severity.WARNING,
    "several HA threads on Kea 2.4 or 2.6",
    why="Two updates of one address at once make the partner reject one (`ResourceBusy`), the client gets no answer, and at "
    "max-rejected-lease-updates HA terminates. With one listener thread there was none (measured on 2.6.3: 14 to 63 in 5 s with four, 0 "
    "with one; 0 on 3.0.4 with four).",
    source="lease_cmds.cc, lease4UpdateHandler; resource_handler.cc, tryLock; measured on 2.6.3 and 3.0.4",
)
def listener_threads(ha: Relationship) -> Iterator[Hit]:
    """One thread can't race itself."""
    subject, own = ha.subject, ha.node.at("multi-threading")
    if (
        not ha.own_listener
        or subject.family != 4
        or subject.before(2, 3, 1, unknown=True)
        or not subject.before(2, 7, 0)
    ):
        return
    pool = subject.dhcp.at("multi-threading").number("thread-pool-size", 0)
    counts = [own.number(key, 0) or pool for key in ("http-listener-threads", "http-client-threads")]
    if 1 not in counts:
        named = f"{counts[0]} threads" if counts[0] else "a thread for each processor"
        yield Hit(
            own.at("http-listener-threads").path,
            f"the HA listener has {named}",
            Paste(ha.node.path, {"multi-threading": {"http-listener-threads": 1}}),
        )
