"""Tells that a server runs with another configuration than the one on its disk, because keawatch healed it that way."""

from __future__ import annotations

import math

from keawatch.core.codes import Code, Finding, Severity
from keawatch.core.facts import Facts, sync_seconds


def config_drift(facts: Facts) -> Finding | None:
    """Return that a server still runs with Kea's own sync off since it was healed; None when none does."""
    apart = facts.history.config_apart
    if apart is None:
        return None
    ha = facts.snapshot.of(apart.server).facts.ha
    if ha is None or ha.sync_leases:
        return None
    return Finding(
        Code.CONFIG_DRIFT,
        Severity.INFO,
        f"{apart.server} runs with sync-leases off since it was healed at {apart.since:%Y-%m-%d %H:%M} UTC, and the file on its disk has "
        f"not: its next restart or reload puts that right and costs nothing more; `keawatch heal` does it now, and nobody is "
        f"served for about {math.ceil(sync_seconds(facts))} s then. Until then keawatch itself compares after every rejoin.",
        (f"healed by the plan {apart.plan}", f"{apart.server}: sync-leases false in the running configuration"),
    )
