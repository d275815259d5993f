"""What every remedy is made of: a plan or the reason why there is none, a plan's name, and what a sync of the pair takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keawatch.core.codes import Diagnosis
from keawatch.core.facts import Facts
from keawatch.core.model import Observation
from keawatch.core.plan import Plan


@dataclass(frozen=True, slots=True)
class NoPlan:
    """Why a way of healing can't be gone here."""

    strategy: str
    reason: str


Proposal = Plan | NoPlan

LONGEST_WORK = 900.0
"""Seconds that work on leases may take: half a million of them are read in well under a minute."""


def plan_id(diagnosis: Diagnosis, facts: Facts, strategy: str) -> str:
    """Return a plan's name: unique on this host, since no two plans begin in one second."""
    return f"{facts.history.now:%Y%m%dT%H%M%SZ}-{diagnosis.code.lower().replace('_', '-')}-{strategy}"


def lacking(server: Observation, commands: Iterable[str]) -> str | None:
    """Return which of *commands* a server accepts nowhere, as a clause; None if it accepts them all."""
    missing = [command for command in commands if command not in server.facts.commands]
    return f"{server.server} accepts {' and '.join(missing)} at none of the addresses given for it" if missing else None
