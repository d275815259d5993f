"""
Tells how the backup servers of a pair are, and when their leases are worth a look.

A server of the role ``backup`` gets each lease update once, from whichever server answered the client, and nobody waits for
its answer (ha_service.cc, asyncSendLeaseUpdate). It serves nobody and never syncs: what it misses, it lacks until those
clients renew. keawatch looks after those that are configured, and the pair comes first in everything.
"""

from __future__ import annotations

from keawatch.core.codes import Code, Finding, Severity
from keawatch.core.comparison import Comparison
from keawatch.core.divergence import differences_of, lines_of
from keawatch.core.facts import Facts, facts_of, says
from keawatch.core.model import NORMAL_STATES, BackupServer, History, Role
from keawatch.core.policy import Policy
from keawatch.core.watchful import comparison_wanted, counts_call, started_within, unsettled

PATIENCE = 60.0
"""Seconds a backup server may be silent before that is said: a restart takes less, and costs the clients nothing."""


# --- who there is


def unwatched(facts: Facts) -> tuple[str, ...]:
    """Return the backup servers that Kea's configuration names and keawatch's does not: of them nothing is known."""
    watched = {backup.server for backup in facts.history.backups}
    named = {
        peer.name for o in (facts.a, facts.b) if o.facts.ha for peer in o.facts.ha.peers if peer.role is Role.BACKUP
    }
    return tuple(sorted(named - watched))


# --- what is said


def backup_silent(facts: Facts) -> Finding | None:
    """Return that a backup server gives no answer, or is none."""
    gone = [
        b
        for b in facts.history.backups
        if not b.stands_by and (facts.history.now - b.since).total_seconds() >= PATIENCE
    ]
    if not gone:
        return None
    words = [
        f"{b.server} gives no answer ({b.seen.word})"
        if b.seen.status is None
        else f"{b.server} is {b.seen.word} and no backup"
        for b in gone
    ]
    return Finding(
        Code.BACKUP_SILENT,
        Severity.WARNING,
        f"The backup server {', '.join(words)}: it gets no lease update, and Kea never sends one again. Clients and "
        "failover do not depend on it.",
        tuple(says(b.seen) for b in gone),
    )


def backup_behind(facts: Facts) -> Finding | None:
    """Return that a backup server's leases are not the primary's, by the newest comparison, or by their number alone."""
    behind = behind_of(facts)
    if not behind:
        return None
    said = [_difference(backup) for backup in behind]
    return Finding(
        Code.BACKUP_BEHIND,
        Severity.WARNING,
        f"The backup server {'; '.join(said)}. Kea sends each update once, and a backup server never syncs by itself.",
        tuple(line for backup in behind for line in (lines_of(backup.comparison) if backup.comparison else ())),
    )


def behind_of(facts: Facts) -> list[BackupServer]:
    """Return the backup servers whose leases are known to differ from the primary's."""
    return [backup for backup in facts.history.backups if backup.stands_by and _is_behind(backup)]


def _is_behind(backup: BackupServer) -> bool:
    comparison = backup.comparison
    if comparison is None:
        # What can't be read can be counted.
        return backup.counts_apart is not None and not can_be_read(backup)
    # One that was gone since may have lost more: the next comparison tells.
    return bool(comparison.differences or comparison.suspicious) and backup.since <= comparison.at


def can_be_read(backup: BackupServer) -> bool:
    """Return whether keawatch may list the leases of *backup*."""
    return not backup.seen.facts.commands.isdisjoint({"lease4-get-page", "lease6-get-page"})


def _difference(backup: BackupServer) -> str:
    comparison = backup.comparison
    if comparison is None:
        return f"{backup.counts_apart}, and it lets nobody list its leases"
    if comparison.suspicious:
        return f"{backup.server} differs, and {comparison.suspicious.rstrip('.')}"
    return differences_of(comparison, comparison.authority or "the primary", backup.server)


# --- when to look closely


def backup_due(backup: BackupServer, history: History, policy: Policy) -> str | None:
    """Return why *backup*'s leases are to be compared with the primary's now, as a clause; None when they are not."""
    if not history.snapshots or backup.comparing or not (backup.stands_by and can_be_read(backup)):
        return None
    facts = facts_of(history, policy)
    if not _pair_is_quiet(facts):
        return None
    last = backup.comparison
    if last is None:
        return "it is the first since keawatch was started"
    return (
        _came_back(backup, last)
        or _pair_changed(last, facts)
        or (counts_call(last, backup.counts_apart, facts) if backup.counts_apart else None)
        or unsettled(last, facts)
    )


def _pair_is_quiet(facts: Facts) -> bool:
    """Return whether both are at work and have been compared: the primary's word is only worth copying then."""
    history = facts.history
    at_work = all(state in NORMAL_STATES for state in facts.states)
    return (
        at_work
        and history.comparison is not None
        and not history.comparing
        and not comparison_wanted(history, facts.policy)
    )


def _came_back(backup: BackupServer, last: Comparison) -> str | None:
    if backup.since > last.at:
        return f"{backup.server} came back at {backup.since:%H:%M:%S} UTC"
    return started_within(backup.seen, (backup.seen.at - last.at).total_seconds())


def _pair_changed(last: Comparison, facts: Facts) -> str | None:
    """Return what has happened to the pair of which a backup server hears nothing: what commands change is never copied."""
    if any(facts.steady_since(o) > last.at for o in (facts.a, facts.b)):
        return "the pair's servers have come together since"
    for attempt in reversed(facts.history.attempts):
        own = attempt.strategy == "refill" and attempt.result == "ok"
        if attempt.ended_at and attempt.ended_at > last.at and attempt.result != "refused" and not own:
            return f"the plan {attempt.plan_id} has ended"
    return None
