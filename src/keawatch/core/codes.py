"""Names the diagnoses: stable codes, their severity, and the shape in which one is told."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Code(StrEnum):
    """Every diagnosis, by its stable name."""

    OBSERVER_BLIND = "OBSERVER_BLIND"
    IDENTITY_CLASH = "IDENTITY_CLASH"
    SPLIT_SERVING = "SPLIT_SERVING"
    TERMINATED_SKEW = "TERMINATED_SKEW"
    TERMINATED_REJECTS = "TERMINATED_REJECTS"
    TERMINATED_UNKNOWN = "TERMINATED_UNKNOWN"
    TERMINATED_ONE_SIDED = "TERMINATED_ONE_SIDED"
    SERVICE_LEFT_DISABLED = "SERVICE_LEFT_DISABLED"
    DEAF = "DEAF"
    NOBODY_SERVING = "NOBODY_SERVING"
    HA_MISSING = "HA_MISSING"
    NOT_TAKEN_OVER = "NOT_TAKEN_OVER"
    PARTNER_DOWN = "PARTNER_DOWN"
    SERVER_UNREACHABLE = "SERVER_UNREACHABLE"
    STUCK_SYNCING = "STUCK_SYNCING"
    STUCK_WAITING = "STUCK_WAITING"
    ONE_WAY_LINK = "ONE_WAY_LINK"
    GATE_HELD = "GATE_HELD"
    STUCK_READY = "STUCK_READY"
    PARTNER_DOWN_FALSE = "PARTNER_DOWN_FALSE"
    PEER_LINK_BROKEN = "PEER_LINK_BROKEN"
    CONFLICTS_SUBNET = "CONFLICTS_SUBNET"
    NO_ACKS = "NO_ACKS"
    LEASES_DIVERGED = "LEASES_DIVERGED"
    IN_MAINTENANCE = "IN_MAINTENANCE"
    CLOCK_SKEW = "CLOCK_SKEW"
    REJECTS_NEAR_LIMIT = "REJECTS_NEAR_LIMIT"
    CONFLICTS_BUSY = "CONFLICTS_BUSY"
    REJOIN_PAUSE = "REJOIN_PAUSE"
    SETTLING = "SETTLING"
    CONFIG_DRIFT = "CONFIG_DRIFT"
    ADDRESS_TWICE = "ADDRESS_TWICE"
    BACKUP_SILENT = "BACKUP_SILENT"
    BACKUP_BEHIND = "BACKUP_BEHIND"
    POOL_PRESSURE = "POOL_PRESSURE"
    OK = "OK"


class Severity(StrEnum):
    """How much a diagnosis hurts."""

    OK = "ok"
    INFO = "info"
    """Normal, and will pass."""
    WARNING = "warning"
    """Redundancy is lost or will be; clients do not notice."""
    CRITICAL = "critical"
    """Clients get no answer or a wrong one, or the next failure will be an outage nobody sees coming."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule saw."""

    code: Code
    severity: Severity
    sentence: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A finding and since when it holds."""

    code: Code
    severity: Severity
    sentence: str = field(compare=False)
    since: datetime
    evidence: tuple[str, ...] = field(default=(), compare=False)
