"""
Names what Kea writes to its log and tells nobody else, one line an event, in Kea's own words.

Nothing here reads a file or a line (``kea/loglines.py``, ``daemon/logfollow.py``) and nothing judges. A log is evidence that may
be missing: Kea's severity may hide a kind (pfSense logs from WARN on, so state transitions are not in its log), a line may be
lost, and a server whose ``log`` is not set writes none that is seen here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

KEEP_OF_A_KIND = 8
"""Events of one kind kept a server, the newest: a storm of one kind must not push out the line that says what it led to."""

MOST_TEXT = 400
"""Characters of a line that are kept."""


class LogKind(StrEnum):
    """
    A message of Kea by its id (ha_messages.mes, lease_cmds_messages.mes, dhcp4_messages.mes, dhcpsrv_messages.mes, alloc_engine_messages.mes).

    Kea 2.2 spells one of them otherwise: its HA_HIGH_CLOCK_SKEW_CAUSES_TERMINATION is taken for the later one.
    """

    # The sender's word about a lease update that its partner did not take.
    HA_LEASE_UPDATE_CONFLICT = "HA_LEASE_UPDATE_CONFLICT"
    """Refused with result 4 (2.3.1 and later). Each is counted against max-rejected-lease-updates, by client (ha_service.cc)."""
    HA_LEASE_UPDATE_FAILED = "HA_LEASE_UPDATE_FAILED"
    """Refused with another result. Kea 2.2 knows only this one, ResourceBusy included; it is not counted."""
    HA_LEASE_UPDATE_COMMUNICATIONS_FAILED = "HA_LEASE_UPDATE_COMMUNICATIONS_FAILED"
    HA_LEASE_UPDATE_CREATE_UPDATE_FAILED_ON_PEER = "HA_LEASE_UPDATE_CREATE_UPDATE_FAILED_ON_PEER"
    """DHCPv6: one lease of a lease6-bulk-apply was not taken. The command succeeds, so it is *not* counted (ha_service.cc)."""
    HA_LEASE_UPDATE_DELETE_FAILED_ON_PEER = "HA_LEASE_UPDATE_DELETE_FAILED_ON_PEER"
    HA_LEASES_BACKLOG_FAILED = "HA_LEASES_BACKLOG_FAILED"
    HA_LEASES_BACKLOG_COMMUNICATIONS_FAILED = "HA_LEASES_BACKLOG_COMMUNICATIONS_FAILED"

    # The receiver's word about the same.
    LEASE_CMDS_UPDATE4_CONFLICT = "LEASE_CMDS_UPDATE4_CONFLICT"
    LEASE_CMDS_UPDATE6_CONFLICT = "LEASE_CMDS_UPDATE6_CONFLICT"
    LEASE_CMDS_ADD4_CONFLICT = "LEASE_CMDS_ADD4_CONFLICT"
    LEASE_CMDS_ADD6_CONFLICT = "LEASE_CMDS_ADD6_CONFLICT"
    LEASE_CMDS_UPDATE4_FAILED = "LEASE_CMDS_UPDATE4_FAILED"
    LEASE_CMDS_UPDATE6_FAILED = "LEASE_CMDS_UPDATE6_FAILED"
    LEASE_CMDS_BULK_APPLY6_FAILED = "LEASE_CMDS_BULK_APPLY6_FAILED"
    LEASE_CMDS_DEL4_FAILED = "LEASE_CMDS_DEL4_FAILED"
    LEASE_CMDS_DEL6_FAILED = "LEASE_CMDS_DEL6_FAILED"

    # A lease that the server itself could not store (alloc_engine_messages.mes), such as for want of room on its disk.
    ALLOC_ENGINE_V4_ALLOC_ERROR = "ALLOC_ENGINE_V4_ALLOC_ERROR"
    """The client is refused its request; Kea counts no failed allocation."""
    ALLOC_ENGINE_V6_ALLOC_ERROR = "ALLOC_ENGINE_V6_ALLOC_ERROR"
    """The client is told that there is no address, in a REPLY that is counted as any other."""
    ALLOC_ENGINE_V6_EXTEND_ERROR = "ALLOC_ENGINE_V6_EXTEND_ERROR"

    # What it led to.
    HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION = "HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION"
    HA_HIGH_CLOCK_SKEW = "HA_HIGH_CLOCK_SKEW"
    HA_HIGH_CLOCK_SKEW_CAUSED_TERMINATION = "HA_HIGH_CLOCK_SKEW_CAUSED_TERMINATION"
    HA_TERMINATED = "HA_TERMINATED"
    HA_TERMINATED_RESTART_PARTNER = "HA_TERMINATED_RESTART_PARTNER"
    HA_TERMINATED_PARTNER_DID_NOT_RESTART = "HA_TERMINATED_PARTNER_DID_NOT_RESTART"

    # Talking with the partner.
    HA_HEARTBEAT_COMMUNICATIONS_FAILED = "HA_HEARTBEAT_COMMUNICATIONS_FAILED"
    HA_HEARTBEAT_FAILED = "HA_HEARTBEAT_FAILED"
    HA_COMMUNICATION_INTERRUPTED = "HA_COMMUNICATION_INTERRUPTED"
    HA_COMMUNICATION_INTERRUPTED_CLIENT4_UNACKED = "HA_COMMUNICATION_INTERRUPTED_CLIENT4_UNACKED"
    HA_COMMUNICATION_INTERRUPTED_CLIENT6_UNACKED = "HA_COMMUNICATION_INTERRUPTED_CLIENT6_UNACKED"
    HA_INVALID_PARTNER_STATE_COMMUNICATION_RECOVERY = "HA_INVALID_PARTNER_STATE_COMMUNICATION_RECOVERY"
    HA_INVALID_PARTNER_STATE_HOT_STANDBY = "HA_INVALID_PARTNER_STATE_HOT_STANDBY"
    HA_INVALID_PARTNER_STATE_LOAD_BALANCING = "HA_INVALID_PARTNER_STATE_LOAD_BALANCING"
    HA_DHCP_DISABLE_COMMUNICATIONS_FAILED = "HA_DHCP_DISABLE_COMMUNICATIONS_FAILED"
    HA_DHCP_DISABLE_FAILED = "HA_DHCP_DISABLE_FAILED"
    HA_DHCP_ENABLE_COMMUNICATIONS_FAILED = "HA_DHCP_ENABLE_COMMUNICATIONS_FAILED"
    HA_DHCP_ENABLE_FAILED = "HA_DHCP_ENABLE_FAILED"
    HA_RESET_COMMUNICATIONS_FAILED = "HA_RESET_COMMUNICATIONS_FAILED"
    HA_RESET_FAILED = "HA_RESET_FAILED"

    # The states.
    HA_STATE_TRANSITION = "HA_STATE_TRANSITION"
    HA_STATE_TRANSITION_PASSIVE_BACKUP = "HA_STATE_TRANSITION_PASSIVE_BACKUP"
    HA_STATE_MACHINE_PAUSED = "HA_STATE_MACHINE_PAUSED"
    HA_STATE_MACHINE_CONTINUED = "HA_STATE_MACHINE_CONTINUED"
    HA_SERVICE_STARTED = "HA_SERVICE_STARTED"
    """A fresh memory: no rejected client, no skew."""
    HA_MAINTENANCE_STARTED = "HA_MAINTENANCE_STARTED"
    HA_MAINTENANCE_STARTED_IN_PARTNER_DOWN = "HA_MAINTENANCE_STARTED_IN_PARTNER_DOWN"
    HA_MAINTENANCE_SHUTDOWN_SAFE = "HA_MAINTENANCE_SHUTDOWN_SAFE"

    # The sync.
    HA_SYNC_START = "HA_SYNC_START"
    HA_SYNC_SUCCESSFUL = "HA_SYNC_SUCCESSFUL"
    HA_SYNC_FAILED = "HA_SYNC_FAILED"
    HA_LEASES_SYNC_FAILED = "HA_LEASES_SYNC_FAILED"
    HA_LEASES_SYNC_COMMUNICATIONS_FAILED = "HA_LEASES_SYNC_COMMUNICATIONS_FAILED"
    HA_LEASE_SYNC_FAILED = "HA_LEASE_SYNC_FAILED"
    HA_SYNC_COMPLETE_NOTIFY_FAILED = "HA_SYNC_COMPLETE_NOTIFY_FAILED"
    HA_SYNC_COMPLETE_NOTIFY_COMMUNICATIONS_FAILED = "HA_SYNC_COMPLETE_NOTIFY_COMMUNICATIONS_FAILED"

    # Starting, or failing to.
    HA_CONFIGURATION_FAILED = "HA_CONFIGURATION_FAILED"
    HA_DHCP4_START_SERVICE_FAILED = "HA_DHCP4_START_SERVICE_FAILED"
    HA_DHCP6_START_SERVICE_FAILED = "HA_DHCP6_START_SERVICE_FAILED"
    DHCP4_STARTING = "DHCP4_STARTING"
    DHCP6_STARTING = "DHCP6_STARTING"
    DHCP4_SHUTDOWN = "DHCP4_SHUTDOWN"
    DHCP6_SHUTDOWN = "DHCP6_SHUTDOWN"
    DHCP4_INIT_FAIL = "DHCP4_INIT_FAIL"
    DHCP6_INIT_FAIL = "DHCP6_INIT_FAIL"
    DHCP4_CONFIG_LOAD_FAIL = "DHCP4_CONFIG_LOAD_FAIL"
    DHCP6_CONFIG_LOAD_FAIL = "DHCP6_CONFIG_LOAD_FAIL"
    DHCPSRV_OPEN_SOCKET_FAIL = "DHCPSRV_OPEN_SOCKET_FAIL"
    DHCPSRV_NO_SOCKETS_OPEN = "DHCPSRV_NO_SOCKETS_OPEN"


REJECTED = frozenset({LogKind.HA_LEASE_UPDATE_CONFLICT})
"""What Kea itself counts against max-rejected-lease-updates (ha_service.cc, reportRejectedLeaseUpdate): the sender's conflicts."""

CONFLICTS = REJECTED | {
    LogKind.LEASE_CMDS_UPDATE4_CONFLICT,
    LogKind.LEASE_CMDS_UPDATE6_CONFLICT,
    LogKind.LEASE_CMDS_ADD4_CONFLICT,
    LogKind.LEASE_CMDS_ADD6_CONFLICT,
}
"""A conflict, by either side: one lease update that clashes stands in both logs, once in each."""

NOT_STORED = frozenset(
    {LogKind.ALLOC_ENGINE_V4_ALLOC_ERROR, LogKind.ALLOC_ENGINE_V6_ALLOC_ERROR, LogKind.ALLOC_ENGINE_V6_EXTEND_ERROR}
)

TERMINATIONS = frozenset(
    {
        LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION,
        LogKind.HA_HIGH_CLOCK_SKEW_CAUSED_TERMINATION,
        LogKind.HA_TERMINATED,
        LogKind.HA_TERMINATED_PARTNER_DID_NOT_RESTART,
    }
)

SKEWS = frozenset({LogKind.HA_HIGH_CLOCK_SKEW, LogKind.HA_HIGH_CLOCK_SKEW_CAUSED_TERMINATION})

BROKEN_TALK = frozenset(
    {
        LogKind.HA_HEARTBEAT_COMMUNICATIONS_FAILED,
        LogKind.HA_HEARTBEAT_FAILED,
        LogKind.HA_LEASE_UPDATE_COMMUNICATIONS_FAILED,
        LogKind.HA_LEASES_BACKLOG_COMMUNICATIONS_FAILED,
        LogKind.HA_COMMUNICATION_INTERRUPTED,
    }
)
"""The partner was not reached, by the server's own word."""

SYNC_FAILURES = frozenset(
    {
        LogKind.HA_SYNC_FAILED,
        LogKind.HA_LEASES_SYNC_FAILED,
        LogKind.HA_LEASES_SYNC_COMMUNICATIONS_FAILED,
        LogKind.HA_LEASE_SYNC_FAILED,
        LogKind.HA_SYNC_COMPLETE_NOTIFY_FAILED,
        LogKind.HA_SYNC_COMPLETE_NOTIFY_COMMUNICATIONS_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class Logged:
    """One line of a server's log that says something about HA; what a line does not tell is None."""

    at: datetime
    """By the line's own time stamp, by that host's clock; the time of reading where it has none."""
    server: str
    """Whose log it stands in, by keawatch's name; never the partner that the line may speak of."""
    kind: LogKind
    client: str | None = None
    """DHCPv4: the hardware address, as ``60:3e:5f:80:81:8b``; DHCPv6: the DUID in the same form. The same from both sides' lines."""
    address: str | None = None
    """The lease's address, or prefix."""
    subnet: int | str | None = None
    """The subnet's id where it is told, else its prefix."""
    result: int | None = None
    """Kea's result code: 4 for a conflict, 1 for an error."""
    reason: str | None = None
    """Why, in Kea's words, without the parameters and the error code; such as ``ResourceBusy: IP address:… could not be updated.``"""
    text: str = ""
    """The message as it stands there, from its id on, cut to ``MOST_TEXT`` characters."""
    client_id: str | None = None
    """DHCPv4: the client identifier, beside the hardware address; Kea counts a rejected client by both (communication_state.h)."""
    foreign: bool = False
    """Whether a receiver's line is about a command that was not its partner's, such as an operator's: none that Kea counts."""
    lifetime: int | None = None
    """Valid lifetime of the lease in seconds: told by the receiver only (``valid-lft``), for which time Kea counts the client."""

    @property
    def enters(self) -> str | None:
        """Return the state that a line of HA_STATE_TRANSITION tells of; Kea writes states in capitals there."""
        if self.kind is not LogKind.HA_STATE_TRANSITION:
            return None
        word, _, more = self.text.rpartition(" to ")[2].partition(" ")
        return word.lower() if more else None


@dataclass(frozen=True, slots=True)
class LogSource:
    """A server's log as a source of evidence: where it is read, and whether it still speaks."""

    server: str
    where: str
    """A path, ``journal:UNIT``, or the address of that node's own keawatch."""
    up: bool = True
    """Whether it can be read; a log that is read and says nothing is up."""
    why: str | None = None
    """What keeps it from being read, and what to do, as a sentence; what was lost of it, when it is up."""
    since: datetime | None = None
    """Since when it is up, or since when it is lost; None before the first look."""
    heard_at: datetime | None = None
    """When any line of that Kea was last read, by our clock; None when none was since keawatch began."""


def with_logged(kept: tuple[Logged, ...], new: Iterable[Logged]) -> tuple[Logged, ...]:
    """Return *kept* with *new* added in the order in which they were read, no more than ``KEEP_OF_A_KIND`` of a kind and server."""
    together = [*kept, *new]
    seen: dict[tuple[str, LogKind], int] = {}
    held: list[Logged] = []
    for event in reversed(together):
        key = (event.server, event.kind)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= KEEP_OF_A_KIND:
            held.append(event)
    return tuple(reversed(held))
