"""Reads what a server says of itself: ``status-get``, ``ha-heartbeat`` and the lease counters, of every Kea since 2.2."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from keawatch.core.model import DhcpState, HaState, HaStatus, Mode, PartnerView, Role, ServerStatus
from keawatch.core.pools import PoolUse
from keawatch.errors import KeaProtocolError
from keawatch.kea.fields import Fields
from keawatch.kea.protocol import quote

_HALF_A_SECOND = timedelta(seconds=0.5)

_ASSIGNED = frozenset({"assigned-addresses", "assigned-nas", "assigned-pds"})
_ASSIGNED_STATISTIC = re.compile(r"subnet\[\d+\]\.assigned-(addresses|nas|pds)")


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom we asked, and when: what a reply alone does not tell."""

    server: str
    partner: str
    asked_at: datetime
    """Our time when ``ha-heartbeat`` was sent."""
    answered_at: datetime
    """Our time when its answer was there."""


def read_status(status: Any, heartbeat: Any, asked: Asked) -> ServerStatus:
    """Return what the arguments of ``status-get`` and ``ha-heartbeat`` say; *heartbeat* is None without the HA hook."""
    fields = Fields(status, "status-get")
    beat = None if heartbeat is None else Fields(heartbeat, "ha-heartbeat")
    sockets = fields.map("sockets")
    clock = _clock(beat) if beat else None
    return ServerStatus(
        ha=_ha(fields.maps("high-availability"), asked),
        dhcp=_dhcp(fields.map("dhcp-state")),
        clock=clock,
        clock_read_at=asked.asked_at + (asked.answered_at - asked.asked_at) / 2 if clock else None,
        unsent_updates=beat.count("unsent-update-count") if beat else None,
        pid=fields.count("pid"),
        uptime=fields.seconds("uptime"),
        reload=fields.seconds("reload"),
        sockets=sockets.text("status") if sockets else None,
        socket_errors=sockets.texts("errors") if sockets else (),
    )


def _ha(relationships: list[Fields], asked: Asked) -> HaStatus | None:
    if not relationships:
        return None
    found = relationships[0] if len(relationships) == 1 else _ours(relationships, asked)
    servers = found.map("ha-servers")
    local = servers.map("local") if servers else None
    remote = servers.map("remote") if servers else None
    if local is None:
        raise KeaProtocolError("status-get names an HA relationship and says nothing of the server itself")
    state = local.word("state", HaState)
    if state is HaState.UNAVAILABLE:
        raise KeaProtocolError("status-get says the server itself is unavailable, which no server says of itself")
    return HaStatus(
        state=state,
        role=local.word("role", Role),
        mode=found.word("ha-mode", Mode),
        scopes=local.texts("scopes"),
        server_name=local.text("server-name"),
        partner_name=remote.text("server-name") if remote else None,
        partner=_partner(remote) if remote else None,
    )


def _ours(relationships: list[Fields], asked: Asked) -> Fields:
    # Several relationships (hub and spoke) exist since 2.5.5, which names both servers.
    wanted = (asked.server, asked.partner)
    found = [relationship for relationship in relationships if _names(relationship) == wanted]
    if len(found) == 1:
        return found[0]
    raise KeaProtocolError(
        f"status-get lists {len(relationships)} HA relationships, and {len(found) or 'none'} of them between "
        f"{asked.server} and {asked.partner}; the names in the configuration must be Kea's own"
    )


def _names(relationship: Fields) -> tuple[str | None, str | None]:
    servers = relationship.map("ha-servers")
    local = servers.map("local") if servers else None
    remote = servers.map("remote") if servers else None
    return local.text("server-name") if local else None, remote.text("server-name") if remote else None


def _partner(remote: Fields) -> PartnerView:
    return PartnerView(
        role=remote.word("role", Role) if remote.text("role") else None,
        state=remote.word("last-state", HaState) if remote.text("last-state") else None,
        age=remote.seconds("age") or 0.0,
        scopes=remote.texts("last-scopes"),
        in_touch=remote.flag("in-touch") is True,
        communication_interrupted=remote.flag("communication-interrupted") is True,
        connecting_clients=remote.count("connecting-clients") or 0,
        unacked_clients=remote.count("unacked-clients") or 0,
        unacked_clients_left=remote.count("unacked-clients-left") or 0,
        analyzed_packets=remote.count("analyzed-packets") or 0,
        clock_skew=remote.seconds("clock-skew"),
    )


def _dhcp(state: Fields | None) -> DhcpState | None:
    if state is None:
        return None
    return DhcpState(
        user=state.flag("disabled-by-user") is True,
        local=state.counts("disabled-by-local-command"),
        remote=state.counts("disabled-by-remote-command"),
        database=state.counts("disabled-by-db-connection"),
        disabled=state.flag("globally-disabled") is True,
    )


def _clock(beat: Fields) -> datetime | None:
    text = beat.text("date-time")
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
        # Kea cuts the fraction off, so the true time is half a second later on average.
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC) + _HALF_A_SECOND
    except (ValueError, TypeError, IndexError, OverflowError):
        raise KeaProtocolError(f"ha-heartbeat has a date-time that is none: {quote(text)}") from None


def read_lease_table(arguments: Any) -> int:
    """Return the assigned leases of all subnets, from the arguments of ``stat-lease4-get`` or ``stat-lease6-get``."""
    return sum(read_leases_by_subnet(arguments).values())


def read_leases_by_subnet(arguments: Any) -> dict[int, int]:
    """Return the assigned leases of each subnet by its id, from the same arguments."""
    columns, rows = _stat_table(arguments)
    places = [place for column, place in columns.items() if column in _ASSIGNED]
    counts: dict[int, int] = {}
    for row in rows:
        subnet = _cell(row, columns.get("subnet-id", 0))
        counts[subnet] = counts.get(subnet, 0) + sum(_cell(row, place) for place in places)
    return counts


_KINDS = {"addresses": "addresses", "nas": "addresses", "pds": "prefixes"}


def read_pools(arguments: Any) -> tuple[PoolUse, ...]:
    """Return how full each subnet's pools are, from the same arguments; a subnet without pools of a kind is left out."""
    columns, rows = _stat_table(arguments)
    kinds = [
        (kind, columns[f"total-{what}"], columns[f"assigned-{what}"])
        for what, kind in _KINDS.items()
        if {f"total-{what}", f"assigned-{what}"} <= columns.keys()
    ]
    uses = []
    for row in rows:
        subnet = _cell(row, columns.get("subnet-id", 0))
        for kind, total, assigned in kinds:
            declined = columns.get("declined-addresses") if kind == "addresses" else None
            told = 0 if declined is None else _cell(row, declined)
            uses.append(PoolUse(subnet, kind, _cell(row, total), _cell(row, assigned), told))
    return tuple(use for use in uses if use.total > 0)


def _stat_table(arguments: Any) -> tuple[dict[str, int], list[list[Any]]]:
    """Return at which place of a row each column stands, and the rows; neither where there is no table."""
    table = Fields(arguments, "stat-lease-get").map("result-set")
    if table is None:
        return {}, []
    return {column: place for place, column in enumerate(table.texts("columns"))}, list(table.rows("rows"))


def _cell(row: list[Any], place: int) -> int:
    value = row[place] if place < len(row) else 0
    return value if isinstance(value, int) else 0


def read_statistic(arguments: Any, name: str) -> int:
    """Return the newest value of one statistic, from the arguments of ``statistic-get``; 0 for one that was never counted."""
    samples = arguments.get(name) if isinstance(arguments, dict) else None
    return samples[0][0] if isinstance(samples, list) and samples and _is_sample(samples[0]) else 0


def read_lease_statistics(arguments: Any) -> int | None:
    """Return the assigned leases of all subnets, from the arguments of ``statistic-get-all``; None when none are there."""
    if not isinstance(arguments, dict):
        raise KeaProtocolError("statistic-get-all should answer a map")
    samples = [samples for name, samples in arguments.items() if _ASSIGNED_STATISTIC.fullmatch(name)]
    newest = [values[0][0] for values in samples if values and isinstance(values, list) and _is_sample(values[0])]
    return sum(newest) if newest else None


def _is_sample(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], int)
