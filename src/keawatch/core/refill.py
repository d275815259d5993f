"""
Proposes how a backup server gets the leases that it lacks.

It serves nobody, so that editing it takes nothing from anybody; the pair's own leases come first, since the primary's word is
what is copied.
"""

from __future__ import annotations

import math

from keawatch.core.backups import behind_of
from keawatch.core.codes import Diagnosis
from keawatch.core.comparison import Comparison
from keawatch.core.facts import Facts, sync_seconds
from keawatch.core.lease_remedies import family, together
from keawatch.core.model import BackupServer, Mode
from keawatch.core.plan import Command, Condition, Fact, Order, Plan, Step, Work
from keawatch.core.proposals import LONGEST_WORK, NoPlan, Proposal, lacking, plan_id

STRATEGIES = frozenset({"refill", "refill-sync"})
"""The plans that bring a backup server up to date."""

_BY_PARTNER = "2000"
"""The origin by which a server is switched off while another fetches its leases (network_state.h)."""


def comparison_for(plan: Plan, facts: Facts) -> Comparison | None:
    """Return the comparison that *plan* rests on: a backup server's own, or the pair's."""
    about = next((step.backup for step in plan.steps if step.backup), None)
    if about is None:
        return facts.history.comparison
    return next((backup.comparison for backup in facts.history.backups if backup.server == about), None)


def refill(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return how a backup server gets what it lacks: lease by lease, or, where that can't be done, by Kea's own sync."""
    behind = behind_of(facts)
    if not behind:
        return ()
    backup = behind[0]
    pairs = facts.history.comparison
    if pairs is None or pairs.differences or pairs.suspicious:
        return (NoPlan("refill", f"{facts.a.server} and {facts.b.server} come first: {_pair_differs(facts)}"),)
    missing = _can_not_refill(backup, facts)
    if missing:
        return (NoPlan("refill", missing), _refill_sync(diagnosis, facts, backup))
    plan = Plan(
        id=plan_id(diagnosis, facts, "refill"),
        code=diagnosis.code,
        strategy="refill",
        summary=f"{backup.server}'s leases are made those of {facts.a.server}, lease by lease; nobody is switched off.",
        steps=(
            Step(
                key="refill",
                title=f"compare {backup.server}'s leases with {facts.a.server}'s, and mend what differs on {backup.server}",
                before=together(facts),
                after=together(facts),
                deadline=LONGEST_WORK,
                rest=True,
                work=Work.REFILL,
                backup=backup.server,
            ),
        ),
        announced_pause=0.0,
    )
    return (plan,)


def _pair_differs(facts: Facts) -> str:
    pairs = facts.history.comparison
    if pairs is None:
        return "their leases have not been compared yet"
    return "their own leases differ" if pairs.suspicious is None else pairs.suspicious.rstrip(".")


def _can_not_refill(backup: BackupServer, facts: Facts) -> str | None:
    n = family(facts)
    read = f"lease{n}-get-page"
    return lacking(facts.a, (read,)) or lacking(backup.seen, (read, f"lease{n}-update", f"lease{n}-del"))


def _refill_sync(diagnosis: Diagnosis, facts: Facts, backup: BackupServer) -> Proposal:
    """
    Return the plan in which the backup server fetches all leases by Kea's own sync, which pauses whom it fetches from.

    From a standby it costs less than from the primary: that one serves nobody, and the clients only wait while it makes a page
    and takes no update (3.0.4, 60,000 leases, 50 exchanges/s: 142 of 1098 lost, and 637 of 837 from the primary).
    """
    missing = lacking(backup.seen, (Command.HA_SYNC,))
    if missing:
        return NoPlan("refill-sync", missing)
    if (backup.seen.facts.version or "").startswith(("1.", "2.0.", "2.2.", "2.4.")):
        return NoPlan(
            "refill-sync", f"{backup.server}'s Kea fetches from another server than it is told to (mended in 2.5.8)"
        )
    source = facts.b if facts.mode is Mode.HOT_STANDBY else facts.a
    pause = sync_seconds(facts)
    most = math.ceil(2 * pause + 2 * facts.h)
    step = Step(
        key="backup-sync",
        title=f"have {backup.server} fetch {source.server}'s leases; {source.server} is switched off meanwhile, by a timer for {most} s at most",
        order=Order(backup.server, Command.HA_SYNC, {"server-name": source.server, "max-period": most}),
        before=together(facts),
        after=(*together(facts), Condition(Fact.NOT_SWITCHED_OFF_BY, source.server, (_BY_PARTNER,))),
        deadline=float(most) + 5.0,
        rest=True,
    )
    return Plan(
        id=plan_id(diagnosis, facts, "refill-sync"),
        code=diagnosis.code,
        strategy="refill-sync",
        summary=(
            f"{backup.server} fetches {source.server}'s leases by Kea's own sync, during which clients may get no answer. It adds what "
            f"{backup.server} lacks or has older, and neither deletes nor mends anything else."
        ),
        steps=(step,),
        announced_pause=round(pause, 1),
    )
